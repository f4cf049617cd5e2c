//! The metrics of a scenario: what a reader asks for first, then everything by group.

use uplift_analysis::{estimate::median, metrics};
use uplift_model::{
    MetricClass, MetricSpec,
    registry::{MetricGroup, Shown, placement},
    verdict::{MetricVerdict, ScenarioVerdict, Status, Verdict},
};

use super::{
    place,
    scene::{Scene, variants},
};
use crate::{
    document::{Cell, Change, Column, Extent, Measured, Record, Section, Table, Text},
    number::{Scale, p_value},
};

/// Metrics whose absence is said with its reason, since people look for them.
const MISSED: [&str; 3] = ["instructions", "peak_memory", "syncs_per_op"];

/// Whether a metric belongs into the short table.
pub fn shown_by_default(metric: &MetricVerdict) -> bool {
    metric.primary
        || match placement(&metric.metric).shown {
            Shown::First => true,
            Shown::IfChanged => metric.class != MetricClass::Info && is_decided(metric),
            Shown::Detail => false,
        }
}

const fn is_decided(metric: &MetricVerdict) -> bool {
    matches!(metric.verdict, Verdict::Improved | Verdict::Regressed)
}

/// Whether a metric is left out beside the time of a run. Counters that changed are worth a row even so.
fn repeats_run_time(metric: &MetricVerdict) -> bool {
    let counted = matches!(metric.class, MetricClass::Counter | MetricClass::Proportion) && is_decided(metric);
    placement(&metric.metric).repeats_run_time && !counted
}

fn columns(baseline: &str, candidate: &str) -> Vec<Column> {
    vec![
        Column::words("metric"),
        Column::figures(baseline),
        Column::figures(candidate),
        Column::figures("change"),
        Column::figures("interval").dispensable(1),
        Column::figures("p").dispensable(3),
        Column::figures("MDE").dispensable(5),
        Column::figures("n").dispensable(4),
        Column::words("verdict"),
    ]
}

fn row(table: &mut Table, metric: &MetricVerdict, scenario: &str, extent: Extent) {
    let scale = Scale::of_estimates([&metric.baseline, &metric.candidate].into_iter().flatten(), metric.unit);
    let change = Change::of(metric);
    let p = match metric.p {
        Some(p) if metric.class != MetricClass::Info => Cell::Figure(p_value(p)),
        None if metric.class != MetricClass::Info => Cell::Missing,
        _ => Cell::None,
    };
    let cells = vec![
        Cell::metric(metric),
        Cell::estimate(metric.baseline.as_ref(), metric.unit, scale),
        Cell::estimate(metric.candidate.as_ref(), metric.unit, scale),
        Cell::Change(change),
        Cell::Interval(change),
        p,
        Cell::detectable(metric),
        Cell::Figure(metric.baseline.as_ref().map_or(0, |estimate| estimate.n).to_string()),
        Cell::verdict(metric),
    ];
    table.row(cells).record(Record::metric(scenario, &metric.metric)).strong(metric.primary).extent(extent);
}

/// What was compared: the short table, the rest by group, and why each verdict is what it is.
pub fn compared(verdict: &ScenarioVerdict, baseline: &str, candidate: &str) -> Section {
    let name = &verdict.name;
    let mut section = Section::new(place(name, "comparison"), "Detailed comparison").untitled().brief();
    let of_runs = verdict.metrics.iter().any(|metric| metric.metric == "run_time");
    let is_first = |metric: &&MetricVerdict| {
        metric.primary || (shown_by_default(metric) && !(of_runs && repeats_run_time(metric)))
    };
    let has_value = |metric: &MetricVerdict| metric.baseline.is_some() || metric.candidate.is_some();
    let mut first = Table::new(format!("Comparison: {name}"), columns(baseline, candidate)).brief();
    for metric in verdict.metrics.iter().filter(is_first) {
        // What is not available is not worth a row unless it was to decide.
        if has_value(metric) || metric.primary {
            row(&mut first, metric, name, Extent::Brief);
        }
    }
    first.legend(
        "Values are medians over blocks with their 95 % interval; the change is the paired estimate with its corrected interval; p is before correction; MDE is the smallest change that this many blocks would have found 8 times in 10. ↑ more is better, ↓ less is better, – described and not judged.",
    );
    section.table(first);
    absences(verdict, of_runs, &mut section);
    for group in MetricGroup::ALL {
        let mut table = Table::new(format!("{}: {name}", group.title()), columns(baseline, candidate)).detailed();
        let mut rest: Vec<&MetricVerdict> = verdict
            .metrics
            .iter()
            .filter(|metric| placement(&metric.metric).group == group && !is_first(metric))
            .collect();
        // What is only described stands last.
        rest.sort_by_key(|metric| metric.class == MetricClass::Info);
        let count = rest.len();
        for metric in rest {
            row(&mut table, metric, name, Extent::Brief);
        }
        let title = format!("{}: {count} more", group.title());
        let id = place(name, &format!("group-{}", group.title().to_lowercase().replace([' ', '/', '\''], "-")));
        let mut part = Section::new(id, title).detailed().folded();
        part.table(table);
        section.part(part);
    }
    if verdict.status == Status::Compared {
        let mut reasons = Section::new(place(name, "reasons"), "Why each verdict").folded();
        for metric in verdict.metrics.iter().filter(|metric| metric.class != MetricClass::Info) {
            let head = Text::code(&metric.metric).then(format!(": {}: ", metric.verdict.word()));
            reasons.item(head.then(&metric.reason));
        }
        section.part(reasons);
    }
    section
}

