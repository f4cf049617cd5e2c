//! The page of published figures, from a stored run and from none.

use std::{fs, path::Path};

use uplift_analysis::replication::{StoredRun, replicate};
use uplift_model::{
    ProfileTrial, Scenario, Trial,
    profile::PROFILE_SCHEMA,
    protocol::Profiled,
    run::{Intent, Run},
    scenario::Claim,
    verdict::ClaimOutcome,
};
use uplift_report::{render::markdown, replication};

fn document(rows: &[uplift_analysis::replication::Row], runs: &[StoredRun<'_>]) -> String {
    markdown::document(&replication::document(rows, runs))
}

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn load(name: &str) -> (Run, Vec<Trial>) {
    let run = serde_json::from_str(&data(&format!("{name}/run.json"))).unwrap();
    let trials = data(&format!("{name}/trials.jsonl"));
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn claim(figure: &str) -> Claim {
    Claim {
        variant: "optimized".to_owned(),
        source: "orchestration-duroxide.md".to_owned(),
        figure: figure.to_owned(),
        ..Claim::default()
    }
}

/// The scenario with one figure of each sort beside those that it has.
fn scenario(run: &Run) -> Scenario {
    let mut scenario = run.scenarios[0].scenario.clone();
    scenario.claims.extend([
        Claim { metric: "success_rate".to_owned(), range: Some([0.9, 1.0]), ..claim("nearly all of them succeed") },
        Claim { profile: vec!["sync".to_owned()], range: Some([0.0, 0.05]), ..claim("hardly any of it in sync calls") },
        Claim { metric: "response_max".to_owned(), ..claim("a stall of 300 ms") },
        Claim { profile: vec!["sync".to_owned()], range: Some([0.3, 0.9]), ..claim("much of it in sync calls") },
        Claim { unchecked: "two failures against one decide nothing".to_owned(), ..claim("half the failures") },
        Claim {
            metric: "throughput".to_owned(),
            change: Some(1.0),
            against: Some("full".to_owned()),
            ..claim("twice as fast as something that was not run")
        },
    ]);
    scenario
}

fn profile(run: &Run, trials: &[Trial]) -> ProfileTrial {
    let variant = &run.scenarios[0].variants[1];
    ProfileTrial {
        schema: PROFILE_SCHEMA,
        trial: trials.iter().find(|trial| &trial.variant == variant && trial.succeeded()).unwrap().clone(),
        profiled: Some(Profiled {
            tail: None,
            not_sampled: None,
            allocations: None,
            sampler: "perf cpu-clock".to_owned(),
            frequency_hz: 499,
            sample_ns: 1e9 / 499.0,
            frames: Vec::new(),
            folded: data("profile/baseline.folded"),
            folded_off_cpu: None,
            lost: Some(0),
            symbolised_share: 1.0,
            kernel_frames: true,
            duration_ns: 5_000_000_000,
            operations: 2_000,
            warnings: Vec::new(),
        }),
    }
}

#[test]
fn every_sort_of_figure_is_held_against_a_run() {
    use ClaimOutcome::{NotComparable, NotMeasured, NotReproduced, Reproduced, Undecided};
    let (run, trials) = load("claims");
    let profiles = [profile(&run, &trials)];
    let stored = [StoredRun { run: &run, trials: &trials, profiles: &profiles }];
    let scenarios = [scenario(&run)];
    let rows = replicate(&scenarios, &stored);
    assert_eq!(rows.len(), 10);
    let outcomes: Vec<ClaimOutcome> = rows[4..].iter().map(|row| row.verdict.outcome).collect();
    // Five trials have no interval of 95 % for their median.
    assert_eq!(outcomes, [Undecided, NotReproduced, NotComparable, Reproduced, NotComparable, NotMeasured]);
    assert!(rows[6].candidate.is_some(), "what cannot be compared has a value of ours beside it");

    // Figures about the pair are what the run's own report says of them.
    let verdicts = uplift_analysis::judge(&run, &trials).unwrap();
    for (row, own) in rows.iter().zip(&verdicts.scenarios[0].claims) {
        assert_eq!((row.verdict.outcome, row.verdict.ci), (own.outcome, own.ci));
    }

    let page = document(&rows, &stored);
    insta::assert_snapshot!("replication-page", page);
    // The same figures out of a run that compared nothing: the pair is judged by itself.
    let measured = Run { intent: Intent::Run { variants: run.scenarios[0].variants.clone() }, ..run.clone() };
    let again = replicate(&scenarios, &[StoredRun { run: &measured, trials: &trials, profiles: &profiles }]);
    assert_eq!(again[0].verdict, rows[0].verdict, "one scenario is a family of one either way");
}

/// Without a run nothing is made up.
#[test]
fn without_runs_nothing_is_measured() {
    let (run, _) = load("claims");
    let rows = replicate(&[scenario(&run)], &[]);
    assert!(rows.iter().all(|row| row.verdict.measured.is_none() && row.run.is_none()));
    let unmeasured = rows.iter().filter(|row| row.verdict.outcome == ClaimOutcome::NotMeasured).count();
    assert_eq!(unmeasured, rows.len() - 1, "but for the one that nothing can check");
    assert!(document(&rows, &[]).contains("no stored run measured it"));
}
