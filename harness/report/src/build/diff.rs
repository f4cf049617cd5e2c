//! Two stored runs side by side.

use uplift_analysis::diff::RunDiff;

use super::place;
use crate::{
    document::{Cell, Change, Column, Document, Section, Table, Text},
    number::with_unit,
};

/// Checks, what was left out, then a table for each variant of each scenario.
pub fn document(diff: &RunDiff) -> Document {
    let mut document = Document::new(Text::plain(format!("{} against {}", diff.second, diff.first)));
    let mut checks = Section::new("conditions", "Conditions").brief();
    let columns = vec![Column::words("condition"), Column::words("first"), Column::words("second"), Column::words("")];
    let mut table = Table::new("Conditions", columns).brief();
    for check in &diff.checks {
        // What neither run could read is equal to nothing.
        let word = match (check.same, check.first == check.second) {
            (true, _) => "same",
            (false, true) => "not known",
            (false, false) => "differs",
        };
        let cells = [&check.first, &check.second].map(|value| Cell::Text(Text::plain(value)));
        let cells = [Cell::from(check.what.as_str())].into_iter().chain(cells).chain([Cell::from(word)]).collect();
        table.row(cells).strong(!check.same);
    }
    checks.table(table);
    for left in &diff.left_out {
        checks.item(format!("left out: {left}")).brief();
    }
    if diff.scenarios.is_empty() {
        checks.prose("The runs have nothing in common that may be compared.").brief();
    }
    document.sections.push(checks);
    for scenario in &diff.scenarios {
        let title = Text::plain(format!("{}, ", scenario.scenario)).then(Text::code(&scenario.variant));
        let mut section = Section::new(place(&scenario.scenario, &scenario.variant), title).brief();
        let columns = vec![
            Column::words("metric"),
            Column::figures("first"),
            Column::figures("second"),
            Column::figures("change"),
            Column::words("verdict"),
        ];
        let mut table = Table::new(format!("{}, {}", scenario.scenario, scenario.variant), columns).brief();
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for metric in &scenario.metrics {
            table.row(vec![
                Cell::Metric { name: metric.metric.clone(), better: metric.better, primary: false },
                Cell::Figure(with_unit(metric.first.median, metric.unit)),
                Cell::Figure(with_unit(metric.second.median, metric.unit)),
                Cell::Change(Change::new(metric.change, None, metric.class)),
                Cell::Verdict { verdict: Some(metric.verdict), primary: false },
            ]);
            match reasons.iter_mut().find(|(reason, _)| *reason == metric.reason) {
                Some((_, members)) => members.push(&metric.metric),
                None => reasons.push((&metric.reason, vec![&metric.metric])),
            }
        }
        section.table(table);
        for (reason, members) in reasons {
            section.item(format!("{}: {reason}", members.join(", "))).brief();
        }
        document.sections.push(section);
    }
    document
}
