//! Whether the measurement can be believed: checks, failures, the measured mix, expectations, the machine meanwhile.

use std::{collections::BTreeMap, fmt::Write as _};

use uplift_analysis::{estimate::median, pairing::kept};
use uplift_model::{
    Trial, Unit,
    run::PlannedScenario,
    trial::TrialOutcome,
    verdict::{ScenarioVerdict, Status},
};

use super::{escape, of_variant, operations::tally, trials_of, variants};
use crate::{
    ReportInput,
    number::{count, range, significant, with_unit},
};

/// One line for each kind of failure of a scenario's trials.
pub fn failure_lines(input: &ReportInput<'_>, planned: &PlannedScenario) -> Vec<String> {
    let mut failures: BTreeMap<(String, String, String), (u32, String)> = BTreeMap::new();
    for trial in trials_of(input, planned) {
        if let TrialOutcome::Failed(failure) = &trial.outcome {
            let key = (trial.variant.clone(), failure.phase.clone(), failure.message.clone());
            let entry = failures.entry(key).or_default();
            entry.0 += 1;
            entry.1.clone_from(&failure.stderr_tail);
        }
    }
    failures
        .into_iter()
        .map(|((variant, phase, message), (times, stderr))| {
            let tail =
                stderr.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ⏎ ");
            let tail = if tail.is_empty() { String::new() } else { format!(" (stderr: {tail})") };
            format!("{times} × `{variant}` failed at {phase}: {message}{tail}")
        })
        .collect()
}

pub fn validation(
    input: &ReportInput<'_>,
    planned: &PlannedScenario,
    verdict: Option<&ScenarioVerdict>,
    text: &mut String,
) {
    text.push_str("### Validation\n\n");
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
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
        let _ = writeln!(
            text,
            "- `{variant}`: {} trials correct, {} checks; last: {}; {turns} turns kept, {dropped} dropped as warm-up{idle}{drained}",
            measured.len(),
            count(checked),
            escape(&last.check.detail),
        );
    }
    for line in failure_lines(input, planned) {
        let _ = writeln!(text, "- ✗ {}", escape(&line));
    }
    mix(input, planned, text);
    if let Some(verdict) = verdict {
        for expectation in &verdict.expectations {
            let value = expectation.value.map_or_else(|| "not available".to_owned(), significant);
            let _ = writeln!(
                text,
                "- {} expected of `{}`: {} {} (measured {value})",
                if expectation.held { "✓" } else { "✗" },
                expectation.variant,
                expectation.metric,
                escape(&expectation.rule),
            );
        }
        for note in &verdict.notes {
            let _ = writeln!(text, "- {}", escape(note));
        }
        if let Some(stopped) = &verdict.stopped {
            let _ = writeln!(text, "- measuring stopped: {}", escape(stopped));
        }
        if verdict.status == Status::Compared {
            let _ = writeln!(text, "- {} blocks compared", verdict.blocks);
        }
    }
    sentinels(input, planned, text);
    text.push('\n');
}

/// The measured mix of operations and the evenness over groups.
fn mix(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let kinds = tally(&trials, |operation| Some(&operation.kind));
        let total: u64 = kinds.values().map(|tally| tally.attempts()).sum();
        if kinds.len() > 1 && total > 0 {
            let parts: Vec<String> = kinds
                .iter()
                .map(|(kind, tally)| format!("{kind} {:.1} %", tally.attempts() as f64 / total as f64 * 100.0))
                .collect();
            let _ = writeln!(text, "- measured mix of `{variant}`: {}", parts.join(", "));
        }
        let groups = tally(&trials, |operation| operation.group.as_deref());
        let sizes: Vec<u64> = groups.values().map(|tally| tally.attempts()).collect();
        if let (Some(least), Some(most), true) = (sizes.iter().min(), sizes.iter().max(), sizes.len() > 1) {
            let _ = writeln!(
                text,
                "- evenness of `{variant}` over {} groups: the least busy got {:.1} % of the busiest",
                sizes.len(),
                *least as f64 / (*most).max(1) as f64 * 100.0
            );
        }
    }
}

fn sentinels(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let trials: Vec<&Trial> = trials_of(input, planned).collect();
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
    if let Some(limit) = planned.scenario.trial.cpu_latency {
        let held = trials.iter().filter(|trial| trial.sentinels.holds_cpu_latency(limit)).count();
        let _ = writeln!(text, "- idle CPUs had to wake within {limit}: in force in {held} of {} trials", trials.len());
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "- the machine meanwhile, median (least … most): {}", escape(&parts.join("; ")));
    }
}
