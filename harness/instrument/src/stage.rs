//! Stage clocks: where a worker's time goes, recorded without allocation.
//!
//! A [`StageClock`] belongs to one worker. It is always in exactly one state (a stage at work, a stage waiting, or
//! outside of all), so its times add up to the wall time of the turns, with what no stage claimed as the rest. Between
//! turns the table stands still: a worker that waits for its next turn waits for nobody.
//!
//! A sync call is a wait for the disk in whatever stage it is made, in a library that knows no stages as well: the probe
//! ([`crate::sync_probe`]) says how long it took.
//!
//! A worker is a thread that owns its clock, a thread that was given one ([`thread`]), or a place for one call of an
//! asynchronous interface ([`StageTable::timed`]).

mod future;
pub mod thread;

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use uplift_model::trial::StageRecord;

pub use self::future::Timed;
use crate::clock;

/// The stages of a target and the clocks of all its workers. Clones share them.
#[derive(Clone, Debug)]
pub struct StageTable(Arc<Shared>);

/// The clocks of the workers of one name.
type Worker = (String, Vec<Arc<Slot>>);

#[derive(Debug)]
struct Shared {
    stages: &'static [&'static str],
    workers: Mutex<Vec<Worker>>,
    /// While the table runs, what the monotonic clock is ahead of it; while it stands, its time with [`STANDS`] set.
    state: AtomicU64,
    /// Its time when the clocks last started from zero.
    zero_ns: AtomicU64,
}

/// Set in [`Shared::state`] while the table stands still: no clock reaches it in 290 years.
const STANDS: u64 = 1 << 63;

impl Shared {
    /// The table's time, and whether it runs.
    #[inline]
    fn now(&self) -> (u64, bool) {
        let state = self.state.load(Ordering::Acquire);
        if state & STANDS == 0 { (clock::now_ns().saturating_sub(state), true) } else { (state & !STANDS, false) }
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock()
    }
}

/// One clock's times. Written by its owner alone, but for starting from zero.
#[derive(Debug)]
struct Slot {
    totals: Vec<Totals>,
    /// [`encoded`] state, and since when.
    current: AtomicU64,
    since_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Totals {
    process_ns: AtomicU64,
    wait_ns: AtomicU64,
    count: AtomicU64,
}

thread_local! {
    /// How long sync calls of this thread have taken since a clock was last switched on it.
    static SYNCED_NS: Cell<u64> = const { Cell::new(0) };
}

/// The calling thread has waited in a sync call for so long.
#[inline]
pub(crate) fn waited_for_sync(ns: u64) {
    SYNCED_NS.set(SYNCED_NS.get().saturating_add(ns));
}

/// What a worker does: nothing of interest, or a stage, at work or waiting.
type State = Option<(usize, bool)>;

const fn encoded(state: State) -> u64 {
    match state {
        None => 0,
        Some((stage, waiting)) => (stage as u64 + 1) << 1 | waiting as u64,
    }
}

const fn decoded(code: u64) -> State {
    match code {
        0 => None,
        code => Some(((code >> 1) as usize - 1, code & 1 == 1)),
    }
}

impl StageTable {
    /// A table of these stages. It runs until it is paused.
    pub fn new(stages: &'static [&'static str]) -> Self {
        Self(Arc::new(Shared {
            stages,
            workers: Mutex::default(),
            state: AtomicU64::new(0),
            zero_ns: AtomicU64::new(clock::now_ns()),
        }))
    }

    /// The clock of a worker. Clocks of one name add up; one that was dropped is handed out again.
    pub fn clock(&self, worker: &str) -> StageClock {
        let mut workers = self.0.workers();
        let index = workers.iter().position(|(name, _)| name == worker).unwrap_or_else(|| {
            workers.push((worker.to_owned(), Vec::new()));
            workers.len() - 1
        });
        let slots = &mut workers[index].1;
        // Only the table has a hold on the slot of a clock that was dropped.
        let slot = match slots.iter().find(|slot| Arc::strong_count(slot) == 1) {
            Some(slot) => Arc::clone(slot),
            None => {
                let slot = Arc::new(Slot {
                    totals: self.0.stages.iter().map(|_| Totals::default()).collect(),
                    current: AtomicU64::new(encoded(None)),
                    since_ns: AtomicU64::new(0),
                });
                slots.push(Arc::clone(&slot));
                slot
            }
        };
        StageClock { shared: Arc::clone(&self.0), slot }
    }

