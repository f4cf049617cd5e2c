//! The target that is any program: every operation is one run of a command.
//!
//! The program is started directly (or by a shell, where that is asked for), waited for with everything that it left
//! behind, and checked. What it used is the kernel's own account of it and of all its descendants. This crate does not
//! know what the program is about, or which of two is faster.

mod audit;
mod callgrind;
pub mod capture;
mod empty_program;
mod extract;
pub mod invocation;
mod metrics;
mod outcome;
mod own_metrics;
pub mod run;
mod settings;
mod target;
mod values;
pub mod words;

use uplift_sdk::{
    DerivedMetric, Description, OpenContext, Recovered, SettingsError, Target, TargetError, TargetFactory, TypedFactory,
};

pub use settings::{Expect, Settings, Workload};

/// The target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "command";
    const ABOUT: &'static str = "any program: every operation is one run of a command";

    fn description() -> Description {
        Description {
            unit_of_work: "run".into(),
            operations: vec!["run".into()],
            failure_categories: vec!["failed".into()],
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn metrics_of(workload: &Workload) -> Vec<DerivedMetric> {
        workload.metrics.iter().map(|(name, rule)| rule.metric(name)).collect()
    }

    fn check(workload: &Workload, settings: &Settings) -> Result<(), SettingsError> {
        workload.check_with(settings)
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(workload, settings, context)
    }

    fn can_reopen(workload: &Workload, _: &Settings) -> Result<(), String> {
        match workload.verify {
            Some(_) => Ok(()),
            None => Err("nothing verifies what it leaves; name a program as `verify` in [workload]".to_owned()),
        }
    }

    fn reopen(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        Ok(Box::new(audit::Left { workload, settings, context }))
    }
}
