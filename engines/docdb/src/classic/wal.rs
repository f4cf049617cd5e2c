//! A database's write-ahead log: segments of records, synced as the settings say.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use engine_disk::{Disk, DiskFile};
use uplift_instrument::{clock, stage::thread as span};
use uplift_model::Histogram;

use super::{
    record::{self, Record, RecordKind},
    settings::{Acknowledge, Fsync, Settings},
};
use crate::{error::StoreError, on_panic::OnPanic, stages, statistics::Statistics};

/// The name of segment `number`.
pub fn segment_name(number: u64) -> String {
    format!("wal-{number:08}.log")
}

/// The number of the segment with this name.
pub fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()
}

/// Where a log ends, as text, for the note of a close.
pub fn describe_end(segment: u64, bytes: u64) -> String {
    format!("newest segment {segment}, of {bytes} bytes")
}

/// How a segment shows what had been synced when a later byte was written. Recovery needs it to tell a write that was cut
/// off from stored bytes that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// Each record was synced before the next was written.
    EachRecord = 0,
    /// Each batch begins with a [`RecordKind::Synced`].
    Batches = 1,
    /// There is none.
    Nothing = 2,
}

impl Evidence {
    /// The evidence with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::EachRecord, Self::Batches, Self::Nothing].into_iter().find(|&evidence| evidence as u8 == code)
    }
}

const fn evidence(fsync: Fsync) -> Evidence {
    match fsync {
        Fsync::Always => Evidence::EachRecord,
        Fsync::Group { .. } => Evidence::Batches,
        Fsync::Interval(_) | Fsync::None => Evidence::Nothing,
    }
}

/// A batch that a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Option<u64>);

/// A log that is open for appending.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    database: u32,
    fsync: Fsync,
    acknowledge: Acknowledge,
    tail: Mutex<Tail>,
    group: Mutex<Group>,
    work: Condvar,
    flushed: Condvar,
}

/// The segment that is written to.
#[derive(Debug)]
struct Tail {
    number: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    length: u64,
    synced: u64,
    /// Records written and not yet synced.
    unsynced_records: u64,
    scratch: Vec<u8>,
    counts: TailCounts,
    /// A write or sync that failed. What is on disk is unknown from then on, and a later sync that succeeds says nothing
    /// about it.
    failed: Option<StoreError>,
}

/// What was counted over all segments.
#[derive(Clone, Copy, Debug, Default)]
struct TailCounts {
    bytes: u64,
    syncs: u64,
    sync_ns: u64,
    at_risk: AtRisk,
}

/// Acknowledged writes that a crash would lose, looked at whenever a write is acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct AtRisk {
    most: u64,
    sum: u64,
    looks: u64,
}

impl AtRisk {
    fn look(&mut self, now: u64) {
        self.most = self.most.max(now);
        self.sum += now;
        self.looks += 1;
    }
}

/// What the flusher thread and the writers share.
#[derive(Debug)]
struct Group {
    buffer: Vec<u8>,
    records: u64,
    first: Instant,
    /// The batch that is being filled.
    filling: u64,
    /// The newest batch that is on disk.
    flushed: u64,
    /// Somebody does not want to wait for the timer.
    hurry: bool,
    /// Records are on their way to the disk.
    flushing: u64,
    dirty: bool,
    failed: Option<StoreError>,
    stop: bool,
    at_risk: AtRisk,
    batches: u64,
    batch_records: Histogram,
    batch_latency: Histogram,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wal {
    /// A log of `database` in `directory` that begins with a new segment `number`.
    ///
    /// # Errors
    /// When the segment could not be created.
    pub fn create(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        database: u32,
        number: u64,
        settings: &Settings,
    ) -> Result<Arc<Self>, StoreError> {
        let tail = Tail::create(disk, directory, database, number, settings.fsync, TailCounts::default())?;
        let wal = Arc::new(Self {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            database,
            fsync: settings.fsync,
            acknowledge: settings.acknowledge,
            tail: Mutex::new(tail),
            group: Mutex::new(Group {
                buffer: Vec::new(),
                records: 0,
                first: Instant::now(),
                filling: 1,
                flushed: 0,
                hurry: false,
                flushing: 0,
                dirty: false,
                failed: None,
                stop: false,
                at_risk: AtRisk::default(),
                batches: 0,
                batch_records: Histogram::new(),
                batch_latency: Histogram::new(),
            }),
            work: Condvar::new(),
            flushed: Condvar::new(),
        });
        if matches!(wal.fsync, Fsync::Group { .. } | Fsync::Interval(_)) {
            let flushing = Arc::clone(&wal);
            thread::Builder::new()
                .name(format!("wal-{database}"))
                .spawn(move || flush_loop(&flushing))
                .map_err(|error| StoreError::engine("starting the log's flusher thread", error))?;
        }
        Ok(wal)
    }

    /// Logs a write and its commit marker.
    ///
    /// # Errors
    /// When the log could not be written or synced, now or earlier.
    pub fn append(&self, transaction: u64, kind: RecordKind, id: u64, payload: &[u8]) -> Result<Ticket, StoreError> {
        let record = Record { transaction, database: self.database, kind, id, payload };
        let marker = Record { transaction, database: self.database, kind: RecordKind::Commit, id, payload: b"" };
        match self.fsync {
            Fsync::Always => {
                let mut tail = self.tail();
                tail.write(|bytes| record.encode(bytes))?;
                tail.sync()?;
                tail.write(|bytes| marker.encode(bytes))?;
                tail.sync()?;
                Ok(Ticket(None))
            }
            Fsync::Interval(_) | Fsync::None => {
                let mut tail = self.tail();
                tail.write(|bytes| {
                    record.encode(bytes);
                    marker.encode(bytes);
                })?;
                tail.unsynced_records += 1;
                let unsynced = tail.unsynced_records;
                tail.counts.at_risk.look(unsynced);
                drop(tail);
                if let Fsync::Interval(_) = self.fsync {
                    let mut group = lock(&self.group);
                    group.fail()?;
                    if !group.dirty {
                        group.dirty = true;
                        group.first = Instant::now();
                        self.work.notify_all();
                    }
                }
                Ok(Ticket(None))
            }
            Fsync::Group { records_max, .. } => {
                let mut group = lock(&self.group);
                group.fail()?;
                record.encode(&mut group.buffer);
                marker.encode(&mut group.buffer);
                group.records += 1;
                if group.records == 1 {
                    group.first = Instant::now();
                }
                if group.records == 1 || group.records as usize >= records_max {
                    self.work.notify_all();
                }
                if self.acknowledge == Acknowledge::Buffered {
                    let unsynced = group.records + group.flushing;
                    group.at_risk.look(unsynced);
                    return Ok(Ticket(None));
                }
                Ok(Ticket(Some(group.filling)))
            }
        }
    }

    /// The segment that is written to, waited for.
    fn tail(&self) -> MutexGuard<'_, Tail> {
        let _lock = span::wait(stages::LOCK);
        lock(&self.tail)
    }

