//! One database: data file, log, index, and what its writers and readers hold.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use engine_disk::Disk;
use uplift_instrument::{clock, stage::thread as span, timeline::EventLog};

use super::{
    checkpoint::{self, Checkpoint},
    compaction,
    data_file::{self, DataFile},
    index::Index,
    record::RecordKind,
    recovery,
    settings::{Locking, Settings},
    wal::{self, Ticket, Wal},
};
use crate::{
    error::StoreError,
    home::Home,
    json,
    on_panic::OnPanic,
    stages,
    statistics::Statistics,
    store::{Operation, Recovery, Reply, Request},
};

/// Locks that ids are spread over where writers hold only the id they write.
const ID_LOCKS: usize = 256;
/// Log segments that are kept after a checkpoint: the one written to, and the one before.
const SEGMENTS_KEPT: u64 = 2;

#[derive(Debug)]
pub struct Database {
    number: u16,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    settings: Settings,
    events: EventLog,
    /// Writers share it; a checkpoint has it alone.
    gate: RwLock<()>,
    exclusive: Mutex<()>,
    ids: Box<[Mutex<()>]>,
    index: Index,
    data: DataFile,
    wal: Arc<Wal>,
    next_transaction: AtomicU64,
    checkpoints: AtomicU64,
    compactions: Compactions,
    failed: OnceLock<StoreError>,
    home: Home,
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Opens database `number` in `directory`, made where it is missing, and recovers it from its log.
    ///
    /// # Errors
    /// When a file cannot be read or written, or is not what was written.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        number: u16,
        settings: &Settings,
        events: &EventLog,
    ) -> Result<(Self, Recovery), StoreError> {
        let home = Home::take(disk, directory)?;
        let index = Index::new(settings.index_shards);
        let database = u32::from(number);
        let found = checkpoint::read(disk, directory, database, &index)?;
        let from = found.unwrap_or(Checkpoint { database, data_file: 0, segment: 1, transaction: 1, data_length: 0 });
        let Settings { data_file_fsyncs, locking, .. } = *settings;
        let place = (from.data_file, from.data_length);
        let data = DataFile::open(disk, directory, database, place, data_file_fsyncs, locking)?;
        let mut rewritten = 0;
        let replay = recovery::replay(disk, directory, database, from.segment, |write| {
            match write.kind {
                RecordKind::Delete => index.remove(write.id),
                _ => {
                    index.set(write.id, data.append_unsynced(write.id, write.payload)?);
                    rewritten += 1;
                }
            }
            Ok(())
        })?;
        let closed = home.check_end(&wal::describe_end(replay.newest_segment, replay.newest_bytes))?;
        home.begin()?;
        let segment = from.segment.max(replay.newest_segment.saturating_add(1));
        let transaction = from.transaction.max(replay.next_transaction);
        // The checkpoint comes before its segment: a loss of power in between leaves a log that ends where it says.
        let compactions = Compactions::default();
        let parts = Parts { disk, directory, settings, events, data: &data, index: &index, compactions: &compactions };
        parts.write_checkpoint(segment, transaction)?;
        let wal = Wal::create(disk, directory, database, segment, settings)?;
        let recovery = Recovery {
            documents: index.count() as u64,
            records: replay.records,
            log_bytes: replay.bytes,
            dropped_bytes: replay.dropped_bytes,
            rewritten,
            unclosed_logs: u64::from(!closed && found.is_some()),
        };
        let database = Self {
            number,
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            settings: settings.clone(),
            events: events.clone(),
            gate: RwLock::new(()),
            exclusive: Mutex::new(()),
            ids: (0..ID_LOCKS).map(|_| Mutex::new(())).collect(),
            index,
            data,
            wal,
            next_transaction: AtomicU64::new(transaction),
            checkpoints: AtomicU64::new(0),
            compactions,
            failed: OnceLock::new(),
            home,
        };
        database.remove_what_is_behind(segment)?;
        Ok((database, recovery))
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// As [`DocumentStore::apply`](crate::DocumentStore::apply).
    pub fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        let validate = span::process(stages::VALIDATE);
        json::check(&request)?;
        drop(validate);
        if request.operation == Operation::Read {
            return self.read(request.id, document);
        }
        let (reply, ticket) = self.write(&request)?;
        if let Some(ticket) = ticket {
            let wait = span::wait(stages::SYNC_WAIT);
            self.wal.wait(ticket)?;
            drop(wait);
            if self.wal.segment_length() >= self.settings.segment_bytes_max {
                self.checkpoint()?;
            }
        }
        Ok(reply)
    }

    fn read(&self, id: u64, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        loop {
            let file = self.data.number();
            let index = span::process(stages::INDEX);
            let Some(location) = self.index.get(id) else { return Ok(Reply::NotFound) };
            drop(index);
            let _data_file = span::process(stages::DATA_FILE);
            match self.data.read(id, location, document) {
                // A compaction has moved it since the index was asked.
                Err(_) if self.data.number() != file => {}
                read => return read.map(|()| Reply::Done),
            }
        }
    }

    fn write(&self, request: &Request<'_>) -> Result<(Reply, Option<Ticket>), StoreError> {
        let waiting = span::wait(stages::LOCK);
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let _alone = match self.settings.locking {
            Locking::Exclusive => lock(&self.exclusive),
            Locking::Narrow | Locking::ReadWrite => lock(&self.ids[(request.id % ID_LOCKS as u64) as usize]),
        };
        drop(waiting);
        // Now that nobody else writes: a writer that had the lock before may have failed.
        self.check()?;
        let _panics = OnPanic(|| drop(self.failed.set(StoreError::panicked("writing a document"))));
        let index = span::process(stages::INDEX);
        let exists = self.index.get(request.id).is_some();
        drop(index);
        let kind = match (request.operation, exists) {
            (Operation::Create, true) => return Ok((Reply::Conflict, None)),
            (Operation::Update | Operation::Delete, false) => return Ok((Reply::NotFound, None)),
            (Operation::Create, false) => RecordKind::Create,
            (Operation::Update, true) => RecordKind::Update,
            (_, _) => RecordKind::Delete,
        };
        let written = self.store(kind, request);
        if let Err(error) = &written {
            // What is on disk is unknown: the first failure is kept, and nothing is written after it.
            let _ = self.failed.set(error.clone());
        }
        written.map(|ticket| (Reply::Done, Some(ticket)))
    }

    /// That no write, sync or checkpoint has failed.
    fn check(&self) -> Result<(), StoreError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.after()))
    }

    fn store(&self, kind: RecordKind, request: &Request<'_>) -> Result<Ticket, StoreError> {
        let transaction = self.next_transaction.fetch_add(1, Ordering::Relaxed);
        let log = |payload: &[u8]| {
            let _log = span::process(stages::LOG_WRITE);
            self.wal.append(transaction, kind, request.id, payload)
        };
        if kind == RecordKind::Delete {
            let ticket = log(b"")?;
            let _index = span::process(stages::INDEX);
            self.index.remove(request.id);
            return Ok(ticket);
        }
        let data_file = span::process(stages::DATA_FILE);
        let location = self.data.append(request.id, request.document)?;
        drop(data_file);
        let ticket = log(request.document)?;
        let _index = span::process(stages::INDEX);
        self.index.set(request.id, location);
        Ok(ticket)
    }

    /// Writes the index down, begins a new log segment, and removes the segments that are no longer needed.
    fn checkpoint(&self) -> Result<(), StoreError> {
        let _compact = span::process(stages::COMPACT);
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        if self.wal.segment_length() < self.settings.segment_bytes_max {
            return Ok(());
        }
        let _panics = OnPanic(|| drop(self.failed.set(StoreError::panicked("making a checkpoint"))));
        self.checkpoint_alone().inspect_err(|error| {
            // Before the gate opens: the log that the next write would go to may have no checkpoint that knows it.
            let _ = self.failed.set(error.clone());
        })
    }

    /// As [`Self::checkpoint`], for who has the gate alone.
    fn checkpoint_alone(&self) -> Result<(), StoreError> {
        let start_ns = clock::now_ns();
        let segment = self.wal.roll()?;
        let transaction = self.next_transaction.load(Ordering::Relaxed);
        self.parts().write_checkpoint(segment, transaction)?;
        self.remove_what_is_behind(segment)?;
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let detail = format!("db{}: {} documents", self.number + 1, self.index.count());
        self.events.record("checkpoint", start_ns, clock::now_ns(), detail);
        Ok(())
    }

    fn parts(&self) -> Parts<'_> {
        let Self { disk, directory, settings, events, data, index, compactions, .. } = self;
        Parts { disk, directory, settings, events, data, index, compactions }
    }

    /// Removes log segments and data files that the checkpoint at `segment`, which is safe, does not need.
    fn remove_what_is_behind(&self, segment: u64) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("removing old files in", &self.directory, &error);
        for name in self.disk.list(&self.directory).map_err(failed)? {
            let is_log = wal::segment_number(&name).is_some_and(|number| number < segment + 1 - SEGMENTS_KEPT);
            let is_data = data_file::number_of(&name).is_some_and(|number| number != self.data.number());
            if is_log || is_data {
                self.disk.remove(&self.directory.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Makes all that was acknowledged durable.
    ///
    /// # Errors
    /// When that failed.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.check()?;
        self.wal.settle()
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.index.count() as u64
    }

    /// What was counted.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.wal.statistics();
        let (bytes, syncs) = self.data.counts();
        statistics.counters.insert("data_file_bytes", bytes as f64);
        statistics.counters.insert("data_file_syncs", syncs as f64);
        statistics.counters.insert("checkpoints", self.checkpoints.load(Ordering::Relaxed) as f64);
        let Compactions { done, failed } = &self.compactions;
        statistics.counters.insert("data_file_compactions", done.load(Ordering::Relaxed) as f64);
        statistics.counters.insert("data_file_compactions_failed", failed.load(Ordering::Relaxed) as f64);
        statistics.gauges.insert("wal_segment_bytes", self.wal.segment_length() as f64);
        statistics
    }
}

