//! One sentence for each scenario.

use uplift_model::verdict::{MetricVerdict, Parity, ScenarioVerdict, Status, Verdict};

use crate::number::{change, change_interval, with_unit};

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
    format!("{name}: {}", of_metric(primary, scenario.blocks))
}

fn of_metric(metric: &MetricVerdict, blocks: u32) -> String {
    let values = match (&metric.baseline, &metric.candidate) {
        (Some(a), Some(b)) => {
            format!("{} → {}", with_unit(a.median, metric.unit), with_unit(b.median, metric.unit))
        }
        _ => "not measured".to_owned(),
    };
    let size = match (metric.change, metric.ci) {
        (Some(value), Some(ci)) => format!("{} {}", change(value, metric.tier), change_interval(ci, metric.tier)),
        (Some(value), None) => change(value, metric.tier),
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

/// What must be said loudly about a scenario, most important first.
pub fn warnings(scenario: &ScenarioVerdict) -> Vec<String> {
    let mut warnings = Vec::new();
    if scenario.durability == Parity::Weaker {
        warnings.push(format!(
            "durability is weaker: {}; a gain bought with durability is not an improvement",
            scenario.durability_reason.as_deref().unwrap_or("the candidate's acknowledged writes survive less")
        ));
    }
    for row in &scenario.settings {
        for (who, value) in [("baseline", &row.baseline), ("candidate", &row.candidate)] {
            if let (true, Some(asked), Some(got)) = (value.is_ignored(), &value.requested, &value.effective) {
                warnings.push(format!("setting `{}` of the {who}: asked for `{asked}`, in force is `{got}`", row.key));
            }
        }
    }
    for expectation in scenario.expectations.iter().filter(|expectation| !expectation.held) {
        let value = expectation.value.map_or_else(|| "not available".to_owned(), |value| format!("{value:.4}"));
        warnings.push(format!(
            "expectation not held by `{}`: {} {} (measured {value})",
            expectation.variant, expectation.metric, expectation.rule
        ));
    }
    warnings
}
