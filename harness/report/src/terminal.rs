//! What `compare`, `run` and `show` print on a terminal.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use uplift_model::{
    Better, MetricClass, Unit,
    verdict::{ClaimOutcome, ClaimVerdict, Estimate, MetricVerdict, ScenarioVerdict, Status, Verdict},
};

use crate::{
    ReportInput, headline,
    number::{Scale, change, change_with_interval},
};

/// How a terminal report is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: bool,
    /// Whether every metric is shown and not only those that people ask for first.
    pub all_metrics: bool,
    /// Width of the terminal; `None`: not a terminal, lines may be long.
    pub width: Option<u16>,
}

/// Metrics that are shown without being asked for, beside the primary one and whatever got a verdict worth reading.
const FIRST: [&str; 13] = [
    "run_time",
    "user_time",
    "system_time",
    "peak_memory",
    "throughput",
    "response_p50",
    "response_p95",
    "response_p99",
    "success_rate",
    "syncs_per_write",
    "storage_written_per_op",
    "cpu_per_op",
    "wall_per_completion",
];

/// Metrics that say again what one of the first says.
const REDUNDANT: [&str; 3] = ["settled_throughput", "response_p90", "service_p90"];

/// Metrics that say again what the time of a run says, where operations are runs.
const REDUNDANT_BESIDE_RUN_TIME: [&str; 9] = [
    "throughput",
    "wall_per_completion",
    "response_p50",
    "response_p95",
    "response_p99",
    "storage_written_per_op",
    "success_rate",
    "cycles",
    "run_time_median",
];

/// Metrics whose absence is said with its reason, since people look for them.
const MISSED: [&str; 3] = ["instructions", "peak_memory", "syncs_per_op"];

/// The whole report of a comparison.
pub fn comparison(input: &ReportInput<'_>, style: Style) -> String {
    let Some(verdicts) = input.verdicts else { return String::new() };
    let mut text = String::new();
    for scenario in &verdicts.scenarios {
        section(scenario, &verdicts.baseline, &verdicts.candidate, style, &mut text);
    }
    for line in headline::geomeans(verdicts) {
        text.push_str(&format!("{line}\n"));
    }
    for note in &verdicts.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn section(scenario: &ScenarioVerdict, baseline: &str, candidate: &str, style: Style, text: &mut String) {
    text.push_str(&headline::of_scenario(scenario));
    text.push('\n');
    if let Some(changed) = headline::changed_together(scenario) {
        text.push_str(&format!("  {changed}\n"));
    }
    for warning in headline::warnings(scenario) {
        text.push_str(&format!("  ! {warning}\n"));
    }
    if let Some(ceiling) = &scenario.ceiling {
        text.push_str(&format!(
            "  the workload itself allows at most {} op/s: {}\n",
            crate::number::significant(ceiling.throughput),
            ceiling.why
        ));
    }
    if scenario.status == Status::Compared || !scenario.metrics.is_empty() {
        text.push_str(&metric_table(scenario, baseline, candidate, style));
        text.push('\n');
        text.push_str(&absences(scenario, style));
    }
    let checked =
        |claim: &&ClaimVerdict| !matches!(claim.outcome, ClaimOutcome::NotMeasured | ClaimOutcome::NotComparable);
    for claim in scenario.claims.iter().filter(checked) {
        text.push_str(&format!(
            "  claim of {}: {} {}: {}: {}\n",
            claim.source,
            claim.metric,
            claim.published.map_or_else(String::new, |published| change(published, class_of(scenario, &claim.metric))),
            outcome_word(claim.outcome),
            claim.reason
        ));
    }
    for note in &scenario.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    if let Some(stopped) = &scenario.stopped
        && scenario.reason.as_ref() != Some(stopped)
    {
        text.push_str(&format!("  {stopped}\n"));
    }
    text.push('\n');
}

/// The class of a metric, which says how its change is shown.
pub fn class_of(scenario: &ScenarioVerdict, metric: &str) -> MetricClass {
    scenario.metrics.iter().find(|known| known.metric == metric).map_or(MetricClass::Time, |known| known.class)
}

/// The word for a claim's outcome.
pub const fn outcome_word(outcome: ClaimOutcome) -> &'static str {
    match outcome {
        ClaimOutcome::Reproduced => "reproduced",
        ClaimOutcome::Exceeded => "exceeded",
        ClaimOutcome::NotReproduced => "not reproduced",
        ClaimOutcome::Contradicted => "contradicted",
        ClaimOutcome::Undecided => "undecided",
        ClaimOutcome::NotMeasured => "not measured",
        ClaimOutcome::NotComparable => "not comparable",
    }
}

