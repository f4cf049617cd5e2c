//! From verdicts and records to the document of a run.

pub mod calibration;
mod comparison;
pub mod crash;
pub mod crossover;
pub mod diff;
mod environment;
mod events;
pub mod gate;
mod headline;
pub mod history;
mod internals;
pub mod ledger;
mod metrics;
mod operations;
mod place;
pub mod saturation;
pub mod scalability;
mod scene;
pub mod screen;
pub mod site;
mod slow;
mod stalls;
mod summary;
pub mod sweep;
mod validation;

use uplift_model::{
    MetricSpec,
    registry::{METRICS, placement},
    run::Intent,
};

pub use self::{metrics::shown_by_default, scene::variants, summary::closing, validation::failure_lines};
pub(crate) use self::{
    place::place,
    scene::{Scene, scenes},
};
use crate::{
    ReportInput,
    document::{Block, Column, Document, Extent, Figure, NoteKind, Section, Table, Text},
    plots::{self, Plot},
    profile,
};

/// A document and the plots that it names.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is said.
    pub document: Document,
    /// The plots, in its order.
    pub plots: Vec<Plot>,
}

/// The document of a run with its plots.
pub fn report(input: &ReportInput<'_>) -> Report {
    let mut plots = Vec::new();
    let document = of_run(input, Some(&mut plots));
    Report { document, plots }
}

/// The document of a run without plots, for those who cannot see them.
pub fn document(input: &ReportInput<'_>) -> Document {
    of_run(input, None)
}

fn of_run(input: &ReportInput<'_>, mut plots: Option<&mut Vec<Plot>>) -> Document {
    if let Some(screens) = uplift_analysis::screens(input.run, input.trials) {
        return screen::document(title(&input.run.intent), input, &screens);
    }
    let mut document = Document::new(title(&input.run.intent));
    let scenes = scenes(input);
    document.sections.push(summary::section(input, &scenes));
    for scene in scenes.iter().filter(|scene| scene.is_begun()) {
        let drawn = plots.is_some().then(|| plots::of_scenario(input, scene.planned, scene.verdict));
        document.sections.push(scenario(scene, drawn.as_deref().unwrap_or_default()));
        if let (Some(all), Some(drawn)) = (plots.as_deref_mut(), drawn) {
            all.extend(drawn);
        }
    }
    document.sections.push(meanings(&scenes));
    document.sections.push(environment::environment(input));
    document.sections.push(environment::reproduction(input));
    document.sections.retain(|section| !section.is_empty());
    document
}

fn title(intent: &Intent) -> Text {
    match intent {
        Intent::Compare { baseline, candidate } => format!("Performance results: `{candidate}` against `{baseline}`"),
        Intent::Screen { baseline, candidate, .. } => {
            format!("Screen: `{candidate}` beside `{baseline}` at the same time")
        }
        Intent::Run { variants } => format!("Performance results: measurements of {}", variants.join(", ")),
        Intent::Verify => "Performance results: verification".to_owned(),
        Intent::Sweep { .. } => "Performance results: parameter sweep".to_owned(),
        Intent::Ledger { steps } => format!("Performance results: sprint ledger, {}", steps.join(" → ")),
        Intent::Calibrate { variant } => format!("Performance results: calibration: `{variant}` against itself"),
        Intent::Crash { variants } => format!("Durability, demonstrated: cuts of {}", variants.join(", ")),
        Intent::Profile { variants } => format!("Performance results: profiles of {}", variants.join(", ")),
    }
    .into()
}

