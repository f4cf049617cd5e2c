//! What users do wrong: each is answered with a sentence that names the thing, the rule and the fix.

use std::{
    fs::{self, File},
    io::Read as _,
    os::{fd::FromRawFd as _, unix::fs::PermissionsExt as _},
    process::Stdio,
};

use crate::bench::{Bench, repository};

#[test]
fn a_wrong_name_suggests_the_nearest() {
    let bench = Bench::new();
    bench.uplift(&["compare", "baseline", "slower5", "reference/steady"]).code(2).says("did you mean `slower-5`?");
    bench.uplift(&["compare", "basline", "slower-5"]).code(2).says("did you mean `baseline`?");
    bench.uplift(&["compare", "baseline", "same", "reference/stedy"]).code(2).says("did you mean `reference/steady`?");
    bench.uplift(&["compare", "baseline", "one-sync"]).code(2).says("no scenario has both");
    bench
        .uplift(&["compare", "baseline", "same", "steady", "--metric", "throughputs"])
        .code(2)
        .says("did you mean `throughput`?");
    bench
        .uplift(&["run", "steady", "--variant", "same", "--variant", "same"])
        .code(2)
        .says("`--variant same` is given twice");
    bench.uplift(&["show", "nothing"]).code(2).says("there is no run `nothing`");
    bench.uplift(&["frobnicate"]).code(2);
    bench.uplift(&["compare", "baseline", "same", "--budget", "0s"]).code(2).says("measures nothing");
    let said = bench.uplift(&["compare", "baseline", "optimised"]);
    said.code(2).says("did you mean `optimized`? `uplift list` shows");
    assert!(!said.err().contains("baseline"), "a hundred names help nobody: {}", said.err());
    bench.uplift(&["compare", "baseline", "same", "--budget", "5"]).code(2).says("write a number with a unit");
    bench.uplift(&["compare", "baseline", "same", "steady", "--set", "wurk=3"]).code(2).says("unknown field `wurk`");
    bench
        .uplift(&["compare", "baseline", "same", "steady", "--set", "load.clients=0"])
        .code(2)
        .says("between 1 and 4096");
    assert!(!bench.folder.path().join("results").exists(), "nothing was begun");
}

/// Scenario, what is wrong with it, where, and what is said.
#[test]
fn a_wrong_scenario_is_pointed_at() {
    let good = fs::read_to_string(repository().join("scenarios/reference/steady.toml")).unwrap();
    let cases = [
        ("work = 10_000", "wurk = 10_000", "unknown field `wurk`", "steady.toml:11:"),
        ("work = 10_000", "work = \"much\"", "invalid type", "steady.toml:11:"),
        ("slowdown_percent = 5", "slowdown_percent = -200", "write a number above -100", "steady.toml:"),
        ("clients = 1", "clients = 0", "clients must be 1–4096, got 0", "steady.toml:15:"),
        ("throughput = \">= -3%\"", "troughput = \">= -3%\"", "no metric `troughput`", "steady.toml:"),
        ("target = \"reference\"", "target = \"referense\"", "did you mean `reference`", "steady.toml:2:"),
        ("schema = 1", "schema = 2", "this uplift reads schema 1", "steady.toml:1:"),
        ("[variants.same]", "[variants.same", "", "steady.toml:2"),
    ];
    for (from, to, message, place) in cases {
        let bench = Bench::new();
        let folder = bench.folder.path().join("scenarios/reference");
        fs::create_dir_all(&folder).unwrap();
        assert!(good.contains(from), "{from}");
        fs::write(folder.join("steady.toml"), good.replacen(from, to, 1)).unwrap();
        let scenarios = bench.folder.path().join("scenarios");
        let said = bench.uplift(&["list", "--scenario-dir", scenarios.to_str().unwrap()]);
        said.code(2).says(message);
        assert!(said.err().contains(place), "{place}: {}", said.err());
    }
}

#[test]
fn a_scenario_that_is_no_text_is_named() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("scenarios/reference");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("binary.toml"), b"\xff\xfe").unwrap();
    let scenarios = bench.folder.path().join("scenarios");
    bench.uplift(&["list", "--scenario-dir", scenarios.to_str().unwrap()]).code(2).says("save it as UTF-8 text");
}

#[test]
fn variants_that_differ_in_nothing_in_force_are_incomparable() {
    let bench = Bench::new();
    let said = bench.uplift(&["compare", "baseline", "relabelled", "reference/steady", "--quick", "--blocks", "5"]);
    said.code(4);
    assert!(said.out().contains("differ in nothing that is in force"), "{}", said.out());
}

#[test]
fn a_results_folder_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    let file = bench.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let out = file.join("runs");
    let said = bench.uplift(&["compare", "baseline", "same", "steady", "--quick", "--out", out.to_str().unwrap()]);
    said.code(5).says("file/runs");
    // Root may write everywhere; everybody else is told what to do.
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        let closed = bench.folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        let out = closed.join("runs");
        bench
            .uplift(&["compare", "baseline", "same", "steady", "--quick", "--out", out.to_str().unwrap()])
            .code(5)
            .says("name a folder that can be written with --out");
    }
}

#[test]
fn a_data_directory_in_memory_is_said() {
    let bench = Bench::new();
    let Ok(shm) = tempfile::TempDir::new_in("/dev/shm") else {
        eprintln!("skipped: /dev/shm cannot be written; mount a tmpfs there to run this test");
        return;
    };
    let said = bench.uplift(&[
        "run",
        "reference/steady",
        "--variant",
        "baseline",
        "--quick",
        "--blocks",
        "1",
        "--data-dir",
        shm.path().to_str().unwrap(),
    ]);
    said.code(0).says("is on tmpfs");
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("is on tmpfs"));
}

