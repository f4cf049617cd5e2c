//! The verb `profile` on the target whose truth is known.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::bench::Bench;

/// Samples by whole stack.
fn folded(bench: &Bench, name: &str) -> BTreeMap<String, u64> {
    let path = bench.run_folder().join("profiles").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(stack, count)| (stack.to_owned(), count.parse().unwrap()))
        .collect()
}

fn with(stacks: &BTreeMap<String, u64>, words: &[&str]) -> u64 {
    stacks.iter().filter(|(stack, _)| words.iter().all(|word| stack.contains(word))).map(|(_, count)| count).sum()
}

/// Where perf events are forbidden the rest of a test would say nothing.
fn sampled_by_perf(said: &Value) -> bool {
    let sampler = said[0]["variants"][0]["sampler"].as_str().unwrap();
    if !sampler.starts_with("perf") {
        eprintln!("skipped: sampled by {sampler}; sysctl kernel.perf_event_paranoid=1");
    }
    sampler.starts_with("perf")
}

#[test]
fn the_known_split_comes_back() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/steady",
        "--variant",
        "baseline",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ]);
    said.code(0);
    let said = said.json();
    if !sampled_by_perf(&said) {
        return;
    }
    let variant = &said[0]["variants"][0];
    assert!(variant["symbolised_share"].as_f64().unwrap() >= 0.95, "{variant}");
    assert_eq!(variant["lost"], 0);
    let stacks = folded(&bench, "reference-steady-baseline.cpu.folded");
    let whole = with(&stacks, &["work::operation"]) as f64;
    for (name, truth) in [("work_seventy", 0.7), ("work_twenty", 0.2), ("work_ten", 0.1)] {
        let share = with(&stacks, &["work::operation", name]) as f64 / whole;
        // Two points; on a machine so busy that samples are few, what their number allows.
        let slack = f64::max(0.02, 4.0 * (truth * (1.0 - truth) / whole).sqrt());
        assert!((share - truth).abs() < slack, "{name}: {share} of {whole} samples, {truth} ± {slack} expected");
    }
    for end in ["cpu.svg", "cpu.pb.gz", "cpu.firefox.json", "off-cpu.folded"] {
        let path = bench.run_folder().join(format!("profiles/reference-steady-baseline.{end}"));
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 0), "{}", path.display());
    }
}

#[test]
fn a_sync_that_was_left_out_is_the_top_mover() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/synced",
        "--variant",
        "no-sync",
        "--against",
        "one-sync",
        "--sampling-window",
        "2s",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ]);
    said.code(0);
    if !sampled_by_perf(&said.json()) || said.json()[0]["variants"][0]["kernel"]["samples"] == 0 {
        return;
    }
    // The kernel's path to the disk hangs under the function that asked for it.
    let stacks = folded(&bench, "reference-synced-one-sync.cpu.folded");
    let syncing = with(&stacks, &["fdatasync", "_[k]"]);
    let under = with(&stacks, &["ReferenceClient", "fdatasync", "_[k]"]);
    assert!(syncing > 20 && under * 100 >= syncing * 95, "{under} of {syncing}");
    let waits = folded(&bench, "reference-synced-one-sync.off-cpu.folded");
    assert!(with(&waits, &["client;", "fdatasync"]) > 0);
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    let moved = report.split("#### What moved from `one-sync` to `no-sync`").nth(1).expect("a section on movers");
    let first = moved.lines().find(|line| line.starts_with("| **")).unwrap();
    assert!(first.starts_with("| **sync**") && first.contains("**−"), "{first}");
    for end in ["before.svg", "after.svg", "folded"] {
        assert!(bench.run_folder().join(format!("profiles/reference-synced-one-sync-to-no-sync.{end}")).is_file());
    }
}

#[test]
fn a_comparison_with_profiles_keeps_them_apart_and_is_rebuilt_byte_for_byte() {
    let bench = Bench::new();
    bench
        .uplift(&[
            "compare",
            "baseline",
            "slower-10",
            "reference/steady",
            "--quick",
            "--blocks",
            "5",
            "--profile",
            "cpu",
            "--sampling-window",
            "500ms",
        ])
        .code(0);
    assert_eq!(bench.trials().len(), 10, "profile trials are not among the measured");
    let folder = bench.run_folder();
    let profiles = fs::read_to_string(folder.join("profiles.jsonl")).unwrap();
    assert_eq!(profiles.lines().count(), 2);
    let before = contents(&folder);
    fs::remove_dir_all(folder.join("profiles")).unwrap();
    bench.uplift(&["report", "latest"]).code(0);
    let after = contents(&folder);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, bytes) in &before {
        assert!(&after[name] == bytes, "{name} differs");
    }
}

fn contents(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    [folder.to_owned(), folder.join("profiles")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().flatten())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn the_fallback_draws_what_it_has_and_says_so() {
    let bench = Bench::new();
    let output = bench
        .command(&["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "1500ms"])
        .env("UPLIFT_SAMPLER", "pprof")
        .output()
        .unwrap();
    let said = crate::bench::Said(output);
    said.code(0);
    assert!(said.out().contains("user frames only") && said.out().contains("losses not counted"), "{}", said.out());
    let stacks = folded(&bench, "reference-steady-baseline.cpu.folded");
    assert!(with(&stacks, &["work_seventy"]) > with(&stacks, &["work_ten"]));
    let graph = fs::read_to_string(bench.run_folder().join("profiles/reference-steady-baseline.cpu.svg")).unwrap();
    assert!(graph.contains("pprof (user frames only)"), "the graph's title says what it is");
}

#[test]
fn a_profile_of_nothing_is_refused() {
    let bench = Bench::new();
    let said = bench.uplift(&["profile", "reference/steady", "--variant", "nobody"]);
    said.code(2).says("no variant `nobody`");
    let said = bench.uplift(&["profile", "reference/steady", "--variant", "baseline", "--mode", "off"]);
    said.code(2).says("profiles nothing");
}

/// What sampling costs is measured as anything else is: the variant against itself under the sampler, interleaved.
#[test]
fn the_cost_of_sampling_is_a_comparison() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/steady",
        "--variant",
        "baseline",
        "--cost",
        "--budget",
        "6s",
        "--set",
        "trial.rounds=8",
        "--format",
        "json",
    ]);
    said.code(0);
    let verdicts = said.json();
    assert_eq!(verdicts["candidate"], "baseline@sampled-499hz");
    assert_eq!(verdicts["scenarios"][0]["status"], "compared");
    let metrics = verdicts["scenarios"][0]["metrics"].as_array().unwrap();
    let of = |name: &str| metrics.iter().find(|metric| metric["metric"] == name).unwrap().clone();
    assert_eq!(of("steps_per_op")["verdict"], "unchanged", "both do the same work");
    assert_ne!(of("throughput")["verdict"], "improved");
    assert!(!bench.trials().is_empty() && !bench.run_folder().join("profiles.jsonl").exists());
}
