//! What stands around the metrics of a scenario: settings, durability, whether it may be compared at all, and what the
//! reader must know about the measuring.

use std::collections::{BTreeMap, BTreeSet};

use uplift_model::{
    Trial,
    run::{PlannedScenario, Run, RunState},
    trial::{FailureKind, Sentinels, TrialOutcome},
    verdict::{ExpectationVerdict, ScenarioVerdict, SettingRow, SettingValue, Status},
};

use super::{block_time, idle};
use crate::{
    DEFAULT_MARGIN,
    estimate::median,
    metrics, modelled_disk,
    pairing::{Pair, kept},
    settings,
};

/// The event of a target whose programs left processes behind: nobody looks for that in a list of events.
const LEFT_BEHIND: &str = "left behind";
/// The share of the machine's CPU time, taken by others, above which a block is called disturbed.
const DISTURBED_SHARE: f64 = 0.1;

/// Fills in everything of a verdict but its metrics and claims.
pub(super) fn describe(
    verdict: &mut ScenarioVerdict,
    run: &Run,
    planned: &PlannedScenario,
    trials: &[Trial],
    pairs: &[Pair<'_>],
    variants: [&str; 2],
) {
    describe_settings(verdict, planned, trials, variants);
    judge_status(verdict, run, planned, trials, pairs, variants);
    note_calibration(verdict, run, planned);
    note_conditions(verdict, pairs);
    note_cpu_latency(verdict, planned, pairs);
    note_disk(verdict, planned, pairs);
    verdict.notes.extend(block_time::note(planned, pairs));
    verdict.expectations = expectations(planned, trials, variants);
}

fn describe_settings(
    verdict: &mut ScenarioVerdict,
    planned: &PlannedScenario,
    trials: &[Trial],
    [baseline, candidate]: [&str; 2],
) {
    let first = |variant: &str| {
        trials
            .iter()
            .filter(|trial| trial.scenario == planned.scenario.name && trial.variant == variant)
            .find_map(|trial| trial.measured.as_ref())
    };
    let (a, b) = (first(baseline), first(candidate));
    let empty = uplift_model::Table::new();
    let requested = |name: &str| planned.scenario.variant(name).map_or(&empty, |variant| &variant.settings);
    verdict.settings = settings::rows(
        [requested(baseline), requested(candidate)],
        [a.map(|measured| &measured.effective), b.map(|measured| &measured.effective)],
    );
    if !same_launch(planned) {
        let launcher = |name: &str| SettingValue { requested: None, effective: planned.launchers.get(name).cloned() };
        verdict.settings.push(SettingRow {
            key: "launcher".to_owned(),
            baseline: launcher(baseline),
            candidate: launcher(candidate),
        });
    }
    verdict.ceiling = a.and_then(|measured| measured.ceiling.clone()).or_else(|| b.and_then(|m| m.ceiling.clone()));
    if let (Some(a), Some(b)) = (a, b) {
        (verdict.durability, verdict.durability_reason) = settings::parity(a.durability, b.durability);
    }
}

fn judge_status(
    verdict: &mut ScenarioVerdict,
    run: &Run,
    planned: &PlannedScenario,
    trials: &[Trial],
    pairs: &[Pair<'_>],
    variants: [&str; 2],
) {
    let mut failures = Failures::new();
    let mut attempted = 0;
    let mut blocks = BTreeSet::new();
    for trial in trials.iter().filter(|trial| trial.scenario == planned.scenario.name) {
        attempted += 1;
        if variants.contains(&trial.variant.as_str()) {
            blocks.insert(trial.block);
        }
        if let TrialOutcome::Failed(failure) = &trial.outcome
            // Why a scenario was skipped is its reason.
            && !matches!(failure.kind, FailureKind::Interrupted | FailureKind::Unavailable)
        {
            failures.entry((&trial.variant, failure.kind)).or_insert((0, &failure.message)).0 += 1;
        }
    }
    for ((variant, _), (count, message)) in &failures {
        verdict.notes.push(format!("{count} of {attempted} trials failed, with `{variant}`: {message}"));
    }
    let own = |(variant, _): &&(&str, FailureKind)| variants.contains(variant);
    // Another variant of the same run may be wrong without touching these two.
    let wrong = failures.iter().find(|((variant, kind), _)| *kind == FailureKind::Check && variants.contains(variant));
    if let Some(reason) = &planned.skipped {
        verdict.status = Status::Skipped;
        verdict.reason = Some(reason.clone());
    } else if let Some(((variant, _), (count, message))) = wrong {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(format!("`{variant}` failed its correctness check in {count} trials: {message}"));
    } else if pairs.is_empty() && run.state == RunState::Interrupted && !failures.keys().any(|key| own(&key)) {
        verdict.status = Status::Skipped;
        let what = if attempted == 0 { "it was begun" } else { "a block of it was whole" };
        verdict.reason = Some(format!("the run was interrupted before {what}"));
    } else if pairs.is_empty() {
        verdict.status = Status::Failed;
        verdict.reason = Some(failures.iter().find(|(key, _)| own(key)).map_or_else(
            || "no block was measured".to_owned(),
            |((variant, _), (_, message))| format!("`{variant}` failed: {message}"),
        ));
    } else if let Some(reason) = lost_blocks(&failures, blocks.len(), variants) {
        verdict.status = Status::Failed;
        verdict.reason = Some(reason);
    } else if let Some(reason) = lost_rounds(verdict, pairs) {
        verdict.status = Status::Failed;
        verdict.reason = Some(reason);
    } else if let Some(reason) = different_results(pairs) {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(reason);
    } else if settings::differ_only_on_paper(&verdict.settings) && planned.binaries.is_empty() && same_launch(planned) {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(format!(
            "`{}` and `{}` differ in nothing that is in force: what was asked for differently was ignored or has no effect; see the settings table, and ask for something that the target accepts",
            variants[0], variants[1]
        ));
    } else if let Some(reason) = idle::synced(planned, pairs).filter(|_| !run.intent.is_screen()) {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(reason);
    }
}

/// Where the variants must have the same result and have not.
fn different_results(pairs: &[Pair<'_>]) -> Option<String> {
    let of = |trial: &'_ Trial| Some(trial.measured.as_ref()?.result.clone());
    pairs.iter().find_map(|pair| {
        let (a, b) = (of(pair.baseline)?, of(pair.candidate)?);
        let told = |result: Option<String>| result.unwrap_or_else(|| "nothing that could be compared".to_owned());
        (a != b).then(|| {
            format!(
                "the results must be equal and are not: that of `{}` is {}, that of `{}` is {}",
                pair.baseline.variant,
                told(a),
                pair.candidate.variant,
                told(b)
            )
        })
    })
}

/// What failed, by variant and kind: how often, and the first message.
type Failures<'a> = BTreeMap<(&'a str, FailureKind), (u32, &'a str)>;

/// Why the blocks that are left are no sample: a variant that fails in some blocks was measured in those that it survived.
fn lost_blocks(failures: &Failures<'_>, blocks: usize, variants: [&str; 2]) -> Option<String> {
    let of = |wanted: &str| {
        let own = failures.iter().filter(|((variant, _), _)| *variant == wanted);
        own.fold((0, ""), |(lost, said), (_, (count, message))| {
            (lost + count, if said.is_empty() { *message } else { said })
        })
    };
    let [baseline, candidate] = variants;
    let mut sides = vec![(baseline, of(baseline))];
    if candidate != baseline {
        sides.push((candidate, of(candidate)));
    }
    let words: Vec<String> = sides
        .iter()
        .filter(|(_, (lost, _))| *lost > 0)
        .map(|(variant, (lost, message))| format!("`{variant}` failed in {lost} of {blocks} blocks: {message}"))
        .collect();
    let what_is_left = "what is left are the blocks that it survived, which are no sample of all";
    (!words.is_empty()).then(|| format!("{}; {what_is_left}", words.join("; ")))
}

/// Counts the rounds without a successful operation by side. A note says how many; where a side lost more than half of
/// them, the reason why there is no comparison.
fn lost_rounds(verdict: &mut ScenarioVerdict, pairs: &[Pair<'_>]) -> Option<String> {
    let sides: [Vec<&Trial>; 2] =
        [pairs.iter().map(|pair| pair.baseline).collect(), pairs.iter().map(|pair| pair.candidate).collect()];
    let mut reason = None;
    for trials in sides {
        let turns = || trials.iter().flat_map(|trial| kept(trial));
        let (all, lost) = (turns().count(), turns().filter(|turn| turn.ok == 0).count());
        let Some(variant) = trials.first().map(|trial| &trial.variant).filter(|_| lost > 0) else { continue };
        let words = format!("no operation of `{variant}` succeeded in {lost} of {all} turns");
        if 2 * lost > all {
            reason = Some(format!("{words}; lengthen the turns in [trial], or look at what it waits for"));
        }
        verdict.notes.push(format!("{words}, which have no rate and are left out of the median over rounds"));
    }
    reason
}

fn same_launch(planned: &PlannedScenario) -> bool {
    let mut names = planned.launchers.values();
    let first = names.next();
    names.all(|name| Some(name) == first)
}

/// What a calibration of this machine found, and how old that is. It moves no margin: a margin says which change matters,
/// and a noisy machine does not make a change matter less.
fn note_calibration(verdict: &mut ScenarioVerdict, run: &Run, planned: &PlannedScenario) {
    let Some(calibration) = &planned.calibration else { return };
    let hours = run.started_unix_s.saturating_sub(calibration.measured_unix_s) as f64 / 3600.0;
    let age = if hours < 48.0 { format!("{hours:.1} hours") } else { format!("{:.0} days", hours / 24.0) };
    let Some(noise) = calibration.noise.get(&calibration.primary) else { return };
    verdict.notes.push(format!(
        "calibrated {age} before this run ({} blocks of `{}` against itself, run {}): copies differed by up to {:.1} % in {}; the margin stays {:.1} %",
        calibration.blocks,
        calibration.variant,
        calibration.run,
        noise.floor * 100.0,
        calibration.primary,
        DEFAULT_MARGIN * 100.0,
    ));
}

fn note_conditions(verdict: &mut ScenarioVerdict, pairs: &[Pair<'_>]) {
    let mut left_behind = BTreeMap::new();
    for trial in pairs.iter().flat_map(|pair| [pair.baseline, pair.candidate]) {
        let events = trial.measured.iter().flat_map(|measured| &measured.events);
        if let Some(event) = events.into_iter().find(|event| event.name == LEFT_BEHIND) {
            left_behind.entry(&trial.variant).or_insert(&event.detail);
        }
    }
    verdict.notes.extend(fewer_syncs(pairs));
    verdict.notes.extend(left_behind.into_iter().map(|(variant, detail)| format!("`{variant}`: {detail}")));
    type Share = fn(&Sentinels) -> Option<f64>;
    let sentinels: [(Share, &str); 2] = [
        (|sentinels| sentinels.steal_share, "stolen by the hypervisor"),
        (|sentinels| sentinels.foreign_cpu_share, "used by other processes"),
    ];
    for (share, what) in sentinels {
        // A block is disturbed where either of its trials was; in turns both ran at the same time.
        let worst = |pair: &Pair<'_>| -> Option<f64> {
            [pair.baseline, pair.candidate].into_iter().filter_map(|trial| share(&trial.sentinels)).reduce(f64::max)
        };
        let known: Vec<f64> = pairs.iter().filter_map(worst).collect();
        let disturbed = known.iter().filter(|share| **share > DISTURBED_SHARE).count();
        if disturbed > 0 {
            verdict.notes.push(format!(
                "in {disturbed} of {} blocks more than 10 % of the machine's CPU time was {what}",
                known.len()
            ));
        }
    }
    let unsent: u64 =
        pairs.iter().flat_map(|pair| [pair.baseline, pair.candidate]).flat_map(kept).map(|turn| turn.unsent).sum();
    if unsent > 0 {
        verdict.notes.push(format!(
            "{unsent} arrivals of the open load could not be sent before their turn was given up: the rate is beyond what the system sustains"
        ));
    }
}

/// Programs declare no durability: of two, the one that syncs less may be faster for that alone.
fn fewer_syncs(pairs: &[Pair<'_>]) -> Option<String> {
    let per_run = |trial: &Trial| {
        let syncs = &trial.measured.as_ref()?.syncs;
        Some(syncs.calls()? as f64 / syncs.operations.filter(|operations| *operations > 0)? as f64)
    };
    let of = |side: for<'a> fn(&Pair<'a>) -> &'a Trial| {
        median(&pairs.iter().filter_map(|pair| per_run(side(pair))).collect::<Vec<_>>())
    };
    let (baseline, candidate) = (of(|pair| pair.baseline)?, of(|pair| pair.candidate)?);
    let first = pairs.first()?;
    (candidate < baseline).then(|| {
        format!(
            "`{}` makes {candidate} sync calls in a run, `{}` {baseline}: what is faster for that is bought with durability",
            first.candidate.variant, first.baseline.variant
        )
    })
}

/// Says where idle CPUs could sleep longer than the scenario wants.
fn note_cpu_latency(verdict: &mut ScenarioVerdict, planned: &PlannedScenario, pairs: &[Pair<'_>]) {
    let Some(limit) = planned.scenario.trial.cpu_latency else { return };
    let held = |trial: &Trial| trial.sentinels.holds_cpu_latency(limit);
    let without = pairs.iter().filter(|pair| !held(pair.baseline) || !held(pair.candidate)).count();
    if without > 0 {
        verdict.notes.push(format!(
            "`trial.cpu_latency = \"{limit}\"` was not in force in {without} of {} blocks: waking a CPU that idles is in every wait; `uplift doctor` says what this machine lacks",
            pairs.len()
        ));
    }
}

/// Says on which disk the comparison holds, and how well the model was kept to.
fn note_disk(verdict: &mut ScenarioVerdict, planned: &PlannedScenario, pairs: &[Pair<'_>]) {
    let Some(disk) = &planned.scenario.disk else { return };
    let trials = pairs.iter().flat_map(|pair| [pair.baseline, pair.candidate]);
    let kept = modelled_disk::of(trials)
        .map_or_else(|| "no sync call was made, so the disk changed nothing".to_owned(), |in_force| in_force.words());
    verdict.disk = Some(format!("on a modelled disk ({}): {kept}", disk.words()));
}

fn expectations(planned: &PlannedScenario, trials: &[Trial], variants: [&str; 2]) -> Vec<ExpectationVerdict> {
    let mut verdicts = Vec::new();
    if planned.skipped.is_some() {
        return verdicts;
    }
    for (metric, bound) in planned.scenario.expect.iter().filter(|(_, bound)| !bound.relative) {
        let mut seen = Vec::new();
        for variant in variants {
            if seen.contains(&variant) {
                continue;
            }
            seen.push(variant);
            // Of what the user did not let happen nothing is expected.
            let asked = trials
                .iter()
                .filter(|trial| trial.scenario == planned.scenario.name && trial.variant == variant)
                .any(|trial| !matches!(&trial.outcome, TrialOutcome::Failed(failure) if failure.kind == FailureKind::Interrupted));
            if !asked {
                continue;
            }
            let values: Vec<f64> = trials
                .iter()
                .filter(|trial| {
                    trial.scenario == planned.scenario.name && trial.variant == variant && trial.succeeded()
                })
                .filter_map(|trial| metrics::named(trial, planned, metric)?.value.ok())
                .collect();
            let value = median(&values);
            verdicts.push(ExpectationVerdict {
                metric: metric.clone(),
                rule: bound.to_string(),
                variant: variant.to_owned(),
                value,
                held: value.is_some_and(|value| bound.holds(value)),
            });
        }
    }
    verdicts
}
