//! What a writer thread does when: stage clock, timeline events, and what the worst stall was made of.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use uplift_instrument::{
    clock,
    stage::{StageClock, StageTable},
    timeline::EventLog,
};
use uplift_model::Histogram;

/// What a writer thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// Waiting for packets, or for more of them to merge.
    Collect,
    /// Handing a merged packet to the log.
    Write,
    /// Syncing the log.
    Sync,
    /// Inserting rows into SQLite.
    Insert,
    /// Committing in SQLite: its own sync, and an automatic checkpoint where one is due.
    Commit,
    /// Waiting for SQLite's write lock, which a checkpoint in another thread holds.
    Lock,
    /// A checkpoint between two packets.
    Checkpoint,
    /// Letting rows run through the graph.
    Process,
}

impl Stage {
    /// The names of all stages, by number.
    pub const NAMES: &'static [&'static str] =
        &["collect", "write", "sync", "insert", "commit", "lock", "checkpoint", "process"];
}

/// Spans that are kept to explain a stall: more than a stall can hold, since one packet makes few.
const SPANS: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Span {
    stage: Stage,
    start_ns: u64,
    end_ns: u64,
}

/// What happened on another thread that may explain a stall here.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere(Arc<Mutex<VecDeque<(u64, u64)>>>);

impl Elsewhere {
    /// A checkpoint went on from `start_ns` to `end_ns`.
    pub fn record(&self, start_ns: u64, end_ns: u64) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() == SPANS {
            spans.pop_front();
        }
        spans.push_back((start_ns, end_ns));
    }

    fn overlap_ns(&self, start_ns: u64, end_ns: u64) -> u64 {
        let spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().map(|&(start, end)| overlap_ns((start, end), (start_ns, end_ns))).sum()
    }
}

fn overlap_ns(a: (u64, u64), b: (u64, u64)) -> u64 {
    a.1.min(b.1).saturating_sub(a.0.max(b.0))
}

/// Timers of one writer thread.
#[derive(Debug)]
pub struct Activity {
    stages: StageClock,
    spans: VecDeque<Span>,
    current: (Stage, u64),
    events: EventLog,
    worst: Option<Stall>,
    /// The last commit with an automatic checkpoint in it.
    checkpointing_commit: (u64, u64),
    /// Arrival of a merged packet's first part until its acknowledgement.
    pub merged_ns: Histogram,
    /// Duration of checkpoints on this thread.
    pub checkpoint_ns: Histogram,
    /// Checkpoints in a thread of their own, where there is one.
    pub elsewhere: Elsewhere,
}

#[derive(Clone, Debug)]
struct Stall {
    start_ns: u64,
    end_ns: u64,
    detail: String,
}

impl Activity {
    /// The timers of the writer thread `worker`.
    pub fn new(stages: &StageTable, worker: &str, events: EventLog) -> Self {
        let mut clock = stages.clock(worker);
        clock.wait(Stage::Collect as usize);
        Self {
            stages: clock,
            spans: VecDeque::with_capacity(SPANS),
            current: (Stage::Collect, clock::now_ns()),
            events,
            worst: None,
            checkpointing_commit: (0, 0),
            merged_ns: Histogram::new(),
            checkpoint_ns: Histogram::new(),
            elsewhere: Elsewhere::default(),
        }
    }

    /// Timers that nobody reads, for work outside a writer thread.
    pub fn detached() -> Self {
        Self::new(&StageTable::new(Stage::NAMES), "detached", EventLog::default())
    }

    /// From now on the thread is in `stage`. Returns the moment.
    pub fn enter(&mut self, stage: Stage) -> u64 {
        let now_ns = clock::now_ns();
        if self.spans.len() == SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back(Span { stage: self.current.0, start_ns: self.current.1, end_ns: now_ns });
        self.current = (stage, now_ns);
        match stage {
            Stage::Collect | Stage::Lock => self.stages.wait(stage as usize),
            _ => self.stages.process(stage as usize),
        }
        now_ns
    }

    /// The commit that began at `start_ns` and ended at `end_ns` held an automatic checkpoint.
    pub fn checkpoint_within_commit(&mut self, start_ns: u64, end_ns: u64, detail: String) {
        self.checkpointing_commit = (start_ns, end_ns);
        self.checkpoint(start_ns, end_ns, detail);
    }

