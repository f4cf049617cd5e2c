//! What became of the rules of a gate.

use uplift_analysis::gate::{GateOutcome, GateRow};

use crate::document::{Column, Section, Table, Text};

/// The rules with what became of each, and how many passed.
pub fn section(rows: &[GateRow]) -> Section {
    let mut section = Section::new("gate", "Gate").listed("Gate").untitled().brief();
    if rows.is_empty() {
        section.prose("gate: no metric could be checked against a rule").brief();
        return section;
    }
    let columns = vec![
        Column::words("outcome"),
        Column::words("scenario"),
        Column::words("metric"),
        Column::words("rule"),
        Column::words("measured"),
    ];
    let mut table = Table::new("Rules of the gate", columns).brief();
    for row in rows {
        let strong = row.outcome != GateOutcome::Passed;
        let outcome = if strong { Text::strong(row.outcome.word()) } else { row.outcome.word().into() };
        let cells = [&row.scenario, &row.metric, &row.rule].map(|text| Text::plain(text).into());
        table
            .row([outcome.into()].into_iter().chain(cells).chain([row.reason.as_str().into()]).collect())
            .strong(strong);
    }
    section.table(table);
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    section
        .prose(format!(
            "gate: {} passed, {} broken, {} open{}",
            count(GateOutcome::Passed),
            count(GateOutcome::Broken),
            count(GateOutcome::Open),
            match (count(GateOutcome::Passed) + count(GateOutcome::Broken), count(GateOutcome::Open)) {
                (0, _) => {
                    ": nothing was decided, and without --strict that is no failure; a longer --budget decides more"
                }
                (_, 0) => "",
                _ => "; what is open is neither shown to hold nor to be broken (--strict makes that a failure)",
            }
        ))
        .brief();
    section
}
