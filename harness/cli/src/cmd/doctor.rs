//! `uplift doctor`: what this machine can measure, each with its state and the fix.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use uplift_engine::{cpu_latency::CpuLatency, environment};
use uplift_instrument::{
    sampler::{SamplerOptions, StackSampler as _, Work},
    sync_collectors, sync_probe,
};
use uplift_model::{
    Problem,
    disk::{DiskModel, DiskQueue, Quantile},
    duration::HumanDuration,
    trial::SyncCollectorChoice,
};
use uplift_report::{
    document::{Column, Document, Section, Table, Text},
    number::nanoseconds,
};

use crate::{
    args::{DoctorArgs, Format},
    error::CliError,
    exit,
    output::Terminal,
};

/// Syncs that a saved disk is measured by.
const SAVED_SYNCS: usize = 2000;
/// The quantiles that are kept of them.
const SAVED_SHARES: [f64; 11] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// How well something works here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Limited,
    Missing,
}

struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    remedy: Option<String>,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, state: State::Good, detail: detail.into(), remedy: None }
    }

    fn poor(what: &'static str, state: State, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, state, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Of what does not work.
    fn of(what: &'static str, state: State, problem: Problem) -> Self {
        Self { what, state, detail: problem.state(), remedy: problem.remedy }
    }

    /// Of what does not work where nobody knows a fix.
    fn stated(what: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self { what, state, detail: detail.into(), remedy: None }
    }
}

/// Looks at everything and prints it.
pub fn run(args: &DoctorArgs, terminal: &Terminal) -> Result<u8, CliError> {
    if args.fix {
        return super::doctor_fix::fix(&args.data_dir, terminal);
    }
    if args.restore {
        return super::doctor_fix::restore(terminal);
    }
    if let Some(file) = &args.save_disk {
        return save_disk(args, file, terminal);
    }
    let mut findings = vec![
        build(),
        cores(),
        idle_cpus(),
        probe(),
        disk(&args.data_dir),
        data_dir(&args.data_dir),
        perf_events(),
        kernel_symbols(),
        profiler(),
        docker(),
        postgres(),
    ];
    findings.extend(sync_collectors());
    if args.format == Format::Json {
        let all: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "state": word(finding.state), "detail": finding.detail, "remedy": finding.remedy }))
            .collect();
        terminal.print(&format!("{:#}", json!(all)));
        return Ok(exit::OK);
    }
    let mut section = Section::new("doctor", "What this machine can measure").untitled().brief();
    let columns = vec![Column::words("state"), Column::words("what"), Column::words("detail")];
    let mut table = Table::new("What this machine can measure", columns).brief();
    for finding in &findings {
        let fix = finding.remedy.as_ref().map_or_else(String::new, |remedy| format!("; fix: {remedy}"));
        let strong = finding.state != State::Good;
        let word = if strong { Text::strong(word(finding.state)) } else { word(finding.state).into() };
        table.row(vec![word.into(), finding.what.into(), format!("{}{fix}", finding.detail).into()]).strong(strong);
    }
    section.table(table);
    terminal.show(&Document::of(section), args.format, false);
    Ok(exit::OK)
}

const fn word(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Limited => "limited",
        State::Missing => "missing",
    }
}

fn build() -> Finding {
    if cfg!(debug_assertions) {
        return Finding::poor(
            "build",
            State::Limited,
            "debug assertions are on: results are refused without --allow-debug",
            "build with this repository's dev or release profile",
        );
    }
    Finding::good("build", "optimised, no debug assertions")
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Finding::poor(
            "CPUs",
            State::Limited,
            "1 core: load generator and system share it",
            "use a machine with at least 2 cores",
        );
    }
    Finding::good("CPUs", format!("{cores} cores"))
}

fn idle_cpus() -> Finding {
    match CpuLatency::hold(Duration::ZERO) {
        Ok(_) => Finding::good("idle CPUs", "can be kept from sleeping where a scenario asks for it"),
        Err(problem) => Finding::of("idle CPUs", State::Limited, problem),
    }
}

