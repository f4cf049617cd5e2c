//! What the author of a target sees: the [`Target`] trait, its settings, and the instruments it may use.
//!
//! A target is a system under test with a name. It says what its settings are, sets itself up, serves clients, and can
//! be asked to be quiet, to drain and to be checked. It measures nothing of what every target has in common: times,
//! counts, sync calls, CPU time and bytes are taken by the agent, the same for all.
//!
//! This crate does not know which targets exist, how load is generated, how trials are planned, or what a result means.

pub mod contract;
mod metric;
pub mod settings;
pub mod slowdown;
pub mod typed_factory;

pub use contract::{
    Batch, Client, Description, OpenContext, Outcome, OutcomeKind, Part, REASONS_MAX, Recovered, Samples, Target,
    TargetError, TargetErrorKind, TargetFactory, ledger_of,
};
pub use metric::metric;
pub use settings::{SettingsError, Validated, typed};
pub use typed_factory::{NoWorkload, TypedFactory};
pub use uplift_instrument::{
    allocations, clock, crash_ledger, hardware_counters, stage, sync_collectors, sync_probe, timeline,
};
pub use uplift_model as model;
pub use uplift_model::database_durability as durability;
pub use uplift_model::seed;
pub use uplift_model::{
    Durability,
    crash::Audit,
    metric::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit},
    sampled::{NumberSeries, Sampled},
    trial::{Ceiling, Check, Drain, Event, StageRecord},
};
