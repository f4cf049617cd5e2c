//! Source → transform → destination over bounded channels of Arrow IPC frames.
//!
//! A run copies a whole table, once: what a run that was stopped has committed, the next one does not copy again.
//! [`expected`] makes the rows that must arrive without any pipeline.
//!
//! The engine knows nothing of benchmarks: it books its time on stages and counts what it does.

pub mod checksum;
pub mod copy_binary;
pub mod destination;
pub mod error;
pub mod frame;
pub mod generator;
mod job;
pub mod profile;
pub mod psql;
pub mod run;
pub mod settings;
pub mod source;
pub mod stages;
pub mod transform;
pub mod value;

pub use job::{Expected, expected, job};
pub use settings::{
    DestinationKind, Fault, InvalidSetting, JournalMode, LoadMethod, Settings, SourceKind, SqlPlan, Synchronous,
    TableLayout, Toast, TransformEngine, WalLevel, Workload,
};
