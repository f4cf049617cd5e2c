//! A metric over many runs: table, plot, JSON.

use serde_json::{Value, json};
use uplift_analysis::{
    change_points::ChangePoint,
    history::{RUNS_SEARCHED_MAX, Trend},
};
use uplift_model::{Better, MetricClass, Unit, history::HistoryPoint};

use super::{calibration::trend_axis, place};
use crate::{
    document::{Cell, Column, Section, Table, Text, arrow},
    number::{change, range, with_unit},
    plots::{
        Plot,
        chart::{Axis, Chart, Mark, Series},
    },
};

/// The runs that a table and a plot show: the newest, among which changes of level were looked for. More are no reading.
fn shown(trend: &Trend) -> impl Iterator<Item = (usize, &HistoryPoint)> + Clone {
    let skipped = trend.runs.len().saturating_sub(RUNS_SEARCHED_MAX);
    trend.runs.iter().enumerate().skip(skipped)
}

/// The runs with their values, and a line at each change of level.
pub fn section(trend: &Trend, scenario: &str, variant: &str, metric: &str) -> Section {
    let title = format!("{scenario}, `{variant}`: {metric}");
    let mut section = Section::new(place(scenario, &format!("history-{variant}-{metric}")), title).brief();
    let Some(newest) = trend.runs.last().map(|point| point.value) else { return section };
    let columns = vec![
        Column::words("run"),
        Column::words("revision"),
        Column::figures(format!("median{}", arrow(newest.better))),
        Column::figures("95 % interval").dispensable(2),
        Column::figures("n").dispensable(3),
    ];
    let mut table = Table::new(format!("{metric} of {variant}: {scenario}"), columns).brief();
    for (index, point) in shown(trend) {
        let value = point.value;
        if let Some(change) = trend.changes.iter().find(|change| change.index == index) {
            let by = step(change, newest.class).map_or_else(String::new, |step| format!(" by {step}"));
            let cells = vec![
                Text::strong(word(change, newest.better)).into(),
                format!("level changes{by}").into(),
                Cell::Figure(format!(
                    "{} → {}",
                    with_unit(change.before, newest.unit),
                    with_unit(change.after, newest.unit)
                )),
                Cell::Figure(format!("p = {:.3}", change.p)),
                Cell::Figure(String::new()),
            ];
            table.row(cells);
        }
        let revision = point.revision.as_deref().map_or("–", |revision| revision.get(..10).unwrap_or(revision));
        let dirty = if point.dirty == Some(true) { "+" } else { "" };
        table.row(vec![
            Text::plain(&*point.run).into(),
            Text::plain(format!("{revision}{dirty}")).into(),
            Cell::Figure(with_unit(value.median, value.unit)),
            Cell::figure(value.ci.map(|ends| range(ends, value.unit))),
            Cell::Figure(value.n.to_string()),
        ]);
    }
    if trend.runs.len() > RUNS_SEARCHED_MAX {
        table.legend(format!("The newest {RUNS_SEARCHED_MAX} runs; `uplift history --format json` has all."));
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
pub fn json<'a>(
    trend: &'a Trend,
    scenario: &'a str,
    variant: &'a str,
    metric: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    trend.runs.iter().enumerate().map(move |(index, point)| {
        let changed = trend.changes.iter().find(|change| change.index == index);
        let value = point.value;
        json!({
            "run": &*point.run, "started_unix_s": point.started_unix_s, "revision": point.revision.as_deref(),
            "scenario": scenario, "variant": variant, "metric": metric, "unit": value.unit,
            "median": value.median, "ci": value.ci, "n": value.n,
            "change_point": changed.map(|found| json!({ "p": found.p, "before": found.before, "after": found.after })),
        })
    })
}

/// Medians with their intervals, a vertical line at each change; `None` of fewer than two runs.
pub fn plot(trend: &Trend, scenario: &str, variant: &str, metric: &str) -> Option<Plot> {
    let newest = trend.runs.last()?.value;
    if trend.runs.len() < 2 {
        return None;
    }
    let points: Vec<(f64, f64)> = shown(trend).map(|(index, point)| (index as f64, point.value.median)).collect();
    let band: Vec<(f64, f64, f64)> = shown(trend)
        .map(|(index, point)| {
            let [low, high] = point.value.ci.unwrap_or([point.value.median; 2]);
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
    let first = trend.runs.len().saturating_sub(RUNS_SEARCHED_MAX);
    let day = |index: usize| trend.runs[index].run.split('T').next().unwrap_or_default().to_owned();
    let chart = Chart {
        title: format!("{metric} of {scenario}, {variant}"),
        x: Axis {
            label: "runs in the order of time, by date".to_owned(),
            range: (first as f64 - 0.5, last as f64 + 0.5),
            ticks: [first, usize::midpoint(first, last), last]
                .into_iter()
                .map(|index| (index as f64, day(index)))
                .collect(),
        },
        y: trend_axis(format!("{metric}, median and 95 % interval · {direction}"), low, high, |value| {
            with_unit(value, unit)
        }),
        series: vec![Series { name: variant.to_owned(), place: 0, points, band, marked: last - first < 40 }],
        lanes: Vec::new(),
        marks: trend
            .changes
            .iter()
            .map(|point| Mark { x: point.index as f64 - 0.5, word: step(point, newest.class).unwrap_or_default() })
            .collect(),
    };
    let description = format!(
        "{metric} of {variant} over {} runs; {}.",
        last - first + 1,
        counted(trend.changes.len(), "change of level", "changes of level")
    );
    Some(Plot::of_parts(&[scenario, variant, metric, "trend"], chart.draw(), description))
}
