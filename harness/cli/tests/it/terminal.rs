//! On a terminal a run is watched; what it measures and says is the same without one.

use std::{fs::File, io::Read as _, os::fd::FromRawFd as _, path::Path, process::Stdio, thread};

use serde_json::Value;

use crate::bench::Bench;

const RUN: [&str; 10] =
    ["compare", "baseline", "slower-10", "reference/steady", "--blocks", "6", "--seed", "7", "--set", "trial.rounds=4"];

/// Standard error of the command on a terminal of that kind and width, and the code it ended with.
fn watched(bench: &Bench, arguments: &[&str], kind: &str, columns: u16) -> (String, Option<i32>) {
    let (mut master, mut slave) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (name, modes) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: both numbers are ours to write; the name and the modes may be null.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, name, modes, &raw const size) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty gave both, and nobody else owns them.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
    let mut command = bench.command(arguments);
    command.env_remove("NO_COLOR").env("TERM", kind).stdout(Stdio::null()).stderr(slave);
    let mut child = command.spawn().unwrap();
    // The last holder of the other end: without it the terminal is gone once it is read.
    drop(command);
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        // A terminal that nobody holds any more ends with an error.
        let _ = master.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let code = child.wait().unwrap().code();
    (reader.join().unwrap(), code)
}

/// What of a run's records does not depend on the clock: the plan, the variants, what was decided about which metrics.
fn planned(folder: &Path) -> Vec<(String, u64, u64)> {
    let text = std::fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let trial: Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| trial[key].as_u64().unwrap();
            (trial["variant"].as_str().unwrap().to_owned(), number("block"), number("seed"))
        })
        .collect()
}

#[test]
fn who_watches_sees_the_estimate_and_changes_nothing() {
    let (seen, plain) = (Bench::new(), Bench::new());
    let (screen, code) = watched(&seen, &RUN, "xterm-256color", 80);
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("after 2 blocks") && screen.contains("after 6 blocks"), "the estimate moves: {screen}");
    assert!(screen.contains('●') && screen.contains('%'), "{screen}");
    assert!(screen.contains("1 scenario: ") && screen.contains("--open"), "the last screen counts: {screen}");
    let said = plain.uplift(&RUN);
    said.code(0);
    assert!(!said.err().contains('●') && said.err().contains("1 scenario: "), "{}", said.err());
    assert_eq!(planned(&seen.run_folder()), planned(&plain.run_folder()), "the same plan");
    let metrics = |bench: &Bench| {
        let text = std::fs::read(bench.run_folder().join("verdicts.json")).unwrap();
        let verdicts: Value = serde_json::from_slice(&text).unwrap();
        let metrics = verdicts["scenarios"][0]["metrics"].as_array().unwrap().clone();
        metrics.iter().map(|metric| metric["metric"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(metrics(&seen), metrics(&plain));
    // From the same records come the same documents, whoever watched.
    let before = std::fs::read(seen.run_folder().join("report.md")).unwrap();
    seen.uplift(&["report", "latest"]).code(0);
    assert_eq!(before, std::fs::read(seen.run_folder().join("report.md")).unwrap());
}

/// A terminal that cannot go back gets plain lines.
#[test]
fn a_dumb_terminal_gets_lines() {
    let bench = Bench::new();
    let (screen, code) = watched(&bench, &RUN, "dumb", 80);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains('\u{1b}') && !screen.contains('●'), "{screen}");
    assert!(screen.contains("reference/steady"), "{screen}");
}
