//! The page of a search for the highest rate: the answer, every rate that was tried, and the curve.

use uplift_model::{
    Unit,
    objective::{Objective, Term},
    registry,
    saturation::{RateStep, RateTimeline, Saturation},
};

use super::Report;
use crate::{
    document::{Block, Cell, Column, Document, Figure, NoteKind, Section, Table, Text},
    number::{compact, nanoseconds, with_unit},
    plots::{
        Plot,
        chart::{Axis, Chart, Mark, Series, linear_axis, log_axis},
    },
};

/// The percentiles that are shown of every rate.
pub const SHOWN: [&str; 6] =
    ["throughput", "response_p50", "response_p99", "response_max", "service_p99", "success_rate"];

/// The document of a search, with its plots.
pub fn report(record: &Saturation) -> Report {
    let title = Text::plain("Saturation of ")
        .then(Text::code(&record.scenario))
        .then(", variant ")
        .then(Text::code(&record.variant));
    let mut section = Section::new("saturation", title.clone()).listed("Saturation").brief();
    section.prose(Text::strong(format!("{}.", headline(record)))).brief();
    if let Some(why) = &record.cut_short {
        section.note(NoteKind::Warning, format!("The search is not complete: {why}."));
    }
    if let Some(knee) = knee(record) {
        section.prose(knee_words(record, knee)).brief();
    }
    if let Some(half) = &record.half {
        section.prose(half_words(half)).brief();
    }
    let plots = plots(record);
    for plot in &plots {
        section.blocks.push(Block::Figure(Figure { path: plot.path.clone(), description: plot.description.clone() }));
    }
    let steps = in_order(record);
    let objective = record.objective.as_ref();
    let mut rates = table("Every rate that was tried", objective);
    for step in &steps {
        rates.row(row(step, objective)).strong(Some(step.rate) == record.sustained);
    }
    rates.legend(
        "A response runs from the intended start (the sojourn), a service time from the sending. Percentiles are \
         medians over the trials of a rate; nothing is clamped. A rate that was tried again has a row for each time.",
    );
    section.table(rates);
    if let Some(half) = &record.half {
        section.prose("At half of the highest sustained rate:").brief();
        let mut own = table("Half of the highest sustained rate", objective);
        own.row(row(half, objective));
        section.table(own);
    }
    let highest = steps.iter().copied().rfind(|step| Some(step.rate) == record.sustained && step.sustained);
    for (id, step) in record.half.iter().map(|step| ("half", step)).chain(highest.map(|step| ("highest", step))) {
        section.part(timeline(&step.timeline, id, format!("The first trial at {}", rate(step.rate))));
    }
    let mut document = Document::new(title);
    document.sections.push(section);
    Report { document, plots }
}

/// The answer in one sentence.
pub fn headline(record: &Saturation) -> String {
    let Some(objective) = &record.objective else {
        return match (record.sustained, record.diverged) {
            (Some(low), Some(high)) => {
                format!("{} is sustained, {} is not: saturation lies between", rate(low), rate(high))
            }
            (Some(low), None) => format!("{} is sustained; no higher rate was tried", rate(low)),
            (None, Some(high)) => format!("{} is not sustained, and no lower rate was tried", rate(high)),
            (None, None) => "no rate was tried".to_owned(),
        };
    };
    match (record.sustained, record.diverged) {
        (Some(low), Some(high)) => {
            let interval = match record.interval {
                Some([Some(from), Some(to)]) if from <= low && high <= to => {
                    format!("; every trial held it up to {}, and none from {} on", rate(from), rate(to))
                }
                Some([None, Some(to)]) => {
                    format!("; a trial missed it at the lowest rate, and none held it from {} on", rate(to))
                }
                Some([Some(from), None]) => {
                    format!("; every trial held it up to {}, and one even at the highest rate", rate(from))
                }
                _ => String::new(),
            };
            format!("{} is the highest rate that holds `{objective}`; {} does not{interval}", rate(low), rate(high))
        }
        (Some(low), None) => {
            format!("{} holds `{objective}`, and so did every rate that was tried: the edge lies above", rate(low))
        }
        (None, Some(high)) => format!("`{objective}` is not held at {}, nor at any rate that was tried", rate(high)),
        (None, None) => "no rate was tried".to_owned(),
    }
}

/// One rate in a line.
pub fn line(step: &RateStep, objective: Option<&Objective>) -> String {
    format!("{}: {}", rate(step.rate), verdict(step, objective))
}

fn rate(rate: f64) -> String {
    with_unit(rate, Unit::OpsPerSecond)
}

fn in_order(record: &Saturation) -> Vec<&RateStep> {
    let mut steps: Vec<&RateStep> = record.steps.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    steps
}

fn verdict(step: &RateStep, objective: Option<&Objective>) -> String {
    let why = step.trials_diverged.iter().flatten().next();
    let why = why.map_or_else(String::new, |why| format!("; {why}"));
    let (held, trials) = (step.held(), step.trials_diverged.len());
    match (objective, step.sustained) {
        (None, true) => format!("sustained ({held} of {trials} trials sustained it{why})"),
        (None, false) => format!("diverged ({held} of {trials} trials sustained it{why})"),
        (Some(_), _) => format!("{held} of {trials} trials held it{why}"),
    }
}

