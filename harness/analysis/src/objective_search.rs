//! The highest rate that holds a service-level objective, when single trials err.
//!
//! Near the edge a trial holds the objective or misses it by chance. Far from it one trial tells, so the search takes one
//! on its way; both ends of its interval are then decided by several, and a trial that said otherwise reopens the search.
//!
//! A rate **holds** when as many trials as were asked for held in a row, or twice as many with a single exception; it does
//! **not hold** when two trials missed.

use uplift_model::{
    Trial,
    objective::{Objective, Term},
    run::PlannedScenario,
};

use crate::metrics;

/// From one rate to the next, while nothing bounds the search on that side.
const STRIDE: f64 = 4.0;

/// The first term that a trial did not hold, and the value that it had; `None`: it held all of them.
///
/// # Errors
/// A metric that the trial does not have, and why.
pub fn first_missed<'a>(
    objective: &'a Objective,
    trial: &Trial,
    planned: &PlannedScenario,
) -> Result<Option<(&'a Term, f64)>, String> {
    for term in &objective.terms {
        let missing = |why: String| format!("`{}` was not measured: {why}", term.metric);
        let value = metrics::named(trial, planned, &term.metric)
            .ok_or_else(|| missing("this scenario does not have it".to_owned()))?
            .value
            .map_err(missing)?;
        if !term.holds(value) {
            return Ok(Some((term, value)));
        }
    }
    Ok(None)
}

/// What is to be measured next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// The rate.
    pub rate: f64,
    /// How many trials.
    pub trials: u32,
}

/// What the trials of one rate say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Holds,
    Misses,
    /// Undecided: so many more trials may decide.
    Open(u32),
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    rate: f64,
    held: u32,
    missed: u32,
}

impl Tried {
    fn decision(&self, trials: u32) -> Decision {
        match (self.held, self.missed) {
            (_, 2..) => Decision::Misses,
            (held, 0) if held >= trials => Decision::Holds,
            (held, 1) if held >= 2 * trials => Decision::Holds,
            (held, 0) => Decision::Open(trials - held),
            (held, _) => Decision::Open((2 * trials - held).min(trials)),
        }
    }

    /// What it looks like so far.
    fn leans_to_holding(&self, trials: u32) -> bool {
        match self.decision(trials) {
            Decision::Holds => true,
            Decision::Misses => false,
            Decision::Open(_) => self.held > self.missed,
        }
    }
}

/// A search: strides until one rate holds and one does not, then the geometric middle until both are within the precision,
/// then both ends until they are decided.
#[derive(Clone, Debug)]
pub struct ObjectiveSearch {
    start: f64,
    range: [f64; 2],
    precision: f64,
    trials: u32,
    asks_left: u32,
    /// In ascending order of rates.
    tried: Vec<Tried>,
}

impl ObjectiveSearch {
    /// A search that begins at `start`, stays within `range`, ends when the interval is at most `precision` (0.1: 10 %) wide,
    /// and decides a rate by `trials`. It ends after `asks_max` measurements in any case.
    pub const fn new(start: f64, range: [f64; 2], precision: f64, trials: u32, asks_max: u32) -> Self {
        Self { start, range, precision, trials, asks_left: asks_max, tried: Vec::new() }
    }

    /// What to measure next; `None` where the search is over.
    pub fn next(&self) -> Option<Ask> {
        if self.asks_left == 0 {
            return None;
        }
        let one = |rate| Some(Ask { rate, trials: 1 });
        if self.tried.is_empty() {
            return one(self.start);
        }
        let (low, high) = self.ends();
        match (low, high) {
            (Some(low), Some(high)) if high.rate > low.rate * (1.0 + self.precision) => {
                one((low.rate * high.rate).sqrt())
            }
            (Some(low), None) if low.rate * STRIDE <= self.range[1] => one(low.rate * STRIDE),
            (None, Some(high)) if high.rate / STRIDE >= self.range[0] => one(high.rate / STRIDE),
            // Close enough: whoever is undecided is asked again, the upper end first, since it is the one that more
            // often rests on a single trial.
            (low, high) => [high, low].into_iter().flatten().find_map(|end| match end.decision(self.trials) {
                Decision::Open(trials) => Some(Ask { rate: end.rate, trials }),
                Decision::Holds | Decision::Misses => None,
            }),
        }
    }

    /// What the trials of [`ObjectiveSearch::next`] came to.
    pub fn tell(&mut self, rate: f64, outcomes: &[bool]) {
        self.asks_left = self.asks_left.saturating_sub(1);
        let at = self.tried.partition_point(|tried| tried.rate < rate);
        if self.tried.get(at).is_none_or(|tried| tried.rate != rate) {
            self.tried.insert(at, Tried { rate, held: 0, missed: 0 });
        }
        let held = outcomes.iter().filter(|held| **held).count() as u32;
        self.tried[at].held += held;
        self.tried[at].missed += outcomes.len() as u32 - held;
    }

    /// The lowest rate that looks like missing, and the highest below it that looks like holding.
    fn ends(&self) -> (Option<&Tried>, Option<&Tried>) {
        let high = self.tried.iter().position(|tried| !tried.leans_to_holding(self.trials));
        let low = self.tried[..high.unwrap_or(self.tried.len())].last();
        (low, high.map(|at| &self.tried[at]))
    }

    /// The highest rate that held and the lowest above it that did not; each absent where there was none.
    pub fn found(&self) -> (Option<f64>, Option<f64>) {
        let (low, high) = self.ends();
        (low.map(|tried| tried.rate), high.map(|tried| tried.rate))
    }

