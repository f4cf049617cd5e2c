//! Programs that are started on a modelled disk: their sync calls are held, and tell them what the disk said.
//!
//! The model is the process's own, so this is one test.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use uplift_instrument::{disk_model, sync_collectors};

/// `dd` into `file`; whether it succeeded, and how long it took.
fn dd(arguments: &[&str], file: &Path) -> (bool, Duration) {
    let start = Instant::now();
    let mut command = Command::new("dd");
    command.arg("if=/dev/zero").arg(format!("of={}", file.display())).args(arguments).stderr(Stdio::null());
    let ended = sync_collectors::spawn(command).unwrap().wait().unwrap();
    (ended.success(), start.elapsed())
}

#[test]
fn programs_are_held_to_the_modelled_disk() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("file");
    assert!(dd(&["bs=4k", "count=1", "conv=fsync"], &file).0, "without a model it is started as ever");
    assert!(!sync_collectors::is_holding());

    disk_model::activate(&"sync=60ms,bandwidth=20MB/s".parse().unwrap(), 1).unwrap();
    let (succeeded, took) = dd(&["bs=4k", "count=1", "conv=fsync"], &file);
    if !sync_collectors::is_holding() {
        // The sandbox around this test has no seccomp user notification; a modelled disk then says so.
        return;
    }
    assert!(succeeded && took >= Duration::from_millis(60), "{took:?}");
    assert_eq!(fs::read(&file).unwrap(), vec![0; 4096], "the sync was of the program's own file");
    let (succeeded, took) = dd(&["bs=1M", "count=4", "conv=fdatasync"], &file);
    assert!(succeeded && took >= Duration::from_millis(260), "4 MiB at 20 MB/s and a flush: {took:?}");
    let disk = disk_model::in_force().unwrap();
    assert_eq!((disk.calls, disk.held_before), (2, 0));
    assert!(disk.limited >= 1 && disk.modelled.max() >= Some(260_000_000), "{disk:?}");

    // A pipe cannot be synced: the program is told so, and nothing is held.
    let mut command = Command::new("sh");
    let script = "(dd if=/dev/zero bs=1 count=1 conv=fsync 2>/dev/null; echo $? >&2) | cat >/dev/null";
    command.args(["-c", script]).stderr(Stdio::piped());
    let said = sync_collectors::spawn(command).unwrap().wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stderr).trim(), "1", "an fsync of a pipe fails");
    assert_eq!(disk_model::in_force().unwrap().calls, 2, "nothing was added");
}
