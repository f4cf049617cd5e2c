//! What was measured where: the configuration of a test, the machine, and how to do it again.

use std::collections::BTreeSet;

use uplift_model::{
    Table as Settings, Unit,
    run::PlannedScenario,
    scenario::{Arrival, Interleave, Load},
};

use super::{place, scene::variants};
use crate::{
    ReportInput,
    document::{Column, NoteKind, Section, Table, Text},
    number::with_unit,
};

fn table(label: String) -> Table {
    Table::new(label, vec![Column::words("what"), Column::words("value")])
}

/// Where it was measured.
pub fn environment(input: &ReportInput<'_>) -> Section {
    let environment = &input.run.environment;
    let mut section = Section::new("environment", "Environment").listed("Environment").folded();
    let mut table = table("Environment".to_owned());
    let none = || "could not be read".to_owned();
    let own = |value: &Option<String>| value.clone().unwrap_or_else(none);
    let revision = match (&environment.git_revision, environment.git_dirty) {
        (Some(revision), Some(true)) => format!("{revision} with uncommitted changes"),
        (Some(revision), _) => revision.clone(),
        (None, _) => none(),
    };
    let rows = [
        ("uplift", format!("{}, {}", environment.uplift_version, environment.build_profile)),
        ("compiler", own(&environment.compiler)),
        ("revision", revision),
        ("CPU", own(&environment.cpu_model)),
        ("cores", environment.cores.map_or_else(none, |cores| cores.to_string())),
        ("memory", environment.memory_bytes.map_or_else(none, |bytes| with_unit(bytes as f64, Unit::Bytes))),
        ("virtualization", environment.virtualization.clone().unwrap_or_else(|| "none noticed".to_owned())),
        ("system", own(&environment.os)),
        ("kernel", own(&environment.kernel)),
        ("filesystem of the data", own(&environment.filesystem)),
        ("mount options", own(&environment.mount_options)),
        ("frequency governor", own(&environment.governor)),
    ];
    for (what, value) in rows {
        table.row(vec![what.into(), Text::plain(value).into()]);
    }
    let launchers: BTreeSet<&String> =
        input.run.scenarios.iter().flat_map(|planned| planned.launchers.values()).collect();
    // A child process is what everybody expects.
    if launchers.iter().any(|launcher| *launcher != "process") {
        let words: Vec<&str> = launchers.iter().map(|launcher| launcher.as_str()).collect();
        table.row(vec!["agents started as".into(), Text::plain(words.join("; ")).into()]);
    }
    section.table(table);
    section
}

/// How to do it again.
pub fn reproduction(input: &ReportInput<'_>) -> Section {
    let run = input.run;
    let mut section = Section::new("reproduction", "Reproduction").listed("Reproduction");
    let command = run.command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    section.note(NoteKind::Command, Text::plain(command));
    section.prose(format!(
        "Seed {}; run `{}`. Every value above is derived from `trials.jsonl` and `run.json` of that run; `uplift report {}` rebuilds this document from them.",
        run.seed, run.id, run.id
    ));
    section
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What was asked of the system: the counterpart of a document's "test configuration".
pub fn configuration(planned: &PlannedScenario) -> Section {
    let scenario = &planned.scenario;
    let mut rows: Vec<(&str, String)> = Vec::new();
    if !scenario.workload.is_empty() {
        rows.push(("workload", table_words(&scenario.workload)));
    }
    rows.push(("load", load_words(&scenario.load)));
    let trial = &scenario.trial;
    rows.push((
        "a block",
        match (trial.interleave, trial.turn_operations) {
            (Interleave::Turns, None) => format!(
                "a fresh process of each variant; {} turns of {} each in random order, after {} of warm-up",
                trial.rounds, trial.turn, trial.warmup
            ),
            (Interleave::Turns, Some(calls)) => format!(
                "a fresh process of each variant; {} turns of {calls} calls each in random order, after {} of warm-up",
                trial.rounds, trial.warmup
            ),
            (Interleave::Trials, _) => format!(
                "a fresh process of each variant in random order; one window of {} after {} of warm-up",
                trial.window, trial.warmup
            ),
        },
    ));
    if let Some(disk) = &scenario.disk {
        let source = disk.source.as_ref().map_or_else(String::new, |source| format!("; figures of {source}"));
        rows.push(("modelled disk", format!("{}, the same for every variant{source}", disk.words())));
    }
    if let Some(limit) = trial.cpu_latency {
        rows.push(("idle CPUs", format!("the kernel is asked that they wake within {limit} (`cpu_latency`)")));
    }
    let shared = shared_settings(planned);
    if !shared.is_empty() {
        rows.push(("settings of all variants", table_words(&shared)));
    }
    let name = &scenario.name;
    let mut section = Section::new(place(name, "configuration"), "Test configuration").folded();
    let mut table = table(format!("Test configuration: {name}"));
    for (what, value) in rows {
        table.row(vec![what.into(), Text::plain(value).into()]);
    }
    section.table(table);
    section
}

/// What every variant of the run was given alike.
fn shared_settings(planned: &PlannedScenario) -> Settings {
    let mut variants = variants(planned).into_iter().filter_map(|name| planned.scenario.variant(name));
    let Some(first) = variants.next() else { return Settings::new() };
    let mut shared = first.settings.clone();
    for variant in variants {
        shared.retain(|key, value| variant.settings.get(key) == Some(value));
    }
    shared
}

fn table_words(table: &Settings) -> String {
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    table.iter().map(|(key, one)| format!("{key} = {}", value(one))).collect::<Vec<_>>().join(", ")
}

fn load_words(load: &Load) -> String {
    let batch = |batch: u32| if batch > 1 { format!(", up to {batch} operations a call") } else { String::new() };
    let agents = match load.agents() {
        0 => String::new(),
        1 => ", in an agent of its own".to_owned(),
        several => format!(", in {several} agents"),
    };
    let words = match load {
        Load::Closed { clients, think, batch: size, .. } => {
            let pause = think.map_or_else(String::new, |think| format!(", {} of thinking between operations", think));
            format!("closed loop: {clients} clients, each waiting for its answer{}{pause}", batch(*size))
        }
        Load::Open { rate, arrival, clients, batch: size, phases, .. } => {
            let distances = match arrival {
                Arrival::Constant => "at equal distances",
                Arrival::Poisson => "at exponential distances",
            };
            let phases = match phases.len() {
                0 => String::new(),
                count => format!(", in {count} phases whose mean that is"),
            };
            format!(
                "open loop: {rate} operations a second{phases} {distances}, sent by {clients} clients{}",
                batch(*size)
            )
        }
    };
    words + &agents
}
