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

use uplift_sdk::{Description, OpenContext, Recovered, Target, TargetError, TargetFactory, TypedFactory};

use crate::settings::{Settings, Workload, WorkloadKind};

/// The dataflow target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "dataflow";
    const ABOUT: &'static str =
        "votes into base tables under a materialized view: a log, or SQLite in several ways, makes them durable";

    fn description() -> Description {
        Description {
            unit_of_work: "operation".into(),
            operations: client::kind::NAMES.iter().map(|name| (*name).into()).collect(),
            write_kinds: vec!["vote".into()],
            failure_categories: client::failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(workload, settings, context)
    }

    fn can_reopen(workload: &Workload, _: &Settings) -> Result<(), String> {
        match workload.kind {
            WorkloadKind::Recovery => Err("its clients open what is there and write nothing".to_owned()),
            WorkloadKind::Vote => Ok(()),
        }
    }

    fn reopen(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        audit::RecoveredEngine::open(workload, &settings, &context).map(|engine| Box::new(engine) as _)
    }
}
