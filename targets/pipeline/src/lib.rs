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
    Description, OpenContext, Recovered, SettingsError, Target, TargetError, TargetFactory, TypedFactory,
};

use crate::{
    audit::RecoveredJob,
    settings::{Settings, Workload},
    target::Pipeline,
};

/// The pipeline target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "pipeline";
    const ABOUT: &'static str = "source, transform, destination: Arrow IPC frames, WebAssembly, SQLite or PostgreSQL";

    fn description() -> Description {
        Description {
            unit_of_work: "row".into(),
            operations: vec!["copy".into()],
            write_kinds: vec!["copy".into()],
            failure_categories: CATEGORIES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn check(workload: &Workload, settings: &Settings) -> Result<(), SettingsError> {
        settings.suits(workload)
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        if context.load.clients() != 1 {
            let message = "a pipeline has one client: its own threads are its parallelism; write `clients = 1`";
            return Err(TargetError::new("reading the load", SettingsError::new("load", "clients", message)));
        }
        Ok(Box::new(Pipeline::open(workload.0, settings.0, &context)?))
    }

    fn can_reopen(_: &Workload, settings: &Settings) -> Result<(), String> {
        if settings.0.needs_postgres() {
            return Err("its server is set up for one trial and is not started again on what is there".to_owned());
        }
        Ok(())
    }

    fn reopen(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        RecoveredJob::open(workload.0, settings.0, &context).map(|job| Box::new(job) as _)
    }
}
