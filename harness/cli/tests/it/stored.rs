//! What is done with stored runs and over many runs: export, diff, history, calibration, sweeps, the gate's documents.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::bench::{Bench, Said};

/// Short blocks: these tests are about what becomes of records, not about speed.
const SHORT: [&str; 4] = ["--set", "trial.rounds=4", "--set", "trial.warmup=10ms"];

fn compare(bench: &Bench, candidate: &str) -> Said {
    let mut arguments = vec!["compare", "baseline", candidate, "reference/steady", "--blocks", "5"];
    arguments.extend(SHORT);
    bench.uplift(&arguments)
}

#[test]
fn a_run_is_exported_diffed_and_remembered() {
    let bench = Bench::new();
    compare(&bench, "slower-10").code(0);
    bench.uplift(&["export", "latest", "--to", "pprof"]).code(2).says("--profile cpu");
    for format in ["bmf", "github-benchmark", "junit", "csv", "hlog", "benchfmt", "openmetrics"] {
        let said = bench.uplift(&["export", "latest", "--to", format]);
        assert!(said.code(0).out().len() > 200, "{format}");
    }
    bench.uplift(&["export", "latest", "--to", "hgrm"]).code(2).says("--into");
    bench.uplift(&["export", "latest", "--to", "hgrm", "--into", "hgrm"]).code(0);
    assert_eq!(fs::read_dir(bench.folder.path().join("hgrm")).unwrap().count(), 2);
    bench.uplift(&["export", "latest", "--to", "csv", "--variant", "base"]).code(2).says("did you mean `baseline`");

    let same = bench.uplift(&["diff", "latest", "latest", "--format", "json"]);
    let result = same.code(0).json();
    let metrics = result["scenarios"][0]["metrics"].as_array().unwrap();
    let of = |name: &str| metrics.iter().find(|metric| metric["metric"] == name).unwrap()["verdict"].clone();
    assert_eq!((of("steps_per_op"), of("throughput")), ("unchanged".into(), "inconclusive".into()));

    compare(&bench, "slower-10").code(0);
    let history = bench.uplift(&["history", "reference/steady", "--format", "json", "--plots", "trends"]);
    assert_eq!(history.code(0).json().as_array().unwrap().len(), 4, "two runs of two variants");
    assert_eq!(fs::read_dir(bench.folder.path().join("trends")).unwrap().count(), 2);
    bench.uplift(&["history", "reference/steady", "--metric", "thruput"]).code(2).says("did you mean `throughput`");
    bench.uplift(&["history", "reference/no-such"]).code(2).says("has no run of");
}

/// The figures of a scenario's source are checked against what is stored, and those of other scenarios are not measured.
#[test]
fn published_figures_are_held_against_stored_runs() {
    let bench = Bench::new();
    compare(&bench, "slower-10").code(0);
    let rebuilt = bench.uplift(&["report", "latest", "latest"]);
    assert_eq!(rebuilt.code(0).out().lines().count(), 2);
    bench.uplift(&["report", "latest", "--replication", "page.md"]).code(0);
    let page = fs::read_to_string(bench.folder.path().join("page.md")).unwrap();
    for source in ["docdb-sprint1.md", "orchestration-duroxide.md", "pipeline-rapidbyte.md", "dataflow-soup.md"] {
        assert!(page.contains(&format!("## {source}")), "{page}");
    }
    assert!(page.contains("no stored run measured it") && !page.contains("**reproduced**"), "{page}");
    bench.uplift(&["report", "no-such-run", "--replication", "page.md"]).code(2).says("there is no run");
}

/// A calibration of the same machine and the same work is used and its age is said; one of other work is not.
#[test]
fn comparisons_use_the_calibration_of_the_machine() {
    let bench = Bench::new();
    let mut arguments = vec!["calibrate", "reference/steady", "--blocks", "6", "--format", "json"];
    arguments.extend(SHORT);
    let found = bench.uplift(&arguments).code(0).json();
    assert_eq!(found[0]["blocks"], 6);
    assert_eq!(found[0]["false_alarms"]["experiments"], 1);
    assert!(found[0]["noise"]["throughput"]["floor"].as_f64().unwrap() > 0.0);
    assert!(bench.folder.path().join("results/calibration.json").is_file());
    let said = compare(&bench, "same");
    assert!(
        said.code(0).out().contains("calibrated 0.0 hours before this run (6 blocks of `baseline`"),
        "{}",
        said.out()
    );
    let other =
        bench.uplift(&["compare", "baseline", "same", "reference/steady", "--blocks", "5", "--set", "trial.rounds=5"]);
    assert!(!other.code(0).out().contains("calibrated"), "{}", other.out());
}

