//! Recording operations without allocation: counters and latencies of one load thread.

use uplift_instrument::latency_counts::LatencyCounts;
use uplift_model::load_agent::LATE_NS;
use uplift_sdk::{Outcome, OutcomeKind, REASONS_MAX};

/// What one load thread counted for one kind and group.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Successful operations.
    pub ok: u64,
    /// Operations that did nothing, by reason.
    pub nothing: [u64; REASONS_MAX],
    /// Failed operations, by category.
    pub failed: [u64; REASONS_MAX],
    /// Intended start to done, of everything that did not fail.
    pub response: LatencyCounts,
    /// Sent to done; not used where it equals the response time.
    pub service: LatencyCounts,
    /// Intended start to done, of failures.
    pub failed_response: LatencyCounts,
}

impl Cell {
    fn new() -> Self {
        Self {
            ok: 0,
            nothing: [0; REASONS_MAX],
            failed: [0; REASONS_MAX],
            response: LatencyCounts::default(),
            service: LatencyCounts::default(),
            failed_response: LatencyCounts::default(),
        }
    }

    fn absorb(&mut self, other: &mut Self) {
        self.ok += std::mem::take(&mut other.ok);
        for (mine, theirs) in self.nothing.iter_mut().zip(&mut other.nothing) {
            *mine += std::mem::take(theirs);
        }
        for (mine, theirs) in self.failed.iter_mut().zip(&mut other.failed) {
            *mine += std::mem::take(theirs);
        }
        self.response.absorb(&mut other.response);
        self.service.absorb(&mut other.service);
        self.failed_response.absorb(&mut other.failed_response);
    }

    fn clear(&mut self) {
        self.ok = 0;
        self.nothing = [0; REASONS_MAX];
        self.failed = [0; REASONS_MAX];
        self.response.clear();
        self.service.clear();
        self.failed_response.clear();
    }
}

/// Successful operations that ended in one slice, and the longest response time among them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SliceCell {
    /// Successful operations.
    pub ok: u64,
    /// The longest response time.
    pub response_max_ns: u64,
}

/// The recorder of one load thread.
#[derive(Clone, Debug)]
pub struct Recorder {
    groups: usize,
    cells: Vec<Cell>,
    slices: Vec<SliceCell>,
    slice_ns: u64,
    turn_start_ns: u64,
    separate_service: bool,
    /// When the last operation ended.
    pub last_done_ns: u64,
    /// Arrivals that could not be sent.
    pub unsent: u64,
    /// From the release of a client to the end of its last operation, summed over the clients of a closed load.
    pub busy_ns: u64,
    /// When the last arrival of an open load was sent.
    pub last_sent_ns: u64,
    /// Starts that were waited for, and those of them that came late.
    pub starts: Starts,
}

/// Starts that a client waited for with nothing else to do: when it is late, nobody else is to blame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// How many.
    pub waited: u64,
    /// Late by more than [`LATE_NS`].
    pub late: u64,
}

impl Starts {
    /// A start that was meant for `intended_ns` and came at `now_ns`.
    #[inline]
    pub const fn note(&mut self, intended_ns: u64, now_ns: u64) {
        self.waited += 1;
        self.late += (now_ns.saturating_sub(intended_ns) > LATE_NS) as u64;
    }

    /// Adds others.
    pub const fn absorb(&mut self, other: Self) {
        self.waited += other.waited;
        self.late += other.late;
    }
}

impl Recorder {
    /// A recorder for `kinds` × `groups` cells. `slices` of `slice_ns` each are kept where `slice_ns` is not 0.
    pub fn new(kinds: usize, groups: usize, slice_ns: u64, slices: usize, separate_service: bool) -> Self {
        let groups = groups.max(1);
        Self {
            groups,
            cells: (0..kinds.max(1) * groups).map(|_| Cell::new()).collect(),
            slices: vec![SliceCell::default(); if slice_ns == 0 { 0 } else { slices }],
            slice_ns,
            turn_start_ns: 0,
            separate_service,
            last_done_ns: 0,
            unsent: 0,
            busy_ns: 0,
            last_sent_ns: 0,
            starts: Starts::default(),
        }
    }

