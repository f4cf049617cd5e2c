//! The target that is any server: started from a scenario file alone, loaded by its protocol, checked.
//!
//! Its life (start, ready, stop, nothing left) is in [`life`], what it speaks in [`driver`], what it is asked in [`plan`].
//! Load loops, times and counts are the harness's. This crate does not know which service is faster.

mod client;
mod counters;
mod describe;
pub mod driver;
mod expect;
mod failures;
mod joined;
mod known;
pub mod life;
mod loader;
mod parameters;
mod pgbench;
pub mod plan;
mod read_back;
pub mod settings;
mod target;
mod template;
mod ycsb;

use uplift_sdk::{
    DerivedMetric, Description, OpenContext, Part, SettingsError, Target, TargetError, TargetFactory, Validated as _,
    model::Table, typed,
};

use settings::{Variant, Workload};

/// The target's factory.
pub static FACTORY: &dyn TargetFactory = &ServiceFactory;

struct ServiceFactory;

/// The value of an expression of pgbench without variables, as text: for a test that holds it against the program.
///
/// # Errors
/// A sentence.
pub fn pgbench_value(expression: &str) -> Result<String, String> {
    pgbench::value_of(expression)
}

/// Reads workload and variant, and holds both to their rules.
fn read(workload: &Table, settings: &Table) -> Result<(Workload, Variant), SettingsError> {
    let workload: Workload = typed("workload", workload)?;
    workload.validate()?;
    let workload = workload.completed();
    let variant = Variant::read(settings, workload.service)?;
    workload.check_with(&variant)?;
    Ok((workload, variant))
}

impl TargetFactory for ServiceFactory {
    fn name(&self) -> &'static str {
        "service"
    }

    fn about(&self) -> &'static str {
        "any server: started from a scenario file, asked in its protocol"
    }

    fn describe(&self) -> Description {
        describe::description()
    }

    fn describe_workload(&self, workload: &Table) -> Description {
        let mut description = self.describe();
        // A workload that cannot be read is complained about where it is validated.
        let Ok(workload) = typed::<Workload>("workload", workload) else { return description };
        let workload = workload.completed();
        description.metrics.extend(workload.counters.iter().map(|(name, rule)| rule.metric(name)));
        if let Ok(plan) = plan::Plan::compile(&workload) {
            let kinds = plan.kinds();
            description.write_kinds =
                kinds.iter().filter(|(_, writes)| *writes).map(|(name, _)| name.clone().into()).collect();
            description.operations = kinds.into_iter().map(|(name, _)| name.into()).collect();
        }
        description
    }

    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        let Ok(workload) = typed::<Workload>("workload", workload) else { return Vec::new() };
        workload.counters.iter().map(|(name, rule)| rule.metric(name)).collect()
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        read(workload, settings).map(drop)
    }

    fn can_be_shared(&self) -> bool {
        true
    }

    fn join(&self, context: OpenContext, part: Part) -> Result<Box<dyn Target>, TargetError> {
        joined::join(&context, part)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(context)
    }
}
