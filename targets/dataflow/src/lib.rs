//! The dataflow target: base tables under a materialized view, in the ways to be durable that its source tried.
//!
//! `Article(id, title)` and `Vote(article_id, user)` are sharded base tables; the view is articles left-joined with
//! their vote counts. Packets of rows are merged, made durable, acknowledged, and then run through the graph to the
//! view. The subject is what stands between a packet and its acknowledgement.
//!
//! The engine is our own and small; it shares no code with the system that the source measured, but its path of a
//! write has the same steps in the same order.

pub mod check;
pub mod client;
pub mod counters;
pub mod engine;
pub mod graph;
pub mod log;
pub mod memory;
pub mod persist;
pub mod row;
pub mod scheduling;
pub mod settings;
pub mod shard;
pub mod view;

mod target;

use uplift_sdk::{
    Better, Derivation, DerivedMetric, Description, MetricClass, MetricSpec, OpenContext, SettingsError, Target,
    TargetError, TargetFactory, Unit, model::Table, settings::read,
};

use crate::settings::{Settings, Workload};

/// The dataflow target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

fn info(
    name: &'static str,
    unit: Unit,
    better: Better,
    about: &'static str,
    source: &'static str,
    derivation: Derivation,
) -> DerivedMetric {
    DerivedMetric::new(MetricSpec::new(name, unit, better, MetricClass::Info, about), source, derivation)
}

fn metrics() -> Vec<DerivedMetric> {
    use Better::{Lower, Neither};
    vec![
        info(
            "rows_per_merged_packet",
            Unit::Count,
            Neither,
            "votes of one merged packet: what shares one sync",
            "votes",
            Derivation::Per("merged_packets".into()),
        ),
        info(
            "packets_per_merged_packet",
            Unit::Count,
            Neither,
            "client packets of one merged packet",
            "packets",
            Derivation::Per("merged_packets".into()),
        ),
        info("checkpoints", Unit::Count, Neither, "checkpoints of SQLite", "checkpoints", Derivation::Total),
        info(
            "checkpoints_partial",
            Unit::Count,
            Lower,
            "checkpoints that could not copy every page because the writer was in the way",
            "checkpoints_partial",
            Derivation::Total,
        ),
        info(
            "checkpoint_mean",
            Unit::Nanoseconds,
            Lower,
            "mean duration of a checkpoint; an automatic one is timed with the commit that holds it",
            "checkpoint_ns",
            Derivation::Per("checkpoints".into()),
        ),
        info("log_bytes", Unit::Bytes, Lower, "size of the log at the end", "log_bytes", Derivation::Gauge),
        info(
            "database_bytes",
            Unit::Bytes,
            Lower,
            "size of SQLite's database at the end",
            "database_bytes",
            Derivation::Gauge,
        ),
        info(
            "wal_bytes",
            Unit::Bytes,
            Lower,
            "size of SQLite's write-ahead log at the end",
            "wal_bytes",
            Derivation::Gauge,
        ),
        info(
            "memory_per_vote",
            Unit::Bytes,
            Lower,
            "memory of the base table with its index, for each vote in it",
            "memory_per_vote",
            Derivation::Gauge,
        ),
        info(
            "memory_per_article",
            Unit::Bytes,
            Lower,
            "memory of count, join and view, for each article",
            "memory_per_article",
            Derivation::Gauge,
        ),
        info(
            "recovery_per_million",
            Unit::Nanoseconds,
            Lower,
            "time to open the engine until the view is whole, for each million votes",
            "recovery_ns",
            Derivation::Per("recovered_millions".into()),
        ),
    ]
}

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
            metrics: metrics(),
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
}
