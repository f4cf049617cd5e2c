//! The page of a sweep of clients: what was measured, the Universal Scalability Law, and how far it may be believed.

use uplift_analysis::{
    estimate::median,
    scalability::{Fit, LEVEL, Measured, Parameter, Peak, REACH, ScalabilityError, fit},
};
use uplift_model::{
    Unit,
    saturation::{ClientsPoint, Scalability},
};

use super::Report;
use crate::{
    document::{Block, Cell, Column, Document, Figure, NoteKind, Section, Table, Text},
    number::{compact, significant, with_range, with_unit},
    plots::{
        Plot,
        chart::{Chart, Mark, Series, linear_axis, log_axis},
    },
};

/// The law misses the measurements by more than this: it does not describe the system.
const ERROR_MAX: f64 = 0.15;
/// Without the largest number of clients it misses that by more than this: it does not foretell.
const FORECAST_ERROR_MAX: f64 = 0.2;

/// Of which percentiles a point has the medians.
pub const SHOWN: [&str; 3] = ["response_p50", "response_p99", "cpu_cores"];

/// The law over what was measured.
///
/// # Errors
/// Why there is none.
pub fn fitted(record: &Scalability) -> Result<Fit, ScalabilityError> {
    let points: Vec<Measured<'_>> =
        record.points.iter().map(|point| (f64::from(point.clients), point.throughput.as_slice())).collect();
    fit(&points)
}

/// The fit for programs: `null` where there is none.
pub fn json(record: &Scalability) -> serde_json::Value {
    let parameter = |one: Parameter| serde_json::json!({ "value": one.value, "interval": one.interval });
    let Ok(fit) = fitted(record) else { return serde_json::Value::Null };
    let peak = match fit.peak() {
        Peak::At { clients, throughput } => {
            serde_json::json!({ "clients": parameter(clients), "throughput": parameter(throughput) })
        }
        Peak::OutOfReach => serde_json::json!("out of reach"),
        Peak::NotTold => serde_json::json!("kappa is not told apart from 0"),
    };
    serde_json::json!({
        "law": "X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))",
        "lambda": parameter(fit.lambda), "sigma": parameter(fit.sigma), "kappa": parameter(fit.kappa), "level": LEVEL,
        "error": fit.error, "forecast_error": fit.forecast_error, "reach": fit.reach(), "peak": peak,
        "residuals": fit.residuals,
    })
}

/// The document of a sweep, with its plot.
pub fn report(record: &Scalability) -> Report {
    let title = Text::plain("Scalability of ")
        .then(Text::code(&record.scenario))
        .then(", variant ")
        .then(Text::code(&record.variant));
    let mut section = Section::new("scalability", title.clone()).listed("Scalability").brief();
    let fit = fitted(record);
    section.prose(Text::strong(format!("{}.", headline(record, &fit)))).brief();
    if let Some(why) = &record.cut_short {
        section.note(NoteKind::Warning, format!("The sweep is not complete: {why}."));
    }
    match &fit {
        Ok(fit) => section.part(law(fit)),
        Err(why) => {
            section.note(NoteKind::Warning, format!("The Universal Scalability Law was not fitted: {why}."));
        }
    }
    let plots: Vec<Plot> = plot(record, fit.as_ref().ok()).into_iter().collect();
    for plot in &plots {
        section.blocks.push(Block::Figure(Figure { path: plot.path.clone(), description: plot.description.clone() }));
    }
    section.table(table(record, fit.as_ref().ok()));
    if let Ok(fit) = &fit {
        section.part(belief(record, fit));
    }
    let mut document = Document::new(title);
    document.sections.push(section);
    Report { document, plots }
}

/// The answer in one sentence.
pub fn headline(record: &Scalability, fit: &Result<Fit, ScalabilityError>) -> String {
    let rates = record.points.iter().filter_map(|point| Some((point.clients, median(&point.throughput)?)));
    let Some((clients, most)) = rates.max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "no number of clients was measured".to_owned();
    };
    let measured = format!("the most that was measured is {} with {}", ops(most), clients_words(f64::from(clients)));
    let Ok(fit) = fit else { return measured };
    if fit.error > ERROR_MAX {
        return format!("{measured}; the law does not describe the rest, so nothing is predicted");
    }
    let law = match fit.peak() {
        Peak::At { clients, throughput } => format!(
            "the law puts the peak at {}, with {}",
            with_interval(clients, |value| significant(value.round()), " clients"),
            with_range(throughput.value, Some(throughput.interval), Unit::OpsPerSecond)
        ),
        Peak::OutOfReach => format!(
            "the law puts the peak beyond {}, {REACH:.0} times the range that was measured, where it is not believed",
            clients_words(fit.reach())
        ),
        Peak::NotTold => "κ is not told apart from 0, so no peak is predicted".to_owned(),
    };
    format!("{measured}; {law}")
}

