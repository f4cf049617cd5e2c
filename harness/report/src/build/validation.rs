//! Whether the measurement can be believed: checks, failures, the measured mix, expectations, the machine meanwhile.

use std::collections::BTreeMap;

use uplift_analysis::{estimate::median, load_agents, pairing::kept, warning::Warning};
use uplift_model::{Trial, Unit, trial::TrialOutcome, verdict::Status};

use super::{operations::tally, place, scene::Scene};
use crate::{
    document::{Extent, NoteKind, Section},
    number::{count, range, significant, with_unit},
};

/// One line for each kind of failure of a scenario's trials.
pub fn failure_lines<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Vec<String> {
    let mut failures: BTreeMap<(&str, &str, &str), (u32, &str)> = BTreeMap::new();
    for trial in trials {
        if let TrialOutcome::Failed(failure) = &trial.outcome {
            let key = (trial.variant.as_str(), failure.phase.as_str(), failure.message.as_str());
            let entry = failures.entry(key).or_default();
            *entry = (entry.0 + 1, &failure.stderr_tail);
        }
    }
    failures
        .into_iter()
        .map(|((variant, phase, message), (times, stderr))| {
            // An agent says on its stderr why it ends; that is the message again.
            let other = stderr.lines().filter(|line| !line.contains(message));
            let tail = other.rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ⏎ ");
            let tail = if tail.is_empty() { String::new() } else { format!(" (stderr: {tail})") };
            format!("{times} × `{variant}` failed at {phase}: {message}{tail}")
        })
        .collect()
}

/// The section.
pub fn section(scene: &Scene<'_>) -> Section {
    let mut section = Section::new(place(&scene.planned.scenario.name, "validation"), "Validation").untitled().brief();
    for (variant, trials) in &scene.variants {
        let measured: Vec<_> = trials.iter().filter_map(|trial| trial.measured.as_ref()).collect();
        let Some(last) = measured.last() else { continue };
        let checked: u64 = measured.iter().map(|measured| measured.check.checked).sum();
        let turns: usize = trials.iter().map(|trial| kept(trial).len()).sum();
        let dropped: u32 = measured.iter().map(|measured| measured.dropped_turns).sum();
        let shares: Vec<f64> = measured.iter().filter_map(|measured| measured.idle.cpu_share()).collect();
        let idle = median(&shares)
            .map_or_else(String::new, |share| format!("; idle between turns: {:.2} % of a core", share * 100.0));
        // A target that cannot tell what it owes does not owe nothing.
        let owed = measured.iter().map(|measured| measured.drain.owed).sum::<Option<u64>>();
        let owed = owed.map_or_else(|| "what was owed is not known".to_owned(), |owed| format!("owed {}", count(owed)));
        let drained = median(&measured.iter().map(|measured| measured.drain.duration_ns as f64).collect::<Vec<_>>())
            .map_or_else(String::new, |ns| format!("; drain {} ({owed})", with_unit(ns, Unit::Nanoseconds)));
        section.item(format!(
            "`{variant}`: {} trials correct, {} checks; last: {}; {turns} turns kept, {dropped} dropped as warm-up{idle}{drained}",
            measured.len(),
            count(checked),
            last.check.detail,
        ));
    }
    for line in failure_lines(scene.trials.iter().copied()) {
        let note = section.note(NoteKind::Failure, line);
        // A comparison says what failed in its verdict.
        note.extent = if scene.verdict.is_some() { Extent::Page } else { Extent::Brief };
    }
    mix(scene, &mut section);
    verdict(scene, &mut section);
    sentinels(scene, &mut section);
    section
}

