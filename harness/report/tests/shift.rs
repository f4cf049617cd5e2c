//! The distribution behind a change: the plot over quantiles of rounds, and what is said of slow rounds and processes.

use std::{fs, path::Path};

use uplift_model::{Trial, run::Run};
use uplift_report::{
    ReportInput, build,
    render::{markdown, terminal},
};

/// Twenty blocks of ten turns each, in which every tenth turn of the candidate takes ten sevenths of the time, and in two
/// blocks all of them.
fn stalling() -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/slower");
    let mut run: Run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    run.scenarios[0].scenario.expect.clear();
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    let templates: Vec<Trial> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut trials = Vec::new();
    for block in 0..20u32 {
        for variant in ["baseline", "slower-5"] {
            let is_candidate = variant != "baseline";
            let mut trial = templates.iter().find(|trial| trial.variant == variant).unwrap().clone();
            trial.block = block;
            trial.position = u32::from(is_candidate == (block % 2 == 0));
            let measured = trial.measured.as_mut().unwrap();
            measured.dropped_turns = 0;
            let turn = measured.turns[0].clone();
            let own = 1.0 + 0.003 * (f64::from((block * 7 + u32::from(is_candidate) * 3) % 5) - 2.0);
            measured.turns = (0..10u32)
                .map(|index| {
                    let stalls = is_candidate && (index == 9 || block % 10 == 4);
                    let jitter = 1.0 + 0.01 * (f64::from((index * 11 + block) % 7) - 3.0);
                    let mut turn = turn.clone();
                    (turn.index, turn.ok, turn.attempts, turn.busy_ns) = (index, 100, 100, None);
                    turn.wall_ns = (5e6 * own * jitter * if stalls { 10.0 / 7.0 } else { 1.0 }) as u64;
                    turn
                })
                .collect();
            trials.push(trial);
        }
    }
    (run, trials)
}

#[test]
fn what_stalls_is_drawn_and_said() {
    let (run, trials) = stalling();
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() };
    let report = build::report(&input);
    let plot = report.plots.iter().find(|plot| plot.path.ends_with("-shift.svg")).expect("there is a plot");
    // The slowest rounds lost far more than the others: the line is not level.
    assert!(
        plot.description.contains("-29.2 % at 1") && plot.description.contains("-1.1 % at 50"),
        "{}",
        plot.description
    );
    assert!(plot.file().contains("quantile of rounds, slowest first") && plot.file().contains("total"));
    let text = markdown::document(&report.document);
    assert!(text.contains("-shift.svg"), "the plot stands in the report");
    let said =
        "Slow processes, far from what the others of their variant show: none of `baseline`; 2 of 20 of `slower-5`, by";
    assert!(text.contains(said), "{text}");
    let all = terminal::Style { all_metrics: true, ..terminal::Style::default() };
    assert!(terminal::document(&build::document(&input), all).contains("Slow rounds"));
}

/// A few rounds have no quantiles to speak of.
#[test]
fn few_rounds_are_not_drawn() {
    let (run, mut trials) = stalling();
    for trial in &mut trials {
        trial.measured.as_mut().unwrap().turns.truncate(1);
    }
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() };
    assert!(!build::report(&input).plots.iter().any(|plot| plot.path.ends_with("-shift.svg")));
}
