//! The classic store: a data file, a write-ahead log and an index in memory for each database, and a scheduler before
//! them.
//!
//! It writes each document twice, to the data file and to the log, and readers may see a write before it is durable.
//! [`crate::fast`] does neither.

mod checkpoint;
mod compaction;
mod data_file;
mod database;
mod index;
mod record;
mod recovery;
mod scheduler;
mod settings;
mod wal;

use std::{path::Path, sync::Arc};

use engine_disk::Disk;
use uplift_instrument::timeline::EventLog;

pub use settings::{Acknowledge, Fsync, Locking, Settings, WORKERS_MAX};

use self::{database::Database, scheduler::Scheduler};
use crate::{
    error::StoreError,
    statistics::Statistics,
    store::{DocumentStore, Recovery, Reply, Request},
};

/// Reading its formats must not fail on any bytes; for fuzzers and tests.
pub mod formats {
    pub use super::{
        checkpoint::parse as parse_checkpoint,
        index::Index,
        record::{Record, RecordKind, decode as decode_record, seal as seal_records},
    };
}

/// A classic store.
pub struct Store {
    // The scheduler ends before the databases: what is queued is carried out, then flushed.
    scheduler: Scheduler,
    databases: Arc<Vec<Database>>,
    settings: Settings,
}

impl Store {
    /// Opens the store in `directory`, made where it is missing, and recovers it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or is not what was written.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        settings: &Settings,
        events: &EventLog,
    ) -> Result<(Self, Recovery), StoreError> {
        let mut databases = Vec::new();
        let mut recovery = Recovery::default();
        for number in 0..settings.databases {
            let home = directory.join(format!("db{}", number + 1));
            let (database, found) = Database::open(disk, &home, number, settings, events)?;
            recovery.add(&found);
            databases.push(database);
        }
        let databases = Arc::new(databases);
        let serving = Arc::clone(&databases);
        let execute = move |request: Request<'_>, document: &mut Vec<u8>| {
            serving[usize::from(request.database)].apply(request, document)
        };
        let scheduler =
            Scheduler::start(settings.databases, settings.workers_in_force(), settings.queue_limit, Arc::new(execute))?;
        Ok((Self { scheduler, databases, settings: settings.clone() }, recovery))
    }

    /// The settings that the store was opened with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Threads that carry out requests.
    pub fn workers(&self) -> usize {
        self.scheduler.statistics().workers
    }
}

impl DocumentStore for Store {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        self.scheduler.submit(request, document)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.databases.iter().try_for_each(Database::settle)
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for database in self.databases.iter() {
            statistics.merge(&database.statistics());
        }
        // A mean over the logs, which are synced side by side.
        if let Some(seconds) = statistics.counters.get_mut("sync_busy_seconds") {
            *seconds /= self.databases.len() as f64;
        }
        let scheduler = self.scheduler.statistics();
        statistics.gauges.insert("scheduler_workers", scheduler.workers as f64);
        statistics.gauges.insert("queue_depth", scheduler.waiting as f64);
        statistics.gauges.insert("queue_depth_max", scheduler.waiting_most as f64);
        statistics.counters.insert("queue_depth_sum", scheduler.waiting_sum as f64);
        statistics.counters.insert("queued", scheduler.requests as f64);
        statistics.counters.insert("queue_full", scheduler.refused as f64);
        statistics
    }

    fn documents(&self) -> Result<u64, StoreError> {
        Ok(self.databases.iter().map(Database::documents).sum())
    }
}
