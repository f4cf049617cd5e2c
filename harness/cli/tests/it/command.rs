//! Any program: `--cmd` and the target `command`, from an empty folder.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// As a user who has no scenarios.
fn uplift(bench: &Bench, arguments: &[&str]) -> Said {
    let mut command = bench.command(arguments);
    command.env_remove("UPLIFT_SCENARIOS");
    Said(command.output().unwrap())
}

fn metric<'a>(verdicts: &'a Value, name: &str) -> &'a Value {
    let metrics = verdicts["scenarios"][0]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["metric"] == name).unwrap_or_else(|| panic!("no metric `{name}`"))
}

fn gauge(trial: &Value, name: &str) -> Option<f64> {
    trial["measured"]["gauges"][name].as_f64()
}

#[test]
fn two_programs_are_compared_in_any_folder() {
    let bench = Bench::new();
    let said = uplift(&bench, &["compare", "--cmd", "sleep 0.01", "--cmd", "sleep 0.03", "--format", "json"]);
    said.code(0);
    // What the harness itself keeps beside the programs is not theirs.
    assert!(!said.err().contains("outlived"), "{}", said.err());
    let verdicts = said.json();
    assert_eq!((&verdicts["baseline"], &verdicts["candidate"]), (&Value::from("0.01"), &Value::from("0.03")));
    let time = metric(&verdicts, "run_time");
    assert_eq!(time["verdict"], "regressed", "{time}");
    assert!(time["baseline"]["median"].as_f64().unwrap() > 10e6);
    assert!(!bench.folder.path().join("scenarios").exists());
    // The documents follow from the records, which hold the scenario.
    let folder = bench.run_folder();
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("`sleep 0.01` against `sleep 0.03`") && report.contains("start_cost"), "{report}");
    uplift(&bench, &["report", folder.to_str().unwrap()]).code(0);
    assert_eq!(fs::read_to_string(folder.join("report.md")).unwrap(), report);
    for trial in bench.trials() {
        assert!(gauge(&trial, "start_cost").unwrap() > 0.0);
        assert_eq!(trial["measured"]["resources"]["rss_peak_bytes"], Value::Null);
    }
}

#[test]
fn more_than_two_are_ranked_and_a_parameter_is_filled_in() {
    let bench = Bench::new();
    let arguments = [
        "run",
        "--cmd",
        "sleep 0.03",
        "--cmd",
        "sleep 0.01",
        "--cmd",
        "sleep 0.05",
        "--runs",
        "6",
        "-n",
        "a",
        "-n",
        "b",
        "-n",
        "c",
    ];
    let said = uplift(&bench, &arguments);
    said.code(0);
    assert!(said.out().contains("best run_time: b with"), "{}", said.out());
    let bench = Bench::new();
    let said = uplift(&bench, &["sweep", "--cmd", "sleep 0.0{n}", "--param", "n=5,1", "--runs", "6"]);
    said.code(0);
    assert!(said.out().contains("best run_time: n=1 with"), "{}", said.out());
    uplift(&bench, &["sweep", "--cmd", "sleep 0.01", "--param", "n=5,1"]).code(2).says("`{n}` does not stand in");
}

#[test]
fn exactly_so_many_runs_and_what_stands_around_them() {
    let bench = Bench::new();
    let note = |what: &str| format!("echo {what} {{run}} >> log");
    let (setup, prepare, cleanup, teardown) =
        ("echo setup >> log".to_owned(), note("prepare"), note("cleanup"), "echo teardown >> log".to_owned());
    let program = "echo run {run} $WORD >> log; test -d {data}; test -d {block}; touch {data}/file";
    let said = uplift(
        &bench,
        &[
            "run",
            "--shell",
            "--cmd",
            program,
            "--setup",
            &setup,
            "--prepare",
            &prepare,
            "--cleanup",
            &cleanup,
            "--teardown",
            &teardown,
            "--runs",
            "1",
            "--env",
            "WORD=word",
        ],
    );
    said.code(0);
    let log = fs::read_to_string(bench.folder.path().join("log")).unwrap();
    let wanted = "setup\nprepare 0\nrun 0 word\ncleanup 0\nprepare 1\nrun 1 word\ncleanup 1\nteardown\n";
    assert_eq!(log, wanted, "one run that warms up, one that counts");
}

