//! Agents that hang, leave daemons behind or take memory through their children: each ends, and is named.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use uplift_engine::{Interrupt, Launch as _, LaunchOrder, ProcessLauncher, agent_connection::AgentConnection};
use uplift_model::{
    protocol::Prepare,
    scenario::Load,
    trial::{Failure, FailureKind},
};

const HELLO: &str = r#"read -r line; echo '{"reply":"hello","protocol":1,"version":"0","debug_assertions":false,"sync_probe_live":true,"targets":[]}'"#;

/// An agent whose work is a shell script, in a folder of its own.
struct Script {
    folder: TempDir,
    launcher: ProcessLauncher,
}

impl Script {
    fn new(text: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = TempDir::new_in(root).unwrap();
        let path = folder.path().join("agent.sh");
        let text = format!("#!/bin/sh\ncd '{}'\n{HELLO}\n{text}\n", folder.path().display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, launcher: ProcessLauncher::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, memory_bytes_max: u64, timeout: Duration) -> AgentConnection {
        let order = LaunchOrder {
            binary: Some(self.path("agent.sh")),
            data_dir: self.folder.path().to_owned(),
            label: "test".to_owned(),
            pair: "test".to_owned(),
            memory_bytes_max,
            counts_allocations: false,
        };
        let handle = self.launcher.start(&order).unwrap();
        match AgentConnection::open(handle, Interrupt::default(), memory_bytes_max, timeout) {
            Ok(connection) => connection,
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

fn prepare(connection: &mut AgentConnection, settings_bytes: usize) -> Failure {
    let settings = [("filling".to_owned(), "x".repeat(settings_bytes).into())].into_iter().collect();
    let answer = connection.prepare(Prepare {
        disk: None,
        target: "none".to_owned(),
        workload: Default::default(),
        settings,
        load: Load::default(),
        data_dir: String::new(),
        seed: 1,
        longest_turn_ns: 1,
        slice_ns: 0,
        ledger: None,
        role: None,
    });
    answer.expect_err("these agents are never ready")
}

fn lives(id: &str) -> bool {
    Path::new("/proc").join(id.trim()).exists()
}

/// The daemon holds both streams open and would live for an hour; it is in no group of the agent's.
#[test]
fn a_daemon_that_outlives_its_agent_is_ended_and_named() {
    let script = Script::new("setsid sleep 3600 &\necho $! > daemon\nread -r line\nexit 3");
    let mut connection = script.open(u64::MAX, Duration::from_secs(3600));
    let failure = prepare(&mut connection, 0);
    assert_eq!(failure.kind, FailureKind::Crashed);
    assert!(failure.message.contains("ended with code 3"), "{}", failure.message);
    assert!(!lives(&fs::read_to_string(script.path("daemon")).unwrap()));
    let said = script.launcher.warnings().join("\n");
    assert!(said.contains("`sleep`"), "{said}");
}

/// A daemon of another agent that lives is not touched.
#[test]
fn a_daemon_of_another_agent_stays() {
    let text = "(setsid sleep 3600 & echo $! > daemon)\nread -r line\nexit 3";
    let (ends, stays) = (Script::new(text), Script::new(text));
    let mut first = ends.open(u64::MAX, Duration::from_secs(3600));
    let second = stays.open(u64::MAX, Duration::from_secs(3600));
    while !fs::read_to_string(stays.path("daemon")).is_ok_and(|text| text.ends_with('\n')) {
        std::thread::yield_now();
    }
    prepare(&mut first, 0);
    let other = fs::read_to_string(stays.path("daemon")).unwrap();
    assert!(!lives(&fs::read_to_string(ends.path("daemon")).unwrap()));
    assert!(lives(&other));
    drop(second);
    assert!(!lives(&other));
}

#[test]
fn an_agent_that_does_not_read_runs_into_its_timeout() {
    let script = Script::new("sleep 3600");
    let mut connection = script.open(u64::MAX, Duration::from_millis(200));
    // More than a pipe holds.
    let failure = prepare(&mut connection, 1 << 20);
    assert_eq!(failure.kind, FailureKind::TimedOut, "{}", failure.message);
}

#[test]
fn memory_of_a_child_is_the_agents() {
    let script = Script::new(
        "read -r line\n\
         (head -c 200000000 /dev/zero; echo > full; sleep 3600) | setsid tail -c 200000000 >/dev/null &\n\
         until [ -e full ]; do sleep 0.01; done\n\
         echo '{\"reply\":\"failed\",\"kind\":\"target\",\"phase\":\"set-up\",\"message\":\"nobody looked\"}'",
    );
    let mut connection = script.open(100 << 20, Duration::from_secs(3600));
    let failure = prepare(&mut connection, 0);
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{}", failure.message);
    assert!(failure.message.contains("what it started used more than the 100 MiB"), "{}", failure.message);
}
