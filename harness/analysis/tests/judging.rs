//! Verdicts on records whose truth is known, and on records of which little is left.

use std::{fs, path::Path};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    BLOCKS_MIN, diff, gate, judge, judge_pair,
    replication::{StoredRun, replicate},
};
use uplift_model::{
    Trial, Verdicts,
    duration::HumanDuration,
    run::{Intent, PlannedScenario, Run, RunState},
    scenario::Claim,
    trial::{Failure, FailureKind, TrialOutcome},
    verdict::{ClaimOutcome, ClaimVerdict, MetricVerdict, Status, Verdict},
};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn metric<'a>(verdicts: &'a Verdicts, name: &str) -> &'a MetricVerdict {
    verdicts.scenarios[0].metrics.iter().find(|metric| metric.metric == name).unwrap()
}

fn fail(trial: &mut Trial, kind: FailureKind) {
    trial.outcome = TrialOutcome::Failed(Failure {
        kind,
        phase: "check".to_owned(),
        message: "a document is missing".to_owned(),
        stderr_tail: String::new(),
        problem: None,
    });
}

const COUNTERS: usize = 10;

/// A scenario with ten counters for each operation, and blocks in which each is 2 and `candidate`, both with noise of a
/// thousandth.
fn counters(blocks: u32, candidate: f64, random: &mut ChaCha8Rng) -> (Run, Vec<Trial>) {
    let (mut run, stored) = load("slower");
    let planned = &mut run.scenarios[0];
    let first = planned.metrics[0].clone();
    planned.metrics = (0..COUNTERS)
        .map(|nth| {
            let mut metric = first.clone();
            metric.source = format!("counter_{nth}").into();
            metric.spec.name = format!("counter_{nth}_per_op").into();
            metric
        })
        .collect();
    let mut trials = Vec::new();
    for block in 0..blocks {
        for (variant, center) in [("baseline", 2.0), ("slower-5", candidate)] {
            let mut trial = stored.iter().find(|trial| trial.variant == variant).unwrap().clone();
            trial.block = block;
            let measured = trial.measured.as_mut().unwrap();
            let ok: u64 = measured.operations.iter().map(|operation| operation.ok).sum();
            for nth in 0..COUNTERS {
                // The sum of twelve uniform numbers is nearly normal.
                let noise: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
                let value = ok as f64 * (center + 0.002 * noise);
                measured.counters.insert(format!("counter_{nth}"), value);
            }
            trials.push(trial);
        }
    }
    (run, trials)
}

/// Counters of an unchanged program that vary by a thousandth: of ten in a report, the ranges of one or the other lie
/// apart by chance in 8 % of the reports of five blocks. None of that may be called a change; a true 1 % must be.
#[test]
fn near_deterministic_counters_alarm_no_more_than_they_may() {
    const REPORTS: usize = 200;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut changed = |candidate: f64| {
        let (run, trials) = counters(5, candidate, &mut random);
        let verdicts = judge(&run, &trials).unwrap();
        let own = verdicts.scenarios[0].metrics.iter().filter(|metric| metric.metric.starts_with("counter_"));
        own.filter(|metric| matches!(metric.verdict, Verdict::Improved | Verdict::Regressed)).count()
    };
    let alarms = (0..REPORTS).filter(|_| changed(2.0) > 0).count();
    assert!(alarms <= 4, "{alarms} of {REPORTS}");
    let found: usize = (0..20).map(|_| changed(2.02)).sum();
    assert!(found >= 19 * COUNTERS, "{found}");
}

/// A true 0.2 % of a counter is found more often the more blocks there are, also where ranges touch.
#[test]
fn more_blocks_find_more_of_a_counter() {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut found = |blocks: u32| -> usize {
        let (run, trials) = counters(blocks, 2.004, &mut random);
        let verdicts = judge(&run, &trials).unwrap();
        let own = verdicts.scenarios[0].metrics.iter().filter(|metric| metric.metric.starts_with("counter_"));
        own.filter(|metric| metric.verdict == Verdict::Regressed).count()
    };
    let few: usize = (0..10).map(|_| found(10)).sum();
    let many: usize = (0..10).map(|_| found(36)).sum();
    assert!(many >= few && many >= 95, "{few} of 100 in 10 blocks, {many} in 36");
}

