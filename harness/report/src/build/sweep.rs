//! The points of a sweep: table, and curves with intervals where one or two parameters vary.

use std::collections::BTreeMap;

use uplift_analysis::sweep::{Point, Sweep, sweep};
use uplift_model::{Better, MetricClass, run::PlannedScenario};

use super::place;
use crate::{
    ReportInput,
    document::{Cell, Change, Column, Record, Section, Table, Text},
    number::{range, with_unit},
    plots::{
        Plot,
        chart::{Axis, Chart, Series, linear_axis},
    },
};

/// The best point in a sentence.
pub fn headline(sweep: &Sweep) -> String {
    let Some(best) = sweep.best.and_then(|index| sweep.points.get(index)) else {
        return format!("no point is best: {} was not measured or has no good direction", sweep.metric);
    };
    let others: Vec<&Point> = sweep.points.iter().filter(|point| point.variant != best.variant).collect();
    let of = |wanted: &dyn Fn(&Point) -> bool| -> Vec<&str> {
        others.iter().filter(|point| wanted(point)).map(|point| point.variant.as_str()).collect()
    };
    let tied = of(&|point| !point.told_apart && point.value.is_some());
    let missing = of(&|point| point.value.is_none());
    let value = best.value.as_ref().map_or_else(
        || "n/a".to_owned(),
        |estimate| match estimate.ci {
            Some(ends) => {
                format!("{} (95 % interval {})", with_unit(estimate.median, sweep.unit), range(ends, sweep.unit))
            }
            None => format!("{} (too few blocks for an interval)", with_unit(estimate.median, sweep.unit)),
        },
    );
    let rest = if others.is_empty() {
        "the only point".to_owned()
    } else if tied.is_empty() {
        "told apart from every other point".to_owned()
    } else {
        format!("not told apart from {}", tied.join("; "))
    };
    let rest = if missing.is_empty() { rest } else { format!("{rest}; not measured: {}", missing.join("; ")) };
    format!("best {}: {} with {value}; {rest}", sweep.metric, best.variant)
}

/// The points, the best of them, and which are not told apart from it.
pub fn section(sweep: &Sweep, scenario: &str) -> Section {
    let mut section = Section::new(place(scenario, "sweep"), "Sweep").untitled().brief();
    section.prose(Text::strong(headline(sweep))).brief();
    let columns = vec![
        Column::words("point"),
        Column::figures(format!("{}{}", sweep.metric, crate::document::arrow(sweep.better))),
        Column::figures("95 % interval").dispensable(2),
        Column::figures("n").dispensable(4),
        Column::figures("best against it"),
        Column::figures("interval").dispensable(1),
        Column::words(""),
    ];
    let mut table = Table::new(format!("Sweep: {scenario}"), columns).brief();
    for (index, point) in sweep.points.iter().enumerate() {
        let best = sweep.best == Some(index);
        let value = point.value.as_ref();
        let interval = value.and_then(|value| value.ci).map(|ends| range(ends, sweep.unit));
        let word = match (best, point.told_apart, value) {
            (true, ..) => Text::strong("best"),
            (_, true, _) => "worse".into(),
            (_, false, Some(_)) => "not told apart".into(),
            (_, false, None) => "not measured".into(),
        };
        let ahead = Change::new(point.best_ahead_by, point.ci, MetricClass::Time);
        let or_none = |cell: Cell, is: bool| if is { cell } else { Cell::None };
        let cells = vec![
            Text::plain(&point.variant).into(),
            Cell::figure(value.map(|value| with_unit(value.median, sweep.unit))),
            Cell::figure(interval),
            Cell::Figure(value.map_or(0, |value| value.n).to_string()),
            or_none(Cell::Change(ahead), point.best_ahead_by.is_some()),
            or_none(Cell::Interval(ahead), point.ci.is_some()),
            word.into(),
        ];
        table.row(cells).record(Record::scenario(scenario)).strong(best);
    }
    table.legend(
        "Medians over blocks; in each block every point ran once, in random order. The best point against another is paired by block, its interval corrected over all points. The best was chosen by the same data, so its lead over its neighbours is a little too large.",
    );
    section.table(table);
    section
}

/// The curve of the first parameter, one line for each value of the second.
pub fn plot(
    input: &ReportInput<'_>,
    planned: &PlannedScenario,
    parameters: &BTreeMap<String, Vec<String>>,
) -> Option<Plot> {
    let sweep = sweep(planned, input.trials)?;
    let mut names = parameters.iter();
    // The parameter with most values runs along the axis.
    let (first, second) = match (names.next(), names.next(), names.next()) {
        (Some(only), None, None) => (only, None),
        (Some(a), Some(b), None) if b.1.len() > a.1.len() => (b, Some(a)),
        (Some(a), Some(b), None) => (a, Some(b)),
        _ => return None,
    };
    let whole = [String::new()];
    let lines: &[String] = second.map_or(&whole, |(_, values)| values);
    let mut series = Vec::new();
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (place, line) in lines.iter().enumerate() {
        let (mut points, mut band) = (Vec::new(), Vec::new());
        for (index, value) in first.1.iter().enumerate() {
            let mut wanted = vec![format!("{}={value}", first.0)];
            if let Some((name, _)) = second {
                wanted.push(format!("{name}={line}"));
            }
            let found = sweep.points.iter().find(|point| {
                let parts: Vec<&str> = point.variant.split(' ').collect();
                wanted.iter().all(|part| parts.contains(&part.as_str()))
            });
            let Some(estimate) = found.and_then(|point| point.value.as_ref()) else { continue };
            let [from, to] = estimate.ci.unwrap_or([estimate.median; 2]);
            (low, high) = (low.min(from), high.max(to));
            points.push((index as f64, estimate.median));
            band.push((index as f64, from, to));
        }
        let name = second.map_or_else(|| sweep.metric.clone(), |(name, _)| format!("{name}={line}"));
        series.push(Series { name, place, points, band, marked: true });
    }
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return None;
    }
    let direction = match sweep.better {
        Better::Higher => "↑ higher is better",
        Better::Lower => "↓ lower is better",
        Better::Neither => "neither direction is better",
    };
    let unit = sweep.unit;
    let chart = Chart {
        title: format!("{} against {}: {}", sweep.metric, first.0, planned.scenario.name),
        x: Axis {
            label: first.0.clone(),
            range: (-0.4, first.1.len() as f64 - 0.6),
            ticks: first.1.iter().enumerate().map(|(index, value)| (index as f64, value.clone())).collect(),
        },
        y: linear_axis(
            format!("{}, median and 95 % interval · {direction}", sweep.metric),
            low.min(0.0),
            high * 1.05,
            |value| with_unit(value, unit),
        ),
        series,
        lanes: Vec::new(),
        marks: Vec::new(),
    };
    Some(Plot::new(
        &planned.scenario.name,
        "sweep",
        chart.draw(),
        format!("Sweep of {}: {}.", first.0, headline(&sweep)),
    ))
}
