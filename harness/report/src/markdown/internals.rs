//! What happened inside the system: its stages, its counters over the turns, its own distributions.

use std::collections::BTreeMap;

use uplift_analysis::estimate::median;
use uplift_model::{Histogram, Unit, run::PlannedScenario};

use super::{header, of_variant, row, variants};
use crate::{
    ReportInput,
    number::{Scale, count, nanoseconds},
};

/// How the target's ratios (a queue's depth, records for each batch) went over the turns of the trials: medians of the
/// four quarters.
pub fn ratios_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let mut quarters: BTreeMap<&str, [Vec<f64>; 4]> = BTreeMap::new();
        let trials = of_variant(input, planned, variant);
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let kept = measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]);
            for (position, turn) in kept.iter().enumerate() {
                for (name, value) in &turn.ratios {
                    quarters.entry(name).or_default()[4 * position / kept.len()].push(*value);
                }
            }
        }
        for (name, quarters) in quarters {
            let mut cells = vec![name.to_owned(), variant.to_owned()];
            let unit = planned
                .metrics
                .iter()
                .find(|metric| metric.spec.name == name)
                .map_or(Unit::Count, |metric| metric.spec.unit);
            let medians = quarters.each_ref().map(|values| median(values));
            let scale = Scale::of(medians.iter().flatten().copied(), unit);
            cells.extend(medians.map(|median| median.map_or_else(|| "n/a".to_owned(), |median| scale.show(median))));
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Over the turns\n\n");
    header(&["what", "variant", "first quarter", "second", "third", "last"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nMedians over the turns of all trials; each turn is in `trials.jsonl`.\n\n");
}

/// Distributions are times unless their name says that they count records.
fn is_count(name: &str) -> bool {
    name.ends_with("_records")
}

pub fn distributions_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let mut merged: BTreeMap<&str, Histogram> = BTreeMap::new();
        let trials = of_variant(input, planned, variant);
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            for (name, histogram) in &measured.distributions {
                merged.entry(name).or_default().merge(histogram);
            }
        }
        for (name, histogram) in merged {
            let written = |value: u64| if is_count(name) { count(value) } else { nanoseconds(value) };
            let at = |q: f64| histogram.quantile(q).map_or_else(|| "n/a".to_owned(), written);
            rows.push(vec![
                name.to_owned(),
                variant.to_owned(),
                count(histogram.count()),
                at(0.5),
                at(0.95),
                at(0.99),
                histogram.max().map_or_else(|| "n/a".to_owned(), written),
            ]);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Inside the system\n\n");
    header(&["what", "variant", "count", "p50", "p95", "p99", "max"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nRecorded by the system itself over whole trials, warm-up included.\n\n");
}
