//! What was decided beside the metrics: what the numbers mean, what changed in force, published figures.

use uplift_model::{
    Unit,
    verdict::{ClaimOutcome, ClaimVerdict, ScenarioVerdict},
};

use super::{headline::changed, place, scene::Scene};
use crate::{
    document::{Cell, Change, Column, NoteKind, Record, Section, Table, Text},
    number::{change, significant, with_unit},
    words::{class_of, outcome_word},
};

/// What the numbers mean, the weightiest statement first.
pub fn insights(scene: &Scene<'_>, verdict: &ScenarioVerdict) -> Section {
    let mut section = Section::new(place(&verdict.name, "why"), "What the numbers say").untitled().brief();
    // The first of them stands in the headline.
    for insight in scene.insights().iter().skip(1) {
        let record = match &insight.metric {
            Some(metric) => Record::metric(&verdict.name, metric),
            None => Record::scenario(&verdict.name),
        };
        section.note(NoteKind::Insight, insight.text.as_str()).record(record);
    }
    section
}

/// The limit that the workload sets itself.
pub fn ceiling(verdict: &ScenarioVerdict) -> Section {
    let mut section = Section::new(place(&verdict.name, "ceiling"), "Ceiling").untitled().brief();
    if let Some(ceiling) = &verdict.ceiling {
        section
            .prose(format!(
                "the workload itself allows at most {}: {}",
                with_unit(ceiling.throughput, Unit::OpsPerSecond),
                ceiling.why
            ))
            .brief();
    }
    section
}

/// What changed in force, or was asked for and ignored.
pub fn settings(verdict: &ScenarioVerdict, baseline: &str, candidate: &str) -> Section {
    let mut section = Section::new(place(&verdict.name, "settings"), "What changed in force");
    let columns =
        vec![Column::words("setting"), Column::words(baseline), Column::words(candidate), Column::words("remark")];
    let mut table = Table::new(format!("What changed in force: {}", verdict.name), columns);
    for row in changed(verdict) {
        let ignored = row.baseline.is_ignored() || row.candidate.is_ignored();
        let same = row.baseline.effective == row.candidate.effective;
        let remark = match (ignored, same) {
            (true, true) => "! ignored: no difference in force",
            (true, false) => "! not as asked",
            (false, true) => "no difference in force",
            (false, false) if row.flagged => "! one of several changes",
            (false, false) => "",
        };
        let key = Text::code(row.key);
        table.row(vec![key.into(), Cell::Setting(row.baseline), Cell::Setting(row.candidate), remark.into()]);
    }
    if table.rows.is_empty() {
        section.prose("Nothing: both variants asked for the same and got the same.");
    }
    section.table(table);
    section
}

/// Published figures beside ours. What is about other variants is the replication page's.
pub fn claims(verdict: &ScenarioVerdict) -> Section {
    let mut section = Section::new(place(&verdict.name, "claims"), "Published figures").untitled().brief();
    let columns = vec![
        Column::words("source"),
        Column::words("variant"),
        Column::words("metric"),
        Column::words("published"),
        Column::figures("measured"),
        Column::words("outcome"),
        Column::words("why"),
    ];
    let mut table = Table::new(format!("Published figures: {}", verdict.name), columns);
    for claim in verdict.claims.iter().filter(|claim| claim.outcome != ClaimOutcome::NotMeasured) {
        let class = class_of(verdict, &claim.metric);
        let measured = match Change::new(claim.measured, claim.ci, class).shown() {
            (Some(value), Some(interval)) => Cell::Figure(format!("{value} {interval}")),
            (Some(value), None) => Cell::Figure(value),
            _ => Cell::None,
        };
        let outcome = Text::strong(outcome_word(claim.outcome));
        table
            .row(vec![
                Text::plain(&claim.source).into(),
                Text::plain(&claim.variant).into(),
                Text::plain(&claim.metric).into(),
                Text::plain(published(verdict, claim)).into(),
                measured,
                outcome.into(),
                claim.reason.as_str().into(),
            ])
            .record(Record::metric(&verdict.name, &claim.metric));
        if claim.outcome != ClaimOutcome::NotComparable {
            let published = claim.published.map_or_else(String::new, |published| change(published, class));
            let words = format!(
                "claim of {}: {} {published}: {}: {}",
                claim.source,
                claim.metric,
                outcome_word(claim.outcome),
                claim.reason
            );
            section.terminal_only(words);
        }
    }
    section.table(table);
    section
}

fn published(verdict: &ScenarioVerdict, claim: &ClaimVerdict) -> String {
    if !claim.figure.is_empty() {
        return claim.figure.clone();
    }
    let class = class_of(verdict, &claim.metric);
    let unit = verdict.metrics.iter().find(|metric| metric.metric == claim.metric).map(|metric| metric.unit);
    let value = |value: f64| unit.map_or_else(|| significant(value), |unit| with_unit(value, unit));
    match (claim.published_baseline, claim.published_candidate, claim.published) {
        (Some(a), Some(b), Some(relative)) => format!("{} → {} ({})", value(a), value(b), change(relative, class)),
        (_, _, Some(relative)) => change(relative, class),
        (_, Some(own), None) => value(own),
        _ => "–".to_owned(),
    }
}
