//! What became of the whole run.

use uplift_model::{
    run::RunState,
    verdict::{ScenarioVerdict, Status, Verdict},
};

use super::{place, scene::Scene};
use crate::{
    ReportInput,
    document::{Cell, Change, Column, NoteKind, Record, Section, Table, Text},
    headline,
};

/// The section; of a single scenario that was compared its own headline says it.
pub fn section(input: &ReportInput<'_>, scenes: &[Scene<'_>]) -> Section {
    let mut section = Section::new("summary", "Summary").listed("Summary").untitled().brief();
    let state = input.run.state;
    if state != RunState::Complete {
        let text = format!("Partial run ({}): what follows is what was measured", state_word(state));
        section.note(NoteKind::Warning, text).extent = crate::document::Extent::Page;
    }
    let Some(verdicts) = input.verdicts else {
        for scene in scenes {
            let name = &scene.planned.scenario.name;
            let sampled = input.profiles.iter().filter(|profile| &profile.trial.scenario == name).count();
            let trials = scene.trials.len() + sampled;
            section.item(format!("{name}: {trials} trials of {}", scene.planned.variants.join(", ")));
            if let Some(sweep) = scene.sweep() {
                section.item(super::sweep::headline(&sweep));
            }
        }
        for warning in &input.run.warnings {
            section.note(NoteKind::Warning, warning).extent = crate::document::Extent::Page;
        }
        return section;
    };
    let begun: Vec<&ScenarioVerdict> =
        scenes.iter().filter(|scene| scene.is_begun()).filter_map(|scene| scene.verdict).collect();
    if begun.len() > 1 {
        section.prose(counts(&begun)).brief();
        section.table(at_a_glance(&begun));
    }
    let left = scenes.iter().filter(|scene| !scene.is_begun()).count();
    if left > 0 {
        let word = if left == 1 { "scenario" } else { "scenarios" };
        section.prose(format!("{left} {word} not run")).brief();
    }
    for ledger in verdicts.scenarios.iter().filter_map(|scenario| scenario.ledger.as_ref()) {
        section.item(super::ledger::headline(ledger));
    }
    for line in headline::geomeans(verdicts) {
        section.item(line).brief();
    }
    for note in &verdicts.notes {
        section.note(NoteKind::Remark, note);
    }
    section
}

/// What became of a run that compares, in one line: "8 scenarios: 1 improved, 5 inconclusive, 2 skipped; 3 not run".
pub fn closing(input: &ReportInput<'_>) -> Option<String> {
    input.verdicts?;
    let scenes = super::scenes(input);
    let begun: Vec<&ScenarioVerdict> =
        scenes.iter().filter(|scene| scene.is_begun()).filter_map(|scene| scene.verdict).collect();
    let left = scenes.iter().filter(|scene| !scene.is_begun()).count();
    let left = if left > 0 { format!("; {left} not run") } else { String::new() };
    (!begun.is_empty()).then(|| format!("{}{left}", counts(&begun)))
}

/// "8 scenarios: 1 improved, 5 inconclusive, 2 skipped"
pub fn counts(scenarios: &[&ScenarioVerdict]) -> String {
    let mut words: Vec<(&str, usize)> = Vec::new();
    let order = ["regressed", "improved", "unchanged", "inconclusive", "incomparable", "skipped", "failed"];
    for word in order {
        let count = scenarios.iter().filter(|scenario| outcome(scenario) == word).count();
        if count > 0 {
            words.push((word, count));
        }
    }
    let words: Vec<String> = words.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    let one = if scenarios.len() == 1 { "scenario" } else { "scenarios" };
    format!("{} {one}: {}", scenarios.len(), words.join(", "))
}

fn outcome(scenario: &ScenarioVerdict) -> &'static str {
    match (scenario.status, scenario.primary()) {
        (Status::Compared, Some(metric)) => metric.verdict.word(),
        (Status::Compared, None) => Verdict::Inconclusive.word(),
        (Status::Incomparable, _) => Verdict::Incomparable.word(),
        (Status::Skipped, _) => "skipped",
        (Status::Failed, _) => "failed",
    }
}

/// The metric that decides, for each scenario.
fn at_a_glance(scenarios: &[&ScenarioVerdict]) -> Table {
    let columns = vec![
        Column::words("scenario"),
        Column::words("verdict"),
        Column::figures("change"),
        Column::figures("interval"),
        Column::words("metric"),
    ];
    let mut table = Table::new("Verdicts at a glance", columns);
    for scenario in scenarios {
        let name = Cell::Text(Text::default().link(&scenario.name, format!("#{}", place(&scenario.name, ""))));
        match (scenario.status, scenario.primary()) {
            (Status::Compared | Status::Incomparable, Some(metric)) => {
                let change = Change::of(metric);
                let verdict = if scenario.status == Status::Compared {
                    Cell::verdict(metric)
                } else {
                    Cell::Verdict { verdict: Some(Verdict::Incomparable), primary: true }
                };
                let metric_name = Text::plain(&metric.metric);
                table
                    .row(vec![name, verdict, Cell::Change(change), Cell::Interval(change), metric_name.into()])
                    .record(Record::metric(&scenario.name, &metric.metric));
            }
            _ => {
                table.row(vec![name, outcome(scenario).into(), Cell::None, Cell::None, Cell::None]);
            }
        }
    }
    table
}

/// How far a run got, as a word.
pub const fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Complete => "complete",
        RunState::Interrupted => "interrupted",
        RunState::Unfinished => "the harness ended before it was done",
    }
}