    /// Forgets everything and begins a turn.
    pub fn begin(&mut self, turn_start_ns: u64) {
        for cell in &mut self.cells {
            cell.clear();
        }
        self.slices.fill(SliceCell::default());
        self.turn_start_ns = turn_start_ns;
        self.last_done_ns = turn_start_ns;
        self.unsent = 0;
        self.busy_ns = 0;
        self.last_sent_ns = turn_start_ns;
        self.starts = Starts::default();
    }

    /// Counts one call's outcome whose operations were all intended for `intended_ns`, sent at `sent_ns` and done at
    /// `done_ns`.
    #[inline]
    pub fn record(&mut self, outcome: Outcome, intended_ns: u64, sent_ns: u64, done_ns: u64) {
        self.record_units(outcome, u64::from(outcome.units), intended_ns, sent_ns, done_ns);
        self.last_done_ns = done_ns;
    }

    /// As [`Recorder::record`] for `units` of the outcome's operations, when each has an intended start of its own.
    #[inline]
    pub fn record_units(&mut self, outcome: Outcome, units: u64, intended_ns: u64, sent_ns: u64, done_ns: u64) {
        let index = usize::from(outcome.kind) * self.groups + usize::from(outcome.group);
        // An index that the target did not declare is its bug; it must not take the measurement down.
        let index = index.min(self.cells.len() - 1);
        let cell = &mut self.cells[index];
        let response_ns = done_ns.saturating_sub(intended_ns);
        match outcome.result {
            OutcomeKind::Ok => {
                cell.ok += units;
                let since_start_ns = done_ns.saturating_sub(self.turn_start_ns);
                if let Some(slice) = since_start_ns.checked_div(self.slice_ns)
                    && let Some(slice) = self.slices.get_mut(slice as usize)
                {
                    slice.ok += units;
                    slice.response_max_ns = slice.response_max_ns.max(response_ns);
                }
            }
            OutcomeKind::NoOp(reason) => cell.nothing[usize::from(reason) % REASONS_MAX] += units,
            OutcomeKind::Failed(category) => {
                cell.failed[usize::from(category) % REASONS_MAX] += units;
                cell.failed_response.record_n(response_ns, units);
                return;
            }
        }
        cell.response.record_n(response_ns, units);
        if self.separate_service {
            cell.service.record_n(done_ns.saturating_sub(sent_ns), units);
        }
    }

    /// Adds another recorder's turn to this one and empties that.
    pub fn absorb(&mut self, other: &mut Self) {
        for (mine, theirs) in self.cells.iter_mut().zip(&mut other.cells) {
            mine.absorb(theirs);
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&mut other.slices) {
            mine.ok += theirs.ok;
            mine.response_max_ns = mine.response_max_ns.max(theirs.response_max_ns);
        }
        self.last_done_ns = self.last_done_ns.max(other.last_done_ns);
        self.unsent += other.unsent;
        self.busy_ns += other.busy_ns;
        self.last_sent_ns = self.last_sent_ns.max(other.last_sent_ns);
        self.starts.absorb(other.starts);
    }

    /// The cells, kind-major.
    pub fn cells_mut(&mut self) -> &mut [Cell] {
        &mut self.cells
    }

    /// The slices of this turn.
    pub fn slices(&self) -> &[SliceCell] {
        &self.slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart() {
        let mut recorder = Recorder::new(2, 1, 100, 4, true);
        recorder.begin(1_000);
        recorder.record(Outcome::ok(0), 1_000, 1_010, 1_020);
        recorder.record(Outcome::no_op(1, 3), 1_020, 1_020, 1_030);
        recorder.record(Outcome::failed(1, 2).of(7), 1_030, 1_030, 1_040);
        let cells = recorder.cells_mut();
        assert_eq!(cells[0].ok, 1);
        assert_eq!(cells[1].nothing[3], 1);
        assert_eq!(cells[1].failed[2], 7);
        assert_eq!(cells[1].response.take().count(), 1);
        assert_eq!(cells[1].failed_response.take().count(), 7);
        assert_eq!(recorder.slices()[0].ok, 1);
        assert_eq!(recorder.slices()[0].response_max_ns, 20);
    }
}
