//! The pipeline target: source → transform → destination over bounded channels of Arrow IPC frames.
//!
//! One operation copies a whole table; its unit of work is a row of the source. Before each turn the destination is
//! emptied, and every finished copy is read back and compared with the rows that the generator and the native transform
//! make without any pipeline.

pub mod checksum;
pub mod copy_binary;
pub mod destination;
pub mod error;
pub mod frame;
pub mod generator;
mod metrics;
pub mod profile;
mod psql;
pub mod run;
mod settings;
pub mod source;
pub mod stages;
mod target;
pub mod transform;
pub mod value;

pub use settings::{
    DestinationKind, Fault, JournalMode, LoadMethod, Settings, SourceKind, SqlPlan, Synchronous, TableLayout, Toast,
    TransformEngine, WalLevel, Workload,
};
pub use target::{Expected, FACTORY, expected, job};