/// Why metrics are not available, each reason once.
fn absences(verdict: &ScenarioVerdict, of_runs: bool, section: &mut Section) {
    // What people look for is said apart, and on terminals too.
    let mut reasons: Vec<(bool, &str, Vec<&str>)> = Vec::new();
    for metric in &verdict.metrics {
        let Some(reason) = metric.reason.strip_prefix("not available: ") else { continue };
        let missed = of_runs && MISSED.contains(&metric.metric.as_str());
        match reasons.iter_mut().find(|(other, known, _)| *other == missed && *known == reason) {
            Some((.., names)) => names.push(&metric.metric),
            None => reasons.push((missed, reason, vec![&metric.metric])),
        }
    }
    for (missed, reason, names) in reasons {
        let note = section.item(format!("n/a: {}: {reason}", names.join(", ")));
        note.extent = if missed { Extent::Brief } else { Extent::Detailed };
    }
}

/// What a run without a comparison measured: one row for each metric, one column for each variant.
pub fn described(scene: &Scene<'_>) -> Section {
    let planned = scene.planned;
    let name = &planned.scenario.name;
    let mut section = Section::new(place(name, "measurements"), "Measurements").untitled().brief();
    // Every metric of every trial, computed once.
    let values: Vec<Vec<Vec<metrics::Value>>> = scene
        .variants
        .iter()
        .map(|(_, trials)| trials.iter().map(|trial| metrics::of_trial(trial, planned)).collect())
        .collect();
    let mut specs: Vec<&MetricSpec> = Vec::new();
    for value in values.iter().flatten().flatten() {
        if !specs.iter().any(|spec| spec.name == value.spec.name) {
            specs.push(&value.spec);
        }
    }
    let mut columns = vec![Column::words("metric")];
    columns.extend(variants(planned).into_iter().map(Column::figures));
    let mut table = Table::new(format!("Measurements: {name}"), columns).brief();
    for spec in specs {
        let medians: Vec<Option<f64>> = values
            .iter()
            .map(|trials| {
                let own = trials.iter().filter_map(|values| values.iter().find(|value| value.spec.name == spec.name));
                median(&own.filter_map(|value| value.value.as_ref().ok().copied()).collect::<Vec<f64>>())
            })
            .collect();
        if medians.iter().all(Option::is_none) {
            continue;
        }
        let primary = spec.name == planned.scenario.primary;
        let mut cells = vec![Cell::Metric { name: spec.name.to_string(), better: spec.better, primary }];
        cells.extend(medians.into_iter().map(|median| {
            median.map_or(Cell::Missing, |value| {
                Cell::Value(Measured::new(value, None, spec.unit, Scale::of([value], spec.unit)))
            })
        }));
        let first = spec.class != MetricClass::Info || placement(&spec.name).shown == Shown::First;
        let extent = if first || spec.name == "rss_peak" { Extent::Brief } else { Extent::Detailed };
        table.row(cells).record(Record::metric(name, &spec.name)).extent(extent);
    }
    if table.rows.is_empty() {
        section.prose("Nothing was measured.").brief();
    }
    table.legend("Medians over trials.");
    section.table(table);
    section
}
