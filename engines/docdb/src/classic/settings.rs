//! Everything about the classic store that can be chosen.

use std::time::Duration;

/// When the write-ahead log is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// After each record and after each commit marker.
    Always,
    /// Records are gathered in memory and written and synced together: when the oldest has waited `interval`, or when
    /// there are `records_max`.
    Group {
        /// How long the oldest record waits at most.
        interval: Duration,
        /// How many records are gathered at most.
        records_max: usize,
    },
    /// Each record is written at once; a timer syncs.
    Interval(Duration),
    /// Each record is written at once; nothing syncs but checkpoints.
    None,
}

/// When a write is acknowledged in [`Fsync::Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its batch is synced.
    Durable,
    /// When its record is in the batch in memory.
    Buffered,
}

/// What a database's writers and readers hold while they work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// Writers hold the database from the index check to the index change, syncs included; readers take the data file's
    /// mutex, which writers hold while they write and sync.
    Exclusive,
    /// Writers hold the id they write, and the data file's mutex while they write and sync.
    Narrow,
    /// Writers hold the id they write; readers share the data file and are kept out only while bytes are written, not
    /// while they are synced.
    ReadWrite,
}

/// How a classic store is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Databases, numbered from 0.
    pub databases: u16,
    /// When the log is synced.
    pub fsync: Fsync,
    /// When a write is acknowledged.
    pub acknowledge: Acknowledge,
    /// Syncs of the data file for each document written: 2 (after the document, and after its verification flag), 1
    /// (after the flag) or 0 (the log is enough).
    pub data_file_fsyncs: u8,
    /// What is held while working.
    pub locking: Locking,
    /// Shards of each database's index.
    pub index_shards: usize,
    /// Threads that carry out requests; 0 is twice the cores, or twice the databases if that is more, at most 256.
    pub workers: usize,
    /// Requests that wait in a database's queue at most.
    pub queue_limit: usize,
    /// Length of a log segment, after which a checkpoint is made.
    pub segment_bytes_max: u64,
}

/// Most threads that carry out requests.
pub const WORKERS_MAX: usize = 256;

impl Default for Settings {
    fn default() -> Self {
        Self {
            databases: 3,
            fsync: Fsync::Always,
            acknowledge: Acknowledge::Durable,
            data_file_fsyncs: 2,
            locking: Locking::Exclusive,
            index_shards: 256,
            workers: 4,
            queue_limit: 100,
            segment_bytes_max: 64 << 20,
        }
    }
}

impl Settings {
    /// The number of worker threads in force.
    pub fn workers_in_force(&self) -> usize {
        if self.workers > 0 {
            return self.workers.min(WORKERS_MAX);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (2 * cores).max(2 * usize::from(self.databases)).min(WORKERS_MAX)
    }

    /// Whether an acknowledged write survives a loss of power.
    pub const fn is_durable(&self) -> bool {
        match self.fsync {
            Fsync::Always => true,
            Fsync::Group { .. } => matches!(self.acknowledge, Acknowledge::Durable),
            Fsync::Interval(_) | Fsync::None => false,
        }
    }
}