/// Whether a metric belongs into the short table.
pub fn shown_by_default(metric: &MetricVerdict) -> bool {
    metric.primary
        || FIRST.contains(&metric.metric.as_str())
        || (metric.class != MetricClass::Info
            && !REDUNDANT.contains(&metric.metric.as_str())
            && matches!(metric.verdict, Verdict::Improved | Verdict::Regressed))
}

/// Counters that changed are worth a row even where the times say enough.
fn repeats_run_time(metric: &MetricVerdict) -> bool {
    let counted = ["storage_written_per_op", "success_rate"].contains(&metric.metric.as_str())
        && matches!(metric.verdict, Verdict::Improved | Verdict::Regressed);
    REDUNDANT_BESIDE_RUN_TIME.contains(&metric.metric.as_str()) && !counted
}

/// Why metrics could not be had, each reason once.
fn absences(scenario: &ScenarioVerdict, style: Style) -> String {
    let of_runs = scenario.metrics.iter().any(|metric| metric.metric == "run_time");
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for metric in &scenario.metrics {
        let missed = style.all_metrics || (of_runs && MISSED.contains(&metric.metric.as_str()));
        let Some(reason) = metric.reason.strip_prefix("not available: ").filter(|_| missed) else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(&metric.metric),
            None => reasons.push((reason, vec![&metric.metric])),
        }
    }
    reasons.into_iter().map(|(reason, names)| format!("  n/a: {}: {reason}\n", names.join(", "))).collect()
}

/// A metric as its row shows it: name, both values, change, interval, p, blocks, verdict.
type Row = [String; 8];

