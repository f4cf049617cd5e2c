//! The orchestration target: the published `duroxide` crate, driven through its own client.
//!
//! One operation starts an orchestration and waits for its end as duroxide's users do (`start_orchestration`, then
//! `wait_for_orchestration`, which polls after 5 ms and then with back-off, up to 100 ms). The baseline is the
//! bundled SQLite provider with the settings that its authors began with; each setting is a setting here.
//!
//! This crate binds providers of duroxide to the sdk. It does not know how trials are planned, timed or judged.

mod audit;
mod bundled;
mod delay;
mod engine;
mod failure;
mod grouped;
mod metrics;
mod open;
#[cfg(feature = "duroxide-pg")]
mod postgres;
mod retries;
mod settings;
mod target;
mod timed;
mod workload;

use uplift_sdk::{Description, OpenContext, Recovered, Target, TargetError, TargetFactory, TypedFactory};

pub use settings::{Completion, Provider, Settings, Storage, Workload, WorkloadKind};

/// The orchestration target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "orchestration";
    const ABOUT: &'static str = "durable orchestrations: the published duroxide crate on its bundled SQLite provider, on one that groups commits, or on PostgreSQL";

    fn description() -> Description {
        Description {
            unit_of_work: "orchestration".into(),
            operations: vec!["orchestration".into()],
            write_kinds: vec!["orchestration".into()],
            failure_categories: failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(workload, settings, &context)
    }

    fn can_reopen(_: &Workload, settings: &Settings) -> Result<(), String> {
        match settings.provider {
            Provider::Postgres => {
                Err("its server is set up for one trial and is not started again on what is there".to_owned())
            }
            Provider::Sqlite | Provider::Grouped => Ok(()),
        }
    }

    fn reopen(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        audit::RecoveredStore::open(&workload, &settings, &context).map(|store| Box::new(store) as _)
    }
}
