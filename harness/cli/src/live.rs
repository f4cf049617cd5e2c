//! What a scenario shows so far, for who watches: the change and its interval, block by block.
//!
//! It reads the trials that the engine has anyway and decides nothing; verdicts come from the analysis when the run ends.

use uplift_analysis::{crossover::ALPHA, disturbance::is_disturbed, estimate::Location, metrics, pairing};
use uplift_model::{
    Better, Trial,
    run::{Intent, PlannedScenario},
};
use uplift_report::number::with_unit;

/// Characters of the axis on which the interval is drawn.
const AXIS: usize = 25;
/// An interval that is narrower than this part of its axis gets an axis of its own.
const REDRAWN_BELOW: f64 = 8.0;
/// The axis is so much wider than the first interval.
const MARGIN: f64 = 1.2;

/// The change of the metric that decides, as logarithm of the ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoFar {
    change: f64,
    interval: [f64; 2],
    blocks: usize,
}

impl SoFar {
    /// Of the blocks so far; `None` where two variants are not compared, or there are fewer than two blocks.
    pub fn of(planned: &PlannedScenario, intent: &Intent, trials: &[Trial]) -> Option<Self> {
        let Intent::Compare { baseline, candidate } = intent else { return None };
        let mut ratios = Vec::new();
        for pair in pairing::pairs(trials, &planned.scenario.name, baseline, candidate) {
            let value = |trial| metrics::named(trial, planned, &planned.scenario.primary)?.value.ok();
            let (Some(a), Some(b)) = (value(pair.baseline), value(pair.candidate)) else { continue };
            if a > 0.0 && b > 0.0 {
                ratios.push((b / a).ln());
            }
        }
        let found = Location::mean(&ratios)?;
        Some(Self { change: found.center, interval: found.interval(ALPHA), blocks: found.n })
    }

    fn width(&self) -> f64 {
        self.interval[1] - self.interval[0]
    }

    /// "+34.2 % [+30.1 %, +38.0 %] after 6 blocks"
    pub fn words(&self) -> String {
        let percent = |value: f64| format!("{:+.1} %", value.exp_m1() * 100.0);
        let [low, high] = self.interval.map(percent);
        format!("{} [{low}, {high}] after {} blocks", percent(self.change), self.blocks)
    }

    /// The interval on an axis that stays where the first one put it, so that one sees it narrow; `┊` is no change.
    pub fn axis(&self, first: &Self) -> String {
        let half = first.width().max(1e-9) / 2.0 * MARGIN;
        let place = |value: f64| {
            let share = (value - (first.change - half)) / (2.0 * half);
            (share.clamp(0.0, 1.0) * (AXIS - 1) as f64).round() as usize
        };
        let ends = self.interval.map(place);
        let mut axis = vec!['·'; AXIS];
        if (0.0 - first.change).abs() <= half {
            axis[place(0.0)] = '┊';
        }
        axis[ends[0]..=ends[1]].fill('━');
        axis[place(self.change)] = '●';
        axis.into_iter().collect()
    }
}

/// The line of a scenario: the estimate so far, and how many trials the machine disturbed.
pub fn line(planned: &PlannedScenario, intent: &Intent, trials: &[Trial], first: &mut Option<SoFar>) -> Option<String> {
    let metric = &planned.scenario.primary;
    let shown = match SoFar::of(planned, intent, trials) {
        Some(found) => {
            let axis = first.get_or_insert(found);
            // What has become a point on its axis gets one of its own.
            if found.width() < axis.width() / REDRAWN_BELOW {
                *axis = found;
            }
            let axis = found.axis(axis);
            format!("{metric} {} {axis}", found.words())
        }
        None => {
            let newest = trials.iter().rfind(|trial| trial.succeeded())?;
            let value = metrics::named(newest, planned, metric)?;
            let better = match value.spec.better {
                Better::Higher => "↑",
                Better::Lower => "↓",
                Better::Neither => "",
            };
            let shown = with_unit(value.value.ok()?, value.spec.unit);
            format!("{metric} {better} {shown} in the newest trial, of `{}`", newest.variant)
        }
    };
    let disturbed = trials.iter().filter(|trial| pairing::kept(trial).iter().any(is_disturbed)).count();
    let disturbed = match disturbed {
        0 => String::new(),
        some => format!(" · {some} of {} trials disturbed", trials.len()),
    };
    Some(format!("{shown}{disturbed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn so_far(change: f64, half: f64) -> SoFar {
        SoFar { change, interval: [change - half, change + half], blocks: 6 }
    }

    #[test]
    fn the_axis_stays_and_the_interval_narrows() {
        let first = so_far(0.1, 0.12);
        let drawn: Vec<String> =
            [first, so_far(0.12, 0.06), so_far(0.11, 0.02)].iter().map(|one| one.axis(&first)).collect();
        let width = |axis: &String| axis.chars().filter(|sign| matches!(sign, '━' | '●')).count();
        assert!(drawn.iter().all(|axis| axis.chars().count() == AXIS), "{drawn:?}");
        assert!(drawn.windows(2).all(|pair| width(&pair[0]) > width(&pair[1])), "{drawn:?}");
        assert!(drawn[2].contains('┊'), "no change is marked where it is on the axis: {drawn:?}");
        assert_eq!(so_far(9.0, 1.0).axis(&first).chars().last(), Some('●'), "what leaves the axis is at its end");
    }

    #[test]
    fn the_words_are_percent() {
        assert_eq!(so_far(0.0, 0.0).words(), "+0.0 % [+0.0 %, +0.0 %] after 6 blocks");
    }
}
