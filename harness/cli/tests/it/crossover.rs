//! The search for a crossover, checked against a target in which the place of the crossing is known.

use std::fs;

use serde_json::Value;

use crate::bench::Bench;

/// `syncing` syncs once for each operation, `computing` computes about 6 ms more instead (a step is some 2 ns): they are
/// even where a sync takes as long as that work. Both ends of the range are far from there, so that a loaded machine
/// tells them apart too.
const SCENARIO: &str = r#"
schema = 1
target = "reference"
title = "a sync against computation"
[workload]
work = 500000
[load]
mode = "closed"
clients = 1
[trial]
warmup = "20ms"
turn_operations = 3
rounds = 3
[variants.syncing]
fsyncs_per_op = 1
[variants.computing]
slowdown_percent = 600
"#;

/// The bounds are wide: how long the work takes depends on the machine, and only within one turn.
#[test]
fn the_crossing_is_where_a_sync_costs_as_much_as_the_work() {
    let bench = Bench::new();
    let scenarios = bench.folder.path().join("own/reference");
    fs::create_dir_all(&scenarios).unwrap();
    fs::write(scenarios.join("even.toml"), SCENARIO).unwrap();
    let folder = bench.folder.path().join("own");
    let place = ["--scenario-dir", folder.to_str().unwrap()];
    let search = ["crossover", "even", "--between", "syncing", "computing", "--blocks", "5", "--points", "6"];
    let said = bench.uplift(&[&search[..], &["--over", "disk.sync=200us..100ms", "--format", "json"], &place].concat());
    let found: Value = said.code(0).json();
    assert_eq!(found["outcome"], "crossing", "{found:#}");
    let crossing = &found["crossings"][0];
    assert_eq!(crossing["candidate_above"], true, "{found:#}");
    let at_ns = crossing["at"].as_f64().unwrap();
    assert!((1e6..60e6).contains(&at_ns), "{found:#}");

    let folder = fs::read_dir(bench.folder.path().join("results/runs")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(folder.join("crossover.md")).unwrap();
    assert!(text.contains("`computing` is ahead of `syncing` where disk.sync is above"), "{text}");
    assert!(fs::read_to_string(folder.join("crossover.svg")).unwrap().contains("even at"));

    bench.rebuilds(&folder, &["crossover.json", "crossover.md", "crossover.html", "crossover.svg"]);
    // An older search says nothing of the kind of its values.
    let mut older = found;
    older.as_object_mut().unwrap().remove("kind");
    fs::write(folder.join("crossover.json"), older.to_string()).unwrap();
    bench.uplift(&["report", folder.to_str().unwrap()]).code(0);
    assert_eq!(fs::read_to_string(folder.join("crossover.md")).unwrap(), text);
    // A run that is gone is said, and the pages stay as they are.
    let run = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    fs::remove_dir_all(run).unwrap();
    bench.uplift(&["report", folder.to_str().unwrap()]).code(5).says("lacks the run of");

    for (over, words) in [
        ("disk.sync=4ms", "two values with `..` between"),
        ("disk.sync=4ms..1ms", "ends above its beginning"),
        ("trial.rounds=1..4", "cannot vary between points"),
        ("disk.speed=1..4", "unknown field"),
    ] {
        bench.uplift(&[&search[..], &["--over", over], &place].concat()).code(2).says(words);
    }
}