/// Reports are functions of the records: rebuilt byte for byte, and refused where the records are broken.
#[test]
fn documents_are_rebuilt_byte_for_byte() {
    let bench = Bench::new();
    bench.uplift(&["compare", "baseline", "slower-10", "reference/steady", "--quick", "--blocks", "5"]).code(0);
    let folder = bench.run_folder();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (report, verdicts) = (read("report.md"), read("verdicts.json"));
    let (page, plot) = (read("report.html"), read("plots/reference-steady-latency.svg"));
    fs::remove_file(folder.join("report.html")).unwrap();
    fs::remove_dir_all(folder.join("plots")).unwrap();
    fs::remove_file(folder.join("report.md")).unwrap();
    fs::remove_file(folder.join("verdicts.json")).unwrap();
    bench.uplift(&["report", "latest"]).code(0);
    assert_eq!(read("report.md"), report);
    assert_eq!(read("verdicts.json"), verdicts);
    assert_eq!(read("report.html"), page);
    assert_eq!(read("plots/reference-steady-latency.svg"), plot);
    let shown = bench.uplift(&["show", "latest", "--format", "json"]);
    assert_eq!(shown.0.stdout, verdicts);

    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    fs::write(folder.join("trials.jsonl"), format!("{trials}{{\"schema\":1,\"scen")).unwrap();
    bench.uplift(&["show", "latest"]).code(0).says("is cut off");
    fs::write(folder.join("trials.jsonl"), trials.replacen("\"schema\":1", "\"schema\":9", 1)).unwrap();
    bench.uplift(&["report", "latest"]).code(5).says("schema 9 is newer");
    fs::write(folder.join("trials.jsonl"), trials.replacen("\"scenario\"", "\"scenery\"", 1)).unwrap();
    bench.uplift(&["report", "latest"]).code(5).says("line 1 is not a trial");
    assert_eq!(read("report.md"), report, "nothing was lost");
}

#[test]
fn help_completions_and_doctor_work_without_scenarios() {
    let bench = Bench::new();
    let help = bench.uplift(&["--help"]);
    help.code(0);
    assert!(help.out().contains("exit codes"), "{}", help.out());
    // A reader that goes away (`| head`) is no error.
    let mut child =
        bench.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.uplift(&["completions", shell]).code(0).out().contains("uplift"));
    }
    let doctor = bench.uplift(&["doctor", "--format", "json"]);
    doctor.code(0);
    let findings = doctor.json();
    let probe = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "sync probe").unwrap();
    assert_eq!(probe["state"], "good", "{probe}");
    bench.uplift(&["list", "--schema"]).code(0);
}

#[test]
fn without_a_terminal_there_is_no_bar_and_no_colour() {
    let bench = Bench::new();
    let said = bench.uplift(&["compare", "baseline", "same", "reference/steady", "--quick", "--blocks", "5"]);
    said.code(0);
    let both = [said.0.stdout.as_slice(), said.0.stderr.as_slice()].concat();
    assert!(!both.contains(&0x1b), "an escape sequence was written");
    assert!(!both.contains(&b'\r'), "a bar was drawn");
}

/// On a terminal an error has colors, on one that does not know them it has none.
#[test]
fn a_dumb_terminal_gets_no_colour() {
    let bench = Bench::new();
    let escapes = |kind: &str| {
        let (mut master, mut slave) = (0, 0);
        let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: both numbers are ours to write; the other arguments may be null.
        let opened = unsafe { libc::openpty(&mut master, &mut slave, name, modes, size) };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: openpty gave both, and nobody else owns them.
        let (mut master, slave) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
        let mut command = bench.command(&["show", "nowhere"]);
        command.env_remove("NO_COLOR").env("TERM", kind).stderr(slave);
        assert_eq!(command.status().unwrap().code(), Some(2));
        // The last holder of the other end: without it the terminal is gone once it is read.
        drop(command);
        let mut said = Vec::new();
        // A terminal that nobody holds any more ends with an error.
        let _ = master.read_to_end(&mut said);
        assert!(String::from_utf8_lossy(&said).contains("nowhere"), "{said:?}");
        said.contains(&0x1b)
    };
    assert!(escapes("xterm-256color"));
    assert!(!escapes("dumb"));
}

/// A claim whose source is a document must be checkable: the document's figures are kept beside the scenarios.
#[test]
fn a_claim_without_its_source_is_an_error() {
    let bench = Bench::new();
    let scenarios = bench.folder.path().join("own");
    fs::create_dir_all(scenarios.join("reference")).unwrap();
    fs::write(
        scenarios.join("reference/claimed.toml"),
        "schema = 1\ntarget = \"reference\"\ntitle = \"t\"\n[variants.a]\n[variants.b]\n[[claims]]\nvariant = \"b\"\nmetric = \"throughput\"\nchange = 0.1\nsource = \"paper.md\"\n",
    )
    .unwrap();
    let list = ["list", "--scenario-dir", scenarios.to_str().unwrap()];
    bench.uplift(&list).code(2).says("names the source `paper.md`, which does not exist");
    fs::create_dir_all(scenarios.join("sources")).unwrap();
    fs::write(scenarios.join("sources/paper.md"), "# A paper, 2026\n").unwrap();
    bench.uplift(&list).code(0);
}
