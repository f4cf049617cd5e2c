//! Group commit: writers join the group that is being filled; its first writer writes and syncs it for all.
//!
//! While one group is on its way to the disk the next is filled, and there is never more than one on its way. A group may
//! gather for a moment before it goes: as long as others that just came back from the group before it still arrive, and
//! never much longer than a sync. Without that the writers split into two halves, one at work while the other is synced:
//! fewer records for each sync, and the better choice once a sync takes less time than the writers' work.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use hashbrown::HashMap;
use uplift_target::{clock, model::Histogram, stage::thread as span};

use super::{
    Gather,
    format::{self, GROUP_HEADER_BYTES, Kind, RECORD_HEADER_BYTES, RecordHeader},
    index::{Index, Location},
    recovery::End,
    segments::{Segment, Segments},
};
use crate::{
    error::{StoreError, StoreErrorKind},
    stages,
};

/// A group is closed to further records when its body has so many bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// A gathering group goes when this many looks in a row found nobody new.
const QUIET_LOOKS: u32 = 3;

/// Of so many groups …
const PROBE_PERIOD: u64 = 256;
/// … the first few gather even where that does not pay.
const PROBE_GROUPS: u64 = 4;
/// What is longer than this is no work between two groups, in nanoseconds.
const WORK_NS_MAX: u64 = 10_000_000;

/// What a record does to the index once it is durable.
#[derive(Clone, Copy, Debug)]
enum Change {
    Put,
    Delete,
    /// As put, if the record is still where it was.
    Move(Location),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    database: u16,
    id: u64,
    /// Where the record begins in the group.
    start: u32,
    length: u32,
    change: Change,
}

/// The group that is being filled.
#[derive(Debug, Default)]
struct Filling {
    number: u64,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// What ids will be once the groups that are not yet durable are: whether they have a document, and in which group
    /// they were last written.
    pending: HashMap<(u16, u64), Pending>,
    /// Buffers of the group before, to be used again.
    spare: (Vec<u8>, Vec<Entry>),
}

/// How long writers work between two groups.
#[derive(Debug, Default)]
struct Pace {
    /// When the newest group was finished.
    finished_ns: u64,
    /// A moving mean of the time from then until its writers had gathered for the next.
    work_ns: u64,
}

impl Pace {
    /// The writers have gathered.
    fn came_back(&mut self, now_ns: u64) {
        let spent_ns = now_ns.saturating_sub(self.finished_ns);
        // Longer than that nobody worked: the store was idle.
        if self.finished_ns > 0 && spent_ns < WORK_NS_MAX {
            self.work_ns = moving_mean(self.work_ns, spent_ns);
        }
    }
}

/// The mean with one more value, which weighs an eighth.
const fn moving_mean(mean: u64, value: u64) -> u64 {
    if mean == 0 { value } else { (7 * mean + value) / 8 }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    exists: bool,
    group: u64,
}

/// Where the next group goes.
#[derive(Debug)]
struct Tail {
    segment: Option<Arc<Segment>>,
    next_segment: u32,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Groups written.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Time in sync calls, in nanoseconds.
    pub sync_ns: u64,
    /// Records of each group.
    pub group_records: Histogram,
    /// Time that each group took to be written and synced, in nanoseconds.
    pub group_latency: Histogram,
}

/// The log's writing end.
#[derive(Debug)]
pub struct Appender {
    index: Arc<Index>,
    segments: Arc<Segments>,
    segment_bytes_max: u64,
    gather: Gather,
    filling: Mutex<Filling>,
    /// Only the leader of the group that is on its way has it.
    tail: Mutex<Tail>,
    /// The newest durable group.
    durable: AtomicU64,
    /// What writers of even and of odd groups sleep on: the low half of the newest finished group of that parity.
    finished: [AtomicU32; 2],
    failed: OnceLock<StoreError>,
    /// A moving mean of how long a group takes to be written and synced, in nanoseconds.
    sync_ns: AtomicU64,
    pace: Mutex<Pace>,
    counts: Mutex<Counts>,
}