#[test]
fn a_scenario_is_saved_and_measured_again() {
    let bench = Bench::new();
    // The nearest folder of that name is meant, and this test runs inside the repository.
    fs::create_dir(bench.folder.path().join("scenarios")).unwrap();
    let arguments = [
        "compare",
        "--cmd",
        "true",
        "--cmd",
        "sleep 0.02",
        "--runs",
        "6",
        "--save",
        "pair",
        "--name",
        "quick",
        "--name",
        "slow",
    ];
    uplift(&bench, &arguments).code(0).says("scenarios/command/pair.toml");
    uplift(&bench, &arguments).code(2).says("is there already");
    let said = uplift(&bench, &["compare", "quick", "slow", "command/pair", "--blocks", "6", "--format", "json"]);
    said.code(0);
    assert_eq!(metric(&said.json(), "run_time")["verdict"], "regressed");
    uplift(&bench, &["compare", "slow", "quick", "command/pair", "--set", "workload.timeout=0s"])
        .code(2)
        .says("a timeout of 0 ends every run");
}

/// What a user does wrong, or a program: each is a sentence.
#[test]
fn programs_that_fail_are_told_with_the_run_and_their_last_words() {
    let counting = "n=$(cat {block}/n 2>/dev/null || echo 0); echo $((n+1)) > {block}/n; \
                    if [ $n -ge 100 ]; then echo out of luck >&2; exit 9; fi";
    for (program, arguments, said) in [
        ("./missing", vec![], "there is no program `./missing`; name one that exists"),
        ("surely-not-there", vec![], "there is no program `surely-not-there` in PATH"),
        ("/etc/passwd", vec![], "`/etc/passwd` is not executable; run `chmod +x /etc/passwd`"),
        ("false", vec![], "run 0 of `false`: it ended with exit status 1; it printed nothing on standard error"),
        ("sh -c 'echo no luck >&2; exit 3'", vec![], "exit status 3; its standard error ends with: no luck"),
        ("sh -c 'kill -SEGV $$'", vec![], "signal 11 (SIGSEGV)"),
        ("sleep 60", vec!["--timeout", "50ms"], "it was not done after 50ms and was ended"),
        ("sh -c 'trap : TERM INT; while :; do sleep 60; done'", vec!["--timeout", "50ms"], "was not done after 50ms"),
        ("sh -c 'read answer </dev/tty'", vec![], "/dev/tty"),
        ("sh -c true", vec!["--prepare", "sh -c 'echo not ready >&2; exit 4'"], "preparation of run 0"),
        ("true", vec!["--input", "no-such-file"], "no-such-file` cannot be opened"),
        (counting, vec!["--shell", "--blocks", "2"], "run 100 of"),
    ] {
        let bench = Bench::new();
        let mut all = vec!["compare", "--cmd", program, "--cmd", "true"];
        let plain = program != counting;
        all.extend(if plain { ["--runs", "3"].as_slice() } else { &["--set", "trial.rounds=150"] });
        all.extend(&arguments);
        if !plain {
            all.extend(["--set", "trial.block=60s"]);
        }
        let found = uplift(&bench, &all);
        found.code(5);
        assert!(found.out().contains(said), "`{said}`:\n{}\n{}", found.out(), found.err());
        assert!(!bench.run_folder().join("data").exists(), "nothing is left");
        assert!(bench.trials().iter().any(|trial| trial["outcome"]["status"] == "failed"), "nothing is lost");
    }
    let bench = Bench::new();
    for (arguments, said) in [
        (vec!["compare", "--cmd", "a | b", "--cmd", "true"], "add --shell"),
        (vec!["compare", "--cmd", "a 'b", "--cmd", "true"], "without its end"),
        (vec!["compare", "--cmd", "", "--cmd", "true"], "needs a `command`"),
        (vec!["compare", "--cmd", "true"], "give --cmd twice"),
        (vec!["compare", "old", "new", "--cmd", "true", "--cmd", "true"], "`old` is a variant"),
        (vec!["compare", "--cmd", "true", "--cmd", "true", "-n", "x"], "2 programs and 1 names"),
        (vec!["compare", "--cmd", "true", "--cmd", "true", "--setup", "touch {data}"], "write {block}"),
        (vec!["compare", "--cmd", "true", "--cmd", "true", "--value", "tps"], "does not say what is printed where"),
        (vec!["compare", "--cmd", "true", "--cmd", "true", "--value", "tps=oracle.tps"], "known: pgbench.tps"),
        (vec!["run", "--runs", "3"], "--cmd"),
    ] {
        uplift(&bench, &arguments).code(2).says(said);
    }
    assert!(!bench.folder.path().join("results").exists(), "nothing was begun");
}

