//! Calibration, history and diff on stored runs.

use std::{fs, path::Path};

use uplift_analysis::{calibrate, diff, history};
use uplift_model::{Trial, run::Run, verdict::Verdict};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The variants of a true slowdown under one name: what a calibration on a machine that favours one side would see.
#[test]
fn a_calibration_sees_noise_and_alarms() {
    let (run, mut trials) = load("slower");
    for trial in &mut trials {
        trial.variant = "baseline".to_owned();
    }
    let found = calibrate::calibrations(&run, &trials, "baseline");
    assert_eq!(found.len(), 1);
    let calibration = &found[0];
    assert_eq!(calibration.blocks, 6);
    assert_eq!((calibration.false_alarms.experiments, calibration.false_alarms.replays), (1, 100));
    // Copies that differ by 5 % in a counter are called different where all sides happen to agree, and mostly they do not.
    assert!(calibration.false_alarms.replay_alarms < 100);
    let noise = calibration.noise["throughput"];
    assert!(noise.floor > 0.0 && noise.deviation > 0.0 && noise.n == 6);
    // It survives being stored.
    let text = serde_json::to_string(calibration).unwrap();
    assert_eq!(&serde_json::from_str::<uplift_model::calibration::Calibration>(&text).unwrap(), calibration);
}

/// Identical copies: no noise, no alarm.
#[test]
fn perfect_copies_never_alarm() {
    let (run, trials) = load("slower");
    let copies: Vec<Trial> = trials
        .iter()
        .filter(|trial| trial.variant == "baseline")
        .flat_map(|trial| [trial.clone(), trial.clone()])
        .collect();
    let calibration = &calibrate::calibrations(&run, &copies, "baseline")[0];
    assert_eq!((calibration.false_alarms.alarms, calibration.false_alarms.replay_alarms), (0, 0));
    assert_eq!(calibration.noise["throughput"].floor, 0.0);
}

/// A calibration moves no margin, however noisy the machine was; the verdicts say how old it is.
#[test]
fn margins_do_not_come_from_the_calibration() {
    let (mut run, trials) = load("slower");
    let copies: Vec<Trial> = trials
        .iter()
        .filter(|trial| trial.variant == "baseline")
        .flat_map(|trial| [trial.clone(), trial.clone()])
        .collect();
    let mut calibration = calibrate::calibrations(&run, &copies, "baseline").remove(0);
    calibration.measured_unix_s = run.started_unix_s - 3 * 3600;
    let before = uplift_analysis::judge(&run, &trials).unwrap();
    calibration.noise.get_mut("throughput").unwrap().floor = 0.2;
    run.scenarios[0].calibration = Some(Box::new(calibration));
    let verdicts = uplift_analysis::judge(&run, &trials).unwrap();
    let note = verdicts.scenarios[0].notes.iter().find(|note| note.starts_with("calibrated")).unwrap();
    assert!(note.contains("calibrated 3.0 hours before this run") && note.contains("the margin stays 2.0 %"), "{note}");
    assert_eq!(verdicts.scenarios[0].metrics, before.scenarios[0].metrics);
}

#[test]
fn a_trend_leaves_out_what_is_not_comparable() {
    let (run, trials) = load("slower");
    let mut entries = Vec::new();
    for nth in 0..24u64 {
        let mut later = run.clone();
        later.id = format!("run-{nth:02}");
        later.started_unix_s += nth * 3600;
        let mut added = history::entries(&later, &trials);
        for entry in &mut added {
            let value = entry.metrics.get_mut("throughput").unwrap();
            value.median *= if nth < 12 { 1.0 } else { 0.8 } + (nth % 3) as f64 * 0.002;
            if nth == 3 {
                entry.machine = Some("another".to_owned());
            }
            if nth == 4 {
                entry.shape = "other work".to_owned();
            }
        }
        entries.extend(added);
    }
    let text: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    let entries: Vec<_> = text.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let trend = history::trend(&entries, "reference/steady", "baseline", "throughput").unwrap();
    assert_eq!((trend.runs.len(), trend.left_out.len()), (22, 2));
    assert_eq!(trend.changes.len(), 1);
    assert_eq!(&*trend.runs[trend.changes[0].index].run, "run-12");
    // Counters of another machine are the same counters.
    let counters = history::trend(&entries, "reference/steady", "baseline", "steps_per_op").unwrap();
    assert_eq!((counters.runs.len(), counters.changes.len()), (23, 0));
    assert!(history::trend(&entries, "reference/steady", "baseline", "nothing").is_none());
}

#[test]
fn times_of_two_runs_are_not_judged_and_counters_are() {
    let (run, trials) = load("slower");
    fn side<'a>(run: &'a Run, trials: &'a [Trial]) -> diff::Side<'a> {
        diff::Side { run, trials }
    }
    let verdicts = |other: &Run, trials_b: &[Trial]| {
        let result = diff::diff(side(&run, &trials[..]), side(other, trials_b));
        let of = |metric: &str| {
            result
                .scenarios
                .iter()
                .find(|one| one.variant == "baseline")
                .unwrap()
                .metrics
                .iter()
                .find(|one| one.metric == metric)
                .unwrap()
                .verdict
        };
        (of("throughput"), of("steps_per_op"))
    };
    assert_eq!(verdicts(&run, &trials), (Verdict::Inconclusive, Verdict::Unchanged));
    let mut other = run.clone();
    other.environment.machine = Some("another".to_owned());
    assert_eq!(verdicts(&other, &trials), (Verdict::Incomparable, Verdict::Unchanged));
    let mut later = run.clone();
    later.started_unix_s += 2 * 86_400;
    assert_eq!(verdicts(&later, &trials).0, Verdict::Incomparable);
    // More steps for each operation are seen across machines.
    let mut slower = trials.clone();
    for trial in &mut slower {
        trial.variant = if trial.variant == "baseline" { "slower-5" } else { "baseline" }.to_owned();
    }
    assert_eq!(verdicts(&other, &slower).1, Verdict::Regressed);
    let mut changed = run.clone();
    changed.scenarios[0].scenario.workload.insert("work".to_owned(), 7.into());
    let result = diff::diff(side(&run, &trials), side(&changed, &trials));
    assert!(result.scenarios.is_empty() && result.left_out[0].contains("asks for other work"));
}
