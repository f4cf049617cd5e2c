//! Document stores with a write-ahead log, and the protocol to reach them from another process.
//!
//! [`classic`] does what a small document server of the usual kind does, with every shortcut that such servers take as a
//! setting. [`fast`] is a log in which the record is the document, at full durability. Both are a [`DocumentStore`].
//!
//! The engines know nothing of benchmarks: they write through a [`Disk`](engine_disk::Disk) and count what they
//! do.

pub mod classic;
mod error;
pub mod fast;
mod home;
mod json;
mod location_checksum;
mod on_panic;
pub mod stages;
mod statistics;
mod store;
pub mod wire;

pub use error::{StoreError, StoreErrorKind};
pub use json::check;
pub use statistics::Statistics;
pub use store::{DOCUMENT_BYTES_MAX, DocumentStore, Operation, Recovery, Reply, Request};