fn value(step: &RateStep, name: &str) -> String {
    let unit = registry::find(name).map_or(Unit::Count, |entry| entry.unit);
    step.medians.get(name).map_or("n/a".to_owned(), |value| with_unit(*value, unit))
}

/// The objective's metrics that have no column of their own.
fn extra(objective: Option<&Objective>) -> impl Iterator<Item = &Term> {
    objective.into_iter().flat_map(|objective| &objective.terms).filter(|term| !SHOWN.contains(&term.metric.as_str()))
}

fn row(step: &RateStep, objective: Option<&Objective>) -> Vec<Cell> {
    let mut cells = vec![Cell::Figure(rate(step.rate))];
    cells.extend(SHOWN.map(|name| Cell::Figure(value(step, name))));
    cells.extend(
        extra(objective)
            .map(|term| Cell::figure(step.medians.get(&term.metric).map(|value| with_unit(*value, term.unit)))),
    );
    cells.push(verdict(step, objective).into());
    cells
}

fn table(label: &str, objective: Option<&Objective>) -> Table {
    let mut columns = vec![
        Column::figures("rate"),
        Column::figures("throughput").dispensable(2),
        Column::figures("response p50").dispensable(1),
        Column::figures("response p99"),
        Column::figures("longest response").dispensable(2),
        Column::figures("service p99").dispensable(3),
        Column::figures("success").dispensable(4),
    ];
    columns.extend(extra(objective).map(|term| Column::figures(term.metric.replace('_', " "))));
    columns.push(Column::words(""));
    Table::new(label, columns).brief()
}

fn half_words(half: &RateStep) -> String {
    let range = match (half.ranges.get("response_p99"), half.trials_diverged.len()) {
        (Some([low, high]), trials @ 2..) => {
            let text = |value: f64| with_unit(value, Unit::Nanoseconds);
            format!(" ({} … {} over {trials} trials)", text(*low), text(*high))
        }
        _ => String::new(),
    };
    format!(
        "At half of the highest sustained rate a response took {} at the median and {} at the 99th percentile{range}, the \
         longest {}{}.",
        value(half, "response_p50"),
        value(half, "response_p99"),
        value(half, "response_max"),
        if half.sustained { "" } else { "; not every trial sustained even that" }
    )
}

/// A row for each slice.
fn timeline(timeline: &RateTimeline, id: &str, title: String) -> Section {
    let mut section = Section::new(id, title).folded();
    let columns = vec![
        Column::figures("from"),
        Column::figures("op/s"),
        Column::figures("longest response"),
        Column::words("events that began"),
    ];
    let mut table = Table::new("One trial over time", columns);
    let origin_ns = timeline.slices.first().map_or(0, |slice| slice.start_ns);
    for slice in &timeline.slices {
        let end_ns = slice.start_ns + slice.duration_ns;
        let began = timeline.events.iter().filter(|event| (slice.start_ns..end_ns).contains(&event.start_ns));
        let events: Vec<String> = began
            .map(|event| format!("{} {} ({})", event.name, nanoseconds(event.duration_ns), event.detail))
            .collect();
        table.row(vec![
            Cell::Figure(format!("{:.1} s", slice.start_ns.saturating_sub(origin_ns) as f64 / 1e9)),
            Cell::Figure(rate(slice.ok as f64 / (slice.duration_ns.max(1) as f64 / 1e9))),
            Cell::Figure(nanoseconds(slice.response_max_ns)),
            Text::plain(events.join("; ")).into(),
        ]);
    }
    section.table(table);
    section
}

/// The rate at which throughput divided by the median response is greatest (Kleinrock's power, 1979), of the rates that
/// were sustained. `None` where too few were measured to have a knee within them.
pub fn knee(record: &Saturation) -> Option<&RateStep> {
    let power = |step: &RateStep| Some(step.medians.get("throughput")? / step.medians.get("response_p50")?);
    let steps: Vec<(&RateStep, f64)> = in_order(record)
        .into_iter()
        .filter(|step| step.sustained)
        .filter_map(|step| Some((step, power(step).filter(|power| power.is_finite())?)))
        .collect();
    let at = (0..steps.len()).max_by(|a, b| steps[*a].1.total_cmp(&steps[*b].1))?;
    // At either end it may lie beyond what was tried.
    (steps.len() >= 4 && at > 0 && at + 1 < steps.len()).then_some(steps[at].0)
}

fn knee_words(record: &Saturation, knee: &RateStep) -> String {
    let share =
        record.sustained.map_or_else(String::new, |most| format!(", {:.0} % of the highest", knee.rate / most * 100.0));
    format!(
        "The knee is near {}{share}: of the rates that were tried, throughput divided by the median response is greatest \
         there (Kleinrock 1979); beyond it response times grow faster than throughput.",
        rate(knee.rate)
    )
}

