//! The sampler on programs that it did not build, in four languages, beside `perf record` on the same run.
//!
//! Samplers see every child of the process, so the tests of this file take turns. A tool that is not installed is named
//! with what installs it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use uplift_instrument::sampler::{RunningSampler as _, SamplerOptions, StackSampler as _, Work};
use uplift_model::protocol::Profiled;
use uplift_profiler::{Sampler, fallback, perf};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(work: Work) -> SamplerOptions {
    SamplerOptions { frequency_hz: 1999, off_cpu: true, moments: false, work, allocations: false }
}

/// A profile of what `run` does; `None` with the reason printed where this machine forbids it.
fn sampled(work: Work, run: impl FnOnce()) -> Option<Profiled> {
    let sampler = match perf::start(&options(work)) {
        Ok(sampler) => Box::new(sampler),
        Err(message) => {
            eprintln!("skipped: {message}");
            return None;
        }
    };
    run();
    Some(sampler.stop(None).unwrap())
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Whether a tool is there; else what installs it is printed.
fn there(tool: &str, argument: &str, fix: &str) -> bool {
    let found = Command::new(tool).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: no {tool}; {fix}");
    }
    found
}

/// Samples of stacks with all these words.
fn count(folded: &str, words: &[&str]) -> f64 {
    let lines = folded.lines().map(|line| line.rsplit_once(' ').unwrap());
    lines
        .filter(|(stack, _)| words.iter().all(|word| stack.contains(word)))
        .map(|(_, count)| count.parse::<f64>().unwrap())
        .sum()
}

/// The share of each of `names` in all three, as `perf report` has it of the run that it recorded.
fn shares_of_perf(recording: &Path, names: [&str; 3]) -> [f64; 3] {
    let output = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none", "-F", "sample,sym", "-i"])
        .arg(recording)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.trim_end().ends_with(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("perf report has no {name}:\n{text}"))
    };
    shares(names.map(of))
}

fn shares(counts: [f64; 3]) -> [f64; 3] {
    let total: f64 = counts.iter().sum();
    assert!(total > 300.0, "{total} samples are too few to say anything");
    counts.map(|count| count / total)
}

/// Runs `binary` once under `perf record` and under the sampler, and compares what both say of its three functions.
fn beside_perf(binary: &Path, names: [&str; 3], rounds: &str) -> Option<Profiled> {
    if !there("perf", "--version", "apt-get install linux-perf") {
        return None;
    }
    let folder = folder();
    let recording = folder.path().join("perf.data");
    let profiled = sampled(Work::Children, || {
        let status = Command::new("perf")
            .args(["record", "-q", "-e", "cpu-clock", "-F", "1999", "-o"])
            .arg(&recording)
            .arg(binary)
            .arg(rounds)
            .status()
            .unwrap();
        assert!(status.success());
    })?;
    let theirs = shares_of_perf(&recording, names);
    let ours = shares(names.map(|name| count(&profiled.folded, &[name])));
    for ((name, ours), theirs) in names.iter().zip(ours).zip(theirs) {
        assert!((ours - theirs).abs() < 0.03, "{name}: {ours} here and {theirs} of perf\n{}", profiled.folded);
    }
    assert_eq!(profiled.not_sampled, None);
    Some(profiled)
}

fn compiled_c(folder: &Path) -> Option<PathBuf> {
    let binary = folder.join("work");
    // As most programs are built: optimised, without frame pointers.
    let status = Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-o"])
        .arg(&binary)
        .arg(program("work.c"))
        .status()
        .unwrap();
    status.success().then_some(binary)
}

#[test]
fn a_c_program_has_the_shares_that_perf_sees() {
    let _turn = turn();
    let folder = folder();
    let binary = compiled_c(folder.path()).unwrap();
    let Some(profiled) = beside_perf(&binary, ["work_seventy", "work_twenty", "work_ten"], "4000") else { return };
    let all = count(&profiled.folded, &["work;"]);
    let whole = count(&profiled.folded, &["work;main;work_"]);
    assert!(whole > 0.9 * all, "{whole} of {all} are whole\n{}", profiled.folded);
    let waited_us = count(profiled.folded_off_cpu.as_deref().unwrap(), &["work;main;", "nanosleep"]);
    assert!((90_000.0..).contains(&waited_us), "{waited_us} µs\n{:?}", profiled.folded_off_cpu);
}

