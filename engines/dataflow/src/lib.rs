//! Base tables under a materialized view, in the ways to be durable that other systems tried.
//!
//! `Article(id, title)` and `Vote(article_id, user)` are sharded base tables; the view is articles left-joined with
//! their vote counts. Packets of rows are merged, made durable, acknowledged, and then run through the graph to the
//! view. The subject is what stands between a packet and its acknowledgement.
//!
//! The engine is our own and small; it shares no code with the system that the source measured, but its path of a
//! write has the same steps in the same order. It knows nothing of benchmarks: it writes through a
//! [`Disk`](engine_disk::Disk) or SQLite, and counts what it does.

pub mod check;
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
pub mod trend;
pub mod view;
