//! Published figures against ours.

use uplift_model::{
    Tier,
    scenario::Claim,
    verdict::{ClaimOutcome, ClaimVerdict, MetricVerdict},
};

/// What becomes of `claim`, given the verdicts of the pair that was compared.
pub fn outcome(claim: &Claim, baseline: &str, candidate: &str, metrics: &[MetricVerdict]) -> ClaimVerdict {
    let published = claim.published_change();
    let mut verdict = ClaimVerdict {
        metric: claim.metric.clone(),
        variant: claim.variant.clone(),
        published,
        published_baseline: claim.baseline,
        published_candidate: claim.candidate,
        measured: None,
        ci: None,
        outcome: ClaimOutcome::NotMeasured,
        source: claim.source.clone(),
        reason: String::new(),
    };
    let about_pair = claim.variant == candidate && claim.against.as_deref().is_none_or(|against| against == baseline);
    if !about_pair {
        verdict.reason = format!(
            "it is about `{}`{}, which this comparison did not run",
            claim.variant,
            claim.against.as_ref().map_or_else(String::new, |against| format!(" against `{against}`"))
        );
        return verdict;
    }
    let Some(metric) = metrics.iter().find(|metric| metric.metric == claim.metric) else {
        verdict.reason = format!("`{}` was not measured", claim.metric);
        return verdict;
    };
    verdict.measured = metric.change;
    verdict.ci = metric.ci;
    if metric.tier == Tier::Proportion
        && let (Some(baseline), Some(candidate)) = (claim.baseline, claim.candidate)
    {
        // Proportions change by differences.
        verdict.published = Some(candidate - baseline);
    }
    let published = verdict.published;
    let (Some(published), Some([low, high])) = (published, metric.ci) else {
        verdict.outcome = if published.is_none() { ClaimOutcome::NotMeasured } else { ClaimOutcome::Undecided };
        verdict.reason = match published {
            None => "only a value was published, and values of another machine are not compared".to_owned(),
            Some(_) => format!("there is no interval: {}", metric.reason),
        };
        return verdict;
    };
    (verdict.outcome, verdict.reason) = decide(published, low, high);
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
        return (ClaimOutcome::Undecided, "our interval holds both the published change and none at all".to_owned());
    }
    if holds_published {
        return (ClaimOutcome::Reproduced, "our interval holds the published change".to_owned());
    }
    if near > size {
        return (ClaimOutcome::Reproduced, "our change is larger than the published one, in its direction".to_owned());
    }
    if near > 0.0 {
        return (ClaimOutcome::NotReproduced, "our change has the published direction, but is smaller".to_owned());
    }
    if far < 0.0 {
        return (ClaimOutcome::Contradicted, "our change has the other direction".to_owned());
    }
    (ClaimOutcome::NotReproduced, "our interval holds no change and excludes the published one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_from_the_interval() {
        use ClaimOutcome::{Contradicted, NotReproduced, Reproduced, Undecided};
        for (published, low, high, wanted) in [
            (0.35, 0.30, 0.40, Reproduced),
            (0.35, 0.80, 0.90, Reproduced),
            (0.35, 0.05, 0.10, NotReproduced),
            (0.35, -0.01, 0.01, NotReproduced),
            (0.06, -0.10, 0.10, Undecided),
            (0.35, -0.20, -0.10, Contradicted),
            (-0.27, -0.30, -0.20, Reproduced),
            (-0.27, -0.60, -0.50, Reproduced),
            (-0.27, -0.10, -0.05, NotReproduced),
            (-0.27, 0.05, 0.10, Contradicted),
            (0.0, -0.01, 0.01, Reproduced),
        ] {
            assert_eq!(decide(published, low, high).0, wanted, "{published} in [{low}, {high}]");
        }
    }
}