fn ops(value: f64) -> String {
    with_unit(value, Unit::OpsPerSecond)
}

fn clients_words(clients: f64) -> String {
    if clients == 1.0 { "1 client".to_owned() } else { format!("{} clients", significant(clients)) }
}

fn with_interval(parameter: Parameter, shown: impl Fn(f64) -> String, unit: &str) -> String {
    let [low, high] = parameter.interval.map(&shown);
    format!("{}{unit} ({low} … {high})", shown(parameter.value))
}

/// The parameters with what they mean.
fn law(fit: &Fit) -> Section {
    let mut section = Section::new("law", "The Universal Scalability Law").brief();
    let columns = vec![
        Column::words("parameter"),
        Column::figures("estimate"),
        Column::figures(format!("{:.0} % interval", LEVEL * 100.0)),
        Column::words("what it is"),
    ];
    let mut table = Table::new("Parameters of the law", columns).brief();
    let range = |parameter: Parameter| {
        format!("{} … {}", significant(parameter.interval[0]), significant(parameter.interval[1]))
    };
    let told = |parameter: Parameter, what: &str, none: &str| {
        if parameter.is_told_from_zero() {
            let negative =
                if parameter.value < 0.0 { ": negative, throughput grows faster than the clients" } else { "" };
            format!("{what}{negative}")
        } else {
            format!("{what}: not told apart from 0, {none}")
        }
    };
    table.row(vec![
        Text::plain("λ").into(),
        Cell::Figure(ops(fit.lambda.value)),
        Cell::Figure(range(fit.lambda)),
        Text::plain("throughput of one client alone").into(),
    ]);
    for (name, parameter, words) in [
        (
            "σ",
            fit.sigma,
            told(
                fit.sigma,
                "contention: the share of work that cannot run beside other work",
                "no queue for anything shared is seen",
            ),
        ),
        (
            "κ",
            fit.kappa,
            told(fit.kappa, "coherency: what each pair of clients costs", "no decline with more clients is seen"),
        ),
    ] {
        table.row(vec![
            Text::plain(name).into(),
            Cell::Figure(significant(parameter.value)),
            Cell::Figure(range(parameter)),
            Text::plain(words).into(),
        ]);
    }
    table.legend(
        "X(N) = λN / (1 + σ(N − 1) + κN(N − 1)) (Gunther 2007), by least squares of the logarithm, one mean for each number of clients. Intervals come from what the law leaves over at these numbers, so they are of its own error as much as of noise.",
    );
    section.table(table);
    section
}

fn table(record: &Scalability, fit: Option<&Fit>) -> Table {
    let columns = vec![
        Column::figures("clients"),
        Column::figures("throughput ↑"),
        Column::figures("n").dispensable(2),
        Column::figures("the law says"),
        Column::figures("off by").dispensable(1),
        Column::figures("response p50 ↓"),
        Column::figures("response p99 ↓").dispensable(2),
        Column::figures("cores busy").dispensable(3),
    ];
    let mut table = Table::new("Every number of clients", columns).brief();
    for point in &record.points {
        let clients = f64::from(point.clients);
        let of = |name: &str, unit: Unit| Cell::figure(point.medians.get(name).map(|value| with_unit(*value, unit)));
        let off = fit.and_then(|fit| fit.residuals.iter().find(|(at, _)| *at == clients));
        table.row(vec![
            Cell::Figure(point.clients.to_string()),
            Cell::figure(median(&point.throughput).map(|value| with_range(value, ends(point), Unit::OpsPerSecond))),
            Cell::Figure(point.throughput.len().to_string()),
            Cell::figure(fit.and_then(|fit| Some(ops(fit.at(clients).ok()?.value)))),
            Cell::figure(off.map(|(_, off)| format!("{:+.1} %", off * 100.0))),
            of("response_p50", Unit::Nanoseconds),
            of("response_p99", Unit::Nanoseconds),
            of("cpu_cores", Unit::Cores),
        ]);
    }
    table.legend("Medians over trials, with the least and the greatest. Each number of clients is a run of its own, one after the other.");
    table
}

fn ends(point: &ClientsPoint) -> Option<[f64; 2]> {
    let fold = |start: f64, pick: fn(f64, f64) -> f64| point.throughput.iter().copied().fold(start, pick);
    (!point.throughput.is_empty()).then(|| [fold(f64::INFINITY, f64::min), fold(0.0, f64::max)])
}

