//! The dataflow target: base tables under a materialized view, in the ways to be durable that its source tried.
//!
//! `Article(id, title)` and `Vote(article_id, user)` are sharded base tables; the view is articles left-joined with
//! their vote counts. Packets of rows are merged, made durable, acknowledged, and then run through the graph to the
//! view. The subject is what stands between a packet and its acknowledgement.
//! Clients vote and read; what each was told is compared with a recount when the load is over.
//!
//! This crate binds the engine `dataflow-engine` to the sdk. It does not know how trials are planned, timed or judged.

mod audit;
mod client;
mod metrics;
pub mod settings;
mod target;

use uplift_sdk::{
    Description, OpenContext, Recovered, SettingsError, Target, TargetError, TargetFactory, model::Table,
    settings::read,
};

use crate::settings::{Settings, Workload, WorkloadKind};

/// The dataflow target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "dataflow"
    }

    fn about(&self) -> &'static str {
        "votes into base tables under a materialized view: a log, or SQLite in several ways, makes them durable"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "operation".into(),
            operations: client::kind::NAMES.iter().map(|name| (*name).into()).collect(),
            write_kinds: vec!["vote".into()],
            no_op_reasons: Vec::new(),
            failure_categories: client::failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            workload_schema: schemars::schema_for!(Workload).to_value(),
            settings_schema: schemars::schema_for!(Settings).to_value(),
        }
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        read::<Workload, Settings>(workload, settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let (workload, settings) = read::<Workload, Settings>(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        target::open(workload, settings, context)
    }

    fn can_reopen(&self, workload: &Table, settings: &Table) -> Result<(), String> {
        match read::<Workload, Settings>(workload, settings) {
            Ok((Workload { kind: WorkloadKind::Recovery, .. }, _)) => {
                Err("its clients open what is there and write nothing".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        let (workload, settings) = read::<Workload, Settings>(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        audit::RecoveredEngine::open(workload, &settings, &context).map(|engine| Box::new(engine) as _)
    }
}
