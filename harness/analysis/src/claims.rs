//! Published figures against ours.

use uplift_model::{
    MetricClass,
    scenario::{Claim, Scenario},
    verdict::{ClaimOutcome, ClaimVerdict, Estimate, MetricVerdict},
};

use crate::BLOCKS_MIN;

/// What becomes of `claim` of `scenario`, given the verdicts of the pair that was compared.
pub fn outcome(
    scenario: &Scenario,
    claim: &Claim,
    baseline: &str,
    candidate: &str,
    metrics: &[MetricVerdict],
) -> ClaimVerdict {
    let mut verdict = blank(claim);
    if !claim.profile.is_empty() {
        verdict.reason = "it is about profiles".to_owned();
        return verdict;
    }
    let against = scenario.against(claim);
    let about_pair = claim.variant == candidate && against.is_none_or(|against| against == baseline);
    let alone = claim.published_change().is_none() && (claim.variant == candidate || claim.variant == baseline);
    if !about_pair && !alone {
        verdict.reason = format!(
            "it is about `{}`{}, which this comparison did not run",
            claim.variant,
            against.map_or_else(String::new, |against| format!(" against `{against}`"))
        );
        return verdict;
    }
    if !claim.unchecked.is_empty() {
        return not_comparable(verdict, claim.unchecked.clone());
    }
    let Some(metric) = metrics.iter().find(|metric| metric.metric == claim.metric) else {
        verdict.reason = format!("`{}` was not measured", claim.metric);
        return verdict;
    };
    if claim.published_change().is_none() {
        let own = if claim.variant == candidate { &metric.candidate } else { &metric.baseline };
        return of_value(claim, own.as_ref());
    }
    verdict.measured = metric.change;
    verdict.ci = metric.ci;
    if metric.class == MetricClass::Proportion
        && let (Some(baseline), Some(candidate)) = (claim.baseline, claim.candidate)
    {
        // Proportions change by differences.
        verdict.published = Some(candidate - baseline);
    }
    let (Some(published), Some([low, high])) = (verdict.published, metric.ci) else {
        verdict.outcome = ClaimOutcome::Undecided;
        let blocks = [&metric.baseline, &metric.candidate].into_iter().flatten().map(|own| own.n).min().unwrap_or(0);
        // What is described and not judged has an interval as well, from as many blocks on.
        verdict.reason = if metric.change.is_some() && (blocks as usize) < BLOCKS_MIN {
            format!("there is no interval: {blocks} blocks are fewer than the {BLOCKS_MIN} that one needs")
        } else {
            format!("there is no interval: {}", metric.reason)
        };
        return verdict;
    };
    (verdict.outcome, verdict.reason) = decide(published, low, high);
    with_note(verdict, claim)
}

/// What becomes of a claim about the value of one variant, given that value.
pub fn of_value(claim: &Claim, own: Option<&Estimate>) -> ClaimVerdict {
    let mut verdict = blank(claim);
    let Some(own) = own else {
        verdict.reason = format!("`{}` of `{}` was not measured", claim.subject(), claim.variant);
        return verdict;
    };
    let Some([least, most]) = claim.range else {
        let why = "only a value was published, and values of another machine are not compared";
        return with_note(not_comparable(verdict, why.to_owned()), claim);
    };
    let Some([low, high]) = own.ci else {
        verdict.outcome = ClaimOutcome::Undecided;
        verdict.reason = format!("{} values are too few for an interval", own.n);
        return verdict;
    };
    let (outcome, reason) = if least <= low && high <= most {
        (ClaimOutcome::Reproduced, "our value lies where the published one does")
    } else if high < least || most < low {
        (ClaimOutcome::NotReproduced, "our value lies elsewhere")
    } else {
        (ClaimOutcome::Undecided, "our interval reaches beyond the published range")
    };
    verdict.outcome = outcome;
    verdict.reason = reason.to_owned();
    with_note(verdict, claim)
}

/// What becomes of a claim that was checked in a scenario whose variants must not be compared.
pub fn of_incomparable(verdict: ClaimVerdict, reason: &str) -> ClaimVerdict {
    if verdict.outcome == ClaimOutcome::NotMeasured {
        return verdict;
    }
    not_comparable(ClaimVerdict { measured: None, ci: None, ..verdict }, reason.to_owned())
}

