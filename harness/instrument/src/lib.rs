//! Instruments that run inside the measured process: clocks, stage tables, the sync probe, resource counters.
//!
//! This crate does not know what a target is, who asks for its numbers, or what they mean.

pub mod allocations;
pub mod calls;
pub mod clock;
pub mod crash_ledger;
pub mod disk_model;
pub mod external_processes;
pub mod hardware_counters;
pub mod latency_counts;
pub mod resources;
pub mod sampler;
pub mod stage;
pub mod sync_collectors;
pub mod sync_probe;
pub mod timeline;