/// `yes`, a gigabyte, and standard input: none of them stops anything.
#[test]
fn programs_that_print_much_or_read_for_ever_are_measured() {
    let bench = Bench::new();
    let said = uplift(
        &bench,
        &[
            "compare",
            "--cmd",
            "head -c 1000000000 /dev/zero",
            "--cmd",
            "cat",
            "--output",
            "pipe",
            "--runs",
            "2",
            "--format",
            "json",
        ],
    );
    said.code(0);
    let trials = bench.trials();
    let of = |variant: &str| {
        trials.iter().find(|trial| trial["variant"] == variant).unwrap()["measured"]["resources"]["written_bytes"]
            .clone()
    };
    assert_eq!((of("head-c-1000000000-zero"), of("cat")), (1_000_000_000u64.into(), 0.into()));
    let printing = uplift(
        &bench,
        &["run", "--cmd", "head -c 100000000 /dev/zero", "--value", "x=1,higher,regex:(x)", "--runs", "1"],
    );
    printing.code(5);
    assert!(printing.out().contains("let it print less"), "{}", printing.out());
}

#[test]
fn what_a_program_leaves_behind_is_ended_and_named() {
    let bench = Bench::new();
    let said = uplift(
        &bench,
        &[
            "compare",
            "--cmd",
            "sh -c 'sleep 987654 & sleep 0.02'",
            "--cmd",
            "true",
            "--runs",
            "6",
            "-n",
            "a",
            "-n",
            "b",
        ],
    );
    said.code(0);
    assert!(said.out().contains("note: `a`: processes were alive when the program had ended"), "{}", said.out());
    assert!(said.out().contains("`sleep 987654`"), "{}", said.out());
    assert!(!is_alive(b"sleep\x00987654\x00"), "it was ended");
    let trials = bench.trials();
    assert!(
        trials
            .iter()
            .filter(|trial| trial["variant"] == "a")
            .all(|trial| trial["measured"]["counters"]["left_behind"] == 1.0)
    );
}

#[test]
fn other_results_are_incomparable_never_faster() {
    let pairs: [(&str, &str, &[&str], &str); 5] = [
        ("echo one", "echo two", &["--same-output"], "the results must be equal and are not"),
        ("date +%N", "date +%N", &["--same-output"], "and an earlier run"),
        ("echo one", "true", &["--expect-match", "^one$"], "in which `^one$` is not found"),
        ("echo one", "printf one", &["--expect-stdout", "wanted"], "and not what is in `wanted`"),
        (
            "sh -c 'echo 1 > {data}/f'",
            "sh -c 'echo 2 > {data}/f'",
            &["--set", "workload.expect={files_equal=[\"{data}/f\"]}"],
            "must be equal",
        ),
    ];
    for (old, new, arguments, said) in pairs {
        let bench = Bench::new();
        fs::write(bench.folder.path().join("wanted"), "one\n").unwrap();
        let mut all = vec!["compare", "--runs", "3", "-n", "old", "-n", "new", "--cmd", old, "--cmd", new];
        all.extend(arguments);
        let found = uplift(&bench, &all);
        found.code(4);
        assert!(found.out().contains("incomparable") && found.out().contains(said), "`{said}`: {}", found.out());
    }
    let bench = Bench::new();
    uplift(&bench, &["compare", "--cmd", "echo one", "--cmd", "printf 'one\\n'", "--same-output", "--runs", "6"])
        .code(0);
    let bench = Bench::new();
    uplift(
        &bench,
        &["compare", "--cmd", "false", "--cmd", "true", "--exit-code", "0", "--exit-code", "1", "--runs", "3"],
    )
    .code(0);
    let bench = Bench::new();
    uplift(&bench, &["compare", "--cmd", "false", "--cmd", "true", "--ignore-failure", "--runs", "3"]).code(0);
    assert!(bench.trials().iter().any(|trial| trial["measured"]["counters"]["nonzero_exits"] == 1.0));
}

