//! What a verdict is about, from records to sentences: the total with the typical change beside it, whatever the order of
//! starts, an early stop or a calibration.

use std::{fs, path::Path};

use uplift_analysis::{judge, metrics};
use uplift_model::{
    Histogram, MetricClass, Trial, Verdicts,
    calibration::{Calibration, FalseAlarms, Noise},
    run::Run,
    verdict::{MetricVerdict, Verdict},
};

const TURNS: u32 = 40;

fn stored() -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data/slower");
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A run of so many blocks in which a turn of 100 operations takes 5 ms times what `time` says of the candidate (`true`) or
/// the baseline, the block and the turn; whichever is first changes in every pair of blocks. A little differs from block to
/// block, the same for both directions.
fn recorded(blocks: u32, time: impl Fn(bool, u32, u32) -> f64) -> (Run, Vec<Trial>) {
    let (mut run, templates) = stored();
    run.scenarios[0].scenario.gate.clear();
    run.scenarios[0].scenario.expect.clear();
    let mut trials = Vec::new();
    for block in 0..blocks {
        for variant in ["baseline", "slower-5"] {
            let is_candidate = variant != "baseline";
            let mut trial = templates.iter().find(|trial| trial.variant == variant).unwrap().clone();
            trial.block = block;
            trial.position = u32::from(is_candidate != is_first(block));
            let own = 1.0 + 0.004 * (f64::from((block * 7 + u32::from(is_candidate) * 3) % 5) - 2.0);
            let measured = trial.measured.as_mut().unwrap();
            measured.dropped_turns = 0;
            measured.operations[0].ok = 100 * u64::from(TURNS);
            let turn = measured.turns[0].clone();
            measured.turns = (0..TURNS)
                .map(|index| {
                    let mut turn = turn.clone();
                    let jitter = 1.0 + 0.01 * (f64::from((index * 11 + block) % 7) - 3.0);
                    (turn.index, turn.ok, turn.attempts) = (index, 100, 100);
                    turn.wall_ns = (5e6 * own * jitter * time(is_candidate, block, index)) as u64;
                    turn
                })
                .collect();
            trials.push(trial);
        }
    }
    (run, trials)
}

/// In which blocks the candidate is first.
const fn is_first(block: u32) -> bool {
    matches!(block % 4, 0 | 3)
}

fn throughput(verdicts: &Verdicts) -> &MetricVerdict {
    verdicts.scenarios[0].metrics.iter().find(|metric| metric.metric == "throughput").unwrap()
}

/// A tenth of the candidate's rounds take longer: the total is lost, the typical round is not, and the sentence says both.
#[test]
fn a_candidate_that_stalls_is_said_to() {
    let (run, trials) =
        recorded(20, |is_candidate, _, turn| if is_candidate && turn % 10 == 9 { 1.0 / 0.7 } else { 1.0 });
    let verdicts = judge(&run, &trials).unwrap();
    let metric = throughput(&verdicts);
    assert_eq!(metric.verdict, Verdict::Regressed, "{}", metric.reason);
    assert!((metric.change.unwrap() + 0.041).abs() < 0.003, "{:?}", metric.change);
    assert!(metric.typical.unwrap().abs() < 0.01, "{:?}", metric.typical);
    let parting = metric.parting.as_ref().unwrap();
    assert!(
        parting.contains("total -4.") && parting.contains("the candidate stalls in 10 % of its rounds"),
        "{parting}"
    );
    let distribution = metric.distribution.as_ref().unwrap();
    assert!((distribution.slow_rounds[1] - 0.1).abs() < 0.01 && distribution.slow_rounds[0] < 0.01);
    let shift = |q: f64| distribution.shift.iter().find(|point| point[0] == q).unwrap()[1];
    assert!(shift(0.05) < -0.2 && shift(0.5).abs() < 0.02, "{:?}", distribution.shift);
}

/// One of ten processes of the candidate is slow: more blocks do not make that "unchanged", and the sentence says which.
#[test]
fn slow_processes_are_not_trimmed_away() {
    for blocks in [20, 64] {
        let (run, trials) =
            recorded(blocks, |is_candidate, block, _| if is_candidate && block % 10 == 4 { 1.0 / 0.7 } else { 1.0 });
        let verdicts = judge(&run, &trials).unwrap();
        let metric = throughput(&verdicts);
        assert!(matches!(metric.verdict, Verdict::Regressed | Verdict::Inconclusive), "{blocks}: {}", metric.reason);
        assert!(metric.typical.unwrap().abs() < 0.01);
        let parting = metric.parting.as_ref().unwrap();
        assert!(parting.contains("blocks the process of the candidate was slow"), "{parting}");
        let distribution = metric.distribution.as_ref().unwrap();
        assert_eq!(distribution.slow_processes, [0, blocks.div_ceil(10) - u32::from(blocks % 10 == 4)]);
        assert!((distribution.slow_size[1] + 0.3).abs() < 0.03, "{:?}", distribution.slow_size);
    }
}

/// Equal variants, of which the one that starts first gains 3 %: that is printed, and not taken for a change.
#[test]
fn what_the_first_start_brings_is_no_change() {
    let (run, trials) =
        recorded(12, |is_candidate, block, _| if is_candidate == is_first(block) { 1.0 / 1.03 } else { 1.0 });
    let verdicts = judge(&run, &trials).unwrap();
    let metric = throughput(&verdicts);
    assert!(metric.change.unwrap().abs() < 0.005, "{:?}", metric.change);
    let position = metric.position.unwrap();
    assert!((position.change - 0.03).abs() < 0.01 && position.ci[0] > 0.0, "{position:?}");
    let notes = &verdicts.scenarios[0].notes;
    assert!(notes.iter().any(|note| note.starts_with("the variant that was started first read +")), "{notes:?}");
}