fn probe() -> Finding {
    if sync_probe::is_live() {
        return Finding::good(
            "sync probe",
            format!(
                "live: sync calls of a target are counted exactly; not seen: {}",
                sync_probe::BLIND_SPOTS.join(", ")
            ),
        );
    }
    Finding::poor(
        "sync probe",
        State::Missing,
        "the linker took the C library's functions: sync calls are not counted",
        "link the binary against `uplift-instrument` without excluding its symbols",
    )
}

/// How sync calls of any program can be counted, and what that adds to one.
fn sync_collectors() -> Vec<Finding> {
    let folder = env::temp_dir().join(format!("uplift-doctor-{}", std::process::id()));
    let made = fs::create_dir_all(&folder);
    let all = [
        ("syncs: seccomp", SyncCollectorChoice::Seccomp),
        ("syncs: tracing", SyncCollectorChoice::Tracepoint),
        ("syncs: preload", SyncCollectorChoice::Preload),
    ];
    let findings = all.into_iter().map(|(what, choice)| {
        if let Err(error) = &made {
            let detail = format!("`{}` could not be created: {error}", folder.display());
            return Finding::poor(what, State::Missing, detail, "point TMPDIR at a folder that can be written");
        }
        match sync_collectors::open(choice, &folder) {
            Ok(Some(collector)) => match collector.cost_ns() {
                Ok(cost_ns) => Finding::good(
                    what,
                    format!("counts sync calls of programs (--cmd); adds {} to one call", nanoseconds(cost_ns as u64)),
                ),
                Err(message) => Finding::stated(what, State::Limited, message),
            },
            Ok(None) => Finding::good(what, "not asked for"),
            Err(problem) => Finding::of(what, State::Missing, problem),
        }
    });
    let findings = findings.collect();
    let _ = fs::remove_dir_all(&folder);
    findings
}

fn disk(folder: &Path) -> Finding {
    match sync_times_ns(folder, 51) {
        Ok(times) => Finding::good(
            "disk sync",
            format!(
                "fdatasync after 4 KiB: median {}, slowest of 51 {}",
                nanoseconds(times[25]),
                nanoseconds(times[50])
            ),
        ),
        Err(error) => Finding::poor(
            "disk sync",
            State::Missing,
            format!("could not write `{}`: {error}", folder.display()),
            "name a folder that can be written with --data-dir",
        ),
    }
}