    /// Times a future as a call of worker `worker` in stage `stage`: at work while it is polled, waiting in between.
    pub fn timed<F>(&self, worker: &str, stage: usize, future: F) -> Timed<F> {
        Timed::new(self.clock(worker), stage, future)
    }

    /// Stands still until [`Self::resume`].
    pub fn pause(&self) {
        let (now_ns, runs) = self.0.now();
        if runs {
            self.0.state.store(now_ns | STANDS, Ordering::Release);
        }
    }

    /// Runs again from where it stood.
    pub fn resume(&self) {
        let (stood_ns, runs) = self.0.now();
        if !runs {
            self.0.state.store(clock::now_ns().saturating_sub(stood_ns), Ordering::Release);
        }
    }

    /// Starts all clocks from zero; those that nobody holds are forgotten.
    pub fn reset(&self) {
        let mut workers = self.0.workers();
        workers.retain_mut(|(_, slots)| {
            slots.retain(|slot| Arc::strong_count(slot) > 1);
            !slots.is_empty()
        });
        self.0.zero_ns.store(self.0.now().0, Ordering::Relaxed);
        for total in workers.iter().flat_map(|(_, slots)| slots).flat_map(|slot| &slot.totals) {
            total.process_ns.store(0, Ordering::Relaxed);
            total.wait_ns.store(0, Ordering::Relaxed);
            total.count.store(0, Ordering::Relaxed);
        }
    }

    /// The records of every worker and stage that was entered, spans that have not ended included.
    pub fn records(&self) -> Vec<StageRecord> {
        let workers = self.0.workers();
        let (now_ns, zero_ns) = (self.0.now().0, self.0.zero_ns.load(Ordering::Relaxed));
        let mut records = Vec::new();
        for (worker, slots) in workers.iter() {
            let wall_ns = now_ns.saturating_sub(zero_ns) * slots.len() as u64;
            for (stage, name) in self.0.stages.iter().enumerate() {
                let mut record = StageRecord {
                    stage: (*name).to_owned(),
                    worker: Some(worker.clone()),
                    process_ns: 0,
                    wait_ns: 0,
                    count: 0,
                    wall_ns: Some(wall_ns),
                    clocks: u32::try_from(slots.len()).ok(),
                };
                for slot in slots {
                    let total = &slot.totals[stage];
                    record.process_ns += total.process_ns.load(Ordering::Relaxed);
                    record.wait_ns += total.wait_ns.load(Ordering::Relaxed);
                    record.count += total.count.load(Ordering::Relaxed);
                    if let Some((open, waiting)) = decoded(slot.current.load(Ordering::Relaxed))
                        && open == stage
                    {
                        let since_ns = slot.since_ns.load(Ordering::Relaxed).max(zero_ns);
                        let spent_ns = now_ns.saturating_sub(since_ns);
                        *if waiting { &mut record.wait_ns } else { &mut record.process_ns } += spent_ns;
                        record.count += u64::from(spent_ns > 0);
                    }
                }
                if record.count > 0 {
                    records.push(record);
                }
            }
        }
        records
    }
}

/// The clock of one worker.
#[derive(Debug)]
pub struct StageClock {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl StageClock {
    /// From now on the worker is at work in stage `stage` (an index into the table's stages).
    #[inline]
    pub fn process(&mut self, stage: usize) {
        self.switch(Some((stage, false)));
    }

    /// From now on the worker waits for a neighbour, within stage `stage`.
    #[inline]
    pub fn wait(&mut self, stage: usize) {
        self.switch(Some((stage, true)));
    }

    /// From now on the worker is in no stage.
    #[inline]
    pub fn leave(&mut self) {
        self.switch(None);
    }

