//! The target that is any server: started from a scenario file alone, loaded by its protocol, checked.
//!
//! Its life (start, ready, stop, nothing left) is in [`life`], what it speaks in [`driver`], what it is asked in [`plan`].
//! Load loops, times and counts are the harness's. This crate does not know which service is faster.
//!
//! It implements the dynamic factory and not the typed one: every key of a variant that is not uplift's is a setting of
//! the service, how truth values are written depends on which service it is, and operations come from the workload.

mod answer;
mod audit;
mod client;
mod counters;
mod draws;
pub mod driver;
mod expect;
mod failures;
mod joined;
mod known;
mod leaves;
pub mod life;
mod loader;
mod metrics;
mod names;
mod parameters;
mod pgbench;
pub mod plan;
mod protocol;
mod read_back;
mod reads;
mod sampling;
pub mod settings;
mod standard_counters;
mod target;
mod template;
mod ycsb;

use uplift_sdk::{
    DerivedMetric, Description, OpenContext, Part, Recovered, SettingsError, Target, TargetError, TargetFactory,
    Validated as _, model::Table, typed,
};

use expect::{FAILURES, NO_OPS};
use plan::Plan;
use settings::{Settings, Variant, Workload};

/// The target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

/// The value of an expression of pgbench without variables, as text: for a test that checks it against the program.
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
    // What only compiling can tell: placeholders, requests, scripts.
    Plan::compile(&workload)?;
    let variant = Variant::read(settings, workload.service)?;
    workload.check_with(&variant)?;
    Ok((workload, variant))
}

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "service"
    }

    fn about(&self) -> &'static str {
        "any server: started from a scenario file, asked in its protocol"
    }

    fn describe(&self) -> Description {
        let mut settings_schema = schemars::schema_for!(Settings).to_value();
        // Every other key is a setting of the service.
        settings_schema["additionalProperties"] = serde_json::json!({ "type": ["string", "number", "boolean"] });
        Description {
            unit_of_work: "operation".into(),
            operations: vec!["operation".into()],
            no_op_reasons: NO_OPS.map(Into::into).into(),
            failure_categories: FAILURES.map(Into::into).into(),
            metrics: metrics::all(),
            workload_schema: schemars::schema_for!(Workload).to_value(),
            settings_schema,
            ..Description::default()
        }
    }

    fn describe_workload(&self, workload: &Table) -> Description {
        let mut description = self.describe();
        // A workload that cannot be read is complained about where it is validated.
        let Ok(workload) = typed::<Workload>("workload", workload) else { return description };
        let workload = workload.completed();
        description.metrics.extend(workload.counters.iter().map(|(name, rule)| rule.metric(name)));
        if let Ok(plan) = Plan::compile(&workload) {
            let kinds = plan.kinds();
            description.write_kinds =
                kinds.iter().filter(|(_, writes)| *writes).map(|(name, _)| name.clone().into()).collect();
            description.operations = kinds.into_iter().map(|(name, _)| name.into()).collect();
        }
        description
    }

    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        let Ok(workload) = typed::<Workload>("workload", workload) else { return Vec::new() };
        workload.completed().counters.iter().map(|(name, rule)| rule.metric(name)).collect()
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

    fn can_reopen(&self, workload: &Table, settings: &Table) -> Result<(), String> {
        let (workload, variant) = read(workload, settings).map_err(|error| error.to_string())?;
        audit::can_reopen(&workload, &variant)
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        let (workload, variant) = read(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        Ok(Box::new(audit::Reopened::open(workload, variant, &context)?))
    }
}
