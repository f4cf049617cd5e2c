//! `uplift crash` of what others wrote, and of an engine into which bugs are sown.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    bench::{Bench, Said},
    crash::{has_fuse, series},
};

fn is_there(program: &str, word: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default();
    assert!(
        there || !required.split(',').any(|one| one.trim() == word),
        "{word} is required, and there is no `{program}`"
    );
    if !there {
        println!("skipped: there is no `{program}`");
    }
    there
}

fn crash(bench: &Bench, words: &[&str]) -> (Said, Vec<Value>) {
    let said = bench.uplift(&[&["crash"], words, &["--seed", "7", "--format", "json"]].concat());
    let series = series(&said);
    (said, series)
}

fn number(series: &Value, name: &str) -> u64 {
    series[name].as_u64().unwrap_or_else(|| panic!("no {name} in {series}"))
}

#[test]
fn redis_keeps_what_its_setting_says() {
    if !is_there("redis-server", "redis") || !has_fuse() {
        return;
    }
    let bench = Bench::new();
    let of = |variant| ["service/redis-appendfsync", "--variant", variant, "--mode", "power", "--within", "150ms"];
    let (said, always) = crash(&bench, &[&of("always")[..], &["--cuts", "8", "--every-sync", "4"]].concat());
    said.code(0);
    assert_eq!((number(&always[0], "cuts"), number(&always[0], "bad_cuts")), (8, 0), "{:?}", always[0]);
    assert!(number(&always[0], "verified") > 10, "{:?}", always[0]);
    // A third of the cuts keep nothing that was not synced.
    let (said, no) = crash(&bench, &[&of("no")[..], &["--cuts", "8"]].concat());
    said.code(0);
    assert!(number(&no[0], "lost") > 0 && no[0]["oldest_lost_ns"].as_u64().is_some(), "{:?}", no[0]);
    // Of a sync that failed nothing is acknowledged, neither then nor later.
    let (said, failed) = crash(&bench, &[&of("always")[..], &["--cuts", "2", "--fault", "eio@sync:5+"]].concat());
    said.code(0);
    assert_eq!((number(&failed[0], "lost"), number(&failed[0], "wrong")), (0, 0), "{:?}", failed[0]);
}

#[test]
fn postgres_keeps_what_its_setting_says() {
    if !Path::new("/usr/lib/postgresql").exists() && !is_there("initdb", "postgres") || !has_fuse() {
        return;
    }
    let bench = Bench::new();
    // The server gives up root, and must be able to enter.
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = data.path().to_str().unwrap();
    let cuts = |variant, mode, more: &[&str]| {
        let words =
            ["service/postgres-commit", "--variant", variant, "--mode", mode, "--cuts", "2", "--data-dir", data];
        let (said, series) = crash(&bench, &[&words[..], more].concat());
        said.code(0);
        series.into_iter().next().unwrap()
    };
    let on = cuts("on", "power", &["--every-sync", "1"]);
    assert_eq!((number(&on, "cuts"), number(&on, "bad_cuts")), (2, 0), "{on}");
    // What lies in the server's own memory goes with its processes.
    let off = cuts("off", "kill", &[]);
    assert!(number(&off, "lost") > 0 && number(&off, "wrong") == 0, "{off}");
}

#[test]
fn orchestrations_and_pipelines_hold_what_they_declare() {
    if !has_fuse() {
        return;
    }
    let bench = Bench::new();
    for words in [
        ["orchestration/fanout-1x1", "--variant", "baseline", "--within", "900ms"],
        ["pipeline/medium-copy", "--variant", "file", "--within", "200ms"],
    ] {
        let (said, series) = crash(&bench, &[&words[..], &["--cuts", "3", "--mode", "both"]].concat());
        said.code(0);
        assert_eq!(series.len(), 2, "{series:?}");
        assert!(series.iter().all(|one| number(one, "cuts") == 3 && number(one, "failed") == 0), "{series:?}");
    }
    // A database that opens and cannot be read is a finding, and no audit that failed.
    let words = ["pipeline/medium-copy", "--variant", "baseline", "--fault", "flip@open", "--cuts", "4"];
    let (said, series) = crash(&bench, &words);
    said.code(0);
    assert_eq!((number(&series[0], "cuts"), number(&series[0], "failed")), (4, 0), "{series:?}");
}