/// Offered against achieved, and response times over the rate.
fn plots(record: &Saturation) -> Vec<Plot> {
    let steps = in_order(record);
    let points = |name: &str, shape: fn(f64) -> f64| -> Vec<(f64, f64)> {
        let value = |step: &&RateStep| {
            let value = *step.medians.get(name)?;
            (value > 0.0).then(|| (step.rate.log10(), shape(value)))
        };
        steps.iter().filter_map(value).collect()
    };
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    if first.rate >= last.rate {
        return Vec::new();
    }
    let x = log_axis("offered rate, operations a second".to_owned(), first.rate, last.rate, compact);
    let mut marks = Vec::new();
    let word = if record.objective.is_some() { "holds" } else { "sustained" };
    marks.extend(knee(record).map(|step| Mark { x: step.rate.log10(), word: "knee".to_owned() }));
    marks.extend(record.sustained.map(|rate| Mark { x: rate.log10(), word: word.to_owned() }));
    let mut drawn = Vec::new();
    let achieved = points("throughput", f64::log10);
    if achieved.len() > 1 {
        let ends = achieved.iter().map(|point| 10f64.powf(point.1));
        let (low, high) = ends.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let asked = [first.rate, last.rate].map(|rate| (rate.log10(), rate.log10()));
        let series = vec![
            Series { name: "achieved".to_owned(), place: 0, points: achieved, band: Vec::new(), marked: true },
            Series { name: "offered".to_owned(), place: 1, points: asked.into(), band: Vec::new(), marked: false },
        ];
        let chart = Chart {
            title: format!("Offered and achieved: {}", record.scenario),
            x: x.clone(),
            y: log_axis("operations a second · ↑ higher is better".to_owned(), low, high.max(last.rate), compact),
            series,
            lanes: Vec::new(),
            marks: marks.clone(),
        };
        drawn.push(Plot::new(&record.scenario, "achieved", chart.draw(), format!("{}.", headline(record))));
    }
    drawn.extend(response_plot(record, &points, &x, &marks));
    let errors: Vec<(f64, f64)> = steps
        .iter()
        .filter_map(|step| Some((step.rate.log10(), (1.0 - step.medians.get("success_rate")?) * 100.0)))
        .collect();
    let most = errors.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    if most > 0.0 {
        let series = Series { name: "failed".to_owned(), place: 0, points: errors, band: Vec::new(), marked: true };
        let label = "share of operations that failed · ↓ lower is better".to_owned();
        let chart = Chart {
            title: format!("Failures over the rate: {}", record.scenario),
            x,
            y: linear_axis(label, 0.0, most * 1.05, |share| format!("{} %", compact(share))),
            series: vec![series],
            lanes: Vec::new(),
            marks,
        };
        let description = format!("Up to {most:.2} % of the operations failed at the rates that were tried.");
        drawn.push(Plot::new(&record.scenario, "failures", chart.draw(), description));
    }
    drawn
}

/// The points of a metric over the rates, through a function that an axis wants.
type PointsOf<'a> = dyn Fn(&str, fn(f64) -> f64) -> Vec<(f64, f64)> + 'a;

fn response_plot(record: &Saturation, points: &PointsOf<'_>, x: &Axis, marks: &[Mark]) -> Option<Plot> {
    let mut series = Vec::new();
    for (place, metric) in ["response_p50", "response_p99", "response_max"].into_iter().enumerate() {
        let points = points(metric, f64::log10);
        if !points.is_empty() {
            let name = metric.replace('_', " ");
            series.push(Series { name, place, points, band: Vec::new(), marked: true });
        }
    }
    if series.is_empty() {
        return None;
    }
    let (from, to) = x.range;
    for term in record.objective.iter().flat_map(|objective| &objective.terms) {
        if term.unit == Unit::Nanoseconds && term.limit > 0.0 {
            let level = term.limit.log10();
            let points = vec![(from, level), (to, level)];
            let place = series.len();
            series.push(Series { name: term.text.clone(), place, points, band: Vec::new(), marked: false });
        }
    }
    let all = series.iter().flat_map(|series| &series.points).map(|(_, y)| 10f64.powf(*y));
    let (low, high) = all.fold((f64::INFINITY, 0.0f64), |(low, high), ns| (low.min(ns), high.max(ns)));
    let chart = Chart {
        title: format!("Response times over the rate: {}", record.scenario),
        x: x.clone(),
        y: log_axis("response time, medians over trials · ↓ lower is better".to_owned(), low, high, |ns| {
            with_unit(ns, Unit::Nanoseconds)
        }),
        series,
        lanes: Vec::new(),
        marks: marks.to_vec(),
    };
    let of = |step: Option<&RateStep>| {
        step.map_or("n/a".to_owned(), |step| format!("{} at {}", value(step, "response_p99"), rate(step.rate)))
    };
    let steps = in_order(record);
    let description =
        format!("The 99th percentile of responses: {} and {}.", of(steps.first().copied()), of(steps.last().copied()));
    Some(Plot::new(&record.scenario, "responses", chart.draw(), description))
}
