//! The fast store: one log in which the record is the document.
//!
//! A write is one record in one group, durable when it is acknowledged, and invisible before that. Readers find the
//! record by an index in memory and read it with one positional read; they never wait for a sync. Old segments are
//! rewritten, the oldest first, when half of the log is dead.

mod format;
mod group;
mod index;
mod partitioned;
mod prepared;
mod recovery;
mod segments;

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use engine_disk::Disk;
use uplift_instrument::{clock, stage::thread as span, timeline::EventLog};

pub use self::partitioned::Partitioned;
use self::{
    format::{Kind, RECORD_HEADER_BYTES},
    group::{Appender, Decision, Written},
    index::{Index, Location},
    segments::{Segment, Segments},
};
use crate::{
    error::{StoreError, StoreErrorKind},
    home::Home,
    json,
    on_panic::OnPanic,
    stages,
    statistics::Statistics,
    store::{DocumentStore, Operation, Recovery, Reply, Request},
};

/// Reading its formats must not fail on any bytes; for fuzzers and tests.
pub mod formats {
    pub use super::format::{
        GROUP_HEADER_BYTES, Kind, RecordHeader, has_later_group, parse_record, parse_segment_header, read_group,
        record_header, seal_group, segment_header, segment_name, set_place,
    };
}

/// Full segments that are left alone, however dead they are.
const SEGMENTS_LEAST: usize = 3;
/// A segment's bytes at most: what an index entry's offset can reach.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// How a fast store is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Databases, numbered from 0.
    pub databases: u16,
    /// Shards of each database's index.
    pub index_shards: usize,
    /// How long a group gathers before it goes to the disk.
    pub gather: Gather,
    /// Length of a segment; at most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// Whether a segment is filled with zeros before it is needed, so that no sync has to wait for its growth.
    pub prepare: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            databases: 3,
            index_shards: 64,
            gather: Gather::Never,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            prepare: true,
        }
    }
}

/// How long a group waits for the writers of the group before it to be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Not at all: the writers split into two halves that alternate, one at work while the other is synced.
    Never,
    /// Half of a sync at most: one group of all where they work for less, and no sync while they do.
    Always,
    /// A quarter of a sync at most: all where a sync is long, a part of them where it is as short as their work.
    Adaptive,
}

/// A fast store.
pub struct Store {
    shared: Arc<Shared>,
    compactor: Option<JoinHandle<()>>,
    log: Option<JoinHandle<()>>,
    preparer: Option<JoinHandle<()>>,
    // The last to be dropped: until then nobody else may open the directory.
    home: Home,
}

/// Starts a thread of a store that does `work`.
fn start(
    shared: &Arc<Shared>,
    name: &str,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&shared))
        .map_err(|error| StoreError::engine(format!("starting the {name} thread"), error))
}

struct Shared {
    index: Arc<Index>,
    segments: Arc<Segments>,
    appender: Appender,
    compaction: Mutex<Compaction>,
    changed: Condvar,
    segments_seen: AtomicU64,
    events: EventLog,
}

#[derive(Default)]
struct Compaction {
    running: bool,
    wanted: bool,
    stop: bool,
    segments: u64,
    moved_bytes: u64,
    failed: Option<StoreError>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let home = Home::take(disk, directory)?;
        let index = Arc::new(Index::new(settings.databases, settings.index_shards));
        let bytes_max = settings.segment_bytes_max.min(SEGMENT_BYTES_MAX);
        let segments = Arc::new(Segments::new(disk, directory, if settings.prepare { bytes_max } else { 0 }));
        let recovery::Found { end, mut recovery, take_over } = recovery::read(disk, directory, &index, &segments)?;
        let closed = home.check_end(&end.describe(&segments))?;
        recovery.unclosed_logs = u64::from(!closed && recovery.log_bytes > 0);
        take_over.carry_out()?;
        home.begin()?;
        let shared = Arc::new(Shared {
            appender: Appender::new(&index, &segments, end, bytes_max, settings.gather),
            index,
            segments,
            compaction: Mutex::default(),
            changed: Condvar::new(),
            segments_seen: AtomicU64::new(0),
            events: events.clone(),
        });
        // Where one cannot be started, those before it are ended with the store.
        let mut store = Self { shared, compactor: None, log: None, preparer: None, home };
        let log = start(&store.shared, "log", |shared| shared.appender.lead_when_handed())?;
        store.shared.appender.set_log_thread(log.thread().clone());
        store.log = Some(log);
        store.compactor = Some(start(&store.shared, "compactor", Shared::compact_when_wanted)?);
        if settings.prepare {
            store.preparer = Some(start(&store.shared, "preparer", |shared| shared.segments.preparer.run())?);
        }
        Ok((store, recovery))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        lock(&self.shared.compaction).stop = true;
        self.shared.changed.notify_all();
        if let Some(compactor) = self.compactor.take() {
            let _ = compactor.join();
        }
        // Nobody writes any more: there is no group left.
        self.shared.appender.stop();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
        // What was acknowledged is durable already: seal and note only say that the log was closed, and where it ends.
        // Where a segment could not be removed for good, nothing is known of the oldest.
        if let Ok(end) = self.shared.appender.seal()
            && lock(&self.shared.compaction).failed.is_none()
        {
            let _ = self.home.close(&end.describe(&self.shared.segments));
        }
        self.shared.segments.preparer.stop();
        if let Some(preparer) = self.preparer.take() {
            let _ = preparer.join();
        }
    }
}

