//! Comparisons of services that end before their time.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    bench::Bench,
    faults::{marked, wait_for_lines},
    own_engine::signal,
};

fn has_redis() -> bool {
    let there =
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = env::var("UPLIFT_REQUIRE").unwrap_or_default().split(',').any(|word| word.trim() == "redis");
    assert!(there || !required, "UPLIFT_REQUIRE names redis, and there is no `redis-server`");
    there
}

/// Ctrl-C in the middle of a window: the servers end with their agents, their data go, and what was measured is reported.
#[test]
fn ctrl_c_leaves_no_server_and_no_folder_and_reports_what_was_measured() {
    if !has_redis() {
        eprintln!("skipped: there is no `redis-server`");
        return;
    }
    let bench = Bench::new();
    let mark = format!("service-interrupt-{}", std::process::id());
    let mut child = bench
        .command(&["compare", "everysec", "no", "service/redis-appendfsync", "--budget", "300s"])
        .args(["--set", "trial.window=3s", "--set", "trial.warmup=100ms"])
        .env("UPLIFT_TEST_MARK", &mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&bench, 2);
    // The third trial is starting its server, or loads it.
    let started = (0..6_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        marked(&mark).iter().any(|line| line.contains("redis-server"))
    });
    assert!(started, "no server was started");
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let folder = bench.run_folder();
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("Partial run"), "{report}");
    assert!(!folder.join("data").exists(), "the data of the servers are removed");
    // The shell that cleans up behind an agent ends after it.
    let gone = (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        marked(&mark).is_empty()
    });
    assert!(gone, "left: {:?}", marked(&mark));
}

/// A server that runs as another user keeps its cluster outside of the trial's folder, and the harness ends its agent with
/// everything that this started: who removes the cluster was ended too.
#[test]
fn ctrl_c_leaves_no_cluster_behind() {
    if !Path::new("/usr/lib/postgresql").exists() {
        eprintln!("skipped: there is no PostgreSQL");
        return;
    }
    let bench = Bench::new();
    let place = TempDir::new().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = bench
        .command(&["compare", "on", "off", "service/postgres-commit", "--budget", "300s", "--set", "trial.window=3s"])
        .env("TMPDIR", place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&bench, 1);
    let clusters = || fs::read_dir(place.path()).unwrap().count();
    // The second trial makes its cluster; where the trial's folder can be entered it is there instead.
    for _ in 0..300 {
        thread::sleep(Duration::from_millis(10));
        if clusters() > 0 {
            break;
        }
    }
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(clusters(), 0, "a cluster is left");
    assert!(!bench.run_folder().join("data").exists(), "the data of the servers are removed");
}
