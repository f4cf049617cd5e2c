//! When a batch waits for more before it is committed.

use std::time::Instant;

use super::Writer;
use crate::{
    command::Command,
    options::Synchronous,
    watch::{self, WriterPhase},
};

/// After so many vain waits in a row, one batch in 2^6 waits to see whether it has become worth it.
const VAIN_WAITS_MAX: u32 = 6;

/// Whether it has been worth waiting.
#[derive(Default)]
pub struct GatherDelay {
    /// Waits in a row that nothing came of.
    vain: u32,
    /// How many batches are to go without a wait.
    without: u32,
}

impl GatherDelay {
    fn note(&mut self, was_vain: bool) {
        self.vain = if was_vain { (self.vain + 1).min(VAIN_WAITS_MAX) } else { 0 };
        self.without = (1 << self.vain) - 1;
    }

    fn is_worth_another(&mut self) -> bool {
        let now = self.without == 0;
        self.without = self.without.saturating_sub(1);
        now
    }
}

impl Writer {
    /// Whether a commit that somebody relies on waits for the disk.
    fn syncs(&self) -> bool {
        matches!(self.surroundings.options.synchronous, Synchronous::Full | Synchronous::Extra)
    }

    /// Lets `batch` grow by what may share its commit.
    pub(super) fn let_grow(&mut self, batch: &mut Vec<Command>, look: bool) {
        if self.syncs() {
            self.hand_out_first(batch, look);
        } else {
            self.gather(batch);
        }
    }

    /// Whether it is worth waiting for more before `batch` is committed: there is something to commit, and work is in
    /// somebody's hands that may come back and share it. What takes long is not worth it: after a wait for nothing,
    /// ever more batches go without one.
    fn is_worth_a_wait(&mut self, batch: &[Command]) -> bool {
        !self.surroundings.options.max_delay.is_zero()
            && self.in_hand > 0
            && batch.iter().any(Command::writes)
            && self.patience.is_worth_another()
    }

    /// Takes what arrives until `until`, up to `wanted`.
    fn take_more(&mut self, batch: &mut Vec<Command>, wanted: usize, until: Instant) -> usize {
        let came = batch.len();
        watch::now(WriterPhase::Gathering);
        let most = self.surroundings.options.max_batch - came;
        self.lane.queue.take_when(batch, most, wanted.min(most), Some(until));
        self.note_returns(&batch[came..]);
        came
    }

    /// Waits for work that is in somebody's hands.
    fn gather(&mut self, batch: &mut Vec<Command>) {
        if !self.is_worth_a_wait(batch) {
            return;
        }
        let first = batch.len();
        let until = Instant::now() + self.surroundings.options.max_delay;
        while self.in_hand > 0 && batch.len() < self.surroundings.options.max_batch && Instant::now() < until {
            self.take_more(batch, self.in_hand, until);
        }
        self.patience.note(batch.len() == first);
    }

    /// Where a commit waits for the disk, gives work to those who ask before it, in a transaction that does not wait,
    /// so that they can work meanwhile; then waits for what comes back of it.
    fn hand_out_first(&mut self, batch: &mut Vec<Command>, look: bool) {
        let mut until = None;
        let mut brought = false;
        loop {
            let (keep, fetches): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|command| command.writes() || matches!(command, Command::Exclusive(_)));
            *batch = keep;
            if !fetches.is_empty() {
                self.transact(fetches, look);
            }
            let until = match until {
                Some(until) => until,
                None if self.is_worth_a_wait(batch) => {
                    *until.insert(Instant::now() + self.surroundings.options.max_delay)
                }
                None => return,
            };
            if self.in_hand == 0 || batch.len() >= self.surroundings.options.max_batch || Instant::now() >= until {
                break;
            }
            let came = self.take_more(batch, 1, until);
            brought |= batch[came..].iter().any(Command::writes);
        }
        self.patience.note(!brought);
    }
}