impl DocumentStore for Store {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        let validate = (request.operation != Operation::Read).then(|| span::process(stages::VALIDATE));
        json::check(&request)?;
        drop(validate);
        let Request { operation, database, id, document: text } = request;
        if usize::from(database) >= self.shared.index.databases() {
            let why = format!(
                "there is no database {database}; they are numbered from 0 to {}",
                self.shared.index.databases() - 1
            );
            return Err(StoreError::new("carrying out a request", StoreErrorKind::Refused(why)));
        }
        let appender = &self.shared.appender;
        let reply = match operation {
            Operation::Read => return self.shared.read(database, id, document),
            Operation::Create => {
                let decide = |exists| if exists { Decision::Nothing } else { Decision::Write(Kind::Put) };
                match appender.write(database, id, text, decide)? {
                    Written::Durable => Reply::Done,
                    Written::Nothing => Reply::Conflict,
                }
            }
            Operation::Update | Operation::Delete => {
                let kind = if operation == Operation::Update { Kind::Put } else { Kind::Delete };
                let decide = |exists| if exists { Decision::Write(kind) } else { Decision::Nothing };
                match appender.write(database, id, text, decide)? {
                    Written::Durable => Reply::Done,
                    Written::Nothing => Reply::NotFound,
                }
            }
        };
        self.shared.look_for_dead();
        Ok(reply)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.shared.appender.settle()?;
        let mut compaction = lock(&self.shared.compaction);
        while compaction.running || compaction.wanted {
            compaction = self.shared.changed.wait(compaction).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = &compaction.failed {
            return Err(error.clone());
        }
        drop(compaction);
        self.shared.appender.settle()?;
        self.shared.segments.preparer.settle();
        Ok(())
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        let counts = self.shared.appender.counts();
        statistics.counters.insert("batches", counts.groups as f64);
        statistics.counters.insert("batch_records", counts.records as f64);
        statistics.counters.insert("wal_bytes", counts.bytes as f64);
        statistics.counters.insert("sync_busy_seconds", counts.sync_ns as f64 / 1e9);
        statistics.distributions.insert("batch_records", counts.group_records);
        statistics.distributions.insert("batch_latency", counts.group_latency);
        let compaction = lock(&self.shared.compaction);
        statistics.counters.insert("compacted_segments", compaction.segments as f64);
        statistics.counters.insert("compacted_bytes", compaction.moved_bytes as f64);
        drop(compaction);
        let (segments, bytes) = self.shared.segments.size();
        statistics.gauges.insert("log_segments", segments as f64);
        statistics.gauges.insert("log_bytes", bytes as f64);
        statistics.gauges.insert("at_risk", 0.0);
        statistics.gauges.insert("at_risk_max", 0.0);
        statistics
    }

    fn documents(&self) -> Result<u64, StoreError> {
        Ok(self.shared.index.count() as u64)
    }
}

impl Shared {
    fn read(&self, database: u16, id: u64, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        let _data_file = span::process(stages::DATA_FILE);
        loop {
            let Some(location) = self.index.get(database, id) else {
                document.clear();
                return Ok(Reply::NotFound);
            };
            // A segment that is gone was rewritten after the index was asked: ask again.
            let Some(segment) = self.segments.get(location.segment()) else { continue };
            read_record(&segment, location, database, id, document)?;
            return Ok(Reply::Done);
        }
    }

