//! Runs trials: plans them, starts agents, talks to them, watches the machine and writes down what happened.
//!
//! The engine decides nothing about results. When to stop and which turns are warm-up it asks a [`Judge`]; what happens
//! it tells an [`Observer`]. It knows agents only by their protocol and targets not at all.

pub mod agent_connection;
pub mod binary;
pub mod block;
pub mod cpu_latency;
pub mod crash;
mod crew;
mod duet;
pub mod environment;
pub mod history_file;
pub mod interrupt;
pub mod launch;
mod monotonic;
pub mod optional_file;
pub mod owner;
pub mod plan;
pub mod profile;
pub mod runner;
pub mod sampling;
pub mod sentinel;
pub mod sides;
pub mod store;

pub use binary::PinnedBinary;
pub use interrupt::Interrupt;
pub use launch::{AgentHandle, Launch, LaunchOrder, Moment, process::ProcessLauncher};
pub use profile::ProfilePlan;
pub use runner::{Engine, EngineError, Judge, Look, Observer, Progress};
pub use sampling::Sampling;
pub use store::{RunStore, StoreError, StoredRun};
