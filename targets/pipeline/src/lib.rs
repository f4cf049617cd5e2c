//! The pipeline target: source → transform → destination over bounded channels of Arrow IPC frames.
//!
//! One operation copies a whole table; its unit of work is a row of the source. Before each turn the destination is
//! emptied, and every finished copy is read back and compared with the rows that the generator and the native transform
//! make without any pipeline.
//!
//! This crate binds the engine `pipeline-engine` to the sdk. It does not know how trials are planned, timed or judged.

mod audit;
mod metrics;
pub mod settings;
mod target;

use pipeline_engine::error::CATEGORIES;
use uplift_sdk::{
    Description, OpenContext, Recovered, SettingsError, Target, TargetError, TargetFactory, model::Table,
};

use crate::{audit::RecoveredJob, settings::read, target::Pipeline};

/// The pipeline target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn about(&self) -> &'static str {
        "source, transform, destination: Arrow IPC frames, WebAssembly, SQLite or PostgreSQL"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "row".into(),
            operations: vec!["copy".into()],
            write_kinds: vec!["copy".into()],
            no_op_reasons: Vec::new(),
            failure_categories: CATEGORIES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            workload_schema: schemars::schema_for!(pipeline_engine::Workload).to_value(),
            settings_schema: schemars::schema_for!(pipeline_engine::Settings).to_value(),
        }
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        read(workload, settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let (workload, settings) = read(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        if context.load.clients() != 1 {
            let message = "a pipeline has one client: its own threads are its parallelism; write `clients = 1`";
            return Err(TargetError::new("reading the load", SettingsError::new("load", "clients", message)));
        }
        Ok(Box::new(Pipeline::open(workload.0, settings.0, &context)?))
    }

    fn can_reopen(&self, workload: &Table, settings: &Table) -> Result<(), String> {
        match read(workload, settings) {
            Ok((_, settings)) if settings.0.needs_postgres() => {
                Err("its server is set up for one trial and is not started again on what is there".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        let (workload, settings) = read(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        RecoveredJob::open(workload.0, settings.0, &context).map(|job| Box::new(job) as _)
    }
}
