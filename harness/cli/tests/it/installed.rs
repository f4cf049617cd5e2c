//! The binary alone, in a folder that knows nothing of its repository.

use std::{fs, process::Command};

use crate::bench::{Bench, Said, repository};

fn alone(bench: &Bench, arguments: &[&str]) -> Said {
    // Inside the build folder, which lies below the repository's `scenarios`: only elsewhere is there none.
    let folder = bench.folder.path();
    let mut command = bench.command(arguments);
    Said(command.env_remove("UPLIFT_SCENARIOS").current_dir(folder).output().unwrap())
}

fn elsewhere() -> Bench {
    Bench { folder: tempfile::tempdir().unwrap() }
}

#[test]
fn scenarios_are_in_the_binary_and_can_be_written_out() {
    let bench = elsewhere();
    let listed = alone(&bench, &["list"]);
    let built_in = listed.code(0).out();
    assert!(built_in.contains("docdb/crud") && built_in.contains("reference/steady"), "{built_in}");
    alone(&bench, &["init"]).code(0).says("files are written to `scenarios`");
    let folder = bench.folder.path().join("scenarios");
    assert!(folder.join("sources/docdb-sprint1.md").is_file() && folder.join("gate.toml").is_file());
    assert_eq!(alone(&bench, &["list"]).code(0).out(), built_in);
    // What was changed is the user's.
    fs::write(folder.join("gate.toml"), "success_rate = \">= 0.5\"\n").unwrap();
    fs::remove_file(folder.join("docdb/crud.toml")).unwrap();
    alone(&bench, &["init"]).code(0).says("1 files are written").says("gate.toml");
    assert!(fs::read_to_string(folder.join("gate.toml")).unwrap().contains("0.5"));
}

#[test]
fn a_built_in_scenario_is_measured_and_one_line_says_where_results_are() {
    let bench = elsewhere();
    let arguments = ["run", "--variant", "baseline", "reference/steady", "--blocks", "1", "--set", "trial.rounds=2"];
    let said = alone(&bench, &[&arguments[..], &["--set", "trial.warmup=0s"]].concat());
    let place = bench.folder.path().canonicalize().unwrap().join("results/runs");
    said.code(0).says(&format!("results: {}", place.display()));
    alone(&bench, &["run", "--variant", "x", "no/such"]).code(2).says("there is no scenario `no/such`");
    alone(&bench, &["list", "--set", "nonsense=1", "reference/steady"]).code(2);
}

#[test]
fn manual_pages_and_completions_are_written() {
    let bench = elsewhere();
    alone(&bench, &["man", "man1"]).code(0);
    let page = fs::read_to_string(bench.folder.path().join("man1/uplift-compare.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("interleaved trials") && !page.contains('\u{1b}'), "{page}");
    assert!(bench.folder.path().join("man1/uplift.1").is_file());
    for shell in ["bash", "zsh", "fish"] {
        assert!(alone(&bench, &["completions", shell]).code(0).out().contains("agent-check"));
    }
}

/// The archive of a release and the script that installs it, without a network.
#[test]
fn a_release_is_installed_only_with_its_checksum() {
    let bench = elsewhere();
    let folder = bench.folder.path();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let sh = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).env("HOME", folder).env("UPLIFT_INSTALL", folder.join("bin"));
        command.env("REPOSITORY", repository()).env("UPLIFT_DOWNLOADS", format!("file://{}", folder.display()));
        Said(command.output().unwrap())
    };
    sh(&format!("\"$REPOSITORY/ci/archive\" {} {target}", env!("CARGO_BIN_EXE_uplift"))).code(0);
    sh(&format!("echo 0000 uplift-{target}.tar.gz > SHA256SUMS && sh \"$REPOSITORY/install.sh\""))
        .code(1)
        .says("nothing is installed");
    assert!(!folder.join("bin").exists());
    let said = sh("sha256sum uplift-*.tar.gz > SHA256SUMS && sh \"$REPOSITORY/install.sh\"");
    assert!(said.code(0).out().contains("which is not in the search path"), "{}", said.out());
    assert!(folder.join("share/man/man1/uplift-gate.1").is_file());
    let said = Said(Command::new(folder.join("bin/uplift")).arg("list").current_dir("/").output().unwrap());
    assert!(said.code(0).out().contains("docdb/crud"), "{}", said.out());
}