fn metric_table(scenario: &ScenarioVerdict, baseline: &str, candidate: &str, style: Style) -> String {
    let of_runs = scenario.metrics.iter().any(|metric| metric.metric == "run_time");
    let rows: Vec<(&MetricVerdict, Row)> = scenario
        .metrics
        .iter()
        .filter(|metric| style.all_metrics || shown_by_default(metric))
        .filter(|metric| style.all_metrics || metric.primary || !(of_runs && repeats_run_time(metric)))
        .filter(|metric| metric.baseline.is_some() || metric.candidate.is_some() || metric.primary || style.all_metrics)
        .map(|metric| (metric, row(metric)))
        .collect();
    let header = ["metric", baseline, candidate, "change", "interval", "p", "n", "verdict"];
    // Each column has its cells, two spaces and a line; what does not fit would be broken within words.
    let width_of = |column: usize| {
        let cells = rows.iter().map(|(_, row)| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let width = (0..header.len()).map(|column| width_of(column) + 3).sum::<usize>() + 1;
    if style.width.is_some_and(|most| width > usize::from(most)) {
        return metric_list(&rows, style);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    if style.colour {
        table.enforce_styling();
    }
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for column in 1..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (metric, row) in rows {
        let [values @ .., verdict] = row;
        let verdict = match colour_of(metric) {
            Some(colour) if style.colour => Cell::new(verdict).fg(colour),
            _ => Cell::new(verdict),
        };
        table.add_row(values.into_iter().map(Cell::new).chain([verdict]));
    }
    table.to_string()
}

/// The same for a narrow terminal: two lines for each metric.
fn metric_list(rows: &[(&MetricVerdict, Row)], style: Style) -> String {
    let mut lines = Vec::new();
    for (metric, [name, baseline, candidate, change, interval, p, n, verdict]) in rows {
        let verdict = match colour_of(metric) {
            Some(colour) if style.colour => format!("\x1b[{}m{verdict}\x1b[0m", sgr(colour)),
            _ => verdict.clone(),
        };
        lines.push(format!("{name}: {verdict}"));
        let interval = if metric.ci.is_some() { format!(" {interval}") } else { String::new() };
        let p = if metric.p.is_some() && !p.is_empty() { format!(", p {p}") } else { String::new() };
        lines.push(format!("    {baseline} → {candidate}, {change}{interval}{p}, n {n}"));
    }
    lines.join("\n")
}

fn row(metric: &MetricVerdict) -> Row {
    let scale =
        Scale::of([&metric.baseline, &metric.candidate].into_iter().flatten().map(|one| one.median), metric.unit);
    let ours = |estimate: &Option<Estimate>| {
        estimate.as_ref().map_or_else(|| "n/a".to_owned(), |estimate| value_with_spread(estimate, metric, scale))
    };
    let (change, interval) = change_with_interval(metric.change, metric.ci, metric.class);
    [
        format!("{}{}{}", if metric.primary { "* " } else { "  " }, metric.metric, arrow(metric.better)),
        ours(&metric.baseline),
        ours(&metric.candidate),
        change.unwrap_or_else(|| "n/a".to_owned()),
        interval.unwrap_or_else(|| "n/a".to_owned()),
        if metric.class == MetricClass::Info {
            String::new()
        } else {
            metric.p.map_or_else(|| "n/a".to_owned(), p_value)
        },
        metric.baseline.as_ref().map_or(0, |estimate| estimate.n).to_string(),
        verdict_word(metric).to_owned(),
    ]
}

/// A p value.
pub fn p_value(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}

fn value_with_spread(estimate: &Estimate, metric: &MetricVerdict, scale: Scale) -> String {
    let value = scale.show(estimate.median);
    match estimate.ci {
        Some([low, high]) if estimate.median != 0.0 && metric.unit != Unit::Ratio => {
            let spread = (high - estimate.median).max(estimate.median - low) / estimate.median.abs() * 100.0;
            format!("{value} ± {spread:.0} %")
        }
        _ => value,
    }
}

/// Which direction is better, as a sign behind the name.
pub const fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => " ↑",
        Better::Lower => " ↓",
        Better::Neither => "",
    }
}

/// The verdict as a word; described metrics have none.
pub fn verdict_word(metric: &MetricVerdict) -> &'static str {
    if metric.class == MetricClass::Info && metric.verdict == Verdict::Inconclusive {
        "–"
    } else {
        metric.verdict.word()
    }
}

const fn colour_of(metric: &MetricVerdict) -> Option<Color> {
    match metric.verdict {
        Verdict::Improved => Some(Color::Green),
        Verdict::Regressed => Some(Color::Red),
        Verdict::Incomparable => Some(Color::Magenta),
        Verdict::Inconclusive if !matches!(metric.class, MetricClass::Info) => Some(Color::Yellow),
        Verdict::Unchanged | Verdict::Inconclusive => None,
    }
}

/// The number of a colour in an escape sequence.
const fn sgr(colour: Color) -> u8 {
    match colour {
        Color::Green => 32,
        Color::Red => 31,
        Color::Magenta => 35,
        _ => 33,
    }
}

/// What a run without a comparison measured: one table for each scenario, one column for each variant.
pub fn measurement(input: &ReportInput<'_>, style: Style) -> String {
    let mut text = String::new();
    for planned in &input.run.scenarios {
        let name = &planned.scenario.name;
        text.push_str(&format!("{name}: {}\n", planned.scenario.title));
        if let Some(skipped) = &planned.skipped {
            text.push_str(&format!("  skipped: {skipped}\n\n"));
            continue;
        }
        let rows = crate::markdown::variant_rows(input, planned, style.all_metrics);
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["metric".to_owned()];
        header.extend(planned.variants.iter().cloned());
        table.set_header(header);
        for row in rows {
            table.add_row(row);
        }
        text.push_str(&table.to_string());
        text.push('\n');
        for line in crate::markdown::failure_lines(input, planned) {
            text.push_str(&format!("  ! {line}\n"));
        }
        if let Some(stopped) = &planned.stopped {
            text.push_str(&format!("  {stopped}\n"));
        }
        text.push('\n');
    }
    text
}