fn verdict(scene: &Scene<'_>, section: &mut Section) {
    let Some(verdict) = scene.verdict else {
        let measured = || scene.trials.iter().copied().filter(|trial| trial.succeeded());
        if let Some(words) = load_agents::words(measured()) {
            section.note(NoteKind::Remark, words);
        }
        if let Some(why) = load_agents::saturation(measured()) {
            let warning = Warning::LoadGenerator(why);
            section.note(NoteKind::Warning, warning.text()).remedy(warning.remedy());
        }
        if let Some(stopped) = &scene.planned.stopped {
            section.item(format!("measuring stopped: {stopped}")).brief();
        }
        return;
    };
    for expectation in &verdict.expectations {
        let value = expectation.value.map_or_else(|| "not available".to_owned(), significant);
        section.item(format!(
            "{} expected of `{}`: {} {} (measured {value})",
            if expectation.held { "✓" } else { "✗" },
            expectation.variant,
            expectation.metric,
            expectation.rule,
        ));
    }
    for note in &verdict.notes {
        section.note(NoteKind::Remark, note);
    }
    if let Some(stopped) = &verdict.stopped {
        let said_before = verdict.reason.as_ref() == Some(stopped);
        let note = section.item(format!("measuring stopped: {stopped}"));
        note.extent = if said_before { Extent::Page } else { Extent::Brief };
    }
    if verdict.status == Status::Compared {
        section.item(format!("{} blocks compared", verdict.blocks));
    }
}

/// The measured mix of operations and the evenness over groups.
fn mix(scene: &Scene<'_>, section: &mut Section) {
    for (variant, trials) in &scene.variants {
        let kinds = tally(trials, |operation| Some(&operation.kind));
        let total: u64 = kinds.values().map(|tally| tally.attempts()).sum();
        if kinds.len() > 1 && total > 0 {
            let parts: Vec<String> = kinds
                .iter()
                .map(|(kind, tally)| format!("{kind} {:.1} %", tally.attempts() as f64 / total as f64 * 100.0))
                .collect();
            section.item(format!("measured mix of `{variant}`: {}", parts.join(", ")));
        }
        let groups = tally(trials, |operation| operation.group.as_deref());
        let sizes: Vec<u64> = groups.values().map(|tally| tally.attempts()).collect();
        if let (Some(least), Some(most), true) = (sizes.iter().min(), sizes.iter().max(), sizes.len() > 1) {
            section.item(format!(
                "evenness of `{variant}` over {} groups: the least busy got {:.1} % of the busiest",
                sizes.len(),
                *least as f64 / (*most).max(1) as f64 * 100.0
            ));
        }
    }
}

fn sentinels(scene: &Scene<'_>, section: &mut Section) {
    let trials = &scene.trials;
    let of = |read: fn(&Trial) -> Option<f64>| -> Vec<f64> { trials.iter().filter_map(|trial| read(trial)).collect() };
    let steal = of(|trial| trial.sentinels.steal_share);
    let foreign = of(|trial| trial.sentinels.foreign_cpu_share);
    let spin = of(|trial| trial.sentinels.spin_ns.map(|ns| ns as f64));
    let sync = of(|trial| trial.sentinels.fdatasync_ns.map(|ns| ns as f64));
    let spread = |values: &[f64], unit: Unit| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        median(values).map(|center| format!("{} ({})", with_unit(center, unit), range([low, high], unit)))
    };
    let parts: Vec<String> = [
        ("stolen CPU time", spread(&steal, Unit::Ratio)),
        ("other processes", spread(&foreign, Unit::Ratio)),
        ("spin probe", spread(&spin, Unit::Nanoseconds)),
        ("fdatasync probe", spread(&sync, Unit::Nanoseconds)),
    ]
    .into_iter()
    .filter_map(|(name, range)| range.map(|range| format!("{name} {range}")))
    .collect();
    if let Some(limit) = scene.planned.scenario.trial.cpu_latency {
        let held = trials.iter().filter(|trial| trial.sentinels.holds_cpu_latency(limit)).count();
        section.item(format!("idle CPUs had to wake within {limit}: in force in {held} of {} trials", trials.len()));
    }
    if !parts.is_empty() {
        section.item(format!("the machine meanwhile, median (least … most): {}", parts.join("; ")));
    }
}