#[test]
fn a_go_program_has_the_shares_that_perf_sees() {
    let _turn = turn();
    if !there("go", "version", "apt-get install golang-go") {
        return;
    }
    let folder = folder();
    let binary = folder.path().join("gowork");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(program("work.go"))
        .env("GOCACHE", folder.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .status()
        .unwrap();
    assert!(status.success());
    let names = ["main.workSeventy", "main.workTwenty", "main.workTen"];
    let Some(profiled) = beside_perf(&binary, names, "4000") else { return };
    let whole = count(&profiled.folded, &["gowork", "main.main;main.work"]);
    assert!(whole > 0.9 * count(&profiled.folded, &["main.work"]), "{}", profiled.folded);
}

/// A profile of a program that writes a map of its names, which is taken away afterwards.
fn sampled_with_map(command: &mut Command) -> Option<Profiled> {
    let mut pid = 0;
    let profiled = sampled(Work::Children, || {
        let mut child = command.spawn().unwrap();
        pid = child.id();
        assert!(child.wait().unwrap().success());
    });
    let _ = fs::remove_file(format!("/tmp/perf-{pid}.map"));
    profiled
}

#[test]
fn a_script_of_node_shows_its_own_functions() {
    let _turn = turn();
    if !there("node", "--version", "apt-get install nodejs") {
        return;
    }
    let folder = folder();
    let mut node = Command::new("node");
    node.args(["--perf-basic-prof", "--interpreted-frames-native-stack"]).arg(program("work.js")).arg("1500");
    let Some(profiled) = sampled_with_map(node.current_dir(folder.path())) else { return };
    let own = count(&profiled.folded, &["(work.js)"]);
    let all = count(&profiled.folded, &["node"]);
    assert!(own > 0.5 * all, "{own} of {all}\n{}", profiled.folded);
    let seventy = count(&profiled.folded, &["workSeventy (work.js)"]);
    let thirty = count(&profiled.folded, &["workThirty (work.js)"]);
    let share = seventy / (seventy + thirty);
    assert!((share - 0.7).abs() < 0.1, "{share}\n{}", profiled.folded);
}

/// A Python that can write a perf map: 3.12 or newer, in PATH or of pyenv.
fn python() -> Option<PathBuf> {
    let in_path = (12..20).map(|minor| PathBuf::from(format!("python3.{minor}")));
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")))
        .map(|root| root.join("versions"));
    let of_pyenv = pyenv.and_then(|versions| fs::read_dir(versions).ok()).into_iter().flatten().flatten();
    let of_pyenv = of_pyenv.map(|version| version.path().join("bin/python3"));
    in_path.chain(of_pyenv).find(|python| {
        let script = "import sys; sys.activate_stack_trampoline('perf')";
        let status = Command::new(python).args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

#[test]
fn a_script_of_python_shows_its_own_functions() {
    let _turn = turn();
    let Some(python) = python() else {
        eprintln!(
            "skipped: no Python 3.12 or newer, older ones write no perf map; install one, for instance with pyenv"
        );
        return;
    };
    let mut script = Command::new(&python);
    let Some(profiled) = sampled_with_map(script.args(["-X", "perf"]).arg(program("work.py")).arg("1500")) else {
        return;
    };
    let seventy = count(&profiled.folded, &["work_seventy (work.py);"]);
    let thirty = count(&profiled.folded, &["work_thirty (work.py);"]);
    assert!(seventy + thirty > 300.0, "{}", profiled.folded);
    let share = seventy / (seventy + thirty);
    assert!((share - 0.7).abs() < 0.1, "{share}\n{}", profiled.folded);
}

/// A server that runs already, and what it starts.
#[test]
fn processes_that_were_there_before_are_sampled() {
    let _turn = turn();
    let folder = folder();
    let binary = compiled_c(folder.path()).unwrap();
    let script = format!("read line; {0} 1500 & {0} 1500; wait", binary.display());
    let mut server = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let profiled = sampled(Work::OwnAnd(vec![server.id()]), || {
        drop(server.stdin.take());
        assert!(server.wait().unwrap().success());
    });
    let _ = server.wait();
    let Some(profiled) = profiled else { return };
    let own = shares(["work_seventy", "work_twenty", "work_ten"].map(|name| count(&profiled.folded, &["work;", name])));
    assert!((own[0] - 0.7).abs() < 0.06, "{own:?}\n{}", profiled.folded);
    assert!(profiled.sampler.contains("of the agent and of"), "{}", profiled.sampler);
}

/// Two hundred short runs, of which each maps its code elsewhere: they have the same stacks.
#[test]
fn short_runs_fall_together() {
    let _turn = turn();
    let folder = folder();
    let binary = compiled_c(folder.path()).unwrap();
    let profiled = sampled(Work::Children, || {
        for _ in 0..40 {
            assert!(Command::new(&binary).arg("20").status().unwrap().success());
        }
    });
    let Some(profiled) = profiled else { return };
    let lines: BTreeMap<&str, &str> = profiled.folded.lines().filter_map(|line| line.rsplit_once(' ')).collect();
    let user: Vec<&&str> = lines.keys().filter(|stack| **stack == "work;main;work_seventy").collect();
    assert_eq!(user.len(), 1, "{}", profiled.folded);
    assert!(!profiled.folded.contains("[cut];work_"), "{}", profiled.folded);
}

#[test]
fn where_the_work_cannot_be_sampled_that_is_said_first() {
    let _turn = turn();
    let why = || "no perf events here".to_owned();
    let refused = fallback::start(&options(Work::Children), why()).err().unwrap();
    assert!(refused.contains("the programs cannot be sampled") && refused.contains("no perf events"), "{refused}");
    let sampler = Box::new(fallback::start(&options(Work::OwnAnd(vec![1])), why()).unwrap());
    let said = sampler.stop(None).unwrap().not_sampled.unwrap();
    assert!(said.contains("the processes that do the work cannot be sampled: no perf events here"), "{said}");
    assert!(Sampler.start(&SamplerOptions { frequency_hz: 0, ..options(Work::Own) }).is_err());
}
