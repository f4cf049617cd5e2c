//! What the harness reports about the reference target, checked against what that target was told to do.

use crate::bench::Bench;
use serde_json::Value;

/// The trials of a `run` of one variant of a reference scenario.
fn run(scenario: &str, variant: &str, more: &[&str]) -> Vec<Value> {
    let bench = Bench::new();
    let mut arguments = vec!["run", scenario, "--variant", variant, "--quick", "--format", "json"];
    if !more.contains(&"--blocks") {
        arguments.extend(["--blocks", "1"]);
    }
    arguments.extend(more);
    bench.uplift(&arguments).code(0);
    bench.trials()
}

fn operations(trial: &Value) -> &Value {
    &trial["measured"]["operations"][0]
}

fn count(value: &Value) -> u64 {
    match value {
        Value::Object(counts) => counts.values().map(|count| count.as_u64().unwrap()).sum(),
        Value::Null => 0,
        number => number.as_u64().unwrap(),
    }
}

fn quantile(histogram: &Value, q: f64) -> u64 {
    uplift_model::Histogram::from_base64(histogram.as_str().unwrap()).unwrap().quantile(q).unwrap()
}

/// Coordinated omission: a stall of 500 ms under 1,000 arrivals a second makes every third arrival of 1.5 seconds wait. Measured from the sending, only the four operations that stalled were slow.
#[test]
fn a_stall_shows_in_the_response_time_and_not_in_the_service_time() {
    let trials = run("reference/stall", "stalling", &["--set", "trial.warmup=0ms"]);
    let operation = operations(&trials[0]);
    let response_p99 = quantile(&operation["response"], 0.99);
    let service_p99 = quantile(&operation["service"], 0.99);
    assert!(response_p99 > 300_000_000, "response p99 {response_p99} ns");
    assert!(response_p99 > 4 * service_p99, "response p99 {response_p99} ns, service p99 {service_p99} ns");
    let worst = quantile(&operation["service"], 1.0);
    assert!(worst >= 400_000_000, "the stall itself is in the longest service time: {worst} ns");
    // Every arrival was sent and counted, stall or not.
    let arrivals = operation["ok"].as_u64().unwrap();
    assert!((1_490..=1_510).contains(&arrivals), "{arrivals} arrivals of 1,500");
}

#[test]
fn sync_calls_are_counted_exactly() {
    for (variant, each) in [("one-sync", 1), ("two-syncs", 2), ("no-sync", 0)] {
        let trials = run("reference/synced", variant, &[]);
        let measured = &trials[0]["measured"];
        let ok = operations(&trials[0])["ok"].as_u64().unwrap();
        assert!(ok > 0);
        assert_eq!(measured["syncs"]["collector"], "interposed symbols");
        let calls = measured["syncs"]["kinds"]["fdatasync"]["calls"].as_u64().unwrap_or(0);
        assert_eq!(calls, each * ok, "{variant}");
        assert!(measured["syncs"]["kinds"]["fsync"].is_null());
        if each > 0 {
            let latency = &measured["syncs"]["kinds"]["fdatasync"]["latency"];
            let timed = uplift_model::Histogram::from_base64(latency.as_str().unwrap()).unwrap();
            assert_eq!(timed.count(), calls);
        }
    }
}

#[test]
fn successes_failures_and_nothings_are_counted_apart() {
    let trials = run(
        "reference/steady",
        "baseline",
        &["--set", "error_rate=0.25", "--set", "workload.nothing_rate=0.5", "--set", "workload.work=100"],
    );
    let operation = operations(&trials[0]);
    let (ok, nothing, failed) = (count(&operation["ok"]), count(&operation["nothing"]), count(&operation["failed"]));
    let attempts = ok + nothing + failed;
    let turns = trials[0]["measured"]["turns"].as_array().unwrap();
    let dropped = trials[0]["measured"]["dropped_turns"].as_u64().unwrap() as usize;
    let of_turns: u64 = turns[dropped..].iter().map(|turn| turn["attempts"].as_u64().unwrap()).sum();
    assert_eq!(attempts, of_turns);
    // Six standard deviations of a binomial.
    for (seen, share) in [(failed, 0.25), (nothing, 0.75 * 0.5), (ok, 0.75 * 0.5)] {
        let expected = attempts as f64 * share;
        let slack = 6.0 * (attempts as f64 * share * (1.0 - share)).sqrt();
        assert!((seen as f64 - expected).abs() < slack, "{seen} of {attempts}, expected {expected} ± {slack}");
    }
    assert_eq!(operation["failed"].as_object().unwrap().keys().collect::<Vec<_>>(), ["injected"]);
    let failed_response = &operation["failed_response"];
    let timed = uplift_model::Histogram::from_base64(failed_response.as_str().unwrap()).unwrap().count();
    assert_eq!(timed, failed);
}

