//! Whether something moved, from two variants that ran at the same time.
//!
//! The rule is that of the verdicts (blocks of fresh processes, looks, corrections, margin), so that its error is theirs.
//! What it says is less: two that run at the same time share the disk, the memory and the caches, and what the one leaves
//! the other takes. A difference is then read too large (a true 5 % as 7 %), and a bottleneck that is shared fairly can
//! hide one. Hence there is no size in the answer, and "not seen to move" is not "unchanged".

use uplift_model::{
    Trial,
    run::{Intent, PlannedScenario, Run, RunState},
    screen::{Answer, SCREEN_SCHEMA, Screen, Screens},
    verdict::{Parity, Status, Verdict},
};

use super::{Draft, draft};
use crate::{BLOCKS_MIN, FAMILY_ALPHA, correction::Corrected};

/// The answers of a screen; `None` where the run is none.
pub fn screens(run: &Run, trials: &[Trial]) -> Option<Screens> {
    let Intent::Screen { baseline, candidate, .. } = &run.intent else { return None };
    let members = run.scenarios.len();
    let mut notes = Vec::new();
    if run.state == RunState::Interrupted {
        notes.push("the run was interrupted: this is what was measured until then".to_owned());
    }
    notes.extend(run.warnings.iter().cloned());
    let screen = |planned| {
        let draft = draft(run, planned, trials, [baseline, candidate], members);
        screen(draft, planned, members)
    };
    Some(Screens {
        schema: SCREEN_SCHEMA,
        baseline: baseline.clone(),
        candidate: candidate.clone(),
        scenarios: run.scenarios.iter().map(screen).collect(),
        notes,
    })
}

fn screen(draft: Draft, planned: &PlannedScenario, members: usize) -> Screen {
    let Draft { verdict, mut tests, share, .. } = draft;
    let mut screen = Screen {
        name: verdict.name,
        answer: Answer::CannotTell,
        better: None,
        metric: planned.scenario.primary.clone(),
        direction: None,
        blocks: verdict.blocks,
        incomparable: false,
        reason: String::new(),
        coupled_reading: None,
        notes: Vec::new(),
    };
    // What is written of blocks and positions there is about turns.
    if let Parity::Weaker = verdict.durability {
        let why = verdict.durability_reason.unwrap_or_default();
        screen.notes.push(format!("the candidate's acknowledged writes survive less: {why}"));
    }
    if verdict.status != Status::Compared {
        screen.incomparable = matches!(verdict.status, Status::Incomparable | Status::Skipped);
        screen.reason = verdict.reason.unwrap_or_else(|| "nothing was compared".to_owned());
        return screen;
    }
    let Some(test) = tests.iter_mut().find(|test| test.primary) else {
        screen.reason = format!("no block has `{}` of both variants", screen.metric);
        return screen;
    };
    screen.direction = Some(test.spec.better);
    // Each scenario has an equal part of the error: Bonferroni, which Holm's procedure can only better.
    test.corrected = Some(Corrected { p: test.spent_p(share), alpha: FAMILY_ALPHA / members.max(1) as f64 });
    let (decided, why) = test.decide(share, [0.0; 2]);
    let shown = test.finish(share, None);
    screen.coupled_reading = shown.change.zip(shown.ci).map(|(change, [low, high])| [change, low, high]);
    let blocks = screen.blocks;
    (screen.answer, screen.reason) = match decided {
        Verdict::Improved | Verdict::Regressed => {
            screen.better = Some(decided == Verdict::Improved);
            let words = if decided == Verdict::Improved { "better" } else { "worse" };
            let reason = format!(
                "over {blocks} blocks {} of the candidate read {words} than that of the baseline beside it, by more than chance and more than the margin",
                screen.metric
            );
            (Answer::Moved, reason)
        }
        Verdict::Unchanged => {
            let reason = format!(
                "over {blocks} blocks {} read the same for both, within the margin; a bottleneck that both share may hide a difference",
                screen.metric
            );
            (Answer::NotSeen, reason)
        }
        Verdict::Inconclusive | Verdict::Incomparable if (blocks as usize) < BLOCKS_MIN || shown.change.is_none() => {
            (Answer::CannotTell, why)
        }
        Verdict::Inconclusive | Verdict::Incomparable => {
            let reason = format!(
                "over {blocks} blocks the readings leave room for no difference and for one beyond the margin; give it more time with --budget, or compare in turns"
            );
            (Answer::CannotTell, reason)
        }
    };
    screen
}
