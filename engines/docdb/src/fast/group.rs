//! Group commit: writers join the group that is being filled, and wait until it is durable.
//!
//! Whoever has the lead takes groups to the disk ([`lead`]): there is never more than one on its way, and the next
//! is filled meanwhile. A writer that finds nobody in the lead takes it and waits for nobody.

mod lead;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::Thread,
};

use hashbrown::HashMap;
use uplift_instrument::stage::thread as span;
use uplift_model::Histogram;

use super::{
    Gather,
    format::{self, GROUP_HEADER_BYTES, Kind, RECORD_HEADER_BYTES, RecordHeader},
    index::{Index, Location},
    recovery::End,
    segments::Segments,
};
use crate::{error::StoreError, stages};

use self::lead::Lead;

/// A group is closed to further records when its body has so many bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
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
    /// Somebody has the lead: it will take this group too, or give the lead up first.
    led: bool,
    /// With so many records the group need not gather any longer; 0 where it does not.
    enough: usize,
}

/// What a record's writer has to do before it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Nothing.
    Follow,
    /// It found nobody in the lead and has it now.
    Lead,
    /// The group has gathered: it wakes who waits for that.
    Complete,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    exists: bool,
    group: u64,
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
    /// Only who has the lead locks it.
    lead: Mutex<Lead>,
    /// The newest durable group.
    durable: AtomicU64,
    /// What writers of even and of odd groups sleep on: the low half of the newest finished group of that parity.
    finished: [AtomicU32; 2],
    /// The first writer of that parity that wakes is to wake the others.
    wakes_others: [AtomicBool; 2],
    failed: OnceLock<StoreError>,
    /// The thread that leads while one group follows another.
    log_thread: OnceLock<Thread>,
    /// The lead is the log thread's.
    handed_over: AtomicBool,
    /// The log thread is to end.
    stop: AtomicBool,
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
            lead: Mutex::new(Lead::new(end.segment)),
            durable: AtomicU64::new(durable),
            finished: [AtomicU32::new(durable as u32), AtomicU32::new(durable as u32)],
            wakes_others: [const { AtomicBool::new(false) }; 2],
            failed: OnceLock::new(),
            log_thread: OnceLock::new(),
            handed_over: AtomicBool::new(false),
            stop: AtomicBool::new(false),
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
        let (group, role) = filling.join(database, id, &header, document, change);
        filling.pending.insert((database, id), Pending { exists: kind == Kind::Put, group });
        drop(filling);
        drop(log);
        self.play(role);
        self.wait(group)?;
        Ok(Written::Durable)
    }

    /// Writes the record of `id` again if it is still at `from`; returns whether it was. It is durable once
    /// [`Self::settle`] returns.
    ///
    /// # Errors
    /// When the log could not be written or synced earlier.
    pub fn relocate(&self, record: RecordHeader, document: &[u8], from: Location) -> Result<bool, StoreError> {
        let is_there = || self.index.get(record.database, record.id) == Some(from);
        // Most of an old segment is dead, and who is dead stays so: they need not keep anybody waiting.
        if !is_there() {
            return Ok(false);
        }
        let header = format::record_header(record, document);
        let mut filling = self.room(RECORD_HEADER_BYTES + document.len())?;
        if filling.pending.contains_key(&(record.database, record.id)) || !is_there() {
            return Ok(false);
        }
        let (_, role) = filling.join(record.database, record.id, &header, document, Change::Move(from));
        drop(filling);
        self.play(role);
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

    fn play(&self, role: Role) {
        match role {
            Role::Follow => {}
            Role::Lead => self.lead_one(),
            Role::Complete => self.wake_log_thread(),
        }
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
        let parity = (group % 2) as usize;
        let word = &self.finished[parity];
        while self.durable.load(Ordering::Acquire) < group && self.failed.get().is_none() {
            let seen = word.load(Ordering::Acquire);
            if self.durable.load(Ordering::Acquire) >= group || self.failed.get().is_some() {
                return;
            }
            atomic_wait::wait(word, seen);
            if self.wakes_others[parity].swap(false, Ordering::AcqRel) {
                atomic_wait::wake_all(word);
            }
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(error) => Err(error.after()),
            None => Ok(()),
        }
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

    /// What was counted.
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }
}

impl Filling {
    /// Adds a record; returns its group, and what its writer has to do.
    fn join(
        &mut self,
        database: u16,
        id: u64,
        header: &[u8; RECORD_HEADER_BYTES],
        document: &[u8],
        change: Change,
    ) -> (u64, Role) {
        if self.entries.is_empty() {
            self.bytes.clear();
            self.bytes.resize(GROUP_HEADER_BYTES, 0);
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(document);
        let length = self.bytes.len() as u32 - start;
        self.entries.push(Entry { database, id, start, length, change });
        let role = if !self.led {
            self.led = true;
            Role::Lead
        } else if self.entries.len() == self.enough {
            Role::Complete
        } else {
            Role::Follow
        };
        (self.number, role)
    }
}
