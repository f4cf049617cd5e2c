//! What a target links: the [`Target`] trait, load generators, recorders, the sync probe and the agent.
//!
//! A target is a system under test with a name. It says what its settings are, sets itself up, serves clients, and can
//! be asked to be quiet, to drain and to be checked. It measures nothing of what every target has in common: times,
//! counts, sync calls, processor time and bytes are taken here, the same for all.
//!
//! This crate does not know which targets exist, how trials are planned, or what a result means.

pub mod agent;
pub mod calls;
pub mod clock;
pub mod contract;
pub mod disk;
pub mod load;
mod outside;
pub mod recorder;
pub mod resources;
pub mod settings;
pub mod slowdown;
pub mod stage;
pub mod sync_probe;
pub mod timeline;

pub use contract::{
    Batch, Client, Description, OpenContext, Outcome, OutcomeKind, Samples, Target, TargetError, TargetErrorKind,
    TargetFactory,
};
pub use settings::{SettingsError, Validated, typed};
pub use uplift_model as model;
pub use uplift_model::{
    Durability,
    metric::{Better, Derivation, DerivedMetric, MetricSpec, Tier, Unit},
    trial::{Ceiling, Check, Drain, Event, StageRecord},
};
