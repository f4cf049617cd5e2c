//! A metric over many runs: table, plot, JSON.

use serde_json::{Value, json};
use uplift_analysis::{change_points::ChangePoint, history::Trend};
use uplift_model::{Better, MetricClass, Unit};

use super::{calibration::trend_axis, place};
use crate::{
    document::{Cell, Column, Section, Table, Text, arrow},
    number::{change, range, with_unit},
    plots::{
        Plot,
        chart::{Axis, Chart, Mark, Series},
    },
};

/// The runs with their values, and a line at each change of level.
pub fn section(trend: &Trend<'_>, scenario: &str, variant: &str, metric: &str) -> Section {
    let title = format!("{scenario}, `{variant}`: {metric}");
    let mut section = Section::new(place(scenario, &format!("history-{variant}-{metric}")), title).brief();
    let Some((_, newest)) = trend.runs.last() else { return section };
    let columns = vec![
        Column::words("run"),
        Column::words("revision"),
        Column::figures(format!("median{}", arrow(newest.better))),
        Column::figures("95 % interval").dispensable(2),
        Column::figures("n").dispensable(3),
    ];
    let mut table = Table::new(format!("{metric} of {variant}: {scenario}"), columns).brief();
    for (index, (entry, value)) in trend.runs.iter().enumerate() {
        if let Some(point) = trend.changes.iter().find(|point| point.index == index) {
            let by = step(point, newest.class).map_or_else(String::new, |step| format!(" by {step}"));
            let cells = vec![
                Text::strong(word(point, newest.better)).into(),
                format!("level changes{by}").into(),
                Cell::Figure(format!(
                    "{} → {}",
                    with_unit(point.before, newest.unit),
                    with_unit(point.after, newest.unit)
                )),
                Cell::Figure(format!("p = {:.3}", point.p)),
                Cell::Figure(String::new()),
            ];
            table.row(cells);
        }
        let revision = entry.revision.as_deref().map_or("–", |revision| revision.get(..10).unwrap_or(revision));
        let dirty = if entry.dirty == Some(true) { "+" } else { "" };
        table.row(vec![
            Text::plain(&entry.run).into(),
            Text::plain(format!("{revision}{dirty}")).into(),
            Cell::Figure(with_unit(value.median, value.unit)),
            Cell::figure(value.ci.map(|ends| range(ends, value.unit))),
            Cell::Figure(value.n.to_string()),
        ]);
    }
    section.table(table);
    section
        .prose(format!(
            "{}, {} (E-divisive, 1 %).{}",
            counted(trend.runs.len(), "run", "runs"),
            counted(trend.changes.len(), "change of level", "changes of level"),
            trend.left_out.iter().map(|left| format!(" Left out: {left}.")).collect::<String>()
        ))
        .brief();
    section
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How far the level moved; `None` where it was 0 before and has no ratio.
fn step(point: &ChangePoint, class: MetricClass) -> Option<String> {
    match class {
        MetricClass::Proportion => Some(change(point.after - point.before, class)),
        _ => (point.before != 0.0).then(|| change(point.after / point.before - 1.0, class)),
    }
}

fn word(point: &ChangePoint, better: Better) -> &'static str {
    match (better, point.after > point.before) {
        (Better::Higher, true) | (Better::Lower, false) => "better",
        (Better::Higher, false) | (Better::Lower, true) => "worse",
        (Better::Neither, _) => "other",
    }
}

/// One object for each run.
pub fn json(trend: &Trend<'_>, variant: &str, metric: &str) -> Vec<Value> {
    trend
        .runs
        .iter()
        .enumerate()
        .map(|(index, (entry, value))| {
            let changed = trend.changes.iter().find(|point| point.index == index);
            json!({
                "run": entry.run, "started_unix_s": entry.started_unix_s, "revision": entry.revision,
                "scenario": entry.scenario, "variant": variant, "metric": metric, "unit": value.unit,
                "median": value.median, "ci": value.ci, "n": value.n,
                "change_point": changed.map(|point| json!({ "p": point.p, "before": point.before, "after": point.after })),
            })
        })
        .collect()
}

/// Medians with their intervals, a vertical line at each change; `None` of fewer than two runs.
pub fn plot(trend: &Trend<'_>, scenario: &str, variant: &str, metric: &str) -> Option<Plot> {
    let (_, newest) = trend.runs.last()?;
    if trend.runs.len() < 2 {
        return None;
    }
    let points: Vec<(f64, f64)> =
        trend.runs.iter().enumerate().map(|(index, (_, value))| (index as f64, value.median)).collect();
    let band: Vec<(f64, f64, f64)> = trend
        .runs
        .iter()
        .enumerate()
        .map(|(index, (_, value))| {
            let [low, high] = value.ci.unwrap_or([value.median; 2]);
            (index as f64, low, high)
        })
        .collect();
    let low = band.iter().map(|(_, low, _)| *low).fold(f64::INFINITY, f64::min);
    let high = band.iter().map(|(_, _, high)| *high).fold(f64::NEG_INFINITY, f64::max);
    let direction = match newest.better {
        Better::Higher => "↑ higher is better",
        Better::Lower => "↓ lower is better",
        Better::Neither => "neither direction is better",
    };
    let unit: Unit = newest.unit;
    let last = trend.runs.len() - 1;
    let day = |index: usize| trend.runs[index].0.run.split('T').next().unwrap_or_default().to_owned();
    let chart = Chart {
        title: format!("{metric} of {scenario}, {variant}"),
        x: Axis {
            label: "runs in the order of time, by date".to_owned(),
            range: (-0.5, last as f64 + 0.5),
            ticks: [0, last / 2, last].into_iter().map(|index| (index as f64, day(index))).collect(),
        },
        y: trend_axis(format!("{metric}, median and 95 % interval · {direction}"), low, high, |value| {
            with_unit(value, unit)
        }),
        series: vec![Series { name: variant.to_owned(), place: 0, points, band, marked: trend.runs.len() <= 40 }],
        lanes: Vec::new(),
        marks: trend
            .changes
            .iter()
            .map(|point| Mark { x: point.index as f64 - 0.5, word: step(point, newest.class).unwrap_or_default() })
            .collect(),
    };
    let description = format!(
        "{metric} of {variant} over {} runs; {}.",
        last + 1,
        counted(trend.changes.len(), "change of level", "changes of level")
    );
    Some(Plot::of_parts(&[scenario, variant, metric, "trend"], chart.draw(), description))
}