    /// Goes over to `next` and returns what the worker did before.
    fn switch(&mut self, next: State) -> State {
        let (now_ns, runs) = self.shared.now();
        let synced_ns = SYNCED_NS.replace(0);
        let before = decoded(self.slot.current.load(Ordering::Relaxed));
        if let Some((stage, waiting)) = before {
            let total = &self.slot.totals[stage];
            let since_ns = self.slot.since_ns.load(Ordering::Relaxed).max(self.shared.zero_ns.load(Ordering::Relaxed));
            let spent_ns = now_ns.saturating_sub(since_ns);
            // A call that began before the clocks were set to zero, or while the table stood, counts from then on.
            let waited_ns = if waiting { spent_ns } else { synced_ns.min(spent_ns) };
            total.wait_ns.fetch_add(waited_ns, Ordering::Relaxed);
            total.process_ns.fetch_add(spent_ns - waited_ns, Ordering::Relaxed);
            // Work and waiting of one stage in a row are one span; what began and ended while the table stood is none.
            let ends = next.is_none_or(|(next, _)| next != stage);
            total.count.fetch_add(u64::from(ends && (runs || spent_ns > 0)), Ordering::Relaxed);
        }
        self.slot.current.store(encoded(next), Ordering::Relaxed);
        self.slot.since_ns.store(now_ns, Ordering::Relaxed);
        before
    }
}

impl Drop for StageClock {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sum_ns(records: &[StageRecord]) -> u64 {
        records.iter().map(|record| record.process_ns + record.wait_ns).sum()
    }

    #[test]
    fn spans_add_up_to_the_wall_time() {
        let table = StageTable::new(&["encode", "flush"]);
        let start_ns = clock::now_ns();
        let mut clock = table.clock("w0");
        clock.process(0);
        clock.wait(1);
        clock.process(1);
        drop(clock);
        let wall_ns = clock::now_ns() - start_ns;
        let records = table.records();
        assert!(sum_ns(&records) <= wall_ns);
        assert!(records.iter().all(|record| record.wall_ns >= Some(sum_ns(&records)) && record.clocks == Some(1)));
        assert_eq!(records.iter().map(|record| record.count).collect::<Vec<_>>(), [1, 1]);
        table.reset();
        assert!(table.records().is_empty());
    }

    /// A worker that waits for a turn that is not its own must not count it, nor lose the wait that spans it.
    #[test]
    fn time_between_turns_is_nobodys() {
        let table = StageTable::new(&["collect", "write"]);
        let mut clock = table.clock("writer");
        clock.wait(0);
        table.pause();
        table.reset();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(sum_ns(&table.records()), 0, "{:?}", table.records());
        clock.process(1);
        clock.wait(0);
        assert!(table.records().is_empty(), "what was done while the table stood is no span");
        let start_ns = clock::now_ns();
        table.resume();
        std::thread::sleep(Duration::from_millis(5));
        table.pause();
        let turn_ns = clock::now_ns() - start_ns;
        std::thread::sleep(Duration::from_millis(20));
        let records = table.records();
        let [collect] = records.as_slice() else { panic!("{records:?}") };
        assert!((5_000_000..=turn_ns).contains(&collect.wait_ns), "{records:?}");
        assert_eq!((collect.wall_ns, collect.count), (Some(collect.wait_ns), 1), "an open span counts");
    }

    /// What a worker waits for the disk is no work of its stage, and is its own only.
    #[test]
    fn a_sync_within_a_stage_is_waiting() {
        const SYNC_NS: u64 = 3_000_000;
        let table = StageTable::new(&["commit", "other"]);
        let mut clock = table.clock("writer");
        waited_for_sync(SYNC_NS);
        clock.process(0);
        std::thread::sleep(Duration::from_millis(5));
        waited_for_sync(SYNC_NS);
        std::thread::spawn(|| waited_for_sync(SYNC_NS)).join().unwrap();
        clock.process(1);
        drop(clock);
        let records = table.records();
        assert_eq!((records[0].wait_ns, records[1].wait_ns), (SYNC_NS, 0), "{records:?}");
        assert!(records[0].process_ns >= 2_000_000, "{records:?}");
        // No more is waiting than the stage took.
        let mut clock = table.clock("writer");
        clock.process(1);
        waited_for_sync(u64::MAX);
        drop(clock);
        assert_eq!(table.records()[1].process_ns, records[1].process_ns);
    }

    #[test]
    fn clocks_of_one_name_add_up_and_a_dropped_one_is_used_again() {
        let table = StageTable::new(&["work"]);
        let (mut a, mut b) = (table.clock("client"), table.clock("client"));
        a.process(0);
        b.process(0);
        drop(a);
        drop(b);
        table.clock("client").process(0);
        table.pause();
        let records = table.records();
        assert_eq!((records[0].count, records[0].clocks), (3, Some(2)));
        assert!(records[0].wall_ns >= Some(sum_ns(&records)));
    }
}