/// Three syncs a run in a child, whoever counts them.
#[test]
fn sync_calls_of_descendants_are_counted() {
    let program = "sh -c 'for i in 1 2 3; do dd if=/dev/zero of={data}/f bs=16 count=1 conv=fsync status=none; done'";
    for collector in ["auto", "seccomp", "tracepoint", "preload", "off"] {
        let bench = Bench::new();
        uplift(&bench, &["run", "--cmd", program, "--runs", "1", "--sync-collector", collector, "--warmup", "2"])
            .code(0);
        let trials = bench.trials();
        let syncs = &trials[0]["measured"]["syncs"];
        if let Some(missing) = syncs["missing"].as_str() {
            assert!(collector != "auto" && collector != "preload", "{missing}");
            eprintln!("skipped {collector}: {missing}");
            continue;
        }
        assert_eq!(
            (&syncs["kinds"]["fsync"]["calls"], &syncs["operations"]),
            (&6.into(), &2.into()),
            "{collector}: {syncs}"
        );
        assert!(gauge(&trials[0], "sync_call_cost").is_some());
    }
}

#[test]
fn values_that_programs_print_are_metrics() {
    let bench = Bench::new();
    let print =
        |tps: u32| format!("printf 'latency average = 2.5 ms\\ntps = {tps} (without initial connection time)\\n'");
    let said = uplift(
        &bench,
        &[
            "compare",
            "--cmd",
            &print(100),
            "--cmd",
            &print(150),
            "--value",
            "tps=pgbench.tps",
            "--value",
            "latency=ms,lower,regex:average = ([0-9.]+)",
            "--runs",
            "6",
            "--format",
            "json",
        ],
    );
    said.code(0);
    let verdicts = said.json();
    let tps = metric(&verdicts, "tps");
    assert_eq!(
        (&tps["verdict"], &tps["primary"], &tps["unit"]),
        (&"improved".into(), &true.into(), &"1/s".into()),
        "{tps}"
    );
    assert_eq!(metric(&verdicts, "latency")["baseline"]["median"], 2.5e6);
    let missing = uplift(&bench, &["run", "--cmd", "echo nothing", "--value", "tps=pgbench.tps", "--runs", "1"]);
    missing.code(5);
    assert!(missing.out().contains("run 1 printed no value for the metric `tps`"), "{}", missing.out());
}

#[test]
fn instructions_are_counted_where_valgrind_is() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: apt-get install valgrind");
        return;
    }
    let bench = Bench::new();
    let said = uplift(
        &bench,
        &["compare", "--cmd", "seq 1000", "--cmd", "seq 9000", "--runs", "2", "--count", "instructions"],
    );
    said.code(0);
    let trials = bench.trials();
    let of = |variant: &str| -> Vec<f64> {
        trials
            .iter()
            .filter(|trial| trial["variant"] == variant)
            .filter_map(|trial| gauge(trial, "callgrind_instructions"))
            .collect()
    };
    let (few, many) = (of("1000"), of("9000"));
    assert_eq!((few.len(), many.len()), (2, 2));
    assert!(few[0] > 10_000.0 && many[0] > 1.2 * few[0], "{few:?} {many:?}");
}

pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository whose program prints its revision, built by copying, with a submodule.
fn repository(bench: &Bench) -> std::path::PathBuf {
    let part = bench.folder.path().join("part");
    fs::create_dir(&part).unwrap();
    git(&part, &["init", "-q", "-b", "main"]);
    fs::write(part.join("text"), "part\n").unwrap();
    git(&part, &["add", "-A"]);
    git(&part, &["commit", "-q", "-m", "part"]);
    let folder = bench.folder.path().join("repository");
    fs::create_dir_all(folder.join("tools")).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    git(&folder, &["submodule", "--quiet", "add", part.to_str().unwrap(), "part"]);
    fs::write(folder.join("tools/app.in"), "#!/bin/sh\nsleep 0.01\n").unwrap();
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-q", "-m", "first"]);
    fs::write(folder.join("tools/app.in"), "#!/bin/sh\nsleep 0.03\n").unwrap();
    git(&folder, &["commit", "-q", "-a", "-m", "second"]);
    folder
}

/// Builds where `part` was checked out too.
const BUILD: &str =
    "test -f ../part/text && mkdir -p bin && cp app.in bin/app && chmod +x bin/app && echo built >> built";

fn in_repository(bench: &Bench, folder: &Path, arguments: &[&str]) -> Said {
    let mut command = bench.command(arguments);
    command.env_remove("UPLIFT_SCENARIOS").current_dir(folder.join("tools"));
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "protocol.file.allow")
        .env("GIT_CONFIG_VALUE_0", "always");
    Said(command.output().unwrap())
}

#[test]
fn two_revisions_are_built_and_compared() {
    let bench = Bench::new();
    let folder = repository(&bench);
    let commits = git(&folder, &["rev-list", "HEAD"]);
    fs::write(folder.join("tools/app.in"), "#!/bin/sh\nsleep 0.05\n").unwrap();
    let arguments = [
        "compare",
        "--base-ref",
        "HEAD~1",
        "--build",
        BUILD,
        "--cmd",
        "./bin/app",
        "--runs",
        "6",
        "--out",
        "../../runs",
        "--format",
        "json",
    ];
    let said = in_repository(&bench, &folder, &arguments);
    said.code(0);
    let verdicts = said.json();
    let time = metric(&verdicts, "run_time");
    let median = |side: &str| time[side]["median"].as_f64().unwrap() / 1e6;
    assert!((10.0..25.0).contains(&median("baseline")) && median("candidate") > 50.0, "{time}");
    let settings = verdicts["scenarios"][0]["settings"].to_string();
    let first = commits.lines().nth(1).unwrap();
    assert!(settings.contains(&format!("HEAD~1 ({})", &first[..12])), "{settings}");
    assert!(settings.contains("1 changed: tools/app.in") && settings.contains("sha256:"), "{settings}");
    // Where a revision was checked out to is no second change beside the revision.
    let rows = verdicts["scenarios"][0]["settings"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["key"] != "dir" || row["candidate"]["effective"].is_null()), "{settings}");
    assert_eq!(git(&folder, &["status", "--porcelain", "--untracked-files=no"]), "M tools/app.in");
    // A second comparison builds the working tree again and the revision not.
    in_repository(&bench, &folder, &arguments).code(0);
    let store = folder.join(".git/uplift");
    let built = |of: &Path| fs::read_to_string(of.join("tools/built")).unwrap().lines().count();
    let place = fs::read_dir(&store).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    // It lies there as the repository lies in the file system.
    let worktree = place.join(folder.canonicalize().unwrap().strip_prefix("/").unwrap());
    assert_eq!((built(&worktree), built(&folder)), (1, 2));
    // A worktree that somebody changed is not what it says: it is made again.
    fs::write(worktree.join("tools/app.in"), "#!/bin/sh\nsleep 9\n").unwrap();
    fs::write(worktree.join("tools/stale"), "").unwrap();
    let said =
        in_repository(&bench, &folder, &[&arguments[..2], &["HEAD~1", "--head-ref", "HEAD"], &arguments[3..]].concat());
    said.code(0);
    assert!(!worktree.join("tools/stale").exists());
    assert_eq!(metric(&said.json(), "run_time")["verdict"], "regressed");
}