    /// Waits until the batch of `ticket` is on disk.
    ///
    /// # Errors
    /// When it could not be written or synced.
    pub fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        let Some(batch) = ticket.0 else { return Ok(()) };
        let mut group = lock(&self.group);
        while group.flushed < batch {
            group.fail()?;
            group = self.flushed.wait(group).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Writes and syncs everything that was logged.
    ///
    /// # Errors
    /// When that failed, now or earlier.
    pub fn settle(&self) -> Result<(), StoreError> {
        let mut group = lock(&self.group);
        while group.records > 0 || group.flushing > 0 || group.dirty {
            group.fail()?;
            group.hurry = true;
            self.work.notify_all();
            group = self.flushed.wait(group).unwrap_or_else(PoisonError::into_inner);
        }
        group.fail()?;
        drop(group);
        lock(&self.tail).sync()
    }

    /// Ends the segment, all of it synced, and begins the next. Returns the number of the new one.
    ///
    /// # Errors
    /// When the old could not be synced or the new not be made.
    pub fn roll(&self) -> Result<u64, StoreError> {
        self.settle()?;
        let mut tail = lock(&self.tail);
        let counts = tail.counts;
        *tail = Tail::create(&self.disk, &self.directory, self.database, tail.number + 1, self.fsync, counts)?;
        Ok(tail.number)
    }

    /// The length of the segment that is written to, in bytes.
    pub fn segment_length(&self) -> u64 {
        lock(&self.tail).length
    }

    /// The number of the segment that is written to, and its length in bytes.
    pub fn end(&self) -> (u64, u64) {
        let tail = lock(&self.tail);
        (tail.number, tail.length)
    }

    /// Lets the flusher thread end once all is written.
    pub fn close(&self) {
        lock(&self.group).stop = true;
        self.work.notify_all();
    }

    /// What was counted.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        let tail = lock(&self.tail);
        statistics.counters.insert("wal_bytes", tail.counts.bytes as f64);
        statistics.counters.insert("wal_syncs", tail.counts.syncs as f64);
        let group = lock(&self.group);
        let (now, risk) = match self.fsync {
            Fsync::Group { .. } if self.acknowledge == Acknowledge::Buffered => {
                (group.records + group.flushing, group.at_risk)
            }
            Fsync::Interval(_) | Fsync::None => (tail.unsynced_records, tail.counts.at_risk),
            Fsync::Always | Fsync::Group { .. } => (0, AtRisk::default()),
        };
        statistics.gauges.insert("at_risk", now as f64);
        statistics.gauges.insert("at_risk_max", risk.most as f64);
        statistics.counters.insert("at_risk_sum", risk.sum as f64);
        statistics.counters.insert("at_risk_looks", risk.looks as f64);
        if let Fsync::Group { .. } = self.fsync {
            statistics.counters.insert("sync_busy_seconds", tail.counts.sync_ns as f64 / 1e9);
            statistics.counters.insert("batches", group.batches as f64);
            let records = group.batch_records.mean().unwrap_or(0.0) * group.batch_records.count() as f64;
            statistics.counters.insert("batch_records", records.round());
            statistics.distributions.insert("batch_records", group.batch_records.clone());
            statistics.distributions.insert("batch_latency", group.batch_latency.clone());
        }
        statistics
    }

