//! Thresholds against verdicts: what a CI gate lets through.
//!
//! A rule on a time holds when the whole interval obeys it, is broken when the whole interval breaks it, and is open
//! otherwise: a noisy machine neither fails a build nor waves it through. A counter that is equal in every block has an
//! interval without width, so `"<= +0%"` can be asked of it.

use serde::{Deserialize, Serialize};
use uplift_model::{
    MetricClass, Verdicts,
    run::Run,
    scenario::{Bound, Comparison},
    verdict::{MetricVerdict, Parity, ScenarioVerdict, Status, Verdict},
};

/// What became of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateOutcome {
    /// It is obeyed.
    Passed,
    /// It is broken.
    Broken,
    /// The data do not decide it.
    Open,
}

impl GateOutcome {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Broken => "broken",
            Self::Open => "open",
        }
    }
}

/// One rule of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRow {
    /// The scenario.
    pub scenario: String,
    /// The metric, or "durability", or an expectation's metric.
    pub metric: String,
    /// The rule as written.
    pub rule: String,
    /// What became of it.
    pub outcome: GateOutcome,
    /// Why, with the values.
    pub reason: String,
}

/// Holds every rule of every compared scenario against the verdicts.
pub fn gate(run: &Run, verdicts: &Verdicts) -> Vec<GateRow> {
    let mut rows = Vec::new();
    for verdict in &verdicts.scenarios {
        let Some(planned) = run.scenarios.iter().find(|planned| planned.scenario.name == verdict.name) else {
            continue;
        };
        let row = |metric: &str, rule: &str, outcome: GateOutcome, reason: String| GateRow {
            scenario: verdict.name.clone(),
            metric: metric.to_owned(),
            rule: rule.to_owned(),
            outcome,
            reason,
        };
        if verdict.status != Status::Compared {
            let reason = verdict.reason.clone().unwrap_or_default();
            rows.push(row("(scenario)", "compared", GateOutcome::Open, reason));
            continue;
        }
        if verdict.durability == Parity::Weaker {
            let reason = verdict.durability_reason.clone().unwrap_or_default();
            rows.push(row("durability", "not weaker", GateOutcome::Broken, reason));
        }
        for expectation in &verdict.expectations {
            let outcome = if expectation.held { GateOutcome::Passed } else { GateOutcome::Broken };
            let value = expectation.value.map_or_else(|| "not available".to_owned(), |value| value.to_string());
            rows.push(row(
                &expectation.metric,
                &expectation.rule,
                outcome,
                format!("`{}` has {value}", expectation.variant),
            ));
        }
        for (metric, bound) in &planned.scenario.gate {
            let (outcome, reason) = decide(verdict, metric, bound);
            rows.push(row(metric, &bound.to_string(), outcome, reason));
        }
    }
    rows
}

fn decide(scenario: &ScenarioVerdict, name: &str, bound: &Bound) -> (GateOutcome, String) {
    let Some(metric) = scenario.metrics.iter().find(|metric| metric.metric == name) else {
        return (GateOutcome::Open, "it was not measured".to_owned());
    };
    if bound.relative { relative(metric, bound) } else { absolute(metric, bound) }
}

fn relative(metric: &MetricVerdict, bound: &Bound) -> (GateOutcome, String) {
    if let (Some(change), Some([low, high])) = (metric.change, metric.ci) {
        return (
            held(bound, [low, high]),
            format!("{:+.1} % [{:+.1} %, {:+.1} %]", change * 100.0, low * 100.0, high * 100.0),
        );
    }
    let (Some(a), Some(b)) = (&metric.baseline, &metric.candidate) else {
        return (GateOutcome::Open, format!("there is no interval: {}", metric.reason));
    };
    if a.median == 0.0 && matches!(metric.verdict, Verdict::Improved | Verdict::Regressed) {
        // From nothing to something: no change in per cent is as large.
        let change = if b.median < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        return (held(bound, [change; 2]), format!("from 0 to {}: {}", b.median, metric.reason));
    }
    (GateOutcome::Open, format!("there is no interval: {}", metric.reason))
}

fn absolute(metric: &MetricVerdict, bound: &Bound) -> (GateOutcome, String) {
    let Some(estimate) = &metric.candidate else {
        return (GateOutcome::Open, format!("the candidate has no value: {}", metric.reason));
    };
    let reason = format!("the candidate has {}", estimate.median);
    match estimate.ci {
        Some(ends @ [low, high]) => (held(bound, ends), format!("{reason} [{low}, {high}]")),
        // What does not depend on the machine's speed needs no interval to be told.
        None if metric.class != MetricClass::Time => (held(bound, [estimate.median; 2]), reason),
        None => (GateOutcome::Open, format!("{reason}: {} values are too few for an interval", estimate.n)),
    }
}

/// The whole interval obeys: passed; all of it breaks the rule: broken; else open. An interval around the one value that
/// `==` allows neither is that value nor excludes it.
fn held(bound: &Bound, [low, high]: [f64; 2]) -> GateOutcome {
    let (obeys, breaks) = match bound.comparison {
        Comparison::Equal => (low == bound.limit && high == bound.limit, bound.limit < low || high < bound.limit),
        _ => (bound.holds(low) && bound.holds(high), !bound.holds(low) && !bound.holds(high)),
    };
    if obeys {
        GateOutcome::Passed
    } else if breaks {
        GateOutcome::Broken
    } else {
        GateOutcome::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_passes_breaks_or_leaves_open() {
        let bound: Bound = ">= -3%".parse().unwrap();
        assert_eq!(held(&bound, [-0.02, 0.10]), GateOutcome::Passed);
        assert_eq!(held(&bound, [-0.10, -0.05]), GateOutcome::Broken);
        assert_eq!(held(&bound, [-0.10, 0.05]), GateOutcome::Open);
        assert_eq!(held(&"<= +0%".parse().unwrap(), [0.0; 2]), GateOutcome::Passed);
        let equal: Bound = "== +0%".parse().unwrap();
        assert_eq!(held(&equal, [-0.01, 0.01]), GateOutcome::Open, "an interval around nothing breaks nothing");
        assert_eq!(held(&equal, [0.0; 2]), GateOutcome::Passed);
        assert_eq!(held(&equal, [0.01, 0.02]), GateOutcome::Broken);
        assert_eq!(held(&bound, [f64::INFINITY; 2]), GateOutcome::Passed);
        assert_eq!(held(&"<= +10%".parse().unwrap(), [f64::INFINITY; 2]), GateOutcome::Broken, "from 0 to 1");
    }
}