/// What reaches the disk as a sync is what a collector sees a program ask for.
#[test]
fn the_disk_counts_the_syncs_that_collectors_count() {
    if !is_there("sqlite3", "sqlite3") || !has_fuse() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = uplift_powerfs::PowerFs::mount(folder.path(), 64 << 20).unwrap();
    let database = folder.path().join("x.db").display().to_string();
    let script = format!(
        "rm -f {database} && sqlite3 {database} 'create table t(a); insert into t values(1); insert into t values(2);
         pragma journal_mode=wal; insert into t values(3); pragma synchronous=full; insert into t values(4);'"
    );
    disk.begin(None, false, None);
    assert!(Command::new("sh").args(["-c", &script]).output().unwrap().status.success());
    let ours = disk.syncs();
    assert!(ours > 5, "{ours}");
    let program = format!("sh -c \"{script}\"");
    for collector in ["seccomp", "preload"] {
        let bench = Bench::new();
        let words = ["run", "--cmd", &program, "--runs", "1", "--warmup", "1", "--sync-collector", collector];
        bench.uplift(&words).code(0);
        let syncs = &bench.trials()[0]["measured"]["syncs"];
        if let Some(missing) = syncs["missing"].as_str() {
            println!("skipped {collector}: {missing}");
            continue;
        }
        let kinds = syncs["kinds"].as_object().unwrap();
        let calls: u64 = kinds.values().map(|kind| kind["calls"].as_u64().unwrap()).sum();
        assert_eq!(calls, ours * syncs["operations"].as_u64().unwrap(), "{collector}: {syncs}");
    }
}

/// The fast document store with sown bugs, and the folder of its scenario.
fn seeded() -> (PathBuf, tempfile::TempDir) {
    let binary = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/crash_seeded");
    assert!(binary.is_file(), "{} is not built; run `cargo test -p uplift`, or name `--examples`", binary.display());
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let scenarios = folder.path().join("scenarios/seeded");
    std::fs::create_dir_all(&scenarios).unwrap();
    let variants = ["none", "early-acknowledgement", "no-directory-sync", "no-checksum"]
        .map(|bug| format!("[variants.{bug}]\nbug = \"{bug}\"\n"));
    let text = format!(
        "schema = 1\ntarget = \"seeded\"\ntitle = \"sown bugs\"\n[load]\nmode = \"closed\"\nclients = 3\n{}",
        variants.concat()
    );
    std::fs::write(scenarios.join("bugs.toml"), text).unwrap();
    (binary, folder)
}

#[test]
fn bugs_in_a_copy_of_an_engine_are_found_in_under_200_cuts() {
    if !has_fuse() {
        return;
    }
    let (binary, folder) = seeded();
    let cut = |bug: &str, seed: u64| {
        let output = Command::new(&binary)
            .args(["crash", "seeded/bugs", "--variant", bug, "--mode", "power", "--cuts", "40"])
            .args(["--every-sync", "20", "--within", "60ms", "--format", "json", "-q", "--seed", &seed.to_string()])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = Said(output);
        let bad = number(&series(&said)[0], "bad_cuts");
        println!("{bug}: found in {bad} of 40 cuts");
        said.code(if bad == 0 { 0 } else { 5 });
        bad
    };
    assert_eq!(cut("none", 3), 0);
    for bug in ["early-acknowledgement", "no-directory-sync", "no-checksum"] {
        // Where a cut tears a page is drawn, and when it comes is up to the machine: at most 160 cuts.
        assert!((3..7).any(|seed| cut(bug, seed) > 0), "{bug} was not found in 160 cuts");
    }
}

/// Any program, verified by a program.
#[test]
fn a_command_is_verified_by_a_program() {
    if !is_there("python3", "python3") || !has_fuse() {
        return;
    }
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let verify = folder.path().join("verify.py");
    std::fs::write(
        &verify,
        r#"
import json, os, sys
told = [line.split() for line in open(os.environ["UPLIFT_LEDGER"])]
log = os.path.join(sys.argv[1], "log")
found = open(log).read().split() if os.path.exists(log) else []
lost = [int(run) for run, state in told if state == "acknowledged" and run not in found]
print(json.dumps({"lost": lost, "twice": len(found) - len(set(found))}))
"#,
    )
    .unwrap();
    let scenarios = folder.path().join("scenarios");
    std::fs::create_dir_all(scenarios.join("command")).unwrap();
    let text = format!(
        r#"
schema = 1
target = "command"
title = "a program that appends a line"
[workload]
shell = "sh"
verify = "python3 {} {{block}}"
[load]
mode = "closed"
clients = 1
[variants.synced]
command = "echo {{run}} >> {{block}}/log && sync {{block}}/log && sync {{block}}"
[variants.unsynced]
command = "echo {{run}} >> {{block}}/log"
"#,
        verify.display()
    );
    std::fs::write(scenarios.join("command/append.toml"), text).unwrap();
    for (variant, loses) in [("synced", false), ("unsynced", true)] {
        let words = ["crash", "command/append", "--variant", variant, "--cuts", "8", "--mode", "both", "--seed", "7"];
        let mut command = bench.command(&[&words[..], &["--format", "json"]].concat());
        let said = Said(command.env("UPLIFT_SCENARIOS", &scenarios).output().unwrap());
        said.code(0);
        let series = series(&said);
        let [kill, power] = &series[..] else { panic!("{series:?}") };
        assert_eq!((number(kill, "bad_cuts"), number(kill, "twice")), (0, 0), "{kill}");
        // Of one client at most one run is under way, whenever it dies.
        assert!(number(kill, "in_flight") <= 8, "{kill}");
        assert_eq!(number(power, "lost") > 0, loses, "{power}");
    }
}
