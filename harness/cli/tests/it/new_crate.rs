//! `uplift new`: what it writes is built and run, without a network.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use crate::bench::{Bench, Said, repository};

/// The crates that a benchmark of one's own may bring.
const CRATES_MAX: usize = 120;

#[test]
fn a_new_crate_is_built_and_has_a_verdict() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("my-bench");
    let root = repository().canonicalize().unwrap();
    let said = bench.uplift(&["new", "my-bench", "--sdk", root.to_str().unwrap()]);
    said.code(0).says("cargo run -- compare synced unsynced");
    bench.uplift(&["new", "my-bench"]).code(2).says("nothing is overwritten");
    bench.uplift(&["new", "My Bench"]).code(2).says("cannot be the name of a crate");
    bench.uplift(&["new", "other", "--sdk", "/nowhere"]).code(2).says("is no checkout of uplift");
    // The versions that are known to be here.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();

    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(arguments)
            .current_dir(&folder)
            .env("CARGO_NET_OFFLINE", "true")
            // One folder for every time that this test runs: what the crate depends on is compiled once.
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-crate"))
            .env("UPLIFT_BIN", env!("CARGO_BIN_EXE_uplift"))
            .env_remove("UPLIFT_SCENARIOS")
            .env("NO_COLOR", "1");
        Said(command.output().unwrap())
    };
    for features in [&[][..], &["--features", "profile"]] {
        let tree = cargo(&[&["tree", "--prefix", "none", "--edges", "normal,build"], features].concat());
        let crates: BTreeSet<String> =
            tree.code(0).out().lines().filter_map(|line| line.split(" (").next().map(str::to_owned)).collect();
        assert!(crates.len() <= CRATES_MAX, "{} crates: {crates:?}", crates.len());
        for heavy in ["wasmtime ", "arrow", "duroxide", "openssl", "clap "] {
            assert!(!crates.iter().any(|name| name.starts_with(heavy)), "it depends on {heavy}");
        }
    }
    assert!(cargo(&["run", "--", "verify"]).code(0).out().contains("2 passed, 0 failed"));
    let said = cargo(&["run", "--", "compare", "synced", "unsynced", "--quick", "--blocks", "5"]);
    let out = said.code(0).out();
    assert!(out.contains("durability is weaker") && out.contains("syncs_per_write"), "{out}");
    let runs = fs::read_dir(folder.join("results/runs")).unwrap().flatten();
    let record = runs.map(|run| fs::read_to_string(run.path().join("run.json")).unwrap()).collect::<String>();
    assert!(record.contains("\"agent\"") && record.contains("my-bench\""), "the record says who served the trials");
    cargo(&["run", "--", "profile", "my-bench/append", "--variant", "synced"]).code(5);
    cargo(&["run", "--", "agent-check", "no-such"]).code(2);
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-crate/debug/my-bench");
    let said = bench.uplift(&["agent-check", program.to_str().unwrap()]);
    assert!(said.code(0).out().contains(", 0 failed"), "{}", said.out());
    // Without the harness the program says what is missing.
    let output = Command::new(&program).arg("list").env("UPLIFT_BIN", "/no/such/uplift").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UPLIFT_BIN"));
}

/// A revision is built in a worktree, and what it depends on may lie beside its repository: `path = "../library"` was not
/// found there. The binary lies where nobody knows how it was built, so that both sides are.
#[test]
fn a_base_revision_finds_what_lies_beside_its_repository() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = "version = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    write("library/Cargo.toml", &format!("[package]\nname = \"library\"\n{package}"));
    write("library/src/lib.rs", "pub fn word() -> &'static str { \"beside\" }\n");
    let dependency = "[dependencies]\nlibrary = { path = \"../library\" }\n";
    write("app/Cargo.toml", &format!("[package]\nname = \"uplift\"\n{package}{dependency}"));
    write("app/src/main.rs", "fn main() { println!(\"{}\", library::word()) }\n");
    write("app/.gitignore", "/target\n/Cargo.lock\n/results\n");
    let app = folder.join("app");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&app).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_uplift"), elsewhere.join("uplift")).unwrap();
    let mut gate = Command::new(elsewhere.join("uplift"));
    gate.args(["gate", "--base-ref", "main", "--variant", "baseline", "reference/steady", "--blocks", "1"]);
    gate.current_dir(&app).env("NO_COLOR", "1").env("CARGO_NET_OFFLINE", "true");
    let said = Said(gate.env("UPLIFT_SCENARIOS", repository().join("scenarios")).output().unwrap());
    // What was built is no agent, so nothing is measured; but both sides were built.
    said.code(5).says("is in no build folder of cargo");
    let built = app.join(".git/uplift/base-ref");
    for name in [format!("uplift-{}", &commit[..12]), "uplift-working-tree".to_owned()] {
        let output = Command::new(built.join(&name)).output();
        let words = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        assert_eq!(words.ok().as_deref(), Some("beside\n"), "{name}: {}", said.err());
    }
    assert_eq!(git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1, "no worktree is left");
    assert!(!built.join(&commit[..12]).exists());
    assert_eq!(git(&["status", "--porcelain"]), "", "the repository is as it was");
}
