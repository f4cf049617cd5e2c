//! Phases of an open load: rates that change in the course of a turn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;

/// The most phases of one load.
pub(super) const PHASES_MAX: usize = 1_000;

/// A part of a turn with a rate of its own. Phases begin with each turn and begin again when the last one is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long it lasts.
    #[serde(rename = "for")]
    pub duration: HumanDuration,
    /// Operations a second at its beginning.
    pub rate: f64,
    /// Operations a second at its end, reached in a straight line; absent: as at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
}

impl Phase {
    fn seconds(&self) -> f64 {
        self.duration.0.as_secs_f64()
    }

    fn end(&self) -> f64 {
        self.to.unwrap_or(self.rate)
    }

    fn operations(&self) -> f64 {
        (self.rate + self.end()) / 2.0 * self.seconds()
    }
}

/// Operations a second over all phases.
pub fn mean_rate(phases: &[Phase]) -> f64 {
    phases.iter().map(Phase::operations).sum::<f64>() / phases.iter().map(Phase::seconds).sum::<f64>()
}

/// When how many operations are due.
#[derive(Clone, Debug)]
pub struct Profile {
    phases: Vec<Phase>,
    /// What every rate is multiplied by.
    scale: f64,
    seconds: f64,
    operations: f64,
}

impl Profile {
    /// Of phases whose mean is to be `rate`; `None` where there are none.
    pub fn new(phases: &[Phase], rate: f64) -> Option<Self> {
        let scale = rate / mean_rate(phases);
        let operations = phases.iter().map(Phase::operations).sum::<f64>() * scale;
        (!phases.is_empty() && scale.is_finite()).then(|| Self {
            phases: phases.to_vec(),
            scale,
            seconds: phases.iter().map(Phase::seconds).sum(),
            operations,
        })
    }

    /// Seconds from the beginning until so many operations are due: the inverse of the area under the rates.
    pub fn seconds_until(&self, operations: f64) -> f64 {
        let rounds = (operations / self.operations).floor();
        let mut seconds = rounds * self.seconds;
        let mut left = (operations - rounds * self.operations) / self.scale;
        for phase in &self.phases {
            if left < phase.operations() {
                let slope = (phase.end() - phase.rate) / phase.seconds();
                // The root of rate × t + slope × t² / 2 = left that stays exact where the slope is small.
                let root = (phase.rate * phase.rate + 2.0 * slope * left).max(0.0).sqrt();
                let both = phase.rate + root;
                return seconds + if both > 0.0 { 2.0 * left / both } else { 0.0 };
            }
            left -= phase.operations();
            seconds += phase.seconds();
        }
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(ms: u64, rate: f64, to: Option<f64>) -> Phase {
        Phase { duration: HumanDuration::from_millis(ms), rate, to }
    }

    #[test]
    fn operations_are_due_where_the_area_under_the_rates_says() {
        let phases = [phase(1_000, 0.0, Some(100.0)), phase(1_000, 100.0, None), phase(500, 400.0, Some(0.0))];
        assert!((mean_rate(&phases) - 100.0).abs() < 1e-9);
        let profile = Profile::new(&phases, 100.0).unwrap();
        for (operations, seconds) in [
            (0.0, 0.0),
            (12.5, 0.5),
            (50.0, 1.0),
            (100.0, 1.5),
            (150.0, 2.0),
            (225.0, 2.25),
            (250.0, 2.5),
            (250.0 + 12.5, 3.0),
            (500.0 + 50.0, 6.0),
        ] {
            let got = profile.seconds_until(operations);
            assert!((got - seconds).abs() < 1e-6, "{operations}: {got}, not {seconds}");
        }
        // Twice the rate: the same shape with twice the operations.
        let double = Profile::new(&phases, 200.0).unwrap();
        assert!((double.seconds_until(100.0) - 1.0).abs() < 1e-9);
        assert!(Profile::new(&[], 100.0).is_none());
    }

    #[test]
    fn due_times_never_go_back() {
        let profile =
            Profile::new(&[phase(100, 10.0, Some(1_000.0)), phase(50, 0.0, None), phase(70, 5.0, None)], 77.0).unwrap();
        let mut last = 0.0;
        for step in 0..10_000 {
            let at = profile.seconds_until(f64::from(step) * 0.01);
            assert!(at >= last, "{step}");
            last = at;
        }
    }
}
