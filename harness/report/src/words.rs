//! Words for what the analysis decided.

use uplift_model::{
    MetricClass,
    verdict::{ClaimOutcome, ScenarioVerdict},
};

/// The class of a metric, which says how its change is shown.
pub fn class_of(scenario: &ScenarioVerdict, metric: &str) -> MetricClass {
    scenario.metrics.iter().find(|known| known.metric == metric).map_or(MetricClass::Time, |known| known.class)
}

/// The word for a claim's outcome.
pub const fn outcome_word(outcome: ClaimOutcome) -> &'static str {
    match outcome {
        ClaimOutcome::Reproduced => "reproduced",
        ClaimOutcome::Exceeded => "exceeded",
        ClaimOutcome::NotReproduced => "not reproduced",
        ClaimOutcome::Contradicted => "contradicted",
        ClaimOutcome::Undecided => "undecided",
        ClaimOutcome::NotMeasured => "not measured",
        ClaimOutcome::NotComparable => "not comparable",
    }
}
