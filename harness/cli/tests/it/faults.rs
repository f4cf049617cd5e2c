//! Targets that misbehave, users who interrupt, harnesses that are killed: what was measured is kept and said.

use std::{fs, path::PathBuf, process::Stdio, thread, time::Duration};

use crate::bench::{Bench, repository};

fn with_fault(fault: &str, more: &[&str]) -> (Bench, crate::bench::Said) {
    let bench = Bench::new();
    let fault = format!("fault={fault}");
    let mut arguments =
        vec!["run", "reference/steady", "--variant", "baseline", "--quick", "--blocks", "3", "--set", &fault];
    arguments.extend(more);
    let said = bench.uplift(&arguments);
    (bench, said)
}

fn kinds(bench: &Bench) -> Vec<String> {
    bench
        .trials()
        .iter()
        .map(|trial| trial["outcome"]["kind"].as_str().or(trial["outcome"]["status"].as_str()).unwrap_or("").to_owned())
        .collect()
}

#[test]
fn a_crash_is_a_record_with_its_signal() {
    let (bench, said) = with_fault("crash", &[]);
    said.code(5).says("was ended by signal 6");
    // Given up after two failed blocks in a row.
    assert_eq!(kinds(&bench), ["crashed", "crashed"]);
}

#[test]
fn a_panic_in_a_client_is_an_error_with_its_text() {
    let (bench, said) = with_fault("panic", &[]);
    said.code(5).says("an injected panic");
    assert_eq!(kinds(&bench), ["target", "target"]);
    let tail = bench.trials()[0]["outcome"]["stderr_tail"].as_str().unwrap().to_owned();
    assert!(tail.contains("an injected panic"), "{tail}");
}

#[test]
fn a_hang_is_killed_after_its_timeout() {
    let (bench, said) = with_fault("hang", &["--set", "trial.timeout=1s"]);
    said.code(5).says("were killed");
    assert_eq!(kinds(&bench), ["timed-out", "timed-out"]);
}

#[test]
fn garbage_on_standard_output_does_not_hurt_the_protocol() {
    let (bench, said) = with_fault("garbage", &[]);
    said.code(0);
    assert_eq!(kinds(&bench), ["ok", "ok", "ok"]);
}

#[test]
fn memory_without_bound_is_stopped() {
    let (bench, said) = with_fault("allocate", &["--memory-max", "300", "--set", "trial.timeout=60s"]);
    said.code(5).says("more than the 300 MiB");
    assert_eq!(kinds(&bench), ["out-of-memory", "out-of-memory"]);
}

#[test]
fn a_wrong_result_makes_a_comparison_incomparable() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "compare",
        "baseline",
        "slower-5",
        "reference/steady",
        "--quick",
        "--blocks",
        "2",
        "--set",
        "fault=wrong-result",
    ]);
    said.code(4);
    assert!(said.out().contains("failed its correctness check"), "{}", said.out());
}

#[test]
fn what_is_not_there_is_skipped_with_its_remedy() {
    let (bench, said) = with_fault("unavailable", &[]);
    said.code(0);
    assert!(said.out().contains("remove `fault` from the variant"), "{}", said.out());
    assert_eq!(said.err().matches("remove `fault`").count(), 1, "said once: {}", said.err());
    assert_eq!(kinds(&bench), ["unavailable"]);
}

/// A binary that is not uplift speaks another language, or none.
#[test]
fn a_binary_that_is_no_agent_is_named() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "compare",
        "baseline",
        "slower-5",
        "reference/steady",
        "--quick",
        "--blocks",
        "2",
        "--candidate-bin",
        "/bin/echo",
    ]);
    said.code(5).says("is not a reply of protocol 1");
}

pub fn wait_for_lines(bench: &Bench, lines: usize) {
    // Not a limit on how long it may take, only on how long a broken build keeps everybody waiting.
    for _ in 0..6_000 {
        let found = fs::read_dir(bench.folder.path().join("results/runs"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("trials.jsonl")).ok())
            .any(|text| text.lines().count() >= lines);
        if found {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no {lines} trials after a minute");
}

/// Processes that carry this test's mark in their environment.
pub fn marked(mark: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            fs::read(entry.path().join("environ")).is_ok_and(|text| String::from_utf8_lossy(&text).contains(mark))
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The scenario `reference/steady` and a copy of it, which comes after.
fn twins(bench: &Bench) -> PathBuf {
    let text = fs::read_to_string(repository().join("scenarios/reference/steady.toml")).unwrap();
    let folder = bench.folder.path().join("scenarios");
    fs::create_dir_all(folder.join("reference")).unwrap();
    for name in ["steady", "twin"] {
        fs::write(folder.join(format!("reference/{name}.toml")), &text).unwrap();
    }
    folder
}

fn signalled(signal: libc::c_int, mark: &str) -> (Bench, Option<i32>) {
    let bench = Bench::new();
    let mut child = bench
        .command(&[
            "compare",
            "baseline",
            "same",
            "reference/steady",
            "reference/twin",
            "--budget",
            "300s",
            "--set",
            "trial.rounds=8",
        ])
        .env("UPLIFT_SCENARIOS", twins(&bench))
        .env("UPLIFT_TEST_MARK", mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&bench, 4);
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    let status = child.wait().unwrap();
    (bench, status.code())
}

#[test]
fn an_interrupt_keeps_and_reports_what_was_measured() {
    let mark = format!("interrupt-{}", std::process::id());
    let (bench, code) = signalled(libc::SIGINT, &mark);
    assert_eq!(code, Some(130));
    let folder = bench.run_folder();
    let run: serde_json::Value = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["state"], "interrupted");
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("Partial run"), "{report}");
    assert!(report.contains("1 scenario not run") && !report.contains("reference/twin:"), "{report}");
    assert!(!report.contains("expectation not held") && !report.contains("failed:"), "{report}");
    assert!(!folder.join("data").exists(), "the data of trials is removed");
    assert_eq!(marked(&mark), Vec::<String>::new(), "no agent is left");
}

/// A terminal that is closed ends a run as Ctrl-C does.
#[test]
fn a_hang_up_keeps_and_reports_what_was_measured() {
    let mark = format!("hang-up-{}", std::process::id());
    let (bench, code) = signalled(libc::SIGHUP, &mark);
    assert_eq!(code, Some(130));
    let folder = bench.run_folder();
    assert!(fs::read_to_string(folder.join("report.md")).unwrap().contains("Partial run"));
    assert!(!folder.join("data").exists(), "the data of trials is removed");
    assert_eq!(marked(&mark), Vec::<String>::new(), "no agent is left");
}

#[test]
fn a_killed_harness_leaves_a_readable_run_and_no_agent() {
    let mark = format!("killed-{}", std::process::id());
    let (bench, code) = signalled(libc::SIGKILL, &mark);
    assert_eq!(code, None);
    let said = bench.uplift(&["show", "latest"]);
    said.code(0);
    bench.uplift(&["report", "latest"]).code(0);
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("the harness ended before it was done"), "{report}");
    // The kernel ends the agents with their parent; give it the moment that takes.
    for _ in 0..500 {
        if marked(&mark).is_empty() {
            assert!(bench.run_folder().join("data").exists(), "a killed run cannot remove its data");
            bench.uplift(&["prune"]).code(0);
            assert!(!bench.run_folder().join("data").exists(), "prune can");
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("left: {:?}", marked(&mark));
}
