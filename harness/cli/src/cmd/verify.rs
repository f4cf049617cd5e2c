//! `uplift verify [SCENARIO…]`: every variant of every scenario once, at its smallest; correctness only.

use std::time::Duration;

use uplift_model::{
    run::Intent,
    scenario::{Interleave, Load},
    trial::TrialOutcome,
};
use uplift_sdk::TargetFactory;

use crate::{
    args::{SetupArgs, TrialArgs, VerifyArgs},
    catalogue::Catalogue,
    error::CliError,
    exit,
    output::Terminal,
    session::{Profiling, Session},
};

/// Length of the window: enough for every kind of operation to happen.
const WINDOW: Duration = Duration::from_millis(300);
const WARMUP: Duration = Duration::from_millis(50);

/// Runs everything once and says what is wrong.
pub fn run(args: &VerifyArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let mut scenarios = Vec::new();
    for mut entry in Catalogue::read(&args.selection, targets)?.entries {
        let trial = &mut entry.scenario.trial;
        // Each variant alone: a scenario with ten variants would otherwise keep ten processes.
        trial.interleave = Interleave::Trials;
        trial.warmup.0 = trial.warmup.0.min(WARMUP);
        trial.window.0 = trial.window.0.min(WINDOW);
        trial.turn_operations = trial.turn_operations.map(|_| 1);
        if let Load::Open { rate, .. } = &entry.scenario.load {
            // A slow open load must send something within the window.
            let expected_gap = Duration::from_secs_f64(20.0 / rate);
            entry.scenario.trial.window.0 = entry.scenario.trial.window.0.max(expected_gap.min(Duration::from_secs(2)));
        }
        let variants = entry.scenario.variants.iter().map(|variant| variant.name.clone()).collect();
        scenarios.push((entry, variants));
    }
    let trials = TrialArgs {
        budget: None,
        quick: false,
        blocks: Some(1),
        // Nothing is timed, so any build will do, and it is the same work each time.
        setup: SetupArgs { seed: args.setup.seed.or(Some(1)), allow_debug: true, ..args.setup.clone() },
    };
    let finished = Session {
        intent: Intent::Verify,
        name: "verify".to_owned(),
        scenarios,
        trials: &trials,
        binaries: [None, None],
        blocks: Some(1),
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;

    let mut text = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for planned in &finished.run.scenarios {
        for variant in &planned.variants {
            let name = format!("{} {variant}", planned.scenario.name);
            let trial = finished
                .trials
                .iter()
                .find(|trial| trial.scenario == planned.scenario.name && &trial.variant == variant);
            let problem = match trial {
                None => Some("it was not run".to_owned()),
                Some(trial) => match (&trial.outcome, &trial.measured) {
                    (TrialOutcome::Failed(failure), _)
                        if failure.kind == uplift_model::trial::FailureKind::Unavailable =>
                    {
                        skipped += 1;
                        text.push_str(&format!("skip {name}: {}\n", failure.message));
                        continue;
                    }
                    (TrialOutcome::Failed(failure), _) => Some(format!("{}: {}", failure.phase, failure.message)),
                    (TrialOutcome::Ok, Some(measured)) if measured.check.checked == 0 => {
                        Some("its correctness check checked nothing".to_owned())
                    }
                    (TrialOutcome::Ok, Some(measured))
                        if measured.operations.iter().all(|operation| operation.ok == 0) =>
                    {
                        Some("no operation succeeded".to_owned())
                    }
                    (TrialOutcome::Ok, Some(measured)) if measured.syncs.collector.is_none() => {
                        Some("sync calls could not be counted: the probe is not live in this binary".to_owned())
                    }
                    (TrialOutcome::Ok, _) => None,
                },
            };
            match problem {
                None => {
                    passed += 1;
                    text.push_str(&format!("ok   {name}\n"));
                }
                Some(problem) => {
                    failed += 1;
                    text.push_str(&format!("FAIL {name}: {problem}\n"));
                }
            }
        }
    }
    text.push_str(&format!("verify: {passed} passed, {failed} failed, {skipped} skipped\n"));
    terminal.print(&text);
    // A skip is a failure where `UPLIFT_REQUIRE` asks for what was missing; `exit` says so.
    Ok(match finished.exit() {
        exit::INTERRUPTED => exit::INTERRUPTED,
        code if failed > 0 || (skipped > 0 && code == exit::FAILED) => exit::FAILED,
        _ => exit::OK,
    })
}
