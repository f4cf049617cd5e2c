//! Every collector against what is known of a program, and against `strace`.

use std::{
    fs,
    process::{Command, Stdio},
};

use uplift_model::trial::{SyncCollectorChoice, SyncKind};

use super::*;

/// Calls of each kind of what `script` does in an empty folder, with `sh`; `None` where the collector is not available.
fn counted(choice: SyncCollectorChoice, script: &str) -> Option<SyncRecord> {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let collector = match open(choice, folder.path()) {
        Ok(collector) => collector.unwrap(),
        Err(reason) => {
            assert!(reason.remedy.is_some(), "the fix is said: {reason}");
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
    for choice in COLLECTORS {
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

const COLLECTORS: [SyncCollectorChoice; 3] =
    [SyncCollectorChoice::Seccomp, SyncCollectorChoice::Tracepoint, SyncCollectorChoice::Preload];

/// Whether a tool is there; else what installs it is printed.
fn there(tool: &str, argument: &str, package: &str) -> bool {
    let found = Command::new(tool).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: no {tool}; apt-get install {package}");
    }
    found
}

/// Runs what `program` gives for an empty folder under `strace -f -c`, and for another under each collector: the counts
/// are the same. `preloads` says what the preloaded library can see of it.
fn same_as_strace(what: &str, root: &Path, preloads: bool, program: impl Fn(&Path) -> Command) {
    if !there("strace", "--version", "strace") {
        return;
    }
    let folder = || tempfile::tempdir_in(root).unwrap();
    let traced = folder();
    let listing = traced.path().join("strace");
    let plain = program(traced.path());
    let status = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync,msync,sync_file_range,syncfs", "-o"])
        .arg(&listing)
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(plain.get_current_dir().unwrap_or(traced.path()))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{what} under strace");
    let text = fs::read_to_string(&listing).unwrap();
    let of_strace = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.trim_end().ends_with(&format!(" {name}")));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    for choice in COLLECTORS {
        let (files, place) = (folder(), folder());
        let collector = match open(choice, files.path()) {
            Ok(collector) => collector.unwrap(),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                continue;
            }
        };
        let mut command = program(place.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(collector.spawn(command).unwrap().wait().unwrap().success(), "{what} under {choice:?}");
        let record = collector.record();
        if choice == SyncCollectorChoice::Preload && !preloads {
            // A wrapper that became somebody else was seen, a program that loads nothing was not.
            let said = record.missing.is_some_and(|missing| missing.contains("seccomp"))
                || record.blind_spots.iter().any(|spot| spot.contains("another user"));
            assert!(said, "{what}");
            continue;
        }
        for kind in [SyncKind::Fsync, SyncKind::Fdatasync, SyncKind::SyncFileRange, SyncKind::Syncfs] {
            let ours = record.kinds.get(&kind).map_or(0, |calls| calls.calls);
            assert_eq!(ours, of_strace(kind.name()), "{choice:?}, {what}, {}: {text}", kind.name());
        }
        assert!(record.calls().unwrap() > 0, "{what} syncs");
    }
}

fn shell(script: &str) -> impl Fn(&Path) -> Command {
    let script = script.to_owned();
    move |folder| {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(folder);
        command
    }
}

#[test]
fn counts_are_those_of_strace() {
    let sqlite =
        "sqlite3 test.db 'create table t(x); insert into t values(1); insert into t values(2); update t set x=3'";
    let python = "python3 -c \"import os; f=open('p','w'); [(f.write('x'), f.flush(), os.fsync(f.fileno())) for _ in range(7)]\"";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (tool, script) in [("sqlite3", sqlite), ("python3", python)] {
        if there(tool, "--version", tool) {
            same_as_strace(tool, root, true, shell(script));
        }
    }
}

/// Built by `compiler` in a folder that is returned.
fn built(source: &str, name: &str, compiler: impl FnOnce(&Path) -> Command) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    fs::write(folder.path().join(name), source).unwrap();
    let status = compiler(folder.path()).current_dir(folder.path()).status().unwrap();
    assert!(status.success(), "{name}");
    folder
}

#[test]
fn counts_of_a_c_program_are_those_of_strace() {
    let source = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
                  int main(void) {\n int f = open(\"f\", O_RDWR | O_CREAT, 0600);\n\
                  for (int i = 0; i < 5; i++) { if (write(f, \"x\", 1) != 1 || fsync(f)) return 1; }\n\
                  if (fork() == 0) _exit(fdatasync(f) || sync_file_range(f, 0, 0, SYNC_FILE_RANGE_WRITE));\n\
                  int status; wait(&status); return status != 0 || syncfs(f);\n}\n";
    let program = built(source, "syncs.c", |folder| {
        let mut cc = Command::new("cc");
        cc.arg("-o").arg(folder.join("syncs")).arg("syncs.c");
        cc
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    same_as_strace("a C program", root, true, shell(&program.path().join("syncs").display().to_string()));
}

/// Go makes its system calls itself: a preloaded library sees none of them.
#[test]
fn counts_of_a_go_program_are_those_of_strace() {
    if !there("go", "version", "golang-go") {
        return;
    }
    let source = "package main\nimport (\"os\"; \"sync\")\nfunc main() {\n\tvar group sync.WaitGroup\n\
                  \tfor _, name := range []string{\"a\", \"b\", \"c\"} {\n\t\tgroup.Add(1)\n\
                  \t\tgo func(name string) {\n\t\t\tdefer group.Done()\n\t\t\tf, err := os.Create(name)\n\
                  \t\t\tif err != nil { panic(err) }\n\t\t\tfor i := 0; i < 4; i++ { f.WriteString(name); if f.Sync() != nil { panic(name) } }\n\
                  \t\t}(name)\n\t}\n\tgroup.Wait()\n}\n";
    let program = built(source, "syncs.go", |folder| {
        let mut go = Command::new("go");
        go.args(["build", "-o", "syncs", "syncs.go"]).env("GOCACHE", folder.join("cache")).env("GOFLAGS", "-mod=mod");
        go
    });
    let binary = program.path().join("syncs");
    same_as_strace("a Go program", Path::new(env!("CARGO_MANIFEST_DIR")), false, move |folder| {
        let mut command = Command::new(&binary);
        command.current_dir(folder);
        command
    });
}

/// Many processes, of which the last syncs every file that was made.
#[test]
fn counts_of_initdb_are_those_of_strace() {
    let initdb =
        ["initdb".to_owned()].into_iter().chain((13..20).rev().map(|v| format!("/usr/lib/postgresql/{v}/bin/initdb")));
    let found = initdb.into_iter().find(|path| Command::new(path).arg("--version").output().is_ok());
    let Some(initdb) = found else {
        eprintln!("skipped: no initdb; apt-get install postgresql");
        return;
    };
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if root && !there("setpriv", "--version", "util-linux") {
        return;
    }
    // Where somebody else may go: initdb refuses to run as root.
    same_as_strace("initdb", &std::env::temp_dir(), !root, |folder| {
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        let mut command = Command::new(if root { "setpriv" } else { initdb.as_str() });
        if root {
            const NOBODY: u32 = 65_534;
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &initdb]);
        }
        command
            .args(["--no-locale", "-E", "UTF8", "-A", "trust", "-U", "postgres", "-D"])
            .arg(&data)
            .current_dir(folder);
        command
    });
}

/// The calls that measure a collector's cost are not the program's.
#[test]
fn the_cost_is_measured_and_not_counted() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for choice in COLLECTORS {
        let Ok(Some(collector)) = open(choice, folder.path()) else { continue };
        let cost_ns = collector.cost_ns().unwrap();
        assert!(cost_ns.is_finite() && cost_ns >= 0.0, "{choice:?}: {cost_ns}");
        assert!(collector.record().kinds.is_empty(), "{choice:?}");
        eprintln!("{choice:?}: {cost_ns:.0} ns a call");
    }
}