#[test]
fn turns_of_one_operation_hold_one_operation() {
    let trials = run("reference/steady", "baseline", &["--set", "trial.turn_operations=7", "--set", "trial.rounds=3"]);
    let turns = trials[0]["measured"]["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|turn| turn["attempts"] == 7), "{turns:?}");
}

/// What was in force is recorded where it is available; where it is not, the record has nothing and the run says why.
#[test]
fn idle_cpus_are_kept_awake_or_it_is_said_that_they_are_not() {
    let bench = Bench::new();
    let work = ["--blocks", "1", "--set", "trial.rounds=3", "--set", "trial.cpu_latency=0s"];
    bench.uplift(&[&["run", "reference/steady", "--variant", "baseline"], &work[..]].concat()).code(0);
    let file = |name: &str| std::fs::read_to_string(bench.run_folder().join(name)).unwrap();
    let run: Value = serde_json::from_str(&file("run.json")).unwrap();
    let said = run["warnings"].as_array().unwrap().iter().any(|warning| warning.to_string().contains("cpu_latency"));
    let in_force = &bench.trials()[0]["sentinels"]["cpu_latency_ns"];
    assert_eq!(said, in_force.is_null(), "{in_force}");
    assert!(said || *in_force == 0, "{in_force}");
    let report = file("report.md");
    assert!(report.contains("| idle CPUs | the kernel is asked that they wake within 0s"), "{report}");
    let trials = u32::from(!said);
    assert!(report.contains(&format!("had to wake within 0s: in force in {trials} of 1 trials")), "{report}");
}

/// A modelled disk holds every sync of every variant, says so first, and makes a run that is compared with no other.
#[test]
fn a_modelled_disk_holds_every_sync() {
    let bench = Bench::new();
    let work = ["--blocks", "1", "--set", "trial.rounds=3", "--set", "load.clients=1", "--disk", "3ms"];
    let compare = ["compare", "one-sync", "two-syncs", "reference/synced"];
    let said = bench.uplift(&[&compare[..], &work].concat());
    said.code(0);
    assert!(said.out().contains("on a modelled disk (sync 3 ms, waiting flushes merge)"), "{}", said.out());
    for trial in bench.trials() {
        let (measured, syncs) = (&trial["measured"], if trial["variant"] == "one-sync" { 1 } else { 2 });
        assert!(measured["disk"]["calls"].as_u64().unwrap() > 0);
        for turn in measured["turns"].as_array().unwrap() {
            let at_least_ns = turn["attempts"].as_u64().unwrap() * syncs * 3_000_000;
            assert!(turn["wall_ns"].as_u64().unwrap() >= at_least_ns, "{turn}");
        }
    }
    let modelled = bench.run_folder().display().to_string();
    let elsewhere = bench.folder.path().join("real").display().to_string();
    bench.uplift(&[&compare[..], &work[..6], &["--out", &elsewhere]].concat()).code(0);
    let real = std::fs::read_dir(&elsewhere).unwrap().next().unwrap().unwrap().path().display().to_string();
    let diff = bench.uplift(&["diff", &modelled, &real]);
    assert!(diff.out().contains("asks for other work"), "{}{}", diff.out(), diff.err());

    bench.uplift(&["compare", "one-sync", "two-syncs", "--disk", "fast"]).code(2).says("known disks");
    assert!(bench.uplift(&["list", "--disks"]).code(0).out().contains("nvme-consumer"));
}

#[test]
fn equal_seeds_make_equal_plans() {
    let order = || -> Vec<(u64, String, u64)> {
        run(
            "reference/steady",
            "baseline",
            &["--variant", "same", "--blocks", "4", "--seed", "5", "--set", "trial.rounds=2"],
        )
        .iter()
        .map(|trial| {
            (
                trial["block"].as_u64().unwrap(),
                trial["variant"].as_str().unwrap().to_owned(),
                trial["seed"].as_u64().unwrap(),
            )
        })
        .collect()
    };
    let first = order();
    assert_eq!(first.len(), 8);
    assert_eq!(first, order());
}

/// A slowdown of 10 % is ten percent more steps: that is counted and not timed, so it must come back exactly.
#[test]
fn a_counted_slowdown_comes_back_exactly() {
    let bench = Bench::new();
    let said = bench.uplift(&["compare", "baseline", "slower-10", "reference/steady", "--quick", "--format", "json"]);
    said.code(0);
    let verdicts = said.json();
    let scenario = &verdicts["scenarios"][0];
    assert_eq!(scenario["status"], "compared");
    assert_eq!(scenario["blocks"], 6, "{}", scenario["stopped"]);
    let metric = |name: &str| {
        let metrics = scenario["metrics"].as_array().unwrap();
        metrics.iter().find(|metric| metric["metric"] == name).unwrap().clone()
    };
    let steps = metric("steps_per_op");
    assert!((steps["change"].as_f64().unwrap() - 0.1).abs() < 1e-9, "{steps}");
    assert_eq!(steps["verdict"], "regressed");
    assert_ne!(metric("throughput")["verdict"], "improved");
    assert_eq!(metric("success_rate")["verdict"], "unchanged");
}

#[test]
fn leaving_the_sync_out_is_never_an_improvement() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "compare",
        "one-sync",
        "no-sync",
        "reference/synced",
        "--quick",
        "--blocks",
        "6",
        "--format",
        "json",
    ]);
    said.code(0);
    let scenario = &said.json()["scenarios"][0];
    assert_eq!(scenario["durability"], "weaker");
    let metrics = scenario["metrics"].as_array().unwrap();
    assert!(metrics.iter().all(|metric| metric["verdict"] != "improved" || metric["metric"] == "success_rate"));
    let primary = metrics.iter().find(|metric| metric["primary"] == true).unwrap();
    assert_eq!(primary["verdict"], "incomparable");
    assert!(primary["reason"].as_str().unwrap().starts_with("faster by weakening durability"), "{primary}");
}

