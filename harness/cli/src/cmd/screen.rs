//! `uplift compare BASE CAND --screen`: whether something moved, quickly.

use uplift_engine::sides::Sides;
use uplift_model::{
    Scenario,
    duration::HumanDuration,
    run::Intent,
    scenario::{LaunchKind, TrialSpec},
};
use uplift_sdk::TargetFactory;

use super::compare::{candidate_name, chosen};
use crate::{
    args::{CompareArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::CliError,
    finished::Finished,
    output::Terminal,
    revisions,
    session::{Profiling, Session},
};

/// The default budget of one scenario, and the most of all together, in seconds.
const EACH_S: u64 = 20;
const ALL_S: u64 = 300;
/// What a block measures, in turns of at least this length: shorter ones would be spent on changing sides.
const BLOCK_MS: u64 = 1_000;
const TURN_MS: u64 = 100;
/// The fewest rounds of a block: either variant has either side twice.
const ROUNDS_MIN: u32 = 4;
const WINDOW_MAX_MS: u64 = 2_000;
const WARMUP_MAX_MS: u64 = 200;

/// Runs both variants at the same time and writes the documents.
pub fn measure(
    args: &CompareArgs,
    targets: &[&'static dyn TargetFactory],
    terminal: &Terminal,
) -> Result<Finished, CliError> {
    if !args.commands.cmd.is_empty() {
        return Err(CliError::usage(
            "--screen runs two variants of a scenario at the same time, and --cmd names programs, whose runs have no common end",
            "leave --screen out: `uplift compare --cmd … --cmd …` runs them in turns",
        ));
    }
    let sides = Sides::of_this_process().map_err(|why| {
        CliError::environment(
            format!("--screen runs both variants at the same time: {why}"),
            "leave --screen out, or allow more CPUs (`taskset -p $$` says which are allowed)",
        )
    })?;
    let mut scenarios = chosen(Catalogue::read(&args.selection, targets)?.entries, args)?;
    leave_out(&mut scenarios, args, terminal)?;
    for (entry, variants) in &mut scenarios {
        if let Some(metric) = &args.how.metric {
            entry.decide_by(metric)?;
        }
        revisions::prepare(entry, variants, terminal)?;
        shorten(&mut entry.scenario.trial);
    }
    let seconds = (EACH_S * scenarios.len() as u64).min(ALL_S);
    let own = &args.how.trials;
    let trials = TrialArgs { budget: own.budget.or(Some(HumanDuration::from_millis(seconds * 1_000))), ..own.clone() };
    Session {
        intent: Intent::Screen {
            baseline: args.baseline.clone(),
            candidate: candidate_name(args),
            sides: sides.halves,
        },
        name: format!("screen-{}-{}", args.baseline, args.candidate),
        scenarios,
        trials: &trials,
        binaries: [args.how.baseline_bin.clone(), args.how.candidate_bin.clone()],
        blocks: None,
        history: false,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()
}

/// Takes out what cannot be screened. Where nothing is left, the first reason is the answer.
fn leave_out(
    scenarios: &mut Vec<(Entry, Vec<String>)>,
    args: &CompareArgs,
    terminal: &Terminal,
) -> Result<(), CliError> {
    let default = args.how.trials.setup.launch.launch.map_or(LaunchKind::Process, Into::into);
    let mut left_out: Vec<(String, String)> = Vec::new();
    scenarios.retain(|(entry, variants)| match refusal(&entry.scenario, variants, default) {
        None => true,
        Some(why) => {
            left_out.push((entry.scenario.name.clone(), why));
            false
        }
    });
    match left_out.first() {
        Some((name, why)) if scenarios.is_empty() => Err(CliError::usage(
            format!("`{name}` cannot be screened: {why}"),
            "leave --screen out: turns and trials measure it",
        )),
        _ => {
            for (name, why) in left_out {
                terminal.say(&format!("left out of the screen: {name}: {why}"));
            }
            Ok(())
        }
    }
}

/// Why a scenario's variants cannot run at the same time on CPUs of their own; `None` where nothing speaks against it.
fn refusal(scenario: &Scenario, variants: &[String], default: LaunchKind) -> Option<String> {
    let launch = |name: &String| scenario.variant(name).and_then(|variant| variant.uplift.launch).unwrap_or(default);
    if let Some(name) = variants.iter().find(|name| launch(name) != LaunchKind::Process) {
        return Some(format!(
            "`{name}` runs in a container, and a screen keeps processes on CPUs of their own, not containers"
        ));
    }
    let load = |name: &String| {
        let work = scenario.variant(name).and_then(|variant| variant.work.as_ref());
        work.map_or(&scenario.load, |work| &work.load)
    };
    if let Some(name) = variants.iter().find(|name| load(name).agents() > 0) {
        return Some(format!(
            "the load of `{name}` comes from agents of its own (`agents` in [load]), which need CPUs apart from those of the system"
        ));
    }
    scenario.trial.turn_operations.is_some().then(|| {
        "its turns are numbers of operations (`turn_operations` in [trial]), which two variants do not end at the same time".to_owned()
    })
}

/// Blocks of some second: that many of them are fresh processes matters more than how long each lives.
fn shorten(trial: &mut TrialSpec) {
    let millis = HumanDuration::from_millis;
    let turn = trial.turn.0.max(millis(TURN_MS).0);
    let rounds = (millis(BLOCK_MS).0.as_secs_f64() / turn.as_secs_f64()) as u32;
    trial.turn.0 = turn;
    // An even number: either variant has either side equally often.
    trial.rounds = rounds.next_multiple_of(2).max(ROUNDS_MIN);
    trial.window.0 = trial.window.0.min(millis(WINDOW_MAX_MS).0);
    trial.warmup.0 = trial.warmup.0.min(millis(WARMUP_MAX_MS).0);
    trial.block = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_about_a_second_of_paired_turns() {
        for (turn_ms, wanted) in [(25, (100, 10)), (100, (100, 10)), (300, (300, 4)), (2_000, (2_000, 4))] {
            let mut trial = TrialSpec { turn: HumanDuration::from_millis(turn_ms), ..TrialSpec::default() };
            shorten(&mut trial);
            assert_eq!((trial.turn.0.as_millis(), trial.rounds), wanted);
            assert!(trial.warmup.0.as_millis() <= 200 && trial.window.0.as_millis() <= 2_000);
        }
    }
}