#[test]
fn a_build_that_fails_says_its_last_words_and_leaves_nothing() {
    let bench = Bench::new();
    let folder = repository(&bench);
    let arguments = |build: &'static str, base: &'static str| {
        ["compare", "--base-ref", base, "--build", build, "--cmd", "./bin/app", "--runs", "3"]
    };
    let said =
        in_repository(&bench, &folder, &arguments("echo working; echo no rule to make it >&2; exit 2", "HEAD~1"));
    said.code(5).says("HEAD~1").says("no rule to make it").says("exit status: 2");
    let left: Vec<_> =
        fs::read_dir(folder.join(".git/uplift")).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(git(&folder, &["worktree", "list"]).lines().count(), 1);
    assert!(!folder.join("tools/results").exists());
    in_repository(&bench, &folder, &arguments("true", "no-such-branch"))
        .code(2)
        .says("there is no revision `no-such-branch`");
    in_repository(&bench, &folder, &arguments("true", "--help")).code(2);
    let nowhere = tempfile::tempdir().unwrap();
    let mut outside = bench.command(&arguments("true", "HEAD"));
    outside.current_dir(nowhere.path());
    Said(outside.output().unwrap()).code(2).says("git");
}

/// The gate takes a scenario that says how its program is built.
#[test]
fn the_gate_builds_the_base_of_a_scenario_that_builds() {
    let bench = Bench::new();
    let folder = repository(&bench);
    // So much slower that a loaded machine tells it too.
    fs::write(folder.join("tools/app.in"), "#!/bin/sh\nsleep 0.3\n").unwrap();
    git(&folder, &["commit", "-q", "-a", "-m", "third"]);
    let scenarios = folder.join("tools/scenarios/command");
    fs::create_dir_all(&scenarios).unwrap();
    let text = format!(
        "schema = 1\ntarget = \"command\"\ntitle = \"the app\"\nprimary = \"run_time\"\n[workload]\nbuild = \"{BUILD}\"\n\
         [trial]\nwarmup = \"0s\"\nturn_operations = 1\nrounds = 2\n[variants.app]\ncommand = \"./bin/app\"\n[gate]\nrun_time = \"<= +20%\"\n"
    );
    fs::write(scenarios.join("app.toml"), text).unwrap();
    let gate = |base: &str| {
        in_repository(
            &bench,
            &folder,
            &["gate", "--base-ref", base, "--variant", "app", "command/app", "--blocks", "6"],
        )
    };
    gate("HEAD~1").code(1);
    gate("HEAD").code(0);
}

/// A program that leaves its sync calls out is not simply faster.
#[test]
fn fewer_sync_calls_are_said() {
    let bench = Bench::new();
    let write = |how: &str| format!("dd if=/dev/zero of={{data}}/f bs=4096 count=1 status=none {how}");
    let said = uplift(
        &bench,
        &[
            "compare",
            "--cmd",
            &write("conv=fsync"),
            "--cmd",
            &write("conv=notrunc"),
            "-n",
            "safe",
            "-n",
            "fast",
            "--runs",
            "6",
        ],
    );
    said.code(0);
    if said.out().contains("syncs_per_op: sync calls cannot be counted") {
        eprintln!("skipped: no collector works here; Linux 5.5 has seccomp user notification");
        return;
    }
    let note = "`fast` makes 0 sync calls in a run, `safe` 1: what is faster for that is bought with durability";
    assert!(said.out().contains(note), "{}", said.out());
}

/// Whether a process with exactly this command line is alive.
fn is_alive(line: &[u8]) -> bool {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|found| found == line))
}

/// The harness that is killed cannot clean up; its agent goes with it, and the program too.
#[test]
fn a_killed_harness_leaves_no_program_behind() {
    let bench = Bench::new();
    let mut command = bench.command(&["compare", "--cmd", "sleep 876543", "--cmd", "sleep 876543"]);
    let mut harness = command.env_remove("UPLIFT_SCENARIOS").stderr(Stdio::null()).spawn().unwrap();
    let line = b"sleep\x00876543\x00";
    let eventually = |wanted: bool| {
        (0..20_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            is_alive(line) == wanted
        })
    };
    assert!(eventually(true), "the program was started");
    harness.kill().unwrap();
    harness.wait().unwrap();
    assert!(eventually(false), "the program is gone");
}
