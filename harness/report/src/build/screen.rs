//! What a screen says: whether something moved while two variants ran at the same time. It prints no change: there is
//! none in what it measures.

use uplift_model::{
    run::{Intent, RunState},
    screen::{Answer, Screen, Screens},
};

use super::{
    environment,
    place::place,
    scene::{Scene, scenes},
    summary, validation,
};
use crate::{
    ReportInput,
    document::{Column, Document, NoteKind, Section, Table, Text},
};

/// What a reader must know of every screen.
const COUPLED: &str = "Both variants ran at the same time, each on CPUs of its own. A screen says whether something moved and not by how much: they share the disk, memory and caches, so that what one loses the other may gain (a true 5 % was read as 7 %), and what both wait for may hide a difference.";

/// The document of a screen.
pub fn document(title: Text, input: &ReportInput<'_>, screens: &Screens) -> Document {
    let mut document = Document::new(title);
    document.sections.push(of_run(input, screens));
    for (scene, screen) in scenes(input).iter().zip(&screens.scenarios).filter(|(scene, _)| scene.is_begun()) {
        document.sections.push(of_scenario(scene, screens, screen));
    }
    document.sections.push(environment::environment(input));
    document.sections.push(environment::reproduction(input));
    document.sections.retain(|section| !section.is_empty());
    document
}

/// `screen.json`.
///
/// # Errors
/// Where a number has no JSON form, which would be a defect of the analysis.
pub fn json(screens: &Screens) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(screens)?;
    text.push('\n');
    Ok(text)
}

fn of_run(input: &ReportInput<'_>, screens: &Screens) -> Section {
    let mut section = Section::new("summary", "Summary").listed("Summary").untitled().brief();
    if input.run.state != RunState::Complete {
        let text = format!("Partial run ({}): what follows is what was measured", summary::state_word(input.run.state));
        section.note(NoteKind::Warning, text);
    }
    if screens.scenarios.len() > 1 {
        section.prose(counts(&screens.scenarios)).brief();
        let columns = vec![Column::words("scenario"), Column::words("answer"), Column::words("metric")];
        let mut table = Table::new("Answers at a glance", columns);
        for screen in &screens.scenarios {
            let name = Text::default().link(&screen.name, format!("#{}", place(&screen.name, "")));
            table.row(vec![name.into(), answer(screen).into(), Text::plain(&screen.metric).into()]);
        }
        section.table(table);
    }
    section.prose(COUPLED).brief();
    if let Intent::Screen { sides, .. } = &input.run.intent {
        let names = sides.each_ref().map(|cpus| cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
        section.prose(format!(
            "The sides are CPUs {} and CPUs {}; which variant has which changes from round to round, balanced. With other runs it is not comparable, and it is in no history.",
            names[0], names[1]
        ));
    }
    for note in &screens.notes {
        section.note(NoteKind::Remark, note);
    }
    section
}

fn of_scenario(scene: &Scene<'_>, screens: &Screens, screen: &Screen) -> Section {
    let scenario = &scene.planned.scenario;
    let heading = Text::plain(format!("{}: {}", scenario.name, scenario.title));
    let mut section = Section::new(place(&scenario.name, ""), heading).listed(&scenario.name).brief();
    section.prose(Text::strong(answer(screen)).then(Text::plain(format!(": {}", screen.reason)))).brief();
    let command = format!("uplift compare {} {} {}", screens.baseline, plain(&screens.candidate), scenario.name);
    match screen.answer {
        Answer::Moved => {
            section.prose(format!("By how much: `{command}`")).brief();
        }
        Answer::NotSeen | Answer::CannotTell => {
            section.prose(format!("In turns, which can show that nothing changed: `{command}`")).brief();
        }
    }
    for note in &screen.notes {
        section.note(NoteKind::Warning, note);
    }
    section.part(validation::section(scene));
    section
}

/// "moved, worse"
fn answer(screen: &Screen) -> String {
    match (screen.answer, screen.better) {
        (Answer::Moved, Some(true)) => format!("{}, better", Answer::Moved.words()),
        (Answer::Moved, Some(false)) => format!("{}, worse", Answer::Moved.words()),
        (answer, _) => answer.words().to_owned(),
    }
}

/// "3 scenarios: 1 moved, 2 not seen to move"
pub fn counts(screens: &[Screen]) -> String {
    let words: Vec<String> = [Answer::Moved, Answer::NotSeen, Answer::CannotTell]
        .into_iter()
        .map(|answer| (screens.iter().filter(|screen| screen.answer == answer).count(), answer.words()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let noun = if screens.len() == 1 { "scenario" } else { "scenarios" };
    format!("{} {noun}: {}", screens.len(), words.join(", "))
}

/// The candidate's name on the command line: of a variant that is compared with itself it has an ending.
fn plain(candidate: &str) -> &str {
    candidate.strip_suffix("@candidate").unwrap_or(candidate)
}