/// What a writer wants to do, given whether the id has a document.
pub enum Decision {
    /// Write this record.
    Write(Kind),
    /// Write nothing.
    Nothing,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// Nothing was written, and what that was decided upon is durable.
    Nothing,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Appender {
    /// A writing end that goes on at `end`.
    pub fn new(index: &Arc<Index>, segments: &Arc<Segments>, end: End, segment_bytes_max: u64, gather: Gather) -> Self {
        let durable = end.group - 1;
        Self {
            index: Arc::clone(index),
            segments: Arc::clone(segments),
            segment_bytes_max,
            gather,
            filling: Mutex::new(Filling { number: end.group, ..Filling::default() }),
            tail: Mutex::new(Tail { segment: None, next_segment: end.segment }),
            durable: AtomicU64::new(durable),
            finished: [AtomicU32::new(durable as u32), AtomicU32::new(durable as u32)],
            failed: OnceLock::new(),
            sync_ns: AtomicU64::new(0),
            pace: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// Writes a record for `id` if `decide` says so, given whether the id has a document, and returns when it is
    /// durable. `document` is empty for a delete.
    ///
    /// # Errors
    /// When the log could not be written or synced, now or earlier.
    pub fn write(
        &self,
        database: u16,
        id: u64,
        document: &[u8],
        decide: impl Fn(bool) -> Decision,
    ) -> Result<Written, StoreError> {
        let log = span::process(stages::LOG_WRITE);
        // The checksum of a put is computed before anybody else waits for it; deletes have nothing to sum up.
        let put = RecordHeader { length: document.len() as u32, id, database, kind: Kind::Put };
        let header = (!document.is_empty()).then(|| format::record_header(put, document));
        let bytes = RECORD_HEADER_BYTES + document.len();
        let mut filling = self.room(bytes)?;
        let pending = filling.pending.get(&(database, id)).copied();
        let exists = pending.map_or_else(|| self.index.get(database, id).is_some(), |pending| pending.exists);
        let Decision::Write(kind) = decide(exists) else {
            drop(filling);
            if let Some(pending) = pending {
                self.wait(pending.group)?;
            }
            return Ok(Written::Nothing);
        };
        let header = match (kind, header) {
            (Kind::Put, Some(header)) => header,
            _ => format::record_header(RecordHeader { kind, ..put }, document),
        };
        let change = if kind == Kind::Put { Change::Put } else { Change::Delete };
        let (group, leads) = filling.join(database, id, &header, document, change);
        filling.pending.insert((database, id), Pending { exists: kind == Kind::Put, group });
        drop(filling);
        drop(log);
        self.commit(group, leads)?;
        Ok(Written::Durable)
    }

    /// Writes the record of `id` again if it is still at `from`; returns whether it was. It is durable once
    /// [`Self::settle`] returns.
    ///
    /// # Errors
    /// When the log could not be written or synced earlier.
    pub fn relocate(&self, record: RecordHeader, document: &[u8], from: Location) -> Result<bool, StoreError> {
        let header = format::record_header(record, document);
        let mut filling = self.room(RECORD_HEADER_BYTES + document.len())?;
        let key = (record.database, record.id);
        if filling.pending.contains_key(&key) || self.index.get(record.database, record.id) != Some(from) {
            return Ok(false);
        }
        let (group, leads) = filling.join(record.database, record.id, &header, document, Change::Move(from));
        drop(filling);
        if leads {
            self.lead(group);
        }
        Ok(true)
    }

    /// The group that is being filled, once it has room for `bytes` more.
    fn room(&self, bytes: usize) -> Result<MutexGuard<'_, Filling>, StoreError> {
        loop {
            self.check()?;
            let filling = {
                let _lock = span::wait(stages::LOCK);
                lock(&self.filling)
            };
            if filling.entries.is_empty() || filling.bytes.len() + bytes <= GROUP_BYTES_MAX {
                return Ok(filling);
            }
            let number = filling.number;
            drop(filling);
            self.wait(number)?;
        }
    }

    fn commit(&self, group: u64, leads: bool) -> Result<(), StoreError> {
        if leads {
            self.lead(group);
        }
        self.wait(group)
    }

    /// Waits until `group` is durable.
    ///
    /// # Errors
    /// When it could not be written or synced.
    pub fn wait(&self, group: u64) -> Result<(), StoreError> {
        self.wait_until_finished(group);
        if self.durable.load(Ordering::Acquire) >= group { Ok(()) } else { self.check() }
    }

    fn wait_until_finished(&self, group: u64) {
        if self.durable.load(Ordering::Acquire) >= group {
            return;
        }
        let _wait = span::wait(stages::SYNC_WAIT);
        let word = &self.finished[(group % 2) as usize];
        while self.durable.load(Ordering::Acquire) < group && self.failed.get().is_none() {
            let seen = word.load(Ordering::Acquire);
            if self.durable.load(Ordering::Acquire) >= group || self.failed.get().is_some() {
                return;
            }
            atomic_wait::wait(word, seen);
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(error) => Err(StoreError::new(error.context.clone(), StoreErrorKind::Failed(error.kind.to_string()))),
            None => Ok(()),
        }
    }

    /// Takes `group` to the disk, once the group before it is there.
    fn lead(&self, group: u64) {
        self.wait_until_finished(group - 1);
        if let Some(patience_ns) = self.patience_ns(group) {
            let _gather = span::wait(stages::GATHER);
            self.gather(patience_ns);
        }
        let _log = span::process(stages::LOG_WRITE);
        let mut tail = lock(&self.tail);
        let (mut bytes, entries) = {
            let mut filling = lock(&self.filling);
            filling.number += 1;
            let (spare_bytes, spare_entries) = std::mem::take(&mut filling.spare);
            (std::mem::replace(&mut filling.bytes, spare_bytes), std::mem::replace(&mut filling.entries, spare_entries))
        };
        let start_ns = clock::now_ns();
        let written =
            if self.failed.get().is_some() { None } else { Some(self.put(&mut tail, &mut bytes, group, &entries)) };
        drop(tail);
        let spent_ns = clock::now_ns() - start_ns;
        match written {
            Some(Ok(sync_ns)) => {
                self.sync_ns.store(moving_mean(self.sync_ns.load(Ordering::Relaxed), spent_ns), Ordering::Relaxed);
                let mut counts = lock(&self.counts);
                counts.groups += 1;
                counts.records += entries.len() as u64;
                counts.bytes += bytes.len() as u64;
                counts.sync_ns += sync_ns;
                counts.group_records.record_n(entries.len() as u64, 1);
                counts.group_latency.record_n(spent_ns, 1);
            }
            // What is on disk is unknown from here on: no later group may be acknowledged.
            Some(Err(error)) => drop(self.failed.set(error)),
            None => {}
        }
        self.finish(group, bytes, entries);
    }

    /// How long `group` may gather, in nanoseconds; `None` where it is not to.
    fn patience_ns(&self, group: u64) -> Option<u64> {
        let sync_ns = self.sync_ns.load(Ordering::Relaxed);
        match self.gather {
            Gather::Never => None,
            Gather::Always => Some(sync_ns / 2),
            // From time to time all gather, however long it takes, to see how long that is by now.
            Gather::Adaptive if group % PROBE_PERIOD < PROBE_GROUPS => Some(4 * sync_ns),
            Gather::Adaptive => (sync_ns > lock(&self.pace).work_ns).then_some(sync_ns),
        }
    }

    /// Lets others join: until nobody new came in [`QUIET_LOOKS`] looks, or `patience_ns` have passed.
    fn gather(&self, patience_ns: u64) {
        let limit_ns = clock::now_ns() + patience_ns;
        let (mut seen, mut quiet) = (0, 0);
        while quiet < QUIET_LOOKS && clock::now_ns() < limit_ns {
            thread::yield_now();
            let now = lock(&self.filling).entries.len();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
        }
        lock(&self.pace).came_back(clock::now_ns());
    }

    /// Writes and syncs a group, then shows it to readers. Returns how long the sync took, in nanoseconds.
    fn put(&self, tail: &mut Tail, bytes: &mut [u8], group: u64, entries: &[Entry]) -> Result<u64, StoreError> {
        format::seal_group(bytes, group, entries.len() as u32);
        let fits = |segment: &Arc<Segment>| {
            let length = segment.length.load(Ordering::Relaxed);
            length + bytes.len() as u64 <= self.segment_bytes_max || length == format::SEGMENT_HEADER_BYTES as u64
        };
        let segment = match &tail.segment {
            Some(segment) if fits(segment) => Arc::clone(segment),
            before => {
                if let Some(before) = before {
                    before.cut()?;
                }
                // The first write may wait for its file; later ones would make everybody wait.
                let segment = self.segments.create(tail.next_segment, group, before.is_none())?;
                tail.next_segment += 1;
                tail.segment = Some(Arc::clone(&segment));
                segment
            }
        };
        let start = segment.length.load(Ordering::Relaxed);
        segment
            .file
            .write_all_at(bytes, start)
            .map_err(|error| StoreError::io("appending to", &segment.path, &error))?;
        let sync_start_ns = clock::now_ns();
        let sync = span::process(stages::SYNC);
        segment.file.sync_data().map_err(|error| StoreError::io("syncing", &segment.path, &error))?;
        let sync_ns = clock::now_ns() - sync_start_ns;
        drop(sync);
        let _index = span::process(stages::INDEX);
        segment.length.store(start + bytes.len() as u64, Ordering::Relaxed);
        for entry in entries {
            let place =
                || Location::new(segment.number, (start + u64::from(entry.start)) as u32, entry.length as usize);
            let (came, went) = match entry.change {
                Change::Put => (Some(place()), self.index.set(entry.database, entry.id, place())),
                Change::Delete => (None, self.index.remove(entry.database, entry.id)),
                Change::Move(from) => {
                    let moved = self.index.relocate(entry.database, entry.id, from, place());
                    (moved.then(place), moved.then_some(from))
                }
            };
            if let Some(came) = came {
                segment.live.fetch_add(came.bytes() as i64, Ordering::Relaxed);
            }
            if let Some(went) = went {
                self.segments.note_live(went.segment(), -(went.bytes() as i64));
            }
        }
        Ok(sync_ns)
    }

    /// Wakes the writers of `group` and gives its buffers back.
    fn finish(&self, group: u64, mut bytes: Vec<u8>, mut entries: Vec<Entry>) {
        let mut filling = lock(&self.filling);
        for entry in &entries {
            let key = (entry.database, entry.id);
            if filling.pending.get(&key).is_some_and(|pending| pending.group <= group) {
                filling.pending.remove(&key);
            }
        }
        bytes.clear();
        entries.clear();
        filling.spare = (bytes, entries);
        drop(filling);
        if self.failed.get().is_none() {
            self.durable.store(group, Ordering::Release);
        }
        lock(&self.pace).finished_ns = clock::now_ns();
        let word = &self.finished[(group % 2) as usize];
        word.store(group as u32, Ordering::Release);
        atomic_wait::wake_all(word);
    }

    /// Returns when nothing is on its way to the disk.
    ///
    /// # Errors
    /// When the log could not be written or synced.
    pub fn settle(&self) -> Result<(), StoreError> {
        let number = {
            let filling = lock(&self.filling);
            if filling.entries.is_empty() { filling.number - 1 } else { filling.number }
        };
        self.wait(number)?;
        self.check()
    }

    /// Writes a group without records: what comes before it was whole. For closing.
    ///
    /// # Errors
    /// When the log could not be written or synced.
    pub fn seal(&self) -> Result<(), StoreError> {
        self.settle()?;
        let mut tail = lock(&self.tail);
        let mut filling = lock(&self.filling);
        if tail.segment.is_none() || !filling.entries.is_empty() {
            return Ok(());
        }
        let group = filling.number;
        self.put(&mut tail, &mut [0; GROUP_HEADER_BYTES], group, &[])?;
        filling.number += 1;
        self.durable.store(group, Ordering::Release);
        match &tail.segment {
            Some(segment) => segment.cut(),
            None => Ok(()),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }
}

impl Filling {
    /// Adds a record; returns its group, and whether the caller leads it.
    fn join(
        &mut self,
        database: u16,
        id: u64,
        header: &[u8; RECORD_HEADER_BYTES],
        document: &[u8],
        change: Change,
    ) -> (u64, bool) {
        let leads = self.entries.is_empty();
        if leads {
            self.bytes.clear();
            self.bytes.resize(GROUP_HEADER_BYTES, 0);
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(document);
        let length = self.bytes.len() as u32 - start;
        self.entries.push(Entry { database, id, start, length, change });
        (self.number, leads)
    }
}