    /// Wakes the compactor when there are more segments than before.
    fn look_for_dead(&self) {
        let segments = self.segments.made();
        if segments > SEGMENTS_LEAST as u64 && self.segments_seen.swap(segments, Ordering::Relaxed) != segments {
            lock(&self.compaction).wanted = true;
            self.changed.notify_all();
        }
    }

    fn compact_when_wanted(&self) {
        span::attach("compactor");
        let _queue = span::wait(stages::QUEUE);
        let mut compaction = lock(&self.compaction);
        loop {
            while !compaction.wanted && !compaction.stop {
                compaction = self.changed.wait(compaction).unwrap_or_else(PoisonError::into_inner);
            }
            if compaction.stop {
                return;
            }
            compaction.wanted = false;
            compaction.running = true;
            drop(compaction);
            // Who waits for the end of it is not to wait for a thread that is gone.
            let panics = OnPanic(|| {
                let mut compaction = lock(&self.compaction);
                (compaction.running, compaction.wanted) = (false, false);
                compaction.failed = Some(StoreError::panicked("compacting the log"));
                self.changed.notify_all();
            });
            let compact = span::process(stages::COMPACT);
            let result = self.compact();
            drop((compact, panics));
            compaction = lock(&self.compaction);
            compaction.running = false;
            match result {
                Ok((segments, bytes)) => {
                    compaction.segments += segments;
                    compaction.moved_bytes += bytes;
                    // What could not be removed before is gone now.
                    compaction.failed = None;
                }
                Err(error) => compaction.failed = Some(error),
            }
            self.changed.notify_all();
        }
    }

    /// Rewrites the oldest segments while half of the log is dead; returns segments and bytes.
    ///
    /// The oldest go first, so that a delete may be forgotten with its segment: what it removed was before it.
    fn compact(&self) -> Result<(u64, u64), StoreError> {
        let (mut segments, mut bytes) = (0, 0);
        while let Some(segment) = self.segments.worth_rewriting(SEGMENTS_LEAST) {
            if lock(&self.compaction).stop {
                break;
            }
            let start_ns = clock::now_ns();
            let moved = self.rewrite(&segment)?;
            self.segments.remove(segment.number)?;
            segments += 1;
            bytes += moved;
            let detail = format!(
                "segment {}: {moved} of {} bytes moved",
                segment.number,
                segment.length.load(Ordering::Relaxed)
            );
            self.events.record("compaction", start_ns, clock::now_ns(), detail);
        }
        Ok((segments, bytes))
    }

    fn rewrite(&self, segment: &Segment) -> Result<u64, StoreError> {
        let content = segment.file.read_all().map_err(|error| StoreError::io("reading", &segment.path, &error))?;
        let end = segment.length.load(Ordering::Relaxed) as usize;
        let mut at = format::SEGMENT_HEADER_BYTES;
        let mut moved = 0;
        while at < end {
            let Some(group) = format::read_group(&content[..end.min(content.len())], segment.number, at) else {
                return Err(StoreError::corrupt(&segment.path, at as u64, "a group is damaged"));
            };
            for (record, start) in group.records {
                if record.kind != Kind::Put {
                    continue;
                }
                let length = RECORD_HEADER_BYTES + record.length as usize;
                let from = Location::new(segment.number, start as u32, length);
                let document = &content[start + RECORD_HEADER_BYTES..start + length];
                if self.appender.relocate(record, document, from)? {
                    moved += length as u64;
                }
            }
            at = group.end;
        }
        // Not only what was moved: a record that was left because its id was just being written is needed until that
        // write is durable.
        self.appender.settle()?;
        Ok(moved)
    }
}

/// Reads the record at `location`, which must be of `id`, and leaves its document in `document`.
fn read_record(
    segment: &Segment,
    location: Location,
    database: u16,
    id: u64,
    document: &mut Vec<u8>,
) -> Result<(), StoreError> {
    document.clear();
    document.resize(location.bytes(), 0);
    let read = segment
        .file
        .read_at(document, location.offset())
        .map_err(|error| StoreError::io("reading", &segment.path, &error))?;
    match format::parse_record(&document[..read], segment.number, location.offset()) {
        Some((record, text)) if (record.database, record.id, record.kind) == (database, id, Kind::Put) => {
            document.truncate(text.end);
            document.drain(..text.start);
            Ok(())
        }
        Some(_) => {
            document.clear();
            Err(StoreError::corrupt(&segment.path, location.offset(), "the record is of another document"))
        }
        None => {
            document.clear();
            Err(StoreError::corrupt(&segment.path, location.offset(), "the record does not have its checksum"))
        }
    }
}