    /// Writes and syncs one batch.
    fn flush(&self, buffer: &[u8], transaction: u64) -> Result<(), StoreError> {
        let mut tail = lock(&self.tail);
        let synced =
            Record { transaction, database: self.database, kind: RecordKind::Synced, id: tail.synced, payload: b"" };
        tail.write(|bytes| {
            synced.encode(bytes);
            bytes.extend_from_slice(buffer);
        })?;
        tail.sync()
    }
}

impl Group {
    fn fail(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(error) => Err(error.after()),
            None => Ok(()),
        }
    }
}

impl Tail {
    fn create(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        database: u32,
        number: u64,
        fsync: Fsync,
        counts: TailCounts,
    ) -> Result<Self, StoreError> {
        let path = directory.join(segment_name(number));
        let failed = |error| StoreError::io("creating the log segment", &path, &error);
        let file = disk.open(&path, true).map_err(failed)?;
        file.set_length(0).map_err(failed)?;
        let mut tail = Self {
            number,
            path: path.clone(),
            file,
            length: 0,
            synced: 0,
            unsynced_records: 0,
            scratch: Vec::new(),
            counts,
            failed: None,
        };
        let begin =
            Record { transaction: 0, database, kind: RecordKind::Begin, id: number, payload: &[evidence(fsync) as u8] };
        tail.write(|bytes| begin.encode(bytes))?;
        tail.sync()?;
        disk.sync_directory(directory).map_err(failed)?;
        Ok(tail)
    }

    /// That nothing has failed.
    fn check(&self) -> Result<(), StoreError> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.after()))
    }

    fn fail(&mut self, doing: &str, error: &std::io::Error) -> StoreError {
        let error = StoreError::io(doing, &self.path, error);
        self.failed.get_or_insert_with(|| error.clone());
        error
    }

    fn write(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), StoreError> {
        self.check()?;
        self.scratch.clear();
        encode(&mut self.scratch);
        record::seal(&mut self.scratch, self.number, self.length);
        if let Err(error) = self.file.write_all_at(&self.scratch, self.length) {
            return Err(self.fail("appending to the log", &error));
        }
        self.length += self.scratch.len() as u64;
        self.counts.bytes += self.scratch.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.synced == self.length {
            return Ok(());
        }
        let start_ns = clock::now_ns();
        let _sync = span::wait(stages::SYNC);
        if let Err(error) = self.file.sync_data() {
            return Err(self.fail("syncing the log", &error));
        }
        self.counts.sync_ns += clock::now_ns() - start_ns;
        self.synced = self.length;
        self.unsynced_records = 0;
        self.counts.syncs += 1;
        Ok(())
    }
}

/// Runs until [`Wal::close`] and all is written.
fn flush_loop(wal: &Wal) {
    let (interval, records_max) = match wal.fsync {
        Fsync::Group { interval, records_max } => (interval, records_max as u64),
        Fsync::Interval(interval) => (interval, u64::MAX),
        Fsync::Always | Fsync::None => return,
    };
    span::attach("flusher");
    let _queue = span::wait(stages::QUEUE);
    // Who waits for a batch is not to wait for a thread that is gone.
    let _panics = OnPanic(|| {
        lock(&wal.group).failed.get_or_insert_with(|| StoreError::panicked("writing a batch to the log"));
        wal.flushed.notify_all();
    });
    let mut spare = Vec::new();
    let mut group = lock(&wal.group);
    loop {
        while group.records == 0 && !group.dirty {
            if group.stop {
                return;
            }
            group = wal.work.wait(group).unwrap_or_else(PoisonError::into_inner);
        }
        let gather = span::wait(stages::GATHER);
        let deadline = group.first + interval;
        while group.records < records_max && !group.hurry && !group.stop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            group = wal.work.wait_timeout(group, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(gather);
        let batch = group.filling;
        group.filling += 1;
        group.hurry = false;
        group.flushing = group.records;
        group.records = 0;
        group.dirty = false;
        std::mem::swap(&mut group.buffer, &mut spare);
        let flushing = group.flushing;
        drop(group);

        let log = span::process(stages::LOG_WRITE);
        let start_ns = clock::now_ns();
        let result = if flushing > 0 { wal.flush(&spare, batch) } else { lock(&wal.tail).sync() };
        let end_ns = clock::now_ns();
        drop(log);
        spare.clear();

        group = lock(&wal.group);
        match result {
            Ok(()) => group.flushed = batch,
            // What is on disk is unknown from here on: no later write may be acknowledged.
            Err(error) => group.failed = group.failed.take().or(Some(error)),
        }
        group.flushing = 0;
        if flushing > 0 {
            group.batches += 1;
            group.batch_records.record_n(flushing, 1);
            group.batch_latency.record_n(end_ns - start_ns, 1);
        }
        wal.flushed.notify_all();
    }
}
