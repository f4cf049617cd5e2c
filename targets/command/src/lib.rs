//! The target that is any program: every operation is one run of a command.
//!
//! The program is started directly (or by a shell, where that is asked for), waited for with everything that it left
//! behind, and checked. What it used is the kernel's own account of it and of all its descendants. This crate does not
//! know what the program is about, or which of two is faster.

mod audit;
mod callgrind;
pub mod capture;
mod describe;
mod empty_program;
mod extract;
pub mod invocation;
mod outcome;
mod own_metrics;
pub mod run;
mod settings;
mod target;
mod values;
pub mod words;

use uplift_sdk::{
    DerivedMetric, Description, OpenContext, Recovered, SettingsError, Target, TargetError, TargetFactory,
    model::Table,
    settings::{read, typed},
};

pub use settings::{Expect, Settings, Workload};

/// The target's factory.
pub static FACTORY: &dyn TargetFactory = &CommandFactory;

struct CommandFactory;

impl TargetFactory for CommandFactory {
    fn name(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "any program: every operation is one run of a command"
    }

    fn describe(&self) -> Description {
        describe::description()
    }

    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        // A workload that cannot be read is complained about where it is validated.
        let Ok(workload) = typed::<Workload>("workload", workload) else { return Vec::new() };
        workload.metrics.iter().map(|(name, rule)| rule.metric(name)).collect()
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        let (workload, settings) = read::<Workload, Settings>(workload, settings)?;
        workload.check_with(&settings)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(context)
    }

    fn can_reopen(&self, workload: &Table, _: &Table) -> Result<(), String> {
        match typed::<Workload>("workload", workload) {
            Ok(workload) if workload.verify.is_some() => Ok(()),
            Ok(_) => Err("nothing verifies what it leaves; name a program as `verify` in [workload]".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        let (workload, settings) = read::<Workload, Settings>(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        Ok(Box::new(audit::Left { workload, settings, context }))
    }
}
