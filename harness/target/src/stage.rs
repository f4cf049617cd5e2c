//! Stage clocks: where a worker's time goes, recorded without allocation.
//!
//! A [`StageClock`] belongs to one worker. It is always in exactly one state (a stage at work, a stage waiting, or
//! outside of all), so its times add up to the wall time between start and stop, with what no stage claimed as the rest.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use uplift_model::trial::StageRecord;

use crate::clock;

/// The stages of a target and the clocks of all its workers. Clones share them.
#[derive(Clone, Debug)]
pub struct StageTable(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stages: &'static [&'static str],
    workers: Mutex<Vec<(String, Arc<Vec<Totals>>)>>,
}

#[derive(Debug, Default)]
struct Totals {
    process_ns: AtomicU64,
    wait_ns: AtomicU64,
    count: AtomicU64,
}

impl StageTable {
    /// A table of these stages.
    pub fn new(stages: &'static [&'static str]) -> Self {
        Self(Arc::new(Shared { stages, workers: Mutex::default() }))
    }

    /// The clock of a worker. Clocks of one name add up.
    pub fn clock(&self, worker: &str) -> StageClock {
        let mut workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = match workers.iter().find(|(name, _)| name == worker) {
            Some((_, totals)) => Arc::clone(totals),
            None => {
                let totals: Arc<Vec<Totals>> = Arc::new(self.0.stages.iter().map(|_| Totals::default()).collect());
                workers.push((worker.to_owned(), Arc::clone(&totals)));
                totals
            }
        };
        StageClock { totals, current: None, since_ns: clock::now_ns() }
    }

    /// Starts all clocks from zero.
    pub fn reset(&self) {
        for (_, totals) in self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for total in totals.iter() {
                total.process_ns.store(0, Ordering::Relaxed);
                total.wait_ns.store(0, Ordering::Relaxed);
                total.count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The records of every worker and stage that was entered.
    pub fn records(&self) -> Vec<StageRecord> {
        let workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        for (worker, totals) in workers.iter() {
            for (stage, total) in self.0.stages.iter().zip(totals.iter()) {
                let count = total.count.load(Ordering::Relaxed);
                if count > 0 {
                    records.push(StageRecord {
                        stage: (*stage).to_owned(),
                        worker: Some(worker.clone()),
                        process_ns: total.process_ns.load(Ordering::Relaxed),
                        wait_ns: total.wait_ns.load(Ordering::Relaxed),
                        count,
                    });
                }
            }
        }
        records
    }
}

/// The clock of one worker.
#[derive(Debug)]
pub struct StageClock {
    totals: Arc<Vec<Totals>>,
    current: Option<(usize, bool)>,
    since_ns: u64,
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

    fn switch(&mut self, next: Option<(usize, bool)>) {
        let now_ns = clock::now_ns();
        if let Some((stage, waiting)) = self.current {
            let total = &self.totals[stage];
            let spent = if waiting { &total.wait_ns } else { &total.process_ns };
            spent.fetch_add(now_ns.saturating_sub(self.since_ns), Ordering::Relaxed);
            total.count.fetch_add(1, Ordering::Relaxed);
        }
        self.current = next;
        self.since_ns = now_ns;
    }
}

impl Drop for StageClock {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let sum: u64 = records.iter().map(|record| record.process_ns + record.wait_ns).sum();
        assert!(sum <= wall_ns);
        assert_eq!(records.iter().map(|record| record.count).collect::<Vec<_>>(), [1, 2]);
        table.reset();
        assert!(table.records().is_empty());
    }
}
