//! The time that each scenario of a run has.

use std::time::Duration;

/// Shares the budget of a run among its scenarios.
pub struct BudgetAllocator {
    /// All of it.
    pub total: Duration,
    /// How many share it.
    pub scenarios: u32,
    /// Whether the total must hold: then a scenario that took too long is paid for by those after it.
    pub hard: bool,
}

impl BudgetAllocator {
    /// The share of scenario `index` when `spent` is gone: what a scenario that was decided early left over goes to
    /// those after it.
    pub fn share(&self, spent: Duration, index: u32) -> Duration {
        let left = self.total.saturating_sub(spent) / self.scenarios.saturating_sub(index).max(1);
        if self.hard { left } else { left.max(self.total / self.scenarios.max(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_over_goes_to_those_that_follow() {
        let seconds = Duration::from_secs;
        let soft = BudgetAllocator { total: seconds(100), scenarios: 5, hard: false };
        assert_eq!(soft.share(seconds(0), 0), seconds(20));
        assert_eq!(soft.share(seconds(4), 1), seconds(24));
        assert_eq!(soft.share(seconds(90), 4), seconds(20), "an overdraft is not taken from the next");
        let hard = BudgetAllocator { hard: true, ..soft };
        assert_eq!(hard.share(seconds(90), 4), seconds(10));
        assert_eq!(hard.share(seconds(120), 4), seconds(0));
    }
}
