//! Every collector against what is known of a program, and against `strace`.

use std::{
    fs,
    process::{Command, Stdio},
};

use uplift_model::trial::{SyncCollectorChoice, SyncKind};

use super::*;

/// Calls of each kind of what `script` does in an empty folder, with `sh`; `None` where the collector is not to be had.
fn counted(choice: SyncCollectorChoice, script: &str) -> Option<SyncRecord> {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let collector = match open(choice, folder.path()) {
        Ok(collector) => collector.unwrap(),
        Err(reason) => {
            assert!(reason.contains("; "), "the fix is said: {reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
    };
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder.path()).stdin(Stdio::null());
    let status = collector.spawn(command).unwrap().wait().unwrap();
    assert!(status.success());
    Some(collector.record())
}

const SYNCS: &str = "for i in 1 2 3; do dd if=/dev/zero of=f bs=16 count=1 conv=fsync status=none; done; \
                     dd if=/dev/zero of=f bs=16 count=1 conv=fdatasync status=none; sync f; sync -f f";

#[test]
fn every_collector_counts_a_program_and_its_children() {
    for choice in [SyncCollectorChoice::Seccomp, SyncCollectorChoice::Tracepoint, SyncCollectorChoice::Preload] {
        let Some(record) = counted(choice, SYNCS) else { continue };
        let of = |kind| record.kinds.get(&kind).map_or(0, |calls| calls.calls);
        assert_eq!(
            (of(SyncKind::Fsync), of(SyncKind::Fdatasync), of(SyncKind::Syncfs)),
            (4, 1, 1),
            "{choice:?}: {record:?}"
        );
        assert!(record.missing.is_none() && record.collector.is_some());
    }
}

#[test]
fn the_preloaded_library_times_the_calls_it_counts() {
    let Some(record) = counted(SyncCollectorChoice::Preload, SYNCS) else { return };
    let fsyncs = &record.kinds[&SyncKind::Fsync];
    assert_eq!((fsyncs.calls, fsyncs.errors, fsyncs.latency.count()), (4, 0, 4));
}

#[test]
fn what_a_filter_cannot_count_it_notices() {
    let script = "dd if=/dev/zero of=f bs=16 count=2 oflag=dsync status=none";
    let Some(record) = counted(SyncCollectorChoice::Seccomp, script) else { return };
    assert!(record.kinds.is_empty(), "{record:?}");
    assert!(record.blind_spots.iter().any(|spot| spot.starts_with("1 files were opened with O_SYNC")), "{record:?}");
    let Some(record) = counted(SyncCollectorChoice::Seccomp, "true") else { return };
    assert!(!record.blind_spots.iter().any(|spot| spot.contains("O_SYNC")), "{record:?}");
}

/// A static program loads no library: nothing was seen, which is not the same as no call.
#[test]
fn a_program_that_loads_no_library_has_no_count() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let source = folder.path().join("static.c");
    fs::write(&source, "#include <unistd.h>\nint main(void) { return fsync(1) == 0; }\n").unwrap();
    let program = folder.path().join("static");
    let compiled = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no static C library; apt-get install libc6-dev");
        return;
    }
    let run = |choice| {
        let collector = open(choice, folder.path()).ok()??;
        let mut command = Command::new(&program);
        command.stdout(Stdio::piped());
        assert!(collector.spawn(command).unwrap().wait().unwrap().success());
        Some(collector.record())
    };
    let preloaded = run(SyncCollectorChoice::Preload).unwrap();
    assert_eq!(preloaded.calls(), None);
    assert!(preloaded.missing.unwrap().contains("is static"));
    if let Some(filtered) = run(SyncCollectorChoice::Seccomp) {
        assert_eq!(filtered.calls(), Some(1));
    }
}

/// The same program under `strace -f -c` and under each collector.
#[test]
fn counts_are_those_of_strace() {
    let sqlite =
        "sqlite3 test.db 'create table t(x); insert into t values(1); insert into t values(2); update t set x=3'";
    let python = "python3 -c \"import os; f=open('p','w'); [(f.write('x'), f.flush(), os.fsync(f.fileno())) for _ in range(7)]\"";
    for (tool, script) in [("sqlite3", sqlite), ("python3", python)] {
        let there = |name: &str| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        if !there("strace") || !there(tool) {
            eprintln!("skipped: apt-get install strace {tool}");
            continue;
        }
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let listing = folder.path().join("strace");
        let status = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs", "-o"])
            .arg(&listing)
            .args(["sh", "-c", script])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        let text = fs::read_to_string(&listing).unwrap();
        let of_strace = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.trim_end().ends_with(&format!(" {name}")));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        for choice in [SyncCollectorChoice::Seccomp, SyncCollectorChoice::Tracepoint, SyncCollectorChoice::Preload] {
            let Some(record) = counted(choice, script) else { continue };
            for kind in [SyncKind::Fsync, SyncKind::Fdatasync, SyncKind::SyncFileRange, SyncKind::Syncfs] {
                let ours = record.kinds.get(&kind).map_or(0, |calls| calls.calls);
                assert_eq!(ours, of_strace(kind.name()), "{choice:?}, {tool}, {}: {text}", kind.name());
            }
            assert!(record.calls().unwrap() > 0, "{tool} syncs");
        }
    }
}

/// The calls that measure a collector's cost are not the program's.
#[test]
fn the_cost_is_measured_and_not_counted() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for choice in [SyncCollectorChoice::Seccomp, SyncCollectorChoice::Tracepoint, SyncCollectorChoice::Preload] {
        let Ok(Some(collector)) = open(choice, folder.path()) else { continue };
        let cost_ns = collector.cost_ns().unwrap();
        assert!(cost_ns.is_finite() && cost_ns >= 0.0, "{choice:?}: {cost_ns}");
        assert!(collector.record().kinds.is_empty(), "{choice:?}");
        eprintln!("{choice:?}: {cost_ns:.0} ns a call");
    }
}