/// Compactions since the database was opened.
#[derive(Debug, Default)]
struct Compactions {
    done: AtomicU64,
    failed: AtomicU64,
}

/// What a checkpoint is made of.
struct Parts<'a> {
    disk: &'a Arc<dyn Disk>,
    directory: &'a Path,
    settings: &'a Settings,
    events: &'a EventLog,
    data: &'a DataFile,
    index: &'a Index,
    compactions: &'a Compactions,
}

impl Parts<'_> {
    /// Makes the data file safe and writes the checkpoint before `segment`; where half of the data file is documents that
    /// are gone, over a new file without them. For who has the database alone.
    fn write_checkpoint(&self, segment: u64, transaction: u64) -> Result<(), StoreError> {
        let Self { disk, directory, data, index, compactions, .. } = *self;
        data.sync()?;
        let database = data.database();
        let at = |data_file, data_length| Checkpoint { database, data_file, segment, transaction, data_length };
        match self.compact() {
            Some(compacted) => {
                let checkpoint = at(compacted.number, compacted.length);
                checkpoint::write(disk, directory, checkpoint, &compacted.index)?;
                compacted.install(data, index);
                compactions.done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => checkpoint::write(disk, directory, at(data.number(), data.length()), index),
        }
    }

    fn compact(&self) -> Option<compaction::Compacted> {
        let Self { disk, directory, settings, events, data, index, compactions } = *self;
        // In proportion to the log, so that a copy comes only after as much was written.
        if !compaction::is_due(data, index, settings.segment_bytes_max / 2) {
            return None;
        }
        let start_ns = clock::now_ns();
        let before = data.length();
        let compacted = compaction::compact(disk, directory, data, index);
        let detail = match &compacted {
            Ok(compacted) => format!("{before} bytes to {}", compacted.length),
            Err(error) => format!("could not compact, going on with what is there: {error}"),
        };
        events.record("compaction", start_ns, clock::now_ns(), format!("db{}: {detail}", data.database() + 1));
        if compacted.is_err() {
            compactions.failed.fetch_add(1, Ordering::Relaxed);
        }
        compacted.ok()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Everything is written before the flusher ends; a failure was or will be reported by whoever waited for it.
        let settled = self.settle();
        self.wal.close();
        if settled.is_ok() {
            let (segment, bytes) = self.wal.end();
            // Nothing is lost without the note but the check.
            let _ = self.home.close(&wal::describe_end(segment, bytes));
        }
    }
}
