//! The gate over two revisions of a repository that knows nothing of uplift: scripts, and nothing is compiled.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;

use crate::{
    bench::{Bench, Said},
    command::git,
};

fn write_app(folder: &Path, seconds: &str) {
    let path = folder.join("app");
    fs::write(&path, format!("#!/bin/sh\nsleep {seconds}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_gate_takes_any_repository() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("repository");
    fs::create_dir(&folder).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    write_app(&folder, "0.05");
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-q", "-m", "first"]);
    let gate = |more: &[&str]| -> Said {
        let out = bench.folder.path().join("results/runs");
        let mut arguments = vec!["gate", "--base-ref", "main", "--cmd", "./app", "--runs", "6", "--format", "json"];
        arguments.extend(["--out", out.to_str().unwrap()]);
        arguments.extend(more);
        Said(bench.command(&arguments).env_remove("UPLIFT_SCENARIOS").current_dir(&folder).output().unwrap())
    };
    let failed = |said: &Said| -> Vec<String> {
        let rows = said.json();
        let rows = rows.as_array().unwrap().iter().filter(|row| row["outcome"] == "broken");
        rows.map(|row| row["metric"].as_str().unwrap().to_owned()).collect()
    };

    // The working tree is slower than the last commit.
    write_app(&folder, "0.3");
    let slower = gate(&["--rule", "run_time <= +50%"]);
    slower.code(1);
    assert_eq!(failed(&slower), ["run_time"], "{}", slower.out());
    // Nothing but the tracked change is there: results and worktrees lie elsewhere.
    assert_eq!(git(&folder, &["status", "--porcelain"]), "M app");

    // The same tree, built by a command of its own.
    write_app(&folder, "0.05");
    gate(&["--build", "test -x app", "--rule", "run_time <= +300%"]).code(0);
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");

    // Two revisions, neither of them the working tree.
    write_app(&folder, "0.3");
    git(&folder, &["commit", "-q", "-a", "-m", "slower"]);
    write_app(&folder, "9");
    let named = gate(&["--base-ref", "HEAD~1", "--head-ref", "HEAD", "--rule", "run_time <= +50%"]);
    // Said twice, a revision is a mistake and no choice.
    named.code(2);
    let rows: Value = {
        let out = bench.folder.path().join("results/runs");
        let arguments = [
            "gate",
            "--base-ref",
            "HEAD~1",
            "--head-ref",
            "HEAD",
            "--cmd",
            "./app",
            "--runs",
            "6",
            "--rule",
            "run_time <= +50%",
            "--format",
            "json",
            "--out",
            out.to_str().unwrap(),
        ];
        let said =
            Said(bench.command(&arguments).env_remove("UPLIFT_SCENARIOS").current_dir(&folder).output().unwrap());
        said.code(1);
        said.json()
    };
    assert!(rows.to_string().contains("run_time"), "{rows}");

    // A revision that is not there, and a build that fails.
    gate(&["--head-ref", "no-such-branch"]).code(2).says("no-such-branch");
    gate(&["--build", "echo broken >&2; exit 3"]).code(5).says("broken");
    assert_eq!(git(&folder, &["worktree", "list"]).lines().count(), 4, "the first as it is and built, and the second");
}
