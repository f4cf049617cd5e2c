//! How long a scenario goes on: blocks and budget, and the sentence with which it ends.

use std::time::{Duration, Instant};

use super::ScenarioOrder;
use crate::sides::Sides;

/// The fewest blocks for which a verdict is possible; the budget may be overdrawn up to twice for them, where
/// [`ScenarioOrder::allow_overrun`] says so.
pub const BLOCKS_MIN: u32 = 6;
/// The most blocks of one scenario.
pub const BLOCKS_MAX: u32 = 1_000;
/// A scenario is given up after so many blocks in a row that failed.
const FAILED_BLOCKS_MAX: u32 = 2;

/// How a scenario ended.
pub struct ScenarioEnd {
    /// Why, in a sentence.
    pub stopped: String,
    /// The judge had seen enough.
    pub decided_early: bool,
    /// Why it cannot be measured here at all.
    pub skipped: Option<String>,
    /// How many blocks were planned.
    pub blocks_max: u32,
}

/// Where a scenario is in its budget.
pub struct Pace<'o> {
    order: &'o ScenarioOrder<'o>,
    begun: Instant,
    /// Blocks that an earlier run of it had done.
    before: u32,
    /// The number of the block that comes next.
    pub block: u32,
    /// How many blocks the budget is thought to pay for; `None` before the first is done.
    pub blocks_max: Option<u32>,
    budget: Duration,
    failed_in_a_row: u32,
    elapsed: Duration,
    /// The mean length of a block.
    mean: Duration,
}

impl<'o> Pace<'o> {
    /// The halves of the CPUs, where both variants run at the same time.
    pub const fn sides(&self) -> Option<&'o Sides> {
        self.order.sides.as_ref()
    }

    pub fn new(order: &'o ScenarioOrder<'o>) -> Self {
        let (before, blocks_max) = match order.resumed {
            Some((done, planned)) => (done, Some(planned)),
            None => (0, order.blocks),
        };
        Self {
            order,
            begun: Instant::now(),
            before,
            block: before,
            blocks_max,
            budget: order.budget,
            failed_in_a_row: 0,
            elapsed: Duration::ZERO,
            mean: Duration::ZERO,
        }
    }

    /// An end for the reason `stopped`.
    pub fn end(&self, stopped: String) -> ScenarioEnd {
        let blocks_max = self.blocks_max.unwrap_or(BLOCKS_MIN);
        ScenarioEnd { stopped, decided_early: false, skipped: None, blocks_max }
    }

    /// Why the scenario is given up after this block, where it is.
    pub fn give_up(&mut self, is_whole: bool) -> Option<String> {
        self.failed_in_a_row = if is_whole { 0 } else { self.failed_in_a_row + 1 };
        (self.failed_in_a_row >= FAILED_BLOCKS_MAX)
            .then(|| format!("given up after {FAILED_BLOCKS_MAX} failed blocks in a row"))
    }

    /// Goes on to the next block; returns how many the budget pays for.
    pub fn advance(&mut self) -> u32 {
        let order = self.order;
        self.block += 1;
        self.elapsed = self.begun.elapsed();
        self.mean = self.elapsed / (self.block - self.before);
        if self.block == 1 {
            self.budget = self.budget.max(self.mean * order.blocks_paid + self.mean / 2);
        }
        let affordable = match self.blocks_max {
            // Nobody has looked yet: the more blocks, the better is known how many the budget pays for. From the first
            // look on the plan stands, or looks could come again and again with error that is already spent.
            Some(planned) if order.blocks.is_some() || order.resumed.is_some() || self.block >= BLOCKS_MIN => planned,
            _ => {
                let paid = (self.budget.as_secs_f64() / self.mean.as_secs_f64()) as u32;
                (paid * order.stretch).clamp(BLOCKS_MIN, BLOCKS_MAX)
            }
        };
        self.blocks_max = Some(affordable);
        affordable
    }

    /// What is left of the budget.
    pub fn left(&self) -> Duration {
        self.budget.saturating_sub(self.elapsed)
    }

    /// Why no other block follows, where none does.
    pub fn is_over(&self) -> Option<String> {
        let (order, block) = (self.order, self.block);
        match order.blocks {
            Some(1) if block >= 1 => return Some("the one block is done".to_owned()),
            Some(blocks) if block >= blocks => return Some(format!("all {blocks} blocks are done")),
            Some(_) if order.allow_overrun => return None,
            Some(_) => {}
            None => {
                if let Some(planned) = self.blocks_max.filter(|planned| block >= *planned) {
                    return Some(format!("the {} that were planned are done", blocks_word(planned)));
                }
            }
        }
        let next_would_overdraw = self.elapsed + self.mean > self.budget;
        let needed = order.allow_overrun && block < BLOCKS_MIN && self.elapsed < 2 * self.budget;
        if (!next_would_overdraw || needed) && block < BLOCKS_MAX {
            return None;
        }
        let seconds = self.budget.as_secs_f64();
        let what = match order.resumed {
            Some(_) => format!("the time of {seconds:.0} s that other scenarios left"),
            None => format!("the budget of {seconds:.0} s"),
        };
        Some(format!("{what} was spent after {}", blocks_word(block)))
    }
}

/// "1 block", "6 blocks".
pub fn blocks_word(blocks: u32) -> String {
    format!("{blocks} block{}", if blocks == 1 { "" } else { "s" })
}