/// The target counts its steps: the fewest are best, and every value of a parameter reaches the agent, settings,
/// workload and load alike.
#[test]
fn sweeps_find_the_best_point() {
    let bench = Bench::new();
    let sweep = |parameters: &[&str]| {
        let mut arguments = vec!["sweep", "reference/steady", "--metric", "steps_per_op", "--format", "json"];
        arguments.extend(["--blocks", "5", "--set", "trial.window=50ms", "--set", "trial.warmup=10ms"]);
        parameters.iter().for_each(|parameter| arguments.extend(["--param", parameter]));
        bench.uplift(&arguments)
    };
    let found = sweep(&["slowdown_percent=50,0", "workload.work=2000,1000"]).code(0).json();
    let points = found["points"].as_array().unwrap();
    let steps: Vec<f64> = points.iter().map(|point| point["value"]["median"].as_f64().unwrap()).collect();
    assert_eq!(steps, [3000.0, 1500.0, 2000.0, 1000.0]);
    let best: Vec<bool> = points.iter().map(|point| point["best"].as_bool().unwrap()).collect();
    assert_eq!(best, [false, false, false, true]);
    assert!(points[..3].iter().all(|point| point["told_apart"] == true), "{points:?}");
    let folder = bench.run_folder();
    assert!(folder.join("plots/reference-steady-sweep.svg").is_file());
    assert!(fs::read_to_string(folder.join("report.md")).unwrap().contains("slowdown_percent=0 workload.work=1000"));
    // Points of one block are run in an order of their own each time.
    let orders: Vec<Vec<String>> = (0..5)
        .map(|block| {
            let own = bench.trials().into_iter().filter(|trial| trial["block"] == block);
            own.map(|trial| trial["variant"].as_str().unwrap().to_owned()).collect()
        })
        .collect();
    assert!(orders.iter().any(|order| order != &orders[0]), "{orders:?}");

    sweep(&["slowdown_percent"]).code(2).says("has no `=`");
    sweep(&["no_such_setting=1,2"]).code(2).says("no_such_setting");
    sweep(&["trial.turn=1ms,2ms"]).code(2).says("cannot vary between points");
}

/// The target counts its steps, so what each step of the sprint brings is known: 10 % of 1100 less, then half.
#[test]
fn a_ledger_says_what_each_step_brought() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("scenarios/reference");
    fs::create_dir_all(&folder).unwrap();
    let scenario = |ledger: &str| {
        format!(
            "schema = 1\ntarget = \"reference\"\ntitle = \"a sprint\"\nprimary = \"steps_per_op\"\n{ledger}\n[workload]\nwork = 1000\n\
             [variants.first]\nslowdown_percent = 10\n[variants.leaner]\n[variants.halved]\nslowdown_percent = -50\n\
             [variants.again]\nslowdown_percent = -50\nlabel = \"nothing\"\n"
        )
    };
    let steps = "ledger = [\"first\", \"leaner\", \"halved\", \"again\"]";
    fs::write(folder.join("sprint.toml"), scenario(steps)).unwrap();
    fs::write(folder.join("plain.toml"), scenario("")).unwrap();
    let ledger = |scenario: &str| {
        bench.uplift(&[
            "run",
            scenario,
            "--ledger",
            "--scenario-dir",
            "scenarios",
            "--blocks",
            "5",
            "--format",
            "json",
            "--set",
            "trial.window=50ms",
            "--set",
            "trial.warmup=10ms",
        ])
    };
    let verdicts = ledger("reference/sprint").code(0).json();
    let found = verdicts["scenarios"][0]["ledger"]["steps"].as_array().unwrap();
    let of = |index: usize, against: &str, what: &str| found[index][against][what].clone();
    assert!(found[0]["marginal"].is_null() && found[0]["cumulative"].is_null());
    let values: Vec<f64> = found.iter().map(|step| step["value"]["median"].as_f64().unwrap()).collect();
    assert_eq!(values, [1100.0, 1000.0, 500.0, 500.0]);
    let change = |index: usize, against: &str| of(index, against, "change").as_f64().unwrap();
    assert!((change(1, "marginal") + 1.0 / 11.0).abs() < 1e-9 && (change(1, "cumulative") + 1.0 / 11.0).abs() < 1e-9);
    assert!((change(2, "marginal") + 0.5).abs() < 1e-9 && (change(2, "cumulative") + 6.0 / 11.0).abs() < 1e-9);
    let words: Vec<_> =
        (1..4).map(|index| (of(index, "marginal", "verdict"), of(index, "cumulative", "verdict"))).collect();
    assert_eq!(words[..2], [("improved".into(), "improved".into()), ("improved".into(), "improved".into())]);
    assert_eq!(words[2], ("unchanged".into(), "improved".into()));
    assert_eq!(found[2]["changed"][0]["key"], "slowdown_percent");
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("### Sprint ledger") && report.contains("`halved` brought most: -50.0 %"), "{report}");
    let page = fs::read_to_string(bench.run_folder().join("report.html")).unwrap();
    assert!(page.contains("Step by step"), "the plot is in the page");

    ledger("reference/plain").code(2).says("0 of these scenarios have a `ledger`");
    bench.uplift(&["run", "reference/steady", "--ledger", "--variant", "baseline"]).code(2);
}