/// What is exactly constant needs no interval of its own to be told apart.
#[test]
fn constant_counters_are_told_apart() {
    let (run, mut trials) = load("slower");
    for trial in &mut trials {
        let each = if trial.variant == "baseline" { 10_000.0 } else { 10_001.0 };
        let measured = trial.measured.as_mut().unwrap();
        let ok: u64 = measured.operations.iter().map(|operation| operation.ok).sum();
        measured.counters.insert("steps".to_owned(), ok as f64 * each);
    }
    let verdicts = judge(&run, &trials).unwrap();
    assert_eq!(metric(&verdicts, "steps_per_op").verdict, Verdict::Regressed);
}

/// A third variant of the same run that is wrong says nothing against the two that are compared.
#[test]
fn the_wrong_result_of_another_variant_is_not_theirs() {
    let (run, mut trials) = load("slower");
    let mut third = Trial { variant: "third".to_owned(), ..trials[0].clone() };
    fail(&mut third, FailureKind::Check);
    trials.push(third);
    let verdicts = judge(&run, &trials).unwrap();
    assert_eq!(verdicts.scenarios[0].status, Status::Compared, "{:?}", verdicts.scenarios[0].reason);
    assert!(verdicts.scenarios[0].notes.iter().any(|note| note.contains("`third`")), "it is said all the same");
    fail(&mut trials[0], FailureKind::Check);
    assert_eq!(judge(&run, &trials).unwrap().scenarios[0].status, Status::Incomparable);
}

/// A scenario that wants idle CPUs kept awake is told in how many blocks they were not.
#[test]
fn a_limit_on_waking_that_was_not_in_force_is_said() {
    let (mut run, mut trials) = load("slower");
    run.scenarios[0].scenario.trial.cpu_latency = Some(HumanDuration::from_millis(0));
    let notes = |run: &Run, trials: &[Trial]| -> Vec<String> {
        let verdicts = judge(run, trials).unwrap();
        verdicts.scenarios[0].notes.iter().filter(|note| note.contains("cpu_latency")).cloned().collect()
    };
    let blocks = trials.len() / 2;
    assert!(notes(&run, &trials)[0].contains(&format!("in {blocks} of {blocks} blocks")));
    for trial in &mut trials {
        trial.sentinels.cpu_latency_ns = Some(0);
    }
    assert!(notes(&run, &trials).is_empty());
    trials[0].sentinels.cpu_latency_ns = Some(2_000);
    assert!(notes(&run, &trials)[0].contains(&format!("in 1 of {blocks} blocks")));
    run.scenarios[0].scenario.trial.cpu_latency = None;
    assert!(notes(&run, &trials).is_empty());
}

/// A variant whose results are wrong reproduces nothing, however fast it is.
#[test]
fn wrong_results_reproduce_no_figure() {
    let (mut run, mut trials) = load("slower");
    run.scenarios[0].scenario.claims = vec![Claim {
        variant: "slower-5".to_owned(),
        metric: "steps_per_op".to_owned(),
        change: Some(0.03),
        source: "a.md".to_owned(),
        ..Claim::default()
    }];
    let outcome = |trials: &[Trial]| {
        let own = judge(&run, trials).unwrap().scenarios[0].claims[0].clone();
        let rows = replicate(&[run.scenarios[0].scenario.clone()], &[StoredRun { run: &run, trials, profiles: &[] }]);
        assert_eq!(rows[0].verdict, own, "the page says what the report says");
        own
    };
    assert_eq!(outcome(&trials).outcome, ClaimOutcome::Exceeded);
    fail(&mut trials[0], FailureKind::Check);
    let wrong = outcome(&trials);
    assert_eq!((wrong.outcome, wrong.measured), (ClaimOutcome::NotComparable, None));
    assert!(wrong.reason.contains("correctness check"), "{}", wrong.reason);
}