/// What a stop at the first look overstates is said, with the change that is left.
#[test]
fn an_early_stop_is_said_to_overstate() {
    // Two blocks differ by 2 % in either direction: there is something that chance could have brought.
    let (mut run, trials) = recorded(6, |is_candidate, block, _| match (is_candidate, block % 2) {
        (false, _) => 1.0,
        (true, 0) => 1.03,
        (true, _) => 1.045,
    });
    let planned = &mut run.scenarios[0];
    (planned.blocks, planned.blocks_max, planned.decided_early) = (None, Some(6), true);
    let verdicts = judge(&run, &trials).unwrap();
    let metric = throughput(&verdicts);
    assert_eq!(metric.verdict, Verdict::Regressed, "{}", metric.reason);
    let (read, corrected) = (metric.change.unwrap(), metric.corrected_for_stop.unwrap());
    assert!(read < corrected && corrected <= 0.0, "{read} {corrected}");
    let said = verdicts.scenarios[0].notes.iter().any(|note| note.contains("reads too large"));
    assert_eq!(said, corrected.ln_1p() > 0.95 * read.ln_1p());

    run.scenarios[0].decided_early = false;
    assert_eq!(
        throughput(&judge(&run, &trials).unwrap()).corrected_for_stop,
        None,
        "a plan that ended overstates nothing"
    );
}

/// A noisy calibration does not make 3 % matter less, and "at least the margin" is said only where the interval says it.
#[test]
fn a_calibration_moves_no_margin() {
    let judged = |loss: f64, calibrated: bool| {
        let (mut run, trials) = recorded(20, |is_candidate, _, _| if is_candidate { 1.0 / (1.0 - loss) } else { 1.0 });
        if calibrated {
            let noise = Noise { class: MetricClass::Time, n: 6, deviation: 0.05, robust_deviation: 0.05, floor: 0.05 };
            let planned = &mut run.scenarios[0];
            planned.calibration = Some(Box::new(Calibration {
                run: "calibration".to_owned(),
                measured_unix_s: run.started_unix_s,
                machine: None,
                scenario: planned.scenario.name.clone(),
                shape: String::new(),
                variant: "baseline".to_owned(),
                blocks: 6,
                block_ns: None,
                noise: [("throughput".to_owned(), noise)].into(),
                false_alarms: FalseAlarms {
                    blocks_each: 6,
                    experiments: 1,
                    alarms: 0,
                    ci: None,
                    replays: 0,
                    replay_alarms: 0,
                },
                primary: "throughput".to_owned(),
                detectable: Vec::new(),
            }));
        }
        let verdicts = judge(&run, &trials).unwrap();
        let metric = throughput(&verdicts);
        (metric.verdict, metric.reason.clone())
    };
    assert_eq!(judged(0.03, true).0, Verdict::Regressed);
    assert_eq!(judged(0.03, true), judged(0.03, false));
    assert!(judged(0.05, false).1.contains("lies beyond ±2.0 %"), "{}", judged(0.05, false).1);
    assert!(judged(0.022, false).1.contains("not one of less than"), "{}", judged(0.022, false).1);
    assert_eq!(judged(0.0, true).0, Verdict::Unchanged);
}

/// Ten arrivals a second, all answered, are ten operations a second, whenever the last of them came.
#[test]
fn an_open_load_is_counted_over_its_window() {
    let (mut run, mut trials) = recorded(6, |_, _, _| 1.0);
    run.scenarios[0].scenario.gate.clear();
    for trial in &mut trials {
        trial.measured.as_mut().unwrap().operations[0].ok = 10 * u64::from(TURNS);
        let last_ns = if trial.variant == "baseline" { 910_000_000 } else { 1_000_000_000 };
        for turn in &mut trial.measured.as_mut().unwrap().turns {
            (turn.ok, turn.attempts, turn.wall_ns, turn.window_ns) = (10, 10, last_ns, Some(1_000_000_000));
        }
    }
    let verdicts = judge(&run, &trials).unwrap();
    let metric = throughput(&verdicts);
    assert_eq!(metric.baseline.as_ref().unwrap().median, 10.0);
    assert_eq!((metric.verdict, metric.change), (Verdict::Unchanged, Some(0.0)), "{}", metric.reason);
}

/// Of 100 operations none is the slowest thousandth, and the slowest hundredth is one of them.
#[test]
fn a_tail_needs_operations_beyond_it() {
    let (run, mut trials) = stored();
    let mut value = |name: &str, operations: u64| {
        let mut response = Histogram::new();
        response.record_n(1_000, operations);
        let measured = trials[0].measured.as_mut().unwrap();
        measured.operations.truncate(1);
        measured.operations[0].response = response;
        measured.operations[0].service = None;
        metrics::named(&trials[0], &run.scenarios[0], name).unwrap().value
    };
    assert!(value("response_p50", 100).is_ok());
    let reason = value("response_p99", 100).unwrap_err();
    assert!(reason.contains("500 operations") && reason.contains("there were 100"), "{reason}");
    assert!(value("response_p99", 500).is_ok() && value("response_p999", 500).is_err());
    assert!(value("response_p999", 5_000).is_ok());
}
