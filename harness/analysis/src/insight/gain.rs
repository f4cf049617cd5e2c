//! Why the gain is not larger, what it cost, and what would be next: bounds by Amdahl's law over the stages of the worker
//! that everything goes through.

use uplift_model::{
    MetricClass,
    verdict::{MetricVerdict, ScenarioVerdict, Verdict},
};

use super::{
    Insight, Topic,
    figures::{percent, short},
    side::{Side, Worker},
};

/// A worker that is busy for less of its time does not bound what goes through it.
const BOUNDS_FROM: f64 = 0.6;
/// A bound above this says nothing: hardly anything else would be left.
const BOUND_MAX: f64 = 20.0;
/// So many of what got worse are named.
const WORSE_MAX: usize = 3;

/// The worker that bounds the throughput of a variant.
fn bounding<'a>(side: &'a Side<'_>) -> Option<&'a Worker> {
    side.busiest().map(|(first, _)| first).filter(|first| first.clocks == 1 && first.busy >= BOUNDS_FROM)
}

/// What the part that changed could have brought at most, where the same worker bounds both variants.
pub fn not_larger(verdict: &ScenarioVerdict, baseline: &Side<'_>, candidate: &Side<'_>) -> Option<Insight> {
    let primary = verdict.primary().filter(|primary| primary.verdict == Verdict::Improved)?;
    let before = bounding(baseline)?;
    let after = candidate.workers.iter().find(|worker| worker.name == before.name)?;
    let each = |side: &Side<'_>, share: f64| share / side.rate;
    // The stage that lost most time for each operation.
    let (stage, share, saved) = before
        .stages
        .iter()
        .map(|(stage, share)| {
            let left = after.stages.iter().find(|(name, _)| name == stage).map_or(0.0, |(_, left)| *left);
            (stage, *share, each(baseline, *share) - each(candidate, left))
        })
        .max_by(|a, b| a.2.total_cmp(&b.2))?;
    // The worker could at most be busy all of its time.
    let bound = 1.0 / (before.busy - share).max(1e-9);
    if saved <= 0.0 || bound > BOUND_MAX {
        return None;
    }
    let gained = primary.change? + 1.0;
    let text = format!(
        "why not more: `{stage}` was {} of the work of `{}` in `{}`, so without it at most ×{} was possible; measured ×{}",
        percent(share / before.busy),
        before.name,
        baseline.name,
        short(bound),
        short(gained)
    );
    (primary.metric == "throughput" && gained <= bound * 1.1).then(|| Insight::new(Topic::Gain, 0.6, text, None))
}

/// What got worse while the metric that decides did not.
pub fn worse(verdict: &ScenarioVerdict) -> Option<Insight> {
    let primary = verdict.primary()?;
    if !matches!(primary.verdict, Verdict::Improved | Verdict::Unchanged) {
        return None;
    }
    let mut worse: Vec<&MetricVerdict> = verdict
        .metrics
        .iter()
        .filter(|metric| !metric.primary && metric.class != MetricClass::Info && metric.verdict == Verdict::Regressed)
        .collect();
    let size = |metric: &MetricVerdict| metric.change.map_or(0.0, |change| change.max(-0.999_999).ln_1p().abs());
    worse.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let more = worse.len().saturating_sub(WORSE_MAX);
    let first = worse.first()?.metric.clone();
    let words: Vec<String> = worse
        .iter()
        .take(WORSE_MAX)
        .filter_map(|metric| {
            let change = metric.change?;
            let size =
                if change >= 1.0 { format!("×{}", short(1.0 + change)) } else { format!("{:+.1} %", change * 100.0) };
            Some(format!("{} {size}", metric.metric))
        })
        .collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let text = format!("what got worse: {}{more}", words.join(", "));
    Some(Insight::new(Topic::Worse, 0.7, text, Some(&first)))
}

/// The largest stage of the worker that bounds a variant, and what it could bring at most.
pub fn next(side: &Side<'_>) -> Option<Insight> {
    let worker = bounding(side)?;
    let (stage, share) = worker.stages.first()?;
    let bound = 1.0 / (worker.busy - share).max(1e-9);
    // Beyond the others nothing is gained: the next busiest worker is then the limit.
    let next = side.workers.get(1).filter(|next| next.busy > 0.0);
    let limit = next.map_or(f64::INFINITY, |next| 1.0 / next.busy);
    let (at_most, why) = match next {
        Some(next) if limit < bound => (limit, format!("`{}` limits then", next.name)),
        _ => (bound, "nothing else changes".to_owned()),
    };
    (at_most <= BOUND_MAX && at_most > 1.05).then(|| {
        let text = format!(
            "next for `{}`: `{stage}` is {} of the work of `{}`; without it at most ×{}, where {why}",
            side.name,
            percent(share / worker.busy),
            worker.name,
            short(at_most)
        );
        Insight::new(Topic::Next, 0.5, text, None)
    })
}
