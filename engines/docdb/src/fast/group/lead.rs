//! Taking groups to the disk.
//!
//! A writer that leads takes one group, its own. If others joined the next meanwhile, it hands the lead to the log thread,
//! which keeps it as long as there is a next group: from one sync to the next no other thread has to be woken first, which
//! with many writers at work can take longer than a sync.
//!
//! Between two groups the log thread may gather: it waits until the writers that were just woken are back, and never longer
//! than a part of a sync, so that the disk rests for that part at most. Without it, writers split into two halves, one at
//! work while the other is synced: fewer records for each sync.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::{self, Thread},
    time::Duration,
};

use uplift_instrument::{clock, stage::thread as span};

use super::{Appender, Change, Entry, lock};
use crate::{
    error::{StoreError, StoreErrorKind},
    fast::{
        Gather,
        format::{self, GROUP_HEADER_BYTES},
        index::{Location, SEGMENT_MAX},
        recovery::End,
        segments::Segment,
    },
    on_panic::OnPanic,
    stages,
};

/// What only the leader needs.
#[derive(Debug)]
pub struct Lead {
    /// Where the next group goes.
    segment: Option<Arc<Segment>>,
    next_segment: u32,
    /// A moving mean of how long a group takes to be written and synced.
    sync_ns: u64,
    /// When the newest group was finished.
    finished_ns: u64,
    /// Records that the next group has once all writers of the newest are back.
    all_back: usize,
}

impl Lead {
    /// A lead whose first segment is `next_segment`.
    pub const fn new(next_segment: u32) -> Self {
        Self { segment: None, next_segment, sync_ns: 0, finished_ns: 0, all_back: 0 }
    }
}

/// The mean with one more value, which weighs an eighth.
const fn moving_mean(mean: u64, value: u64) -> u64 {
    if mean == 0 { value } else { (7 * mean + value) / 8 }
}

impl Appender {
    /// Takes the group that is being filled to the disk, then gives the lead to whoever is next.
    pub(super) fn lead_one(&self) {
        self.take_group(false);
    }

    /// Says which thread calls [`Self::lead_when_handed`]. To be said before anything is written.
    pub fn set_log_thread(&self, thread: Thread) {
        let _ = self.log_thread.set(thread);
    }