/// A figure that was published for a change of the baseline is none for the same variant against another one.
#[test]
fn a_figure_is_about_the_baseline_unless_it_says_otherwise() {
    let (mut run, mut trials) = load("slower");
    let published = Claim {
        variant: "slower-5".to_owned(),
        metric: "steps_per_op".to_owned(),
        change: Some(0.03),
        source: "a.md".to_owned(),
        ..Claim::default()
    };
    run.scenarios[0].scenario.claims = vec![published.clone(), Claim { against: Some("same".to_owned()), ..published }];
    run.intent = Intent::Compare { baseline: "same".to_owned(), candidate: "slower-5".to_owned() };
    for trial in trials.iter_mut().filter(|trial| trial.variant == "baseline") {
        "same".clone_into(&mut trial.variant);
    }
    let outcomes = |run: &Run| {
        let own = judge(run, &trials).unwrap().scenarios[0].claims.clone();
        let rows =
            replicate(&[run.scenarios[0].scenario.clone()], &[StoredRun { run, trials: &trials, profiles: &[] }]);
        assert_eq!(rows.len(), own.len());
        for (row, own) in rows.iter().zip(&own) {
            assert_eq!(row.verdict.outcome, own.outcome, "the page says what the report says");
        }
        own
    };
    let [of_baseline, of_same] = <[ClaimVerdict; 2]>::try_from(outcomes(&run)).unwrap();
    assert_eq!((of_baseline.outcome, of_baseline.measured), (ClaimOutcome::NotMeasured, None));
    assert!(of_baseline.reason.contains("against `baseline`"), "{}", of_baseline.reason);
    assert_eq!(of_same.outcome, ClaimOutcome::Exceeded);

    // Where there is no such variant, it is about whatever it is compared with.
    run.scenarios[0].scenario.variants.retain(|variant| variant.name != "baseline");
    assert_eq!(outcomes(&run)[0].outcome, ClaimOutcome::Exceeded);
}

/// Turns of so many operations each, of which `failed` of the candidate and none of the baseline fail in each block.
fn with_failures(attempts: u64, failed: u64) -> (Run, Vec<Trial>) {
    let (run, mut trials) = load("slower");
    for trial in &mut trials {
        let own = if trial.variant == "baseline" { 0 } else { failed };
        trial.measured.as_mut().unwrap().dropped_turns = 0;
        for (nth, turn) in trial.measured.as_mut().unwrap().turns.iter_mut().rev().enumerate() {
            let failed = if nth == 0 { own } else { 0 };
            (turn.attempts, turn.ok, turn.nothing, turn.failed) = (attempts, attempts - failed, 0, failed);
        }
    }
    (run, trials)
}

/// No failure of few attempts shows little, and is not "unchanged"; no failure of many is within the budget.
#[test]
fn no_failure_is_not_a_rate_of_exactly_one() {
    let (run, trials) = with_failures(10, 0);
    let verdicts = judge(&run, &trials).unwrap();
    let rate = metric(&verdicts, "success_rate");
    assert_eq!((rate.verdict, rate.change), (Verdict::Inconclusive, Some(0.0)), "{}", rate.reason);
    assert!(rate.reason.contains("attempts of each would show it"), "{}", rate.reason);
    let attempts: usize = trials.iter().map(|trial| 10 * trial.measured.as_ref().unwrap().turns.len()).sum();
    let [low, high] = rate.ci.unwrap();
    let least = 3.0 / (attempts as f64 / 2.0);
    assert!(low < -least && least < high && high < 5.0 * least, "[{low}, {high}] of {attempts} attempts");

    let (mut run, trials) = with_failures(10_000, 0);
    assert_eq!(metric(&judge(&run, &trials).unwrap(), "success_rate").verdict, Verdict::Unchanged);
    run.scenarios[0].scenario.expect.insert("success_rate".to_owned(), ">= 0.9999999".parse().unwrap());
    let strict = judge(&run, &trials).unwrap();
    assert_eq!(metric(&strict, "success_rate").verdict, Verdict::Inconclusive, "the scenario's budget is smaller");
}

/// Failures that a success rate hides are a regression.
#[test]
fn a_rise_of_failures_is_a_regression() {
    let (run, trials) = with_failures(10_000, 20);
    let verdicts = judge(&run, &trials).unwrap();
    let rate = metric(&verdicts, "success_rate");
    assert_eq!(rate.verdict, Verdict::Regressed, "{}", rate.reason);
    assert!(rate.ci.unwrap()[1] < 0.0 && rate.change.unwrap() < 0.0);
}

