//! One sentence for each scenario.

use std::collections::BTreeMap;

use uplift_analysis::settings;
use uplift_model::{
    MetricClass, Verdicts,
    verdict::{MetricVerdict, ScenarioVerdict, SettingValue, Status, Verdict},
};

use crate::number::{Scale, change, change_with_interval};

/// The sentence that says what became of a scenario.
pub fn of_scenario(scenario: &ScenarioVerdict) -> String {
    let name = &scenario.name;
    let reason = scenario.reason.as_deref().unwrap_or("no reason was recorded");
    match scenario.status {
        Status::Skipped => return format!("{name}: skipped: {reason}"),
        Status::Failed => return format!("{name}: failed: {reason}"),
        Status::Incomparable => return format!("{name}: incomparable: {reason}"),
        Status::Compared => {}
    }
    let Some(primary) = scenario.primary() else {
        return format!("{name}: its primary metric was not measured");
    };
    let parting = primary.parting.as_ref().map_or_else(String::new, |parting| format!("; {parting}"));
    format!("{name}: {}{parting}", of_metric(primary, scenario.blocks))
}

fn of_metric(metric: &MetricVerdict, blocks: u32) -> String {
    let values = match (&metric.baseline, &metric.candidate) {
        (Some(a), Some(b)) => {
            let scale = Scale::of([a.median, b.median], metric.unit);
            format!("{} → {}", scale.show(a.median), scale.show(b.median))
        }
        _ => "not measured".to_owned(),
    };
    let size = match change_with_interval(metric.change, metric.ci, metric.class) {
        (Some(value), Some(ci)) => format!("{value} {ci}"),
        (Some(value), None) => value,
        _ => "no ratio".to_owned(),
    };
    let name = &metric.metric;
    match metric.verdict {
        Verdict::Improved => format!("{name} improved by {size} ({values}, {blocks} blocks)"),
        Verdict::Regressed => format!("{name} regressed by {size} ({values}, {blocks} blocks)"),
        Verdict::Unchanged => format!("{name} unchanged: {size} ({values}, {blocks} blocks)"),
        Verdict::Inconclusive => {
            format!("{name} inconclusive: {size} ({values}, {blocks} blocks): {}", metric.reason)
        }
        Verdict::Incomparable => format!("{name}: {} {size} ({values}, {blocks} blocks)", metric.reason),
    }
}

/// What the comparison changes on purpose, where that is more than one thing: its effect is then that of all together.
/// `None` where a single setting was asked for differently, or none.
pub fn changed_together(scenario: &ScenarioVerdict) -> Option<String> {
    let changed = settings::changed_on_purpose(&scenario.settings);
    if changed.len() < 2 {
        return None;
    }
    let text = |value: &SettingValue| value.effective.clone().unwrap_or_else(|| "not set".to_owned());
    let words = changed.iter().map(|row| format!("`{}` {} → {}", row.key, text(&row.baseline), text(&row.candidate)));
    Some(format!(
        "{} settings are changed together, and the effect is that of all of them: {}",
        changed.len(),
        words.collect::<Vec<_>>().join(", ")
    ))
}

/// The geometric mean of the changes of each primary metric over the scenarios that have it, where there are several.
/// It describes: no verdict hangs on it, since scenarios are no sample of anything. Gains that were bought with durability
/// are left out.
pub fn geomeans(verdicts: &Verdicts) -> Vec<String> {
    let mut changes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let compared = verdicts.scenarios.iter().filter(|scenario| scenario.status == Status::Compared);
    let comparable = |metric: &&MetricVerdict| metric.verdict != Verdict::Incomparable;
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for metric in compared.filter_map(ScenarioVerdict::primary).filter(comparable) {
        if metric.verdict == Verdict::Inconclusive {
            *open.entry(&metric.metric).or_default() += 1;
        }
        // Proportions change by differences, which have no geometric mean.
        if let (Some(change), false) = (metric.change, metric.class == MetricClass::Proportion) {
            changes.entry(&metric.metric).or_default().push(change.ln_1p());
        }
    }
    changes
        .into_iter()
        .filter(|(_, logs)| logs.len() > 1)
        .map(|(metric, logs)| {
            // Without those that are not decided it would be a mean of what is decided, which is what is large.
            if let Some(open) = open.get(metric) {
                return format!("no geomean of {metric}: {open} of {} scenarios are inconclusive", logs.len());
            }
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp_m1();
            format!("geomean of {metric} over {} scenarios: {}", logs.len(), change(mean, MetricClass::Time))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice as fast here and half as fast there is no change.
    #[test]
    fn a_geometric_mean_treats_both_directions_alike() {
        let text = include_str!("../tests/snapshots/snapshots__slower-verdicts.snap");
        let json = text.splitn(3, "---").nth(2).unwrap();
        let mut verdicts: Verdicts = serde_json::from_str(json).unwrap();
        assert!(geomeans(&verdicts).is_empty(), "one scenario has no mean");
        let mut other = verdicts.scenarios[0].clone();
        other.name = "reference/other".to_owned();
        verdicts.scenarios.push(other);
        for (scenario, change) in verdicts.scenarios.iter_mut().zip([1.0, -0.5]) {
            scenario.metrics[0].change = Some(change);
            scenario.metrics[0].verdict = if change > 0.0 { Verdict::Improved } else { Verdict::Regressed };
        }
        assert_eq!(geomeans(&verdicts), ["geomean of throughput over 2 scenarios: +0.0 %"]);
        let mut open = verdicts.clone();
        open.scenarios[1].metrics[0].verdict = Verdict::Inconclusive;
        assert_eq!(geomeans(&open), ["no geomean of throughput: 1 of 2 scenarios are inconclusive"]);
        let mut bought = verdicts.scenarios[0].clone();
        bought.metrics[0].verdict = Verdict::Incomparable;
        bought.metrics[0].change = Some(99.0);
        verdicts.scenarios.push(bought);
        assert_eq!(geomeans(&verdicts), ["geomean of throughput over 2 scenarios: +0.0 %"], "bought with durability");
    }
}