fn scenario(scene: &Scene<'_>, plots: &[Plot]) -> Section {
    let planned = scene.planned;
    let (name, title) = (&planned.scenario.name, &planned.scenario.title);
    let mut section = Section::new(place(name, ""), Text::plain(format!("{name}: {title}"))).listed(name).brief();
    if let Some(skipped) = &planned.skipped {
        section.note(NoteKind::Warning, format!("skipped: {skipped}"));
    }
    if let Some(verdict) = scene.verdict {
        section.blocks.push(Block::Headline(Box::new(headline::of(scene, verdict))));
    }
    if !planned.scenario.story.is_empty() {
        section.note(NoteKind::Story, Text::plain(planned.scenario.story.trim()));
    }
    if planned.skipped.is_some() {
        return section;
    }
    let mut aside = Section::new(place(name, "course"), "Over time, and pair by pair").folded();
    for plot in plots {
        let part = if plot.aside { &mut aside } else { &mut section };
        part.blocks.push(Block::Figure(Figure { path: plot.path.clone(), description: plot.description.clone() }));
    }
    section.part(special(scene));
    if let Some((verdict, [baseline, candidate])) = scene.compared() {
        section.part(comparison::insights(scene, verdict));
        section.part(metrics::compared(verdict, baseline, candidate));
        section.part(slow::section(verdict, [baseline, candidate]));
        section.part(operations::latency(verdict, baseline, candidate));
        section.part(comparison::ceiling(verdict));
        section.part(comparison::settings(verdict, baseline, candidate));
        section.part(comparison::claims(verdict));
    } else if scene.has_measured() || scene.input.profiles.is_empty() {
        section.part(metrics::described(scene));
    }
    let mut sampled = profile::section::section(scene.input.profiles, planned);
    if scene.verdict.is_some() {
        // Beside a verdict a terminal has no room for where the time went.
        sampled.extent = Extent::Detailed;
    }
    section.part(sampled);
    section.part(profile::stages::section(scene));
    section.part(operations::operations(scene));
    section.part(operations::groups(scene));
    section.part(operations::syncs(scene));
    section.part(aside);
    section.part(internals::ratios(scene));
    section.part(internals::distributions(scene));
    section.part(stalls::section(scene));
    section.part(events::section(scene));
    section.part(environment::configuration(planned));
    section.part(validation::section(scene));
    section
}

/// What only this kind of run has.
fn special(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    if let Some(ledger) = scene.verdict.and_then(|verdict| verdict.ledger.as_ref()) {
        return ledger::section(ledger, name);
    }
    match &scene.input.run.intent {
        Intent::Calibrate { variant } => {
            let alone = uplift_model::run::Run { scenarios: vec![scene.planned.clone()], ..scene.input.run.clone() };
            let found = uplift_analysis::calibrate::calibrations(&alone, scene.input.trials, variant);
            let mut section = Section::new(place(name, "calibration"), "Calibration").untitled().brief();
            found.iter().for_each(|one| section.part(calibration::section(one)));
            section
        }
        Intent::Sweep { .. } => scene
            .sweep()
            .map_or_else(|| Section::new(place(name, "sweep"), "Sweep"), |found| sweep::section(&found, name)),
        _ => Section::new(place(name, "special"), ""),
    }
}

/// What each metric of the document is.
fn meanings(scenes: &[Scene<'_>]) -> Section {
    let mut own: Vec<&MetricSpec> = Vec::new();
    for spec in scenes.iter().flat_map(|scene| &scene.planned.metrics).map(|metric| &metric.spec) {
        if !own.iter().any(|known| known.name == spec.name) {
            own.push(spec);
        }
    }
    let columns = vec![Column::words("metric"), Column::words("unit"), Column::words("part"), Column::words("meaning")];
    let mut table = Table::new("What each metric is", columns);
    let measured = scenes.iter().any(Scene::has_measured);
    let ours: Vec<MetricSpec> = METRICS.iter().map(|entry| entry.spec()).collect();
    for spec in ours.iter().filter(|_| measured).chain(own) {
        let name = crate::document::Cell::Metric { name: spec.name.to_string(), better: spec.better, primary: false };
        let group = placement(&spec.name).group.title();
        table.row(vec![name, spec.unit.symbol().into(), group.into(), Text::plain(spec.about.as_ref()).into()]);
    }
    let mut section = Section::new("metrics", "What each metric is").listed("Metrics").folded();
    section.table(table);
    section
}