/// From no sync call to one for each operation: no change in per cent, and the gate must not let it through.
#[test]
fn a_counter_that_was_nothing_breaks_its_rule() {
    let (mut run, mut trials) = load("slower");
    let rules = &mut run.scenarios[0].scenario.gate;
    rules.clear();
    rules.insert("steps_per_op".to_owned(), "<= +0%".parse().unwrap());
    let outcome = |trials: &[Trial]| {
        let verdicts = judge(&run, trials).unwrap();
        let row = gate::gate(&run, &verdicts).into_iter().find(|row| row.metric == "steps_per_op").unwrap();
        (metric(&verdicts, "steps_per_op").verdict, row.outcome)
    };
    let mut set = |baseline: f64, candidate: f64| {
        for trial in &mut trials {
            let each = if trial.variant == "baseline" { baseline } else { candidate };
            let measured = trial.measured.as_mut().unwrap();
            let ok: u64 = measured.operations.iter().map(|operation| operation.ok).sum();
            measured.counters.insert("steps".to_owned(), ok as f64 * each);
        }
        outcome(&trials)
    };
    assert_eq!(set(0.0, 1.0), (Verdict::Regressed, gate::GateOutcome::Broken));
    assert_eq!(set(0.0, 0.0), (Verdict::Unchanged, gate::GateOutcome::Passed));
    assert_eq!(set(1.0, 1.0), (Verdict::Unchanged, gate::GateOutcome::Passed));
    assert_eq!(set(1.0, 0.0), (Verdict::Improved, gate::GateOutcome::Passed));
}

/// A variant that is not quite idle is incomparable only where that could change the verdict.
#[test]
fn idleness_is_a_question_of_degree() {
    let (run, trials) = load("slower");
    let status = |factor: f64, restless: &str, share: f64| {
        let mut trials = trials.clone();
        for trial in &mut trials {
            let measured = trial.measured.as_mut().unwrap();
            if trial.variant == restless {
                measured.idle.wall_ns = 1_000_000_000;
                measured.idle.cpu_ns = (share * 1e9) as u64;
            }
            if trial.variant == "baseline" {
                continue;
            }
            for turn in &mut measured.turns {
                turn.wall_ns = (turn.wall_ns as f64 * factor) as u64;
            }
        }
        let verdicts = judge(&run, &trials).unwrap();
        let notes = verdicts.scenarios[0].notes.iter().any(|note| note.contains("should have been idle"));
        (verdicts.scenarios[0].status, metric(&verdicts, "throughput").verdict, notes)
    };
    assert_eq!(status(1.0 / 60.0, "slower-5", 0.029), (Status::Compared, Verdict::Improved, true), "2.9 % against ×60");
    assert_eq!(status(1.0 / 60.0, "slower-5", 0.01), (Status::Compared, Verdict::Improved, false));
    assert_eq!(status(3.0, "baseline", 0.8).0, Status::Incomparable, "it could be all of the loss");
    assert_eq!(status(3.0, "slower-5", 0.8).0, Status::Compared, "the loss is larger still");
    // The fixture is so noisy that nothing is found in it.
    assert_eq!(status(1.0, "slower-5", 0.03), (Status::Compared, Verdict::Inconclusive, true));
    assert_eq!(status(1.0, "slower-5", 0.5).0, Status::Incomparable, "half a core is no matter of degree");
}

/// Blocks beyond the plan have no error left: they are neither looked at nor used.
#[test]
fn nothing_is_spent_after_the_last_planned_look() {
    let (mut run, trials) = load("slower");
    run.scenarios[0].blocks = None;
    run.scenarios[0].blocks_max = Some(5);
    let verdicts = judge(&run, &trials).unwrap();
    assert_eq!(verdicts.scenarios[0].blocks, 5);
    assert!(verdicts.scenarios[0].notes[0].starts_with("1 blocks came after the last planned look"));
    let looked = uplift_analysis::decided(&run.scenarios[0], &trials, "baseline", "slower-5", 5, 1);
    assert_eq!(looked, uplift_analysis::Decision::Open);
}

