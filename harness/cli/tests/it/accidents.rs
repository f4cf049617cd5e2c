//! What happens around a run: streams that are gone, files that were cut, folders with odd names, limits of the system.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::Path,
    process::{Command, Stdio},
};

use uplift_engine::owner::{OWNER_FILE, Owner};

use crate::bench::{Bench, Said, repository};

const ONE_BLOCK: [&str; 7] = ["run", "reference/steady", "--variant", "baseline", "--quick", "--blocks", "1"];

/// `2>&1 | head -1` and a full disk behind `2>`: the run goes on, and its report is written.
#[test]
fn standard_error_that_cannot_be_written_ends_no_run() {
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let gone = || Stdio::from(std::io::pipe().unwrap().1);
    for stderr in [full(), gone()] {
        let bench = Bench::new();
        let status = bench.command(&ONE_BLOCK).stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(bench.run_folder().join("report.md").is_file());
        assert!(!bench.run_folder().join("data").exists());
    }
    // An error has nowhere to go either; its code is what it was.
    let status = Bench::new().command(&["show", "nothing"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_history_that_was_cut_is_read_and_goes_on() {
    let bench = Bench::new();
    bench.uplift(&ONE_BLOCK).code(0);
    let path = bench.folder.path().join("results/history.jsonl");
    let whole = fs::read(&path).unwrap();
    // Two whole lines, and one that was cut within a character.
    let mut cut = whole.repeat(2);
    cut.extend(&whole[..20]);
    cut.push(0xc3);
    fs::write(&path, cut).unwrap();
    let rows = |said: &Said| said.code(0).json().as_array().unwrap().len();
    let history = ["history", "reference/steady", "--format", "json"];
    let said = bench.uplift(&history);
    assert_eq!(rows(&said), 2);
    said.says("line 3 is cut off");
    bench.uplift(&ONE_BLOCK).code(0);
    let said = bench.uplift(&history);
    assert_eq!(rows(&said), 3, "what came after the cut line is whole");
    said.says("line 3 is cut off");
}

#[test]
fn folders_and_arguments_need_not_be_utf8() {
    let bench = Bench::new();
    let odd = bench.folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&odd).unwrap();
    let output = bench.command(&ONE_BLOCK).current_dir(&odd).output().unwrap();
    Said(output).code(0);
    let output = bench.command(&["show", "latest"]).current_dir(&odd).output().unwrap();
    Said(output).code(0);
    let output = bench.command(&ONE_BLOCK).arg("--out").arg(OsString::from_vec(b"r\xe9sults/runs".to_vec())).output();
    Said(output.unwrap()).code(0);
    // Whatever reads and writes there: a gate, a report, plots, exports, a history, what killed runs left, data elsewhere.
    let data = [OsStr::new("--data-dir"), OsStr::from_bytes(b"d\xff")];
    let two = ["baseline", "same", "reference/steady", "--blocks", "2", "--set", "trial.rounds=2"];
    for arguments in [
        &[&["compare"], &two[..]].concat()[..],
        &["report", "latest"],
        &["export", "latest", "--to", "csv"],
        &["history", "reference/steady", "--plots", "plots"],
        &["diff", "latest", "latest"],
        &["prune", "--dry-run"],
    ] {
        let mut command = bench.command(arguments);
        command.current_dir(&odd);
        if arguments[0] == "compare" {
            command.args(data);
        }
        Said(command.output().unwrap()).code(0);
    }
    let output = bench.command(&["list"]).arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    Said(output).code(2);
}

#[test]
fn what_editors_and_archivers_leave_is_no_scenario() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("scenarios/reference");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(repository().join("scenarios/reference/steady.toml"), folder.join("steady.toml")).unwrap();
    for name in [".#steady.toml", "._steady.toml", "steady.toml~", ".steady.toml.swp", "#steady.toml#"] {
        fs::write(folder.join(name), b"\xff no scenario").unwrap();
    }
    fs::create_dir(folder.join("folder.toml")).unwrap();
    let pipe = CString::new(folder.join("pipe.toml").as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    let scenarios = bench.folder.path().join("scenarios");
    let said = bench.uplift(&["list", "--scenario-dir", scenarios.to_str().unwrap()]);
    said.code(0);
    assert!(said.out().contains("reference/steady"), "{}", said.out());
    assert!(!said.out().contains("pipe") && !said.out().contains("._"), "{}", said.out());
    // A link that leads nowhere was meant: it is not passed over.
    std::os::unix::fs::symlink("nowhere", folder.join("linked.toml")).unwrap();
    bench.uplift(&["list", "--scenario-dir", scenarios.to_str().unwrap()]).code(5).says("linked.toml`: ");
}

#[test]
fn a_limit_on_file_sizes_is_an_error_with_a_sentence() {
    let bench = Bench::new();
    let command = bench.command(&ONE_BLOCK);
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(bench.folder.path())
        .env("UPLIFT_SCENARIOS", repository().join("scenarios"))
        .output()
        .unwrap();
    Said(output).code(5).says("File too large");
}

/// Root has no such limit, so that root's run is nobody's.
#[test]
fn a_limit_on_processes_is_an_error_with_a_sentence() {
    let bench = Bench::new();
    let command = bench.command(&ONE_BLOCK);
    fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // SAFETY: the call takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "bash"];
    let shell = if is_root { &as_nobody[..] } else { &as_nobody[6..] };
    let run = |script: &str| {
        let mut shell_of = Command::new(shell[0]);
        shell_of.args(&shell[1..]).args(["-c", script]).arg(command.get_program()).args(command.get_args());
        let scenarios = repository().join("scenarios");
        shell_of.current_dir(bench.folder.path()).env("UPLIFT_SCENARIOS", scenarios).env("NO_COLOR", "1").output()
    };
    // The build's folder may be closed to others.
    let reached = run("test -x \"$0\" && ls \"$UPLIFT_SCENARIOS\" && touch reached");
    if !reached.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nobody cannot reach the build, or there is no setpriv or bash");
        return;
    }
    let said = Said(run("ulimit -u 2; exec \"$0\" \"$@\"").unwrap());
    let both = said.code(5).out() + &said.err();
    assert!(both.contains("a limit on processes is reached: raise it with `ulimit -u`"), "{both}");
}

#[test]
fn numbers_without_bound_are_refused() {
    let bench = Bench::new();
    let run = |more: &[&str]| bench.uplift(&[&ONE_BLOCK[..5], more].concat());
    run(&["--budget", "500000000000y"]).code(2).says("longer than a year");
    run(&["--memory-max", "99999999999999999"]).code(2).says("1099511627776");
    run(&["--set", "trial.rounds=4000000000"]).code(2).says("more than 100000");
    run(&["--set", "trial.window=500000000000y"]).code(2).says("longer than a year");
    run(&["--set", "load.batch=4000000000"]).code(2).says("more than 1000000");
    let sampling = ["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "300d"];
    bench.uplift(&sampling).code(2).says("longer than a day");
}

/// An immutable file cannot be removed, not even by root: it is said, and the folder is not taken for a fresh one.
#[test]
fn data_that_cannot_be_removed_is_said_and_not_used_again() {
    let bench = Bench::new();
    let data = bench.folder.path().join("data");
    let arguments = [&ONE_BLOCK[..], &["--data-dir", data.to_str().unwrap(), "--set", "fault=hang"]].concat();
    let arguments = [&arguments[..], &["--set", "trial.timeout=2s"]].concat();
    let mut child = bench.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let file = loop {
        if let Some(file) = files(&data).into_iter().find(|file| file.ends_with("reference.log")) {
            break file;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended without a file");
        std::thread::yield_now();
    };
    if !Command::new("chattr").arg("+i").arg(&file).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no file of this disk can be made immutable here");
        child.wait().unwrap();
        return;
    }
    let said = Said(child.wait_with_output().unwrap());
    let undone = Command::new("chattr").arg("-i").arg(&file).status().unwrap();
    assert!(undone.success());
    assert!(said.err().contains("cannot be removed"), "{}", said.err());
    let run = fs::read_to_string(bench.run_folder().join("run.json")).unwrap();
    assert!(run.contains("cannot be removed"), "the record says it too");
}

/// A run that was killed leaves its data; a run that is alive, or that does not say whose it is, is not touched.
#[test]
fn what_killed_runs_left_is_removed_and_what_lives_stays() {
    let bench = Bench::new();
    let home = bench.folder.path();
    let alive = Owner::current();
    let dead = Owner { start_ticks: 1, ..alive.clone() };
    let data = |place: &Path, owner: Option<&Owner>| {
        fs::create_dir_all(place.join("block-0")).unwrap();
        fs::write(place.join("block-0/file"), "rows").unwrap();
        owner.map_or(Ok(()), |owner| owner.sign(&place.join(OWNER_FILE))).unwrap();
        place.to_owned()
    };
    let of_run = |name: &str, owner| {
        let run = home.join("results/runs").join(name);
        let place = data(&run.join("data"), owner);
        fs::write(run.join("run.json"), "{}").unwrap();
        place
    };
    let (killed, living, unsigned) =
        (of_run("killed", Some(&dead)), of_run("living", Some(&alive)), of_run("old", None));
    let shared = home.join("shared");
    let (killed_there, somebodys) = (data(&shared.join("killed"), Some(&dead)), data(&shared.join("own"), None));
    // A link in place of the data leads to what is not the run's.
    let linked = home.join("results/runs/linked");
    fs::create_dir_all(&linked).unwrap();
    fs::write(linked.join("run.json"), "{}").unwrap();
    std::os::unix::fs::symlink(&somebodys, linked.join("data")).unwrap();

    let prune = ["prune", "--data-dir", "shared"];
    let said = bench.uplift(&[&prune[..], &["--dry-run"]].concat());
    said.code(0);
    assert!(said.out().contains("prune: would remove 2, kept 2\n"), "{}", said.out());
    assert!(killed.exists() && killed_there.exists(), "nothing is removed yet");
    let said = bench.uplift(&prune);
    said.code(0);
    let alive = format!("its run is alive (process {})", std::process::id());
    for part in ["removed the data of run killed", &alive, "does not say whose it is", "prune: removed 2, kept 2\n"] {
        assert!(said.out().contains(part), "`{part}` is not in:\n{}", said.out());
    }
    assert!(!killed.exists() && !killed_there.exists());
    for place in [&living, &unsigned, &somebodys] {
        assert!(place.join("block-0/file").exists(), "{} was touched", place.display());
    }
    bench.uplift(&["prune", "--unknown"]).code(0);
    assert!(living.exists() && !unsigned.exists());
}

/// A folder in which something is mounted is more than a run's data.
#[test]
fn nothing_is_removed_through_a_mount() {
    let bench = Bench::new();
    let data = bench.folder.path().join("results/runs/killed/data");
    let mount = data.join("a disk");
    fs::create_dir_all(&mount).unwrap();
    fs::write(data.join("../run.json"), "{}").unwrap();
    Owner { start_ticks: 1, ..Owner::current() }.sign(&data.join(OWNER_FILE)).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "uplift-test"]).arg(&mount).stderr(Stdio::null()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a tmpfs cannot be mounted; run as root with the right to mount");
        return;
    }
    fs::write(mount.join("file"), "rows").unwrap();
    let said = bench.uplift(&["prune"]);
    let is_there = mount.join("file").exists();
    assert!(Command::new("umount").arg(&mount).status().unwrap().success());
    assert!(is_there && said.out().contains("unmount it first"), "{}", said.out());
    bench.uplift(&["prune"]).code(0);
    assert!(!data.exists());
}

/// Files below a folder, however deep.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_long_history_is_read_in_one_pass() {
    let bench = Bench::new();
    bench.uplift(&ONE_BLOCK).code(0);
    let path = bench.folder.path().join("results/history.jsonl");
    let line = fs::read_to_string(&path).unwrap();
    let mut file = File::create(&path).unwrap();
    for index in 0..3_000u64 {
        let line = line.replacen("\"started_unix_s\":", &format!("\"started_unix_s\":{}", 1 + index), 1);
        file.write_all(line.as_bytes()).unwrap();
    }
    let said = bench.uplift(&["history", "reference/steady", "--variant", "baseline"]);
    said.code(0);
    assert!(said.out().contains("3000 runs"), "{}", said.out().lines().last().unwrap_or_default());
    assert!(said.out().contains("the 2600 oldest runs from the search for changes of level"));
}