#[test]
fn a_busy_idle_variant_is_noticed() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "compare",
        "baseline",
        "slower-1",
        "reference/steady",
        "--quick",
        "--blocks",
        "5",
        "--format",
        "json",
        "--set",
        "busy_threads=1",
    ]);
    said.code(4);
    let reason = said.json()["scenarios"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("while it should have been idle"), "{reason}");
}

/// The gate: a counted slowdown breaks its strict rule, the same program passes, and the rows are on disk either way.
#[test]
fn the_gate_answers_with_its_exit_code() {
    for (candidate, wanted) in [("slower-10", 1), ("baseline", 0)] {
        let bench = Bench::new();
        let said = bench.uplift(&[
            "gate",
            "baseline",
            candidate,
            "reference/steady",
            "--quick",
            "--blocks",
            "5",
            "--format",
            "json",
        ]);
        let rows: Vec<Value> = serde_json::from_slice(&said.0.stdout).unwrap();
        let steps = rows.iter().find(|row| row["metric"] == "steps_per_op").unwrap();
        if wanted == 1 {
            said.code(1);
            assert_eq!(steps["outcome"], "broken");
        } else {
            // A time may stay open on a busy machine; the counter may not, and nothing may be called broken by chance.
            assert_eq!(steps["outcome"], "passed");
        }
        assert!(bench.run_folder().join("gate.json").is_file());
        assert!(bench.run_folder().join("report.md").is_file());
    }
}

/// Two builds of one variant: each trial says which side it was, and the record which binary that was.
#[test]
fn two_builds_of_one_variant_are_told_apart() {
    let bench = Bench::new();
    let binary = env!("CARGO_BIN_EXE_uplift");
    let said = bench.uplift(&[
        "compare",
        "baseline",
        "baseline",
        "reference/steady",
        "--quick",
        "--blocks",
        "5",
        "--candidate-bin",
        binary,
        "--format",
        "json",
    ]);
    let verdicts = said.json();
    assert_eq!(verdicts["candidate"], "baseline@candidate");
    assert_eq!(verdicts["scenarios"][0]["status"], "compared");
    let trials = bench.trials();
    for name in ["baseline", "baseline@candidate"] {
        assert_eq!(trials.iter().filter(|trial| trial["variant"] == name).count(), 5, "{name}");
    }
    let run: Value = serde_json::from_slice(&std::fs::read(bench.run_folder().join("run.json")).unwrap()).unwrap();
    assert_eq!(run["scenarios"][0]["binaries"]["candidate: baseline@candidate"]["path"], binary);
}