#[test]
fn sweeps_reach_the_load() {
    let bench = Bench::new();
    let mut arguments = vec!["sweep", "reference/steady", "--param", "load.clients=1,3", "--format", "json"];
    arguments.extend(["--blocks", "1", "--set", "trial.window=50ms", "--set", "trial.warmup=10ms"]);
    bench.uplift(&arguments).code(0);
    let run: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(bench.run_folder().join("run.json")).unwrap()).unwrap();
    let variants = run["scenarios"][0]["scenario"]["variants"].as_array().unwrap();
    let clients = |index: usize| variants[index]["work"]["load"]["clients"].clone();
    assert!(variants[0]["work"].is_null(), "the point that is as the scenario has nothing of its own");
    assert_eq!(clients(1), 3);
}

#[test]
fn the_gate_writes_for_pull_requests() {
    let bench = Bench::new();
    let summary = bench.folder.path().join("summary.md");
    fs::write(&summary, "before\n").unwrap();
    let mut arguments = vec!["gate", "baseline", "slower-10", "reference/steady", "--blocks", "5"];
    arguments.extend(SHORT);
    let output =
        bench.command(&arguments).env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_ACTIONS", "true").output().unwrap();
    let said = Said(output);
    said.code(1).says("::error title=reference/steady%3A steps_per_op");
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("before\n### Performance gate: regression"), "{text}");
    let folder = bench.run_folder();
    assert!(fs::read_to_string(folder.join("comment.md")).unwrap().starts_with("<!-- uplift-gate -->"));
    assert!(fs::read_to_string(folder.join("junit.xml")).unwrap().contains("<failure message="));
    for document in ["report.md", "report.html", "gate.json"] {
        assert!(folder.join(document).is_file(), "{document}");
    }
    bench.uplift(&["gate", "baseline"]).code(2).says("two variants, or a revision");
}

/// Another revision is checked out and built, and both builds run interleaved. Here `cargo` is a script that "builds"
/// the very binary under test, which takes no minutes; what it was asked is checked against what must be asked.
#[test]
fn the_gate_builds_the_base_revision() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    fs::write(folder.join("Cargo.toml"), "# a stand-in\n").unwrap();
    git(&["add", "Cargo.toml"]);
    git(&["commit", "--quiet", "--message", "first"]);
    let revision = git(&["rev-parse", "HEAD"]);

    let binary = Path::new(env!("CARGO_BIN_EXE_uplift"));
    let profile = binary.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let script = folder.join("cargo.sh");
    let place = format!("\"$CARGO_TARGET_DIR/{profile}\"");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho \"$PWD: $*\" > '{}'\nmkdir -p {place}\ncp '{}' {place}\n",
            folder.join("asked").display(),
            binary.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();

    let mut arguments =
        vec!["gate", "--base-ref", "main", "--variant", "baseline", "reference/steady", "--blocks", "5"];
    arguments.extend(SHORT);
    let said = Said(bench.command(&arguments).env("CARGO", &script).output().unwrap());
    assert!(matches!(said.0.status.code(), Some(0 | 1)), "{} {}", said.out(), said.err());
    assert!(said.out().contains("steps_per_op") && said.out().contains("<= +0%"), "{}", said.out());
    let asked = fs::read_to_string(folder.join("asked")).unwrap();
    assert!(asked.contains(&revision[..12]) && asked.contains("--bin uplift"), "{asked}");
    let run: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(bench.run_folder().join("run.json")).unwrap()).unwrap();
    let used = run["scenarios"][0]["binaries"]["baseline: baseline"]["path"].as_str().unwrap().to_owned();
    assert!(used.ends_with(&format!("uplift-{}", &revision[..12])), "{used}");
    bench.uplift(&["gate", "--base-ref", "no-such-branch", "reference/steady"]).code(2).says("there is no revision");

    assert_eq!(git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1, "no worktree is left");
    assert!(!Path::new(&used).with_file_name(&revision[..12]).exists());
    fs::remove_file(&used).unwrap();
}
