//! How long a run may take, and how its scenarios share that.

use std::time::Duration;

use uplift_model::scenario::TrialSpec;

use crate::{args::TrialArgs, quick};

/// The default budget of one scenario.
const EACH: Duration = Duration::from_secs(60);
/// The most that all scenarios of a comparison take together where nobody says otherwise. The one that is under way when it
/// is spent, start and documents have the rest of six minutes.
const ALL: Duration = Duration::from_secs(320);
/// What blocks are cut to where that is shared. It does not depend on how many scenarios there are, or each new one would
/// change the blocks of the others, and runs before and after it could not be compared.
const SHARE: Duration = Duration::from_secs(17);
/// The longest window of a shared run: an open load needs some of it until its queue is what it will be.
const WINDOW_MAX: Duration = Duration::from_millis(1500);
/// A scenario of a shared run plans so many times the blocks of its share, since most are decided early and leave time.
const STRETCH: u32 = 3;

/// Shares the budget of a run among its scenarios.
#[derive(Clone, Copy, Debug)]
pub struct BudgetAllocator {
    /// The budget of all.
    pub total: Duration,
    scenarios: u32,
    /// Whether the total must hold: then a scenario that took too long is paid for by those after it.
    hard: bool,
    /// Whether scenarios that are not decided are taken up again in the time that the others left.
    pub shared: bool,
}

impl BudgetAllocator {
    /// For `scenarios` scenarios. `bare_quick`: a quick look and nothing else says how long; `may_share`: a comparison whose
    /// blocks follow from data and budget.
    pub fn of(trials: &TrialArgs, scenarios: u32, bare_quick: bool, may_share: bool) -> Self {
        let scenarios = scenarios.max(1);
        let of = |total, hard, shared| Self { total, scenarios, hard, shared };
        match trials.budget {
            Some(budget) => of(budget.0, bare_quick, false),
            None if trials.quick => of(quick::budget(scenarios), bare_quick, false),
            None if may_share && EACH * scenarios > ALL => of(ALL, true, true),
            None => of(EACH * scenarios, bare_quick, false),
        }
    }

    /// The share of scenario `index` when `spent` is gone: what a scenario that was decided early left over goes to
    /// those after it.
    pub fn share(&self, spent: Duration, index: u32) -> Duration {
        let left = self.total.saturating_sub(spent) / self.scenarios.saturating_sub(index).max(1);
        if self.hard { left } else { left.max(self.total / self.scenarios) }
    }

    /// The share of each of `open` scenarios that are taken up again when `spent` is gone; `None` where too little is left
    /// for anything.
    pub fn second_share(&self, spent: Duration, open: u32) -> Option<Duration> {
        let left = self.total.saturating_sub(spent) / open.max(1);
        (self.shared && left >= SHARE / 4).then_some(left)
    }

    /// Whether a scenario may overdraw its share for the fewest blocks that make a verdict possible.
    pub fn may_overrun(&self, spent: Duration) -> bool {
        !self.hard || (self.shared && spent < self.total)
    }

    /// So many times the blocks that its share pays for are planned for a scenario.
    pub const fn stretch(&self) -> u32 {
        if self.shared { STRETCH } else { 1 }
    }

    /// Cuts the blocks of a scenario with so many variants to what a shared run has time for.
    pub fn cut(&self, trial: &mut TrialSpec, variants: u32) {
        if !self.shared {
            return;
        }
        let window = trial.window;
        quick::shorten(trial, SHARE, variants);
        trial.window.0 = window.0.min(WINDOW_MAX);
    }

    /// What is said before a comparison begins.
    pub fn announcement(&self) -> String {
        let seconds = self.total.as_secs();
        let time =
            if seconds < 120 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) };
        let what = if self.scenarios == 1 { "1 scenario".to_owned() } else { format!("{} scenarios", self.scenarios) };
        if self.shared {
            format!(
                "{what} in about {time}: those that are decided stop, and what they leave goes to the open ones; --budget gives them more, a scenario's name {} s to it alone",
                EACH.as_secs()
            )
        } else {
            format!("{what} in about {time} at most")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_left_over_goes_to_those_that_follow() {
        let soft = BudgetAllocator { total: seconds(100), scenarios: 5, hard: false, shared: false };
        assert_eq!(soft.share(seconds(0), 0), seconds(20));
        assert_eq!(soft.share(seconds(4), 1), seconds(24));
        assert_eq!(soft.share(seconds(90), 4), seconds(20), "an overdraft is not taken from the next");
        let hard = BudgetAllocator { hard: true, ..soft };
        assert_eq!(hard.share(seconds(90), 4), seconds(10));
        assert_eq!(hard.share(seconds(120), 4), seconds(0));
        assert_eq!(soft.second_share(seconds(0), 1), None, "only a shared run takes scenarios up again");
    }

    /// However many scenarios there are, and however long each of them overdraws, everything ends within six minutes.
    #[test]
    fn everything_together_takes_less_than_six_minutes() {
        for scenarios in [6, 19, 40] {
            let plan = BudgetAllocator { total: ALL, scenarios, hard: true, shared: true };
            // Each takes twice its share, as the engine lets it at most for the fewest blocks.
            let mut spent = seconds(0);
            for index in 0..scenarios {
                let share = plan.share(spent, index);
                spent += if plan.may_overrun(spent) { 2 * share } else { share };
            }
            assert!(spent <= seconds(360), "{scenarios}: {spent:?}");
            // And where every second one is decided in half its share, the others get what is left, and no more.
            let mut spent = seconds(0);
            for index in 0..scenarios {
                let share = plan.share(spent, index);
                spent += if index % 2 == 0 { share / 2 } else { share };
            }
            for left in (1..=scenarios / 2).rev() {
                spent += plan.second_share(spent, left).unwrap_or_default();
            }
            assert!(spent <= ALL && spent >= ALL * 9 / 10, "{scenarios}: {spent:?}");
        }
    }

    #[test]
    fn how_long_it_will_take_is_said() {
        let shared = BudgetAllocator { total: ALL, scenarios: 19, hard: true, shared: true };
        assert!(shared.announcement().starts_with("19 scenarios in about 5 min 20 s: those that are decided stop"));
        let one = BudgetAllocator { total: EACH, scenarios: 1, hard: false, shared: false };
        assert_eq!(one.announcement(), "1 scenario in about 60 s at most");
    }
}