    /// Ends [`Self::lead_when_handed`], once nobody writes any more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake_log_thread();
    }

    pub(super) fn wake_log_thread(&self) {
        if let Some(thread) = self.log_thread.get() {
            thread.unpark();
        }
    }

    /// Leads whenever the lead is handed over, until [`Self::stop`].
    pub fn lead_when_handed(&self) {
        span::attach("log");
        let _queue = span::wait(stages::QUEUE);
        wake_in_time();
        let _panics = OnPanic(|| self.fail(StoreError::panicked("leading the log")));
        loop {
            while !self.handed_over.swap(false, Ordering::Acquire) {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                thread::park();
            }
            loop {
                self.gather();
                {
                    let mut filling = lock(&self.filling);
                    if filling.entries.is_empty() {
                        filling.led = false;
                        break;
                    }
                }
                self.take_group(true);
            }
        }
    }

    /// Waits until the writers of the newest group are back, as long as that pays.
    fn gather(&self) {
        let (deadline_ns, all_back) = {
            let lead = lock(&self.lead);
            let patience_ns = match self.gather {
                Gather::Never => return,
                Gather::Always => lead.sync_ns / 2,
                Gather::Adaptive => lead.sync_ns / 4,
            };
            (lead.finished_ns + patience_ns, lead.all_back)
        };
        let _gather = span::wait(stages::GATHER);
        lock(&self.filling).enough = all_back;
        loop {
            let left_ns = deadline_ns.saturating_sub(clock::now_ns());
            if left_ns == 0 || lock(&self.filling).entries.len() >= all_back {
                break;
            }
            thread::park_timeout(Duration::from_nanos(left_ns));
        }
        lock(&self.filling).enough = 0;
    }

    /// Takes the group that is being filled to the disk and wakes its writers. With `keep` the lead stays with the caller;
    /// else the log thread gets it where the next group has records, and nobody where it has none.
    fn take_group(&self, keep: bool) {
        let log = span::process(stages::LOG_WRITE);
        // Who waits for this group is not to wait for a thread that is gone.
        let _panics = OnPanic(|| self.fail(StoreError::panicked("writing a group to the log")));
        let mut lead = lock(&self.lead);
        let (group, mut bytes, entries) = {
            let mut filling = lock(&self.filling);
            let group = filling.number;
            filling.number += 1;
            let (spare_bytes, spare_entries) = std::mem::take(&mut filling.spare);
            let bytes = std::mem::replace(&mut filling.bytes, spare_bytes);
            (group, bytes, std::mem::replace(&mut filling.entries, spare_entries))
        };
        let start_ns = clock::now_ns();
        let written = match self.failed.get() {
            Some(_) => None,
            None => Some(self.put(&mut lead, &mut bytes, group, &entries)),
        };
        lead.finished_ns = clock::now_ns();
        match written {
            Some(Ok(sync_ns)) => {
                let spent_ns = lead.finished_ns - start_ns;
                lead.sync_ns = moving_mean(lead.sync_ns, spent_ns);
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
        drop(log);
        let _reply = span::process(stages::REPLY);
        let hand_over = self.finish(&mut lead, group, bytes, entries, keep);
        drop(lead);
        if hand_over {
            self.handed_over.store(true, Ordering::Release);
            self.wake_log_thread();
        }
        let parity = (group % 2) as usize;
        if self.gather == Gather::Never {
            // The next group waits for nobody, so it does not wait for all these to be woken either: the first does that.
            self.wakes_others[parity].store(true, Ordering::Release);
            atomic_wait::wake_one(&self.finished[parity]);
        } else {
            atomic_wait::wake_all(&self.finished[parity]);
        }
    }

    /// Lets go of what is kept for `group`. Returns whether the lead is to be handed to the log thread.
    fn finish(&self, lead: &mut Lead, group: u64, mut bytes: Vec<u8>, mut entries: Vec<Entry>, keep: bool) -> bool {
        let mut filling = lock(&self.filling);
        for entry in &entries {
            let key = (entry.database, entry.id);
            if filling.pending.get(&key).is_some_and(|pending| pending.group <= group) {
                filling.pending.remove(&key);
            }
        }
        let next = filling.entries.len();
        lead.all_back = next + entries.len();
        bytes.clear();
        entries.clear();
        filling.spare = (bytes, entries);
        // Before the lead changes hands: these numbers only grow.
        if self.failed.get().is_none() {
            self.durable.store(group, Ordering::Release);
        }
        self.finished[(group % 2) as usize].store(group as u32, Ordering::Release);
        filling.led = keep || next > 0;
        !keep && next > 0
    }

    /// Writes and syncs a group, then shows it to readers. Returns how long the sync took, in nanoseconds.
    fn put(&self, lead: &mut Lead, bytes: &mut [u8], group: u64, entries: &[Entry]) -> Result<u64, StoreError> {
        format::seal_group(bytes, group, entries.len() as u32);
        let segment = match &lead.segment {
            Some(segment) if self.fits(segment, bytes.len() as u64) => Arc::clone(segment),
            before => {
                if lead.next_segment > SEGMENT_MAX {
                    let why = format!(
                        "the log has had its last segment, number {SEGMENT_MAX}; copy the documents to a new store"
                    );
                    return Err(StoreError::new("beginning a log segment", StoreErrorKind::Refused(why)));
                }
                if let Some(before) = before {
                    before.cut()?;
                }
                // The first write may wait for its file; later ones would make everybody wait.
                let segment = self.segments.create(lead.next_segment, group, before.is_none())?;
                lead.next_segment += 1;
                lead.segment = Some(Arc::clone(&segment));
                segment
            }
        };
        let start = segment.length.load(Ordering::Relaxed);
        for entry in entries {
            let at = entry.start as usize;
            format::set_place(&mut bytes[at..], segment.number, start + at as u64);
        }
        self.segments
            .write(&*segment.file, bytes, start)
            .map_err(|error| StoreError::io("appending to", &segment.path, &error))?;
        let sync_start_ns = clock::now_ns();
        let sync = span::wait(stages::SYNC);
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

    /// Whether a group of `bytes` bytes is to be written to `segment`, and not to a new one.
    fn fits(&self, segment: &Segment, bytes: u64) -> bool {
        let length = segment.length.load(Ordering::Relaxed);
        let bytes_max = match segment.prepared_bytes {
            // One that had to do without is left as soon as there is a prepared one.
            0 if self.segments.preparer.is_ready() => 0,
            0 => self.segment_bytes_max,
            prepared => prepared,
        };
        length + bytes <= bytes_max || length == format::SEGMENT_HEADER_BYTES as u64
    }

    /// Writes a group without records: what comes before it was whole. For closing, once nobody writes any more. Returns
    /// where the log ends.
    ///
    /// # Errors
    /// When the log could not be written or synced.
    pub fn seal(&self) -> Result<End, StoreError> {
        self.settle()?;
        let mut lead = lock(&self.lead);
        let mut filling = lock(&self.filling);
        if lead.segment.is_some() {
            let group = filling.number;
            self.put(&mut lead, &mut [0; GROUP_HEADER_BYTES], group, &[])?;
            filling.number += 1;
            self.durable.store(group, Ordering::Release);
        }
        if let Some(segment) = &lead.segment {
            segment.cut()?;
        }
        Ok(End { segment: lead.next_segment, group: filling.number })
    }

    /// Ends all writing with `error`, and wakes everybody who waits for a group.
    fn fail(&self, error: StoreError) {
        let _ = self.failed.set(error);
        for word in &self.finished {
            // Another value, so that who was about to sleep on it does not.
            word.fetch_xor(1 << 31, Ordering::AcqRel);
            atomic_wait::wake_all(word);
        }
    }
}

/// Lets the calling thread's timers fire when they are due: a thread's usual slack is half a sync of a fast disk.
fn wake_in_time() {
    let slack_ns: libc::c_ulong = 1;
    // SAFETY: the call sets a number of the calling thread and is given no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}