/// How long `fdatasync` took after 4 KiB each, ascending.
fn sync_times_ns(folder: &Path, calls: usize) -> io::Result<Vec<u64>> {
    let path = folder.join(format!(".uplift-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
    let mut times = Vec::new();
    let outcome = (0..calls).try_for_each(|_| {
        file.write_all(&[0; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_nanos() as u64);
        Ok(())
    });
    fs::remove_file(&path)?;
    outcome.map(|()| {
        times.sort_unstable();
        times
    })
}

/// Measures the disk of `args.data_dir` and writes it down as one that can be modelled elsewhere.
fn save_disk(args: &DoctorArgs, file: &Path, terminal: &Terminal) -> Result<u8, CliError> {
    let times = sync_times_ns(&args.data_dir, SAVED_SYNCS).map_err(|error| {
        CliError::environment(
            format!("could not measure the disk of `{}`: {error}", args.data_dir.display()),
            "name a folder that can be written with --data-dir",
        )
    })?;
    let at = |share: f64| HumanDuration(Duration::from_nanos(times[(share * (times.len() - 1) as f64) as usize]));
    let environment = environment::read(&args.data_dir);
    let disk = DiskModel {
        name: file.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        sync: at(0.5),
        sync_p99: None,
        quantiles: SAVED_SHARES.map(|share| Quantile { share, latency: at(share) }).to_vec(),
        queue: DiskQueue::default(),
        bandwidth: None,
        iops: None,
        source: Some(format!(
            "uplift doctor: {SAVED_SYNCS} fdatasync calls after 4 KiB each, one thread, on {}",
            environment.filesystem.as_deref().unwrap_or("an unknown file system")
        )),
    };
    let text = toml::to_string(&disk)
        .map_err(|error| CliError::environment(format!("could not write the disk as TOML: {error}"), ""))?;
    fs::write(file, text).map_err(|error| {
        CliError::environment(format!("could not write `{}`: {error}", file.display()), "name another file")
    })?;
    terminal.say(&format!("{}; use it with --disk {}", disk.words(), file.display()));
    Ok(exit::OK)
}

fn data_dir(folder: &Path) -> Finding {
    let environment = environment::read(folder);
    let filesystem = environment.filesystem.clone().unwrap_or_else(|| "unknown".to_owned());
    let free = environment::free_bytes(folder).unwrap_or(0);
    if let Some(warning) = environment::data_dir_warning(&environment) {
        return Finding::poor("data directory", State::Limited, warning, "name a directory on a disk with --data-dir");
    }
    if free < environment::FREE_BYTES_MIN {
        return Finding::poor(
            "data directory",
            State::Limited,
            format!("{} MiB free on {filesystem}", free >> 20),
            "free some space or name a folder on another disk with --data-dir",
        );
    }
    Finding::good("data directory", format!("{filesystem}, {} GiB free", free >> 30))
}

fn perf_events() -> Finding {
    let path = "/proc/sys/kernel/perf_event_paranoid";
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    match fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok()) {
        None => {
            Finding::poor("perf events", State::Missing, "the kernel has none", "profiles will hold user frames only")
        }
        Some(level) if root || level <= 1 => Finding::good("perf events", format!("perf_event_paranoid is {level}")),
        Some(2) => Finding::poor(
            "perf events",
            State::Limited,
            "perf_event_paranoid is 2: user frames only",
            "sysctl kernel.perf_event_paranoid=1",
        ),
        Some(level) => Finding::poor(
            "perf events",
            State::Missing,
            format!("perf_event_paranoid is {level}"),
            "sysctl kernel.perf_event_paranoid=1",
        ),
    }
}

fn kernel_symbols() -> Finding {
    match uplift_profiler::symbol::KernelSymbols::read() {
        Ok(_) => Finding::good("kernel symbols", "/proc/kallsyms shows addresses"),
        Err(problem) => Finding::of("kernel symbols", State::Missing, problem),
    }
}

/// The sampler that profiles here, tried.
fn profiler() -> Finding {
    let options =
        SamplerOptions { frequency_hz: 99, off_cpu: true, moments: false, work: Work::Own, allocations: false };
    match uplift_profiler::Sampler.start(&options) {
        Ok(running) => {
            let (name, warnings) = (running.name(), running.warnings());
            if let Err(error) = running.stop(None) {
                return Finding::poor("profiler", State::Missing, error, "report this as a defect of uplift");
            }
            if warnings.is_empty() {
                return Finding::good("profiler", format!("{name}: kernel and user frames, waiting threads"));
            }
            Finding::stated("profiler", State::Limited, format!("{name}: {}", warnings.join("; ")))
        }
        Err(message) => Finding::stated("profiler", State::Missing, format!("no stacks can be sampled: {message}")),
    }
}

fn docker() -> Finding {
    match uplift_docker::Engine::connect() {
        Ok(engine) => {
            let facts = engine.facts();
            let detail = format!(
                "engine {} at {}, {}, cgroup {}{}",
                facts.version,
                facts.host,
                facts.storage_driver,
                facts.cgroup_version,
                if facts.rootless { ", rootless" } else { "" }
            );
            if facts.limits {
                return Finding::good("docker", detail);
            }
            Finding::poor(
                "docker",
                State::Limited,
                format!("{detail}: it cannot limit CPUs or memory, so --cpus and --memory do not hold"),
                "run the engine where it may use the cgroup controllers cpu and memory",
            )
        }
        Err(error) => Finding::of("docker", State::Missing, error.problem()),
    }
}

fn postgres() -> Finding {
    if env::var_os("UPLIFT_POSTGRES_URL").is_some() {
        return Finding::good("postgresql", "UPLIFT_POSTGRES_URL is set (not tried)");
    }
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let found = in_path.chain(debian).find(|folder| File::open(folder.join("initdb")).is_ok());
    match found {
        Some(folder) => Finding::good("postgresql", format!("server binaries in {}", folder.display())),
        None => Finding::poor(
            "postgresql",
            State::Missing,
            "no server binaries and no UPLIFT_POSTGRES_URL: scenarios that need it use a container, or are skipped",
            "install PostgreSQL's server package, set UPLIFT_POSTGRES_URL, or have a Docker engine with its image",
        ),
    }
}