/// A claim of which nothing is known yet.
pub(crate) fn blank(claim: &Claim) -> ClaimVerdict {
    ClaimVerdict {
        metric: claim.subject(),
        variant: claim.variant.clone(),
        published: claim.published_change(),
        published_baseline: claim.baseline,
        published_candidate: claim.candidate,
        measured: None,
        ci: None,
        outcome: ClaimOutcome::NotMeasured,
        source: claim.source.clone(),
        figure: claim.figure.clone(),
        reason: String::new(),
    }
}

fn not_comparable(mut verdict: ClaimVerdict, reason: String) -> ClaimVerdict {
    verdict.outcome = ClaimOutcome::NotComparable;
    verdict.reason = reason;
    verdict
}

fn with_note(mut verdict: ClaimVerdict, claim: &Claim) -> ClaimVerdict {
    if !claim.note.is_empty() {
        verdict.reason = format!("{}; {}", verdict.reason, claim.note);
    }
    verdict
}

/// `low..=high` is our interval of the change.
fn decide(published: f64, low: f64, high: f64) -> (ClaimOutcome, String) {
    let holds_zero = low <= 0.0 && 0.0 <= high;
    let holds_published = low <= published && published <= high;
    // Seen from the published direction: how far our interval reaches.
    let (near, far) = if published >= 0.0 { (low, high) } else { (-high, -low) };
    let size = published.abs();
    if holds_published && holds_zero && published != 0.0 {
        return (ClaimOutcome::Undecided, "our interval includes both the published change and 0".to_owned());
    }
    if holds_published {
        return (ClaimOutcome::Reproduced, "our interval includes the published change".to_owned());
    }
    if near > size {
        return (ClaimOutcome::Exceeded, "our change is larger than the published one, in its direction".to_owned());
    }
    if near > 0.0 {
        return (ClaimOutcome::NotReproduced, "our change has the published direction, but is smaller".to_owned());
    }
    if far < 0.0 {
        return (ClaimOutcome::Contradicted, "our change has the other direction".to_owned());
    }
    (ClaimOutcome::NotReproduced, "our interval includes 0 and excludes the published change".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_from_the_interval() {
        use ClaimOutcome::{Contradicted, Exceeded, NotReproduced, Reproduced, Undecided};
        for (published, low, high, wanted) in [
            (0.35, 0.30, 0.40, Reproduced),
            (0.35, 0.80, 0.90, Exceeded),
            (0.35, 0.05, 0.10, NotReproduced),
            (0.35, -0.01, 0.01, NotReproduced),
            (0.06, -0.10, 0.10, Undecided),
            (0.35, -0.20, -0.10, Contradicted),
            (-0.27, -0.30, -0.20, Reproduced),
            (-0.27, -0.60, -0.50, Exceeded),
            (-0.27, -0.10, -0.05, NotReproduced),
            (-0.27, 0.05, 0.10, Contradicted),
            (0.0, -0.01, 0.01, Reproduced),
        ] {
            assert_eq!(decide(published, low, high).0, wanted, "{published} in [{low}, {high}]");
        }
    }

    /// A share has no machine: our interval inside the published range reproduces it, outside it does not.
    #[test]
    fn values_are_held_against_ranges() {
        let claim = |range: Option<[f64; 2]>| Claim {
            variant: "v".to_owned(),
            metric: "cpu_share".to_owned(),
            range,
            source: "a.md".to_owned(),
            ..Claim::default()
        };
        let own = |low: f64, high: f64| Estimate { median: (low + high) / 2.0, ci: Some([low, high]), n: 9 };
        for (low, high, wanted) in [
            (0.61, 0.69, ClaimOutcome::Reproduced),
            (0.30, 0.40, ClaimOutcome::NotReproduced),
            (0.55, 0.65, ClaimOutcome::Undecided),
        ] {
            assert_eq!(of_value(&claim(Some([0.6, 0.7])), Some(&own(low, high))).outcome, wanted);
        }
        assert_eq!(of_value(&claim(Some([0.6, 0.7])), None).outcome, ClaimOutcome::NotMeasured);
        assert_eq!(of_value(&claim(None), Some(&own(1.0, 2.0))).outcome, ClaimOutcome::NotComparable);
    }
}