/// What the law predicts, and the reasons not to believe it.
fn belief(record: &Scalability, fit: &Fit) -> Section {
    let mut section = Section::new("belief", "How far it may be believed").brief();
    let worst = fit.residuals.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    if let Some((clients, off)) = worst {
        section
            .item(format!(
                "The law misses what was measured by {:.1} % (root of the mean square), at most by {:+.1} % with {}.",
                fit.error * 100.0,
                off * 100.0,
                clients_words(*clients)
            ))
            .brief();
    }
    if fit.error > ERROR_MAX {
        let text =
            "That is more than 15 %: the law does not describe this system, and what it predicts is worth nothing.";
        section.note(NoteKind::Warning, text);
    }
    if let (Some(error), Some(last)) = (fit.forecast_error, record.points.last()) {
        let clients = clients_words(f64::from(last.clients));
        section.item(format!("Fitted without {clients}, it misses them by {:+.1} %.", error * 100.0)).brief();
        if error.abs() > FORECAST_ERROR_MAX {
            section.note(
                NoteKind::Warning,
                format!(
                    "That is more than 20 %: measure more clients instead of believing a prediction beyond {clients}."
                ),
            );
        }
    }
    if let Some(ahead) = fit.at(fit.reach()).ok().filter(|_| fit.error <= ERROR_MAX) {
        section
            .item(format!(
                "With {} it predicts {}. Further away than {REACH:.0} times the largest number that was measured nothing is predicted.",
                clients_words(fit.reach()),
                with_range(ahead.value, Some(ahead.interval), Unit::OpsPerSecond)
            ))
            .brief();
    }
    if record.cores > 0 {
        section
            .item(format!(
                "The load generator ran on the same machine, of {} CPUs: where it takes them from the system, what is measured is both.",
                record.cores
            ))
            .brief();
    }
    section
}

/// What was measured, and the law to the end of its reach.
fn plot(record: &Scalability, fit: Option<&Fit>) -> Option<Plot> {
    let (first, last) = (record.points.first()?, record.points.last()?);
    let measured: Vec<(f64, f64)> = record
        .points
        .iter()
        .filter_map(|point| Some((f64::from(point.clients).log2(), median(&point.throughput)?)))
        .collect();
    let band = record
        .points
        .iter()
        .filter_map(|point| ends(point).map(|[low, high]| (f64::from(point.clients).log2(), low, high)))
        .collect();
    let mut high = measured.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut series = vec![Series { name: "measured".to_owned(), place: 0, points: measured, band, marked: true }];
    let mut marks = Vec::new();
    let (from, mut to) = (f64::from(first.clients), f64::from(last.clients));
    if let Some(fit) = fit {
        to = fit.reach();
        const STEPS: u32 = 80;
        let at = |step: u32| (from.ln() + f64::from(step) / f64::from(STEPS) * (to / from).ln()).exp().min(to);
        let curve: Vec<(f64, Parameter)> =
            (0..=STEPS).filter_map(|step| Some((at(step).log2(), fit.at(at(step)).ok()?))).collect();
        high = curve.iter().map(|(_, one)| one.value).fold(high, f64::max);
        // An interval that is wider than what was measured says no more when it is drawn.
        let band =
            curve.iter().map(|(x, one)| (*x, one.interval[0].max(0.0), one.interval[1].min(high * 1.2))).collect();
        let points = curve.iter().map(|(x, one)| (*x, one.value)).collect();
        series.push(Series { name: "the law".to_owned(), place: 1, points, band, marked: false });
        marks.push(Mark { x: f64::from(last.clients).log2(), word: "measured up to here".to_owned() });
        if let Peak::At { clients, .. } = fit.peak() {
            marks.push(Mark { x: clients.value.log2(), word: "peak".to_owned() });
        }
    }
    let mut x = log_axis("clients".to_owned(), from, to, |clients| compact(clients.round()));
    // Twice as many clients are as far away everywhere.
    let pad = ((to / from).log2() * 0.04).max(0.05);
    x.range = (from.log2() - pad, to.log2() + pad);
    x.ticks = (0..=16)
        .map(|power| 2f64.powi(power))
        .filter(|clients| (from..=to).contains(clients))
        .map(|clients| (clients.log2(), compact(clients)))
        .collect();
    let chart = Chart {
        title: format!("Throughput over clients: {}", record.scenario),
        x,
        y: linear_axis("operations a second · ↑ higher is better".to_owned(), 0.0, high * 1.2, compact),
        series,
        lanes: Vec::new(),
        marks,
    };
    let fitted = fitted(record);
    Some(Plot::new(&record.scenario, "scalability", chart.draw(), format!("{}.", headline(record, &fitted))))
}
