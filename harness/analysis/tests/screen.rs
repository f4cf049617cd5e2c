//! What a screen answers, from records: whether something moved, and no size.

use std::{fs, path::Path};

use uplift_analysis::{judge, screens};
use uplift_model::{
    Trial,
    run::{Intent, Run},
    screen::{Answer, Screen},
    trial::{Failure, FailureKind, Idle, TrialOutcome},
};

/// A screen of so many blocks in which the candidate's turns take `slower` times as long, more or less by `noise` from
/// block to block.
fn recorded(blocks: u32, slower: f64, noise: f64) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data/slower");
    let mut run: Run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    let templates: Vec<Trial> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    run.intent =
        Intent::Screen { baseline: "baseline".to_owned(), candidate: "slower-5".to_owned(), sides: [vec![0], vec![1]] };
    let mut trials = Vec::new();
    for block in 0..blocks {
        for variant in ["baseline", "slower-5"] {
            let mut trial = templates.iter().find(|trial| trial.variant == variant).unwrap().clone();
            trial.block = block;
            trial.position = u32::from((variant == "baseline") == (block % 4 == 0 || block % 4 == 3));
            let measured = trial.measured.as_mut().unwrap();
            // Both are idle at the same time only: what they do then says nothing.
            measured.idle = Idle { wall_ns: 1_000_000_000, cpu_ns: 900_000_000, sync_calls: Some(100) };
            let off = 1.0 + noise * (f64::from(block * 7 % 5) - 2.0);
            let times = if variant == "baseline" { 1.0 } else { slower * off };
            measured.dropped_turns = 0;
            for turn in &mut measured.turns {
                (turn.ok, turn.wall_ns, turn.busy_ns) = (100, (5e6 * times) as u64, None);
            }
            trials.push(trial);
        }
    }
    (run, trials)
}

fn answer((run, trials): &(Run, Vec<Trial>)) -> Screen {
    let found = screens(run, trials).unwrap();
    assert_eq!((found.baseline.as_str(), found.candidate.as_str()), ("baseline", "slower-5"));
    found.scenarios.into_iter().next().unwrap()
}

#[test]
fn a_screen_says_whether_and_in_which_direction() {
    let worse = answer(&recorded(12, 1.08, 0.003));
    assert_eq!((worse.answer, worse.better), (Answer::Moved, Some(false)), "{}", worse.reason);
    let better = answer(&recorded(12, 0.92, 0.003));
    assert_eq!((better.answer, better.better), (Answer::Moved, Some(true)), "{}", better.reason);
    // What was read is kept beside the answer, and the sentence has no size.
    let [reading, low, high] = worse.coupled_reading.unwrap();
    assert!(low < reading && reading < high && high < 0.0);
    assert!(!worse.reason.contains('%') && !better.reason.contains('%'), "{}", worse.reason);
}

#[test]
fn the_same_is_not_seen_to_move_and_noise_cannot_tell() {
    let same = answer(&recorded(12, 1.0, 0.003));
    assert_eq!((same.answer, same.better), (Answer::NotSeen, None), "{}", same.reason);
    assert!(same.reason.contains("may hide a difference"), "{}", same.reason);
    let noisy = answer(&recorded(12, 1.03, 0.1));
    assert_eq!(noisy.answer, Answer::CannotTell, "{}", noisy.reason);
    assert!(noisy.reason.contains("--budget") && !noisy.reason.contains('%'), "{}", noisy.reason);
    let few = answer(&recorded(3, 1.5, 0.001));
    assert_eq!(few.answer, Answer::CannotTell);
    assert!(few.reason.contains("3 blocks are fewer"), "{}", few.reason);
}

/// A screen has no verdicts: nothing that reads verdicts may take it for a comparison.
#[test]
fn a_screen_is_no_comparison() {
    let (run, trials) = recorded(12, 1.08, 0.003);
    assert!(judge(&run, &trials).is_none());
    let compared = Run { intent: Intent::Compare { baseline: "a".to_owned(), candidate: "b".to_owned() }, ..run };
    assert!(screens(&compared, &trials).is_none());
}

#[test]
fn what_failed_or_gave_another_answer_is_not_said_to_be_the_same() {
    let (run, mut trials) = recorded(8, 1.0, 0.003);
    trials[1].outcome = TrialOutcome::Failed(Failure {
        kind: FailureKind::Check,
        phase: "check".to_owned(),
        message: "a document is gone".to_owned(),
        stderr_tail: String::new(),
        problem: None,
    });
    let wrong = answer(&(run, trials));
    assert_eq!((wrong.answer, wrong.incomparable), (Answer::CannotTell, true));
    assert!(wrong.reason.contains("a document is gone"), "{}", wrong.reason);
}
