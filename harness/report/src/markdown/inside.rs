//! What happened inside the system: its stages, its counters over the turns, its own distributions.

use std::collections::BTreeMap;

use uplift_analysis::estimate::median;
use uplift_model::{Histogram, run::PlannedScenario};

use super::{header, of_variant, row, variants};
use crate::{
    ReportInput,
    number::{count, nanoseconds, significant},
};

pub fn stage_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let mut stages: BTreeMap<(Option<&str>, &str), (u64, u64, u64)> = BTreeMap::new();
        let mut wall_ns = 0;
        for trial in &trials {
            let Some(measured) = &trial.measured else { continue };
            if measured.stages.is_empty() {
                continue;
            }
            // Stage clocks run from the first measured turn, dropped ones included.
            wall_ns += measured.turns.iter().map(|turn| turn.wall_ns).sum::<u64>();
            for stage in &measured.stages {
                let entry = stages.entry((stage.worker.as_deref(), &stage.stage)).or_default();
                entry.0 += stage.process_ns;
                entry.1 += stage.wait_ns;
                entry.2 += stage.count;
            }
        }
        if wall_ns == 0 {
            continue;
        }
        let share = |ns: u64| format!("{:.1} %", ns as f64 / wall_ns as f64 * 100.0);
        let mut by_worker: BTreeMap<Option<&str>, u64> = BTreeMap::new();
        for ((worker, stage), (process, wait, spans)) in &stages {
            *by_worker.entry(*worker).or_default() += process + wait;
            rows.push(vec![
                (*stage).to_owned(),
                worker.unwrap_or("–").to_owned(),
                variant.to_owned(),
                nanoseconds(*process),
                nanoseconds(*wait),
                share(process + wait),
                count(*spans),
            ]);
        }
        for (worker, accounted) in by_worker {
            let rest = wall_ns.saturating_sub(accounted);
            rows.push(vec![
                "*unaccounted*".to_owned(),
                worker.unwrap_or("–").to_owned(),
                variant.to_owned(),
                nanoseconds(rest),
                "–".to_owned(),
                share(rest),
                "–".to_owned(),
            ]);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Where the time went\n\n");
    header(&["stage", "worker", "variant", "at work", "waiting", "share of wall", "spans"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nFor each worker the stages and the unaccounted rest add up to the wall time.\n\n");
}

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
            cells.extend(quarters.iter().map(|values| median(values).map_or_else(|| "n/a".to_owned(), significant)));
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
