//! `uplift crash`, end to end: kills, cuts of the power, faults, and bugs that were planted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::bench::{Bench, Said};

/// Whether a file system can be mounted here; with the reason printed where not, and a failure where `UPLIFT_REQUIRE` wants it.
pub fn has_fuse() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = uplift_powerfs::PowerFs::mount(folder.path(), 1 << 20) else { return true };
    let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word.trim() == "fuse"), "FUSE is required: {error}");
    println!("skipped: no FUSE here ({error}); run as root, or install fusermount3, with /dev/fuse there");
    false
}

/// Small enough for many cuts.
const SMALL: [&str; 8] = ["--set", "workload.ids=200", "--set", "load.clients=6", "--within", "60ms", "--seed", "7"];

fn crash(bench: &Bench, words: &[&str]) -> Said {
    let mut all = vec!["crash"];
    all.extend(words);
    all.extend(SMALL);
    bench.uplift(&all)
}

/// The series of the first variant.
pub fn series(said: &Said) -> Vec<serde_json::Value> {
    said.json()[0]["series"].as_array().unwrap().clone()
}

#[test]
fn a_killed_store_holds_what_it_acknowledged_and_the_report_is_rebuilt() {
    let bench = Bench::new();
    let said = crash(&bench, &["docdb/crud", "--variant", "fast", "--cuts", "4", "--mode", "kill", "--format", "json"]);
    said.code(0);
    let found = &said.json()[0];
    assert_eq!((&found["declared"], &found["demonstrated"]), (&"power-loss".into(), &"process-crash".into()));
    assert_eq!(found["agreement"], "untried", "a loss of power was not tried");
    let series = &found["series"][0];
    assert_eq!((&series["cuts"], &series["lost"], &series["wrong"]), (&4.into(), &0.into(), &0.into()));
    assert!(series["acknowledged"].as_u64().unwrap() > 100, "{series}");
    assert!(series["recovery_ns_max"].as_u64().unwrap() > 0);
    let folder = bench.run_folder();
    assert_eq!(fs::read_to_string(folder.join("crash.jsonl")).unwrap().lines().count(), 4);
    assert!(!folder.join("data").exists(), "nothing is left");
    let report = fs::read(folder.join("report.md")).unwrap();
    fs::remove_file(folder.join("report.md")).unwrap();
    bench.uplift(&["report", "latest"]).code(0);
    assert_eq!(fs::read(folder.join("report.md")).unwrap(), report);
    assert!(String::from_utf8_lossy(&report).contains("acknowledged operations lost in 4 cuts: at most"));
    let text = bench.uplift(&["show", "latest"]).code(0).out();
    assert!(text.contains("Declared: power-loss. Demonstrated: process-crash"), "{text}");
}

#[test]
fn power_takes_from_the_weaker_store_and_not_from_the_durable_one() {
    if !has_fuse() {
        return;
    }
    let bench = Bench::new();
    let power = ["--mode", "power", "--cuts", "12", "--format", "json"];
    let durable = crash(&bench, &[&["docdb/crud", "--variant", "fast"], &power[..]].concat());
    durable.code(0);
    let found = &durable.json()[0];
    assert_eq!((&found["demonstrated"], &found["agreement"]), (&"power-loss".into(), &"holds".into()), "{found}");
    assert_eq!((&series(&durable)[0]["cuts"], &series(&durable)[0]["lost"]), (&12.into(), &0.into()));
    let weak = crash(&bench, &[&["docdb/fsync-modes", "--variant", "none"], &power[..]].concat());
    // It declares no more than that.
    weak.code(0);
    let lost = &series(&weak)[0];
    assert!(lost["lost"].as_u64().unwrap() > 0 && lost["oldest_lost_ns"].as_u64().unwrap() > 0, "{lost}");
    assert!(no_mounts_below(bench.folder.path()));
}

fn no_mounts_below(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    !mounts.contains(folder.to_str().unwrap())
}

#[test]
fn a_failed_sync_is_never_acknowledged_later() {
    if !has_fuse() {
        return;
    }
    let bench = Bench::new();
    let fault = ["--fault", "eio@sync:5", "--cuts", "4", "--format", "json"];
    let said = crash(&bench, &[&["docdb/crud", "--variant", "fast"], &fault[..]].concat());
    said.code(0);
    let series = &series(&said)[0];
    assert_eq!(series["fault"], "eio@sync:5");
    assert_eq!((&series["lost"], &series["wrong"]), (&0.into(), &0.into()), "{series}");
}

#[test]
fn what_cannot_be_tried_is_a_mistake_with_its_reason() {
    let bench = Bench::new();
    let said = bench.uplift(&["crash", "reference/steady", "--variant", "baseline", "--cuts", "1"]);
    said.code(2).says("cannot be opened on data that are there");
    crash(&bench, &["docdb/crud", "--variant", "fast", "--fault", "eio@sync:0"]).code(2).says("eio@sync:7");
}

/// A binary of the store with planted bugs, and the folder of its scenario.
fn planted() -> (PathBuf, tempfile::TempDir) {
    let binary = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/crash_target");
    assert!(binary.is_file(), "{} is not built; run `cargo test -p uplift`, or name `--examples`", binary.display());
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let scenarios = folder.path().join("scenarios/keeper");
    fs::create_dir_all(&scenarios).unwrap();
    let variants = ["none", "early-acknowledgement", "no-directory-sync", "no-checksum"]
        .map(|bug| format!("[variants.{bug}]\nbug = \"{bug}\"\n"));
    let text = format!(
        "schema = 1\ntarget = \"keeper\"\ntitle = \"planted bugs\"\n[load]\nmode = \"closed\"\nclients = 1\n{}",
        variants.concat()
    );
    fs::write(scenarios.join("planted.toml"), text).unwrap();
    (binary, folder)
}

#[test]
fn planted_bugs_are_found_in_under_200_cuts_and_the_whole_store_passes() {
    if !has_fuse() {
        return;
    }
    let (binary, folder) = planted();
    for bug in ["none", "early-acknowledgement", "no-directory-sync", "no-checksum"] {
        let output = Command::new(&binary)
            .args(["crash", "keeper/planted", "--variant", bug, "--mode", "power", "--cuts", "60"])
            .args(["--every-sync", "20", "--within", "40ms", "--seed", "3", "--format", "json", "-q"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = Said(output);
        said.code(if bug == "none" { 0 } else { 5 });
        let found = &said.json()[0];
        let bad = found["series"][0]["bad_cuts"].as_u64().unwrap();
        assert_eq!(bad > 0, bug != "none", "{bug}: {found}");
    }
}