    /// Why the result is less than was asked for, where it is.
    pub fn shortfall(&self) -> Option<String> {
        let (low, high) = self.ends();
        match (low, high) {
            (Some(low), Some(high)) if high.rate > low.rate * (1.0 + self.precision) => {
                Some("the search ran out of measurements before both ends were close".to_owned())
            }
            (Some(_), None) => Some("every rate that was tried held: the edge lies above".to_owned()),
            (None, _) => Some("no rate that was tried held".to_owned()),
            (Some(low), Some(high)) => [low, high]
                .into_iter()
                .any(|end| matches!(end.decision(self.trials), Decision::Open(_)))
                .then(|| "the search ran out of measurements before both ends were decided".to_owned()),
        }
    }

    /// The interval of the highest rate: the highest rate up to which every trial held, and the lowest from which on every
    /// trial missed. Between them some trials held and some did not.
    pub fn interval(&self) -> [Option<f64>; 2] {
        let held = self.tried.iter().take_while(|tried| tried.missed == 0).last();
        let missed = self.tried.iter().rev().take_while(|tried| tried.held == 0).last();
        [held.map(|tried| tried.rate), missed.map(|tried| tried.rate)]
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::estimate::{median, quantile};

    /// Searches until the end; `holds` tries a rate once.
    fn search(start: f64, precision: f64, trials: u32, mut holds: impl FnMut(f64) -> bool) -> ObjectiveSearch {
        let mut search = ObjectiveSearch::new(start, [0.01, 1e9], precision, trials, 60);
        while let Some(ask) = search.next() {
            let outcomes: Vec<bool> = (0..ask.trials).map(|_| holds(ask.rate)).collect();
            search.tell(ask.rate, &outcomes);
        }
        search
    }

    #[test]
    fn a_sharp_edge_is_found_from_either_side() {
        for start in [1.0, 700.0, 1e6] {
            let found = search(start, 0.05, 3, |rate| rate <= 1234.0);
            let (Some(low), Some(high)) = found.found() else { panic!("{found:?}") };
            assert!(low <= 1234.0 && 1234.0 < high && high <= low * 1.05, "{low} {high}");
            assert_eq!(found.interval(), [Some(low), Some(high)]);
            assert_eq!(found.shortfall(), None);
        }
        let found = search(10.0, 0.05, 3, |_| true);
        assert!(found.found().1.is_none() && found.shortfall().unwrap().contains("lies above"));
        let found = search(10.0, 0.05, 3, |_| false);
        assert!(found.found().0.is_none() && found.shortfall().unwrap().contains("no rate"));
    }

    /// One trial in which the machine stalled, far below the edge, must not become the answer; nor one lucky trial above it.
    #[test]
    fn a_single_mischance_is_forgiven() {
        for unlucky in 0..12 {
            let mut trial = 0;
            let found = search(100.0, 0.05, 3, |rate| {
                trial += 1;
                (rate <= 1000.0) != (trial == unlucky + 1)
            });
            let (Some(low), Some(high)) = found.found() else { panic!("{unlucky}: {found:?}") };
            assert!(low <= 1000.0 && 1000.0 < high && high <= low * 1.05, "{unlucky}: {low} {high}");
        }
    }

    const SERVED_PER_S: f64 = 1000.0;
    const BOUND_S: f64 = 0.02;

    /// The 99th percentile of sojourn times in one window of an M/M/1 queue that begins empty (Lindley's recursion).
    fn p99_of_a_window(rate: f64, window_s: f64, random: &mut ChaCha8Rng) -> f64 {
        let mut exponential = |rate: f64| -(1.0 - random.random::<f64>()).ln() / rate;
        let (mut now, mut left) = (0.0, 0.0f64);
        let mut sojourns = Vec::new();
        loop {
            let gap = exponential(rate);
            now += gap;
            if now > window_s {
                break;
            }
            left = (left - gap).max(0.0) + exponential(SERVED_PER_S);
            sojourns.push(left);
        }
        quantile(&sojourns, 0.99).unwrap_or(0.0)
    }

    /// Sojourn times of M/M/1 are exponential with the rate μ − λ, so p99 = ln 100 / (μ − λ) is known, and with it the
    /// rate at which it meets the bound.
    #[test]
    fn the_rate_of_an_mm1_queue_is_found_and_its_interval_covers_it() {
        let edge = SERVED_PER_S - 100f64.ln() / BOUND_S;
        const SEARCHES: u32 = 60;
        let mut covered = 0;
        let mut errors = Vec::new();
        let mut trials = 0;
        for seed in 0..SEARCHES {
            let mut random = ChaCha8Rng::seed_from_u64(u64::from(seed));
            let found = search(100.0, 0.05, 3, |rate| {
                trials += 1;
                p99_of_a_window(rate, 5.0, &mut random) < BOUND_S
            });
            let (Some(low), Some(high)) = found.found() else { panic!("{seed}: {found:?}") };
            let ends = found.interval();
            covered += u32::from(ends[0].is_some_and(|low| low <= edge) && ends[1].is_some_and(|high| edge <= high));
            errors.push((low * high).sqrt() / edge - 1.0);
        }
        let bias = median(&errors).unwrap();
        assert!(bias.abs() < 0.04, "off by {bias}");
        let worst = errors.iter().fold(0.0f64, |worst, error| worst.max(error.abs()));
        assert!(worst < 0.15, "{worst}");
        assert!(covered >= SEARCHES * 85 / 100, "{covered} of {SEARCHES} intervals cover {edge}");
        assert!(trials / SEARCHES < 40, "{} trials for a search", trials / SEARCHES);
    }
}
