//! `compare --screen`: both variants at the same time, and what is said of that.

use std::{fs, os::unix::process::CommandExt as _};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// A screen of so many short blocks.
fn screen(bench: &Bench, candidate: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["compare", "baseline", candidate, "reference/steady", "--screen"];
    arguments.extend(["--set", "trial.warmup=20ms", "--seed", "5"]);
    arguments.extend(more);
    bench.uplift(&arguments)
}

fn json(bench: &Bench, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(bench.run_folder().join(name)).unwrap()).unwrap()
}

fn enough_cpus() -> bool {
    std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2)
}

#[test]
fn a_candidate_that_needs_twenty_times_the_work_is_seen_to_move() {
    if !enough_cpus() {
        return;
    }
    let bench = Bench::new();
    let said = screen(&bench, "relabelled", &["--blocks", "1"]);
    assert!(said.code(4).out().contains("differ in nothing that is in force"), "{}", said.out());
    fs::remove_dir_all(bench.folder.path().join("results")).unwrap();

    let folder = bench.folder.path().join("scenarios/reference");
    fs::create_dir_all(&folder).unwrap();
    let text = "schema = 1\ntarget = \"reference\"\ntitle = \"t\"\n[workload]\nwork = 10_000\n[variants.baseline]\n\
                [variants.slow]\nslowdown_percent = 1900\n";
    fs::write(folder.join("steady.toml"), text).unwrap();
    let own = ["--scenario-dir", "scenarios", "--blocks", "6"];
    let out = screen(&bench, "slow", &own).code(0).out();
    assert!(out.contains("moved, worse") && out.contains("whether something moved and not by how much"), "{out}");
    assert!(out.contains("By how much: `uplift compare baseline slow reference/steady`"), "{out}");
    // The two that stand there are the example of how wrong a size would be.
    assert_eq!(out.matches('%').count(), 2, "{out}");

    let (run, answers) = (json(&bench, "run.json"), json(&bench, "screen.json"));
    let intent = &run["intent"];
    assert!(intent.as_object().unwrap().values().any(|value| value == "screen"), "{intent}");
    assert_eq!(intent["candidate"], "slow");
    let sides = intent["sides"].as_array().unwrap();
    assert!(sides[0].as_array().unwrap().iter().all(|cpu| !sides[1].as_array().unwrap().contains(cpu)), "{sides:?}");
    let answer = &answers["scenarios"][0];
    assert_eq!((answer["answer"].as_str(), answer["better"].as_bool()), (Some("moved"), Some(false)), "{answer}");
    assert_eq!(answer["blocks"], 6);

    // Both were kept on their side from the set-up on, and took the same turns.
    let trials = bench.trials();
    assert_eq!(trials.len(), 12);
    let each = sides[0].as_array().unwrap().len() as u64;
    for pair in trials.chunks(2) {
        let turns = |trial: &Value| -> Vec<u64> {
            let turns = trial["measured"]["turns"].as_array().unwrap();
            turns.iter().map(|turn| turn["index"].as_u64().unwrap()).collect()
        };
        assert_eq!(turns(&pair[0]), turns(&pair[1]));
        assert!(turns(&pair[0]).len() % 2 == 0, "either has either side equally often");
        for trial in pair {
            assert_eq!(trial["measured"]["resources"]["cores"], each, "a target is asked to be as large as its side");
        }
    }
    let first = trials.iter().step_by(2).filter(|trial| trial["variant"] == "slow").count();
    assert_eq!(first, 3, "orders of starts are balanced");

    // It is no measurement: not in the history, not for other tools, and no verdict.
    let run_folder = bench.run_folder();
    let folder = run_folder.to_str().unwrap();
    assert!(!run_folder.join("verdicts.json").exists());
    assert!(!bench.folder.path().join("results/runs/history.jsonl").exists());
    bench.uplift(&["export", folder, "--to", "bmf"]).code(2).says("is a screen");
    let diff = bench.uplift(&["diff", folder, folder]).out();
    assert!(diff.contains("incomparable") && diff.contains("a time of a screen"), "{diff}");

    // Everything but the records can be made again.
    let files = ["report.md", "report.html", "screen.json"];
    let before = files.map(|name| fs::read(run_folder.join(name)).unwrap());
    for name in files {
        fs::remove_file(run_folder.join(name)).unwrap();
    }
    bench.uplift(&["report", folder]).code(0);
    assert_eq!(files.map(|name| fs::read(run_folder.join(name)).unwrap()), before);
    let report = String::from_utf8(before[0].clone()).unwrap();
    assert!(report.contains("moved, worse") && report.contains("in no history"), "{report}");
    assert_eq!(bench.uplift(&["show", folder, "--format", "json"]).json(), answers);
}

#[test]
fn what_cannot_be_screened_is_refused_in_a_sentence() {
    if !enough_cpus() {
        return;
    }
    let bench = Bench::new();
    screen(&bench, "same", &["--launch", "docker"]).code(2).says("runs in a container");
    screen(&bench, "same", &["--quick"]).code(2).says("--quick");
    bench.uplift(&["compare", "--cmd", "true", "--cmd", "true", "--screen"]).code(2).says("no common end");
    let counted = ["compare", "baseline", "optimized", "pipeline/small-transform", "--screen"];
    bench.uplift(&counted).code(2).says("numbers of operations");

    // One CPU is not two.
    let mut command = bench.command(&["compare", "baseline", "same", "reference/steady", "--screen"]);
    // SAFETY: the calls are async-signal-safe and touch only the new process; the index is within the set.
    unsafe {
        command.pre_exec(|| {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed);
            let one = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &allowed)).unwrap_or(0);
            let mut only: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(one, &mut only);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only);
            Ok(())
        });
    }
    Said(command.output().unwrap()).code(5).says("it needs a CPU for each variant");
}

/// What is done by a process that the agent did not start runs on whatever CPUs it likes.
#[test]
fn a_target_that_works_elsewhere_is_not_screened() {
    if !enough_cpus() {
        return;
    }
    let bench = Bench::new();
    let script = bench.folder.path().join("agent.sh");
    let uplift = env!("CARGO_BIN_EXE_uplift");
    let told = r#"s/"reply":"ready"/"reply":"ready","works_elsewhere":"a server on another machine"/"#;
    fs::write(&script, format!("#!/bin/sh\n'{uplift}' agent | sed -u '{told}'\n")).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = screen(&bench, "same", &["--candidate-bin", script.to_str().unwrap(), "--blocks", "6"]);
    said.code(4);
    let out = said.out();
    assert!(out.contains("a server on another machine") && out.contains("compare it in turns"), "{out}");
    assert!(json(&bench, "screen.json")["scenarios"][0]["answer"] == "cannot-tell");
    // In turns nobody is kept anywhere.
    let turns = ["compare", "baseline", "same", "reference/steady", "--blocks", "1", "--set", "trial.rounds=2"];
    let with: Vec<&str> = turns.into_iter().chain(["--candidate-bin", script.to_str().unwrap()]).collect();
    fs::remove_dir_all(bench.folder.path().join("results")).unwrap();
    bench.uplift(&with).code(0);
}
