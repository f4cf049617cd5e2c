//! The docdb target: a document store whose every shortcut is a setting, a fast one, and real peers under one workload.
//!
//! Each id belongs to one client, which knows what was acknowledged to it: every answer is checked as it comes, and the
//! whole store when the load is over.
//!
//! This crate binds `docdb-engine` and its peers to the sdk. It does not know how trials are planned, timed or judged.

mod audit;
mod client;
mod in_flight;
mod metrics;
mod open;
mod serve;
mod settings;
mod target;
mod workload;

use uplift_sdk::{Description, OpenContext, Recovered, Target, TargetError, TargetFactory, TypedFactory};

pub use settings::{Ack, Distribution, Engine, Fsync, Gather, Locking, Logs, Settings, Transport, Workload};

use audit::RecoveredStore;
use client::{failure, nothing};
use target::DocDb;

/// The docdb target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

/// Names of the operations, in the order of their codes.
const OPERATIONS: [&str; 4] = ["create", "read", "update", "delete"];

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "docdb";
    const ABOUT: &'static str =
        "document stores: a write-ahead log whose every shortcut is a setting, a fast log, and SQLite, redb, fjall";

    fn description() -> Description {
        Description {
            unit_of_work: "operation".into(),
            operations: OPERATIONS.iter().map(|name| (*name).into()).collect(),
            write_kinds: vec!["create".into(), "update".into(), "delete".into()],
            no_op_reasons: nothing::NAMES.iter().map(|name| (*name).into()).collect(),
            failure_categories: failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        DocDb::open(workload, settings, &context).map(|target| Box::new(target) as _)
    }

    fn can_reopen(_: &Workload, _: &Settings) -> Result<(), String> {
        Ok(())
    }

    fn reopen(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        RecoveredStore::open(workload, &settings, &context).map(|store| Box::new(store) as _)
    }
}
