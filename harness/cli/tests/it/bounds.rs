//! Numbers at the ends of what is allowed, and beyond: an answer or a sentence, never a panic or a figure of nothing.

use std::{io::Write as _, process::Stdio};

use uplift_model::{
    Unit,
    description::DescribedTarget,
    metric::Derivation,
    protocol::{PROTOCOL_VERSION, Reply, Request},
};

use crate::bench::{Bench, Said};

const STEADY: [&str; 6] = ["run", "reference/steady", "--variant", "baseline", "--blocks", "1"];

/// Runs one block with these overrides.
fn with(bench: &Bench, settings: &[&str]) -> Said {
    let more = settings.iter().flat_map(|setting| ["--set", setting]);
    bench.uplift(&STEADY.into_iter().chain(more).collect::<Vec<_>>())
}

/// Threads that the machine cannot wake within the window do nothing in it: that is no measurement of 0 op/s.
#[test]
fn so_many_clients_that_none_gets_to_work_are_a_failure() {
    let bench = Bench::new();
    let short = ["load.clients=4096", "trial.interleave=trials", "trial.window=1ns", "trial.warmup=1ms"];
    let said = with(&bench, &short);
    said.code(5).says("no operation was begun in the one turn: 4096 clients did not get to it");
    assert_eq!(bench.trials()[0]["outcome"]["status"], "failed");
}

/// As many clients as are allowed measure something, or are told why not: which of the two is the machine's.
#[test]
fn as_many_clients_as_are_allowed_work_or_are_a_failure() {
    let bench = Bench::new();
    let said = with(&bench, &["load.clients=4096", "trial.rounds=2"]);
    if said.0.status.code() == Some(0) {
        let turns = bench.trials()[0]["measured"]["turns"].as_array().unwrap().clone();
        assert!(turns.iter().any(|turn| turn["ok"].as_u64().unwrap() > 0), "{turns:?}");
    } else {
        said.code(5).says("no operation was begun in any of 2 turns: 4096 clients did not get to it");
    }
    with(&Bench::new(), &["load.clients=4097"]).code(2).says("clients must be 1–4096");
}

/// Each key of load and trial that takes a number, with one that nobody means.
#[test]
fn every_number_of_a_scenario_has_bounds() {
    let bench = Bench::new();
    for (setting, words) in [
        ("trial.warmup=500000000000y", "longer than a year"),
        ("trial.warmup=300d", "longer than a day"),
        ("trial.turn=300d", "longer than a day"),
        ("trial.window=300d", "longer than a day"),
        ("trial.timeout=500000000000y", "longer than a year"),
        ("trial.block=500000000000y", "longer than a year"),
        ("trial.cpu_latency=500000000000y", "longer than a year"),
        ("trial.rounds=4000000000", "more than 100000"),
        ("trial.rounds=4294967296", "4294967296"),
        ("trial.turn_operations=18446744073709551615", "18446744073709551615"),
        ("trial.turn_operations=9000000000000000000", "never ends"),
        ("load.clients=4000000000", "clients must be 1–4096"),
        ("load.batch=4000000000", "more than 1000000"),
        ("load.think=500000000000y", "longer than a year"),
    ] {
        let said = with(&bench, &[setting]);
        said.code(2).says(words);
    }
    for (setting, words) in [
        ("load.rate=1e-300", "between 0.001 and 1000000000"),
        ("load.rate=1e300", "between 0.001 and 1000000000"),
        ("load.rate=nan", "rate"),
        ("load.rate=0", "between 0.001 and 1000000000"),
        ("load.rate=-1", "between 0.001 and 1000000000"),
    ] {
        with(&bench, &["load.mode=open", setting]).code(2).says(words);
    }
    with(&bench, &["load.mode=open", "load.rate=10", "load.batch=2", "load.batch_window=500000000000y"])
        .code(2)
        .says("longer than a year");
    assert!(!bench.folder.path().join("results").exists(), "nothing was begun");
}

/// The targets of the binary, as it describes them to a harness that does not know them.
fn described() -> Vec<DescribedTarget> {
    let bench = Bench::new();
    let mut agent = bench.command(&["agent"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asks = agent.stdin.take().unwrap();
    for request in [Request::Hello { protocol: PROTOCOL_VERSION }, Request::Describe] {
        writeln!(asks, "{}", serde_json::to_string(&request).unwrap()).unwrap();
    }
    drop(asks);
    let output = agent.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let replies = said.lines().map(|line| serde_json::from_str::<Reply>(line).unwrap());
    let found = replies.filter_map(|reply| match reply {
        Reply::Described { targets } => Some(targets),
        _ => None,
    });
    found.into_iter().next().expect("an answer")
}

/// "checkpoint_mean 19,922,522": what is counted in nanoseconds or bytes is shown as a time or a size.
#[test]
fn metrics_of_targets_have_the_unit_of_what_they_are_made_of() {
    let targets = described();
    let mut checked = 0;
    for (target, metric) in
        targets.iter().flat_map(|target| target.description.metrics.iter().map(move |metric| (&target.name, metric)))
    {
        let is_ns = |source: &str| source.ends_with("_ns");
        let is_bytes = |source: &str| source.ends_with("bytes");
        let unit = metric.spec.unit;
        let place = format!("{target}: {} is {unit:?} of {}", metric.spec.name, metric.source);
        // What is divided by its like has no unit.
        let like = match &metric.derivation {
            Derivation::Per(other) => {
                is_ns(other) && is_ns(&metric.source) || is_bytes(other) && is_bytes(&metric.source)
            }
            Derivation::PerSecond => is_ns(&metric.source),
            _ => false,
        };
        if like {
            assert!(matches!(unit, Unit::Ratio | Unit::Cores | Unit::Count), "{place}");
        } else if is_ns(&metric.source) {
            assert!(matches!(unit, Unit::Nanoseconds | Unit::NanosecondsPerOp | Unit::Seconds), "{place}");
        } else if is_bytes(&metric.source) {
            assert!(matches!(unit, Unit::Bytes | Unit::BytesPerOp | Unit::BytesPerSecond), "{place}");
        } else {
            continue;
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} metrics of a time or a size");
    let dataflow = targets.iter().find(|target| target.name == "dataflow").unwrap();
    let mean = dataflow.description.metrics.iter().find(|metric| metric.spec.name == "checkpoint_mean").unwrap();
    assert_eq!(mean.spec.unit, Unit::Nanoseconds);
}