/// Rounds from which the hypervisor took time are set aside for both variants, unless it did so with one variant only.
#[test]
fn stolen_rounds_are_set_aside_for_both() {
    let (run, mut trials) = load("slower");
    for trial in &mut trials {
        let measured = trial.measured.as_mut().unwrap();
        let own = measured.turns.split_off(measured.dropped_turns as usize);
        measured.dropped_turns = 0;
        measured.turns = own.iter().cycle().take(20).cloned().collect();
        for (index, turn) in measured.turns.iter_mut().enumerate() {
            turn.index = index as u32;
        }
    }
    let judged = |variants: &[&str]| {
        let mut trials = trials.clone();
        for trial in trials.iter_mut().filter(|trial| variants.contains(&trial.variant.as_str())) {
            for turn in trial.measured.as_mut().unwrap().turns.iter_mut().rev().take(2) {
                turn.steal_ns = Some(turn.wall_ns);
                turn.wall_ns *= 3;
            }
        }
        let verdicts = judge(&run, &trials).unwrap();
        let note = verdicts.scenarios[0].notes.iter().find(|note| note.contains("hypervisor took more")).cloned();
        (metric(&verdicts, "throughput").change.unwrap(), note.unwrap_or_default())
    };
    let undisturbed = metric(&judge(&run, &trials).unwrap(), "throughput").change.unwrap();
    let (change, note) = judged(&["baseline", "slower-5"]);
    assert!(note.contains("set aside for both"), "{note}");
    assert!((change - undisturbed).abs() < 0.05, "{change} {undisturbed}");
    let (change, note) = judged(&["slower-5"]);
    assert!(note.contains("its own doing"), "{note}");
    assert!(change < undisturbed - 0.05, "what may be the variant's stays in its total: {change}");
}

/// The same figure on other ground is counted once, whatever the runs found.
#[test]
fn a_figure_is_counted_once() {
    let (run, trials) = load("slower");
    let claim = |figure: &str| Claim {
        variant: "slower-5".to_owned(),
        metric: "throughput".to_owned(),
        baseline: Some(200.0),
        candidate: Some(190.0),
        source: "a.md".to_owned(),
        figure: figure.to_owned(),
        ..Claim::default()
    };
    let mut first = run.scenarios[0].scenario.clone();
    first.claims = vec![claim("")];
    let mut second = first.clone();
    second.name = "reference/elsewhere".to_owned();
    second.claims = vec![claim("200 → 190 a second"), Claim { candidate: Some(180.0), ..claim("") }];
    let rows = replicate(&[first, second], &[StoredRun { run: &run, trials: &trials, profiles: &[] }]);
    assert_eq!(rows.iter().map(|row| row.echo).collect::<Vec<_>>(), [true, false, false]);
}

/// Two runs of one trial each agree with themselves to the last byte, which proves nothing.
#[test]
fn few_blocks_decide_no_counter_between_runs() {
    let (run, trials) = load("slower");
    let of = |variant: &str, blocks: usize| -> Vec<Trial> {
        let own = trials.iter().filter(|trial| trial.variant == variant).take(blocks);
        own.map(|trial| Trial { variant: "baseline".to_owned(), ..trial.clone() }).collect()
    };
    let verdict = |first: &[Trial], second: &[Trial]| {
        let side = |trials| diff::Side { run: &run, trials };
        let result = diff::diff(side(first), side(second));
        let own = result.scenarios[0].metrics.iter().find(|metric| metric.metric == "steps_per_op").unwrap().clone();
        (own.verdict, own.reason)
    };
    for blocks in 1..BLOCKS_MIN {
        let (verdict, reason) = verdict(&of("baseline", 6), &of("slower-5", blocks));
        assert_eq!(verdict, Verdict::Inconclusive, "{blocks}");
        assert!(reason.starts_with(&format!("{blocks} blocks are fewer than the 5")), "{reason}");
    }
    assert_eq!(verdict(&of("baseline", 6), &of("slower-5", 6)).0, Verdict::Regressed);
}

/// A variant that only the second run has is left out aloud, as one that only the first has.
#[test]
fn variants_of_one_run_only_are_named() {
    let (run, trials) = load("slower");
    let mut other = run.clone();
    other.id = "other".to_owned();
    other.scenarios[0].variants.push("third".to_owned());
    let result = diff::diff(diff::Side { run: &run, trials: &trials }, diff::Side { run: &other, trials: &trials });
    assert_eq!(result.left_out, ["variant `third` of `reference/steady` is only in other"]);
}