    /// A checkpoint on this thread went on from `start_ns` to `end_ns`.
    pub fn checkpoint(&mut self, start_ns: u64, end_ns: u64, detail: String) {
        self.checkpoint_ns.record_n(end_ns - start_ns, 1);
        self.events.record("checkpoint", start_ns, end_ns, detail);
    }

    /// A merged packet of `rows` rows whose first part arrived at `start_ns` has just been acknowledged.
    pub fn acknowledged(&mut self, start_ns: u64, rows: u32) {
        let end_ns = clock::now_ns();
        let took_ns = end_ns.saturating_sub(start_ns);
        self.merged_ns.record_n(took_ns, 1);
        if self.worst.as_ref().is_none_or(|worst| took_ns > worst.end_ns - worst.start_ns) {
            let detail = self.explain(start_ns, end_ns, rows);
            self.worst = Some(Stall { start_ns, end_ns, detail });
        }
    }

    /// What the thread did between two moments: "sync 8.1 ms, process 0.3 ms".
    fn explain(&self, start_ns: u64, end_ns: u64, rows: u32) -> String {
        let mut times_ns = [0; Stage::NAMES.len()];
        let last = Span { stage: self.current.0, start_ns: self.current.1, end_ns };
        for span in self.spans.iter().chain([&last]) {
            times_ns[span.stage as usize] += overlap_ns((span.start_ns, span.end_ns), (start_ns, end_ns));
        }
        let mut parts: Vec<(u64, &str)> = times_ns.into_iter().zip(Stage::NAMES.iter().copied()).collect();
        parts.sort_by_key(|&(time_ns, _)| std::cmp::Reverse(time_ns));
        let mut text = format!("a packet of {rows} rows waited:");
        for (time_ns, name) in parts.into_iter().filter(|&(time_ns, _)| time_ns >= 10_000) {
            text.push_str(&format!(" {name} {:.2} ms,", time_ns as f64 / 1e6));
        }
        let automatic_ns = overlap_ns(self.checkpointing_commit, (start_ns, end_ns));
        if automatic_ns > 0 {
            text.push_str(&format!(
                " {:.2} ms of it a commit that held an automatic checkpoint,",
                automatic_ns as f64 / 1e6
            ));
        }
        let elsewhere_ns = self.elsewhere.overlap_ns(start_ns, end_ns);
        if elsewhere_ns > 0 {
            text.push_str(&format!(
                " during {:.2} ms of it a checkpoint ran in its own thread",
                elsewhere_ns as f64 / 1e6
            ));
        }
        text.trim_end_matches(',').to_owned()
    }

    /// Forgets the worst stall: what comes from now on counts.
    pub fn reset_worst(&mut self) {
        self.worst = None;
    }

    /// Writes the worst stall to the timeline.
    pub fn report_worst(&mut self) {
        if let Some(worst) = self.worst.take() {
            self.events.record("worst stall", worst.start_ns, worst.end_ns, worst.detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst stall says what it was made of, and only what lay within it.
    #[test]
    fn a_stall_is_explained_by_what_lay_within_it() {
        let mut activity = Activity::detached();
        let span = |stage, start_ms: u64, end_ms: u64| Span {
            stage,
            start_ns: start_ms * 1_000_000,
            end_ns: end_ms * 1_000_000,
        };
        activity.spans.extend([
            span(Stage::Checkpoint, 0, 30),
            span(Stage::Insert, 30, 34),
            span(Stage::Commit, 34, 84),
        ]);
        activity.current = (Stage::Process, 84_000_000);
        activity.checkpointing_commit = (34_000_000, 84_000_000);
        activity.elsewhere.record(80_000_000, 200_000_000);
        assert_eq!(
            activity.explain(10_000_000, 90_000_000, 7),
            "a packet of 7 rows waited: commit 50.00 ms, checkpoint 20.00 ms, process 6.00 ms, insert 4.00 ms, \
             50.00 ms of it a commit that held an automatic checkpoint, \
             during 10.00 ms of it a checkpoint ran in its own thread"
        );
    }
}
