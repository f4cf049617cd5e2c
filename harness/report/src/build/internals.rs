//! What happened inside the system: its stages, its counters over the turns, its own distributions.

use std::collections::BTreeMap;

use uplift_analysis::estimate::median;
use uplift_model::{Histogram, Unit};

use super::{place, scene::Scene};
use crate::{
    document::{Cell, Column, Record, Section, Table, Text},
    number::{Scale, count, nanoseconds},
};

fn columns(figures: &[&str]) -> Vec<Column> {
    let mut columns = vec![Column::words("what"), Column::words("variant")];
    columns.extend(figures.iter().copied().map(Column::figures));
    columns
}

/// How the target's ratios (a queue's depth, records for each batch) went over the turns of the trials: medians of the
/// four quarters.
pub fn ratios(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "turns"), "Over the turns").folded();
    let mut table =
        Table::new(format!("Over the turns: {name}"), columns(&["first quarter", "second", "third", "last"]));
    for (variant, trials) in &scene.variants {
        let mut quarters: BTreeMap<&str, [Vec<f64>; 4]> = BTreeMap::new();
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let kept = measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]);
            for (position, turn) in kept.iter().enumerate() {
                for (name, value) in &turn.ratios {
                    quarters.entry(name).or_default()[4 * position / kept.len()].push(*value);
                }
            }
        }
        for (ratio, quarters) in quarters {
            let declared = scene.planned.metrics.iter().find(|metric| metric.spec.name == ratio);
            let unit = declared.map_or(Unit::Count, |metric| metric.spec.unit);
            let medians = quarters.each_ref().map(|values| median(values));
            let scale = Scale::of(medians.iter().flatten().copied(), unit);
            let figures = medians.map(|median| Cell::figure(median.map(|median| scale.show(median))));
            let names = [Text::plain(ratio).into(), Text::plain(*variant).into()];
            table.row(names.into_iter().chain(figures).collect()).record(Record::scenario(name));
        }
    }
    table.legend("Medians over the turns of all trials; each turn is in `trials.jsonl`.");
    section.table(table);
    section
}

/// Distributions are times unless their name says that they count records.
fn is_count(name: &str) -> bool {
    name.ends_with("_records")
}

/// What the system recorded itself.
pub fn distributions(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "inside"), "Inside the system").folded();
    let mut table = Table::new(format!("Inside the system: {name}"), columns(&["count", "p50", "p95", "p99", "max"]));
    for (variant, trials) in &scene.variants {
        let mut merged: BTreeMap<&str, Histogram> = BTreeMap::new();
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            for (name, histogram) in &measured.distributions {
                merged.entry(name).or_default().merge(histogram);
            }
        }
        for (what, histogram) in merged {
            let written = |value: u64| if is_count(what) { count(value) } else { nanoseconds(value) };
            let at = |q: f64| Cell::figure(histogram.quantile(q).map(written));
            let cells = vec![
                Text::plain(what).into(),
                Text::plain(*variant).into(),
                Cell::Figure(count(histogram.count())),
                at(0.5),
                at(0.95),
                at(0.99),
                Cell::figure(histogram.max().map(written)),
            ];
            table.row(cells).record(Record::scenario(name));
        }
    }
    table.legend("Recorded by the system itself over whole trials, warm-up included.");
    section.table(table);
    section
}