/// A time that was read too seldom for an interval neither passes a gate nor breaks it.
#[test]
fn absolute_rules_on_times_need_an_interval() {
    let (mut run, trials) = load("slower");
    let rules = &mut run.scenarios[0].scenario.gate;
    rules.clear();
    rules.insert("response_p50".to_owned(), "<= 1".parse().unwrap());
    rules.insert("success_rate".to_owned(), ">= 0.5".parse().unwrap());
    let outcomes = |blocks: u32| -> Vec<gate::GateOutcome> {
        let own: Vec<Trial> = trials.iter().filter(|trial| trial.block < blocks).cloned().collect();
        let rows = gate::gate(&run, &judge(&run, &own).unwrap());
        let rows = rows.iter().filter(|row| run.scenarios[0].scenario.gate.contains_key(&row.metric));
        rows.filter(|row| row.rule != ">= 1").map(|row| row.outcome).collect()
    };
    assert_eq!(outcomes(6), [gate::GateOutcome::Broken, gate::GateOutcome::Passed]);
    assert_eq!(outcomes(3), [gate::GateOutcome::Open, gate::GateOutcome::Passed]);
}

/// The reason of an open verdict says what its interval holds, and a number of blocks that is no fable.
#[test]
fn open_verdicts_say_why() {
    let (mut run, mut trials) = load("slower");
    // The blocks of one variant drift by up to 8 %, and nothing else varies.
    for trial in &mut trials {
        let drift = 1.0 + [0.03, -0.02, 0.05, -0.03, 0.04, -0.01][trial.block as usize % 6];
        let factor = if trial.variant == "baseline" { 1.0 } else { drift };
        for turn in &mut trial.measured.as_mut().unwrap().turns {
            turn.wall_ns = (turn.ok as f64 * 5e6 / factor) as u64;
        }
    }
    run.scenarios[0].scenario.gate.clear();
    let verdicts = judge(&run, &trials).unwrap();
    let throughput = metric(&verdicts, "throughput");
    assert_eq!(throughput.verdict, Verdict::Inconclusive);
    let reason = &throughput.reason;
    assert!(reason.contains("includes both 0 and changes larger than ±2.0 %"), "{reason}");
    let blocks: usize = reason.split("about ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(blocks > 6 && blocks <= 10_000, "{reason}");
}

fn finite(verdicts: &Verdicts) {
    let text = serde_json::to_string(verdicts).unwrap();
    serde_json::from_str::<Verdicts>(&text).expect("a number without a JSON form would read as none");
}

/// Whatever is missing of a run, there are verdicts, and they say what is missing.
#[test]
fn odd_records_are_judged_without_a_panic() {
    let (run, trials) = load("slower");
    let states = [RunState::Complete, RunState::Interrupted, RunState::Unfinished];
    let runs = states.map(|state| Run { state, ..run.clone() });
    let mut all_failed = trials.clone();
    all_failed.iter_mut().for_each(|trial| fail(trial, FailureKind::Crashed));
    let mut idle = trials.clone();
    for measured in idle.iter_mut().filter_map(|trial| trial.measured.as_mut()) {
        measured.operations.clear();
        for turn in &mut measured.turns {
            (turn.wall_ns, turn.attempts, turn.ok) = (0, 0, 0);
        }
    }
    let mut without_turns = trials.clone();
    for measured in without_turns.iter_mut().filter_map(|trial| trial.measured.as_mut()) {
        measured.turns.clear();
        measured.dropped_turns = 7;
    }
    let one_block: Vec<Trial> = trials.iter().filter(|trial| trial.block == 2).cloned().collect();
    let one_side: Vec<Trial> = trials.iter().filter(|trial| trial.variant == "baseline").cloned().collect();
    const WITHOUT_TURNS: usize = 3;
    let cases = [Vec::new(), all_failed, idle, without_turns, one_block, one_side];
    for (case, records) in cases.iter().enumerate() {
        for run in &runs {
            let verdicts = judge(run, records).unwrap();
            finite(&verdicts);
            let scenario = &verdicts.scenarios[0];
            assert!(scenario.status == Status::Compared || scenario.reason.is_some(), "{case}");
            for metric in &scenario.metrics {
                let moved = matches!(metric.verdict, Verdict::Improved | Verdict::Regressed);
                // Records without turns still have counters and histograms of operations.
                assert!((!moved || case == WITHOUT_TURNS) && !metric.reason.is_empty(), "{case}: {metric:?}");
            }
            gate::gate(run, &verdicts);
            finite(&judge_pair(run, records, "baseline", "baseline"));
            finite(&judge_pair(run, records, "no such", "variant"));
        }
    }
    let nothing = Run { scenarios: Vec::<PlannedScenario>::new(), ..run.clone() };
    finite(&judge(&nothing, &trials).unwrap());
}
