//! What the commands that run trials share: which scenarios, for how long, where, and how agents are started and sampled.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use uplift_docker::parse_size;
use uplift_engine::{ProfilePlan, Sampling};
use uplift_model::{duration::HumanDuration, scenario::LaunchKind};

use super::disk::{self, DiskChoice};

/// Where scenarios are, and which are meant.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Scenarios: `target/name`, a unique `name`, or `target` for all of it
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Where they are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where scenarios are, and what of them is changed.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Folder with the scenario files [default: the nearest `scenarios`]
    #[arg(long, value_name = "DIR", env = "UPLIFT_SCENARIOS")]
    pub scenario_dir: Option<PathBuf>,
    /// Override a value of the scenario
    ///
    /// `key=v` is a setting of every variant; `workload.key=v`, `load.key=v` and `trial.key=v` are values of those tables.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// How long trials are run, and how: shared by every command that measures.
#[derive(Clone, Debug, Args)]
pub struct TrialArgs {
    /// Time for all scenarios together, as 5m [default: 1m each, 5m20s at most]
    #[arg(long, value_name = "DURATION", value_parser = budget)]
    pub budget: Option<HumanDuration>,
    /// Take six short blocks of each scenario: a first impression
    #[arg(long)]
    pub quick: bool,
    /// Take exactly N blocks of each scenario instead of a budget
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub blocks: Option<u32>,
    /// What does not depend on how long.
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// A time above zero.
pub fn budget(text: &str) -> Result<HumanDuration, String> {
    match text.parse::<HumanDuration>()? {
        HumanDuration(Duration::ZERO) => Err("a budget of zero measures nothing; write a time such as 5m".to_owned()),
        budget => Ok(budget),
    }
}

/// What all commands that run trials share: the seed, folders, limits, and how agents are started.
#[derive(Clone, Debug, Args)]
pub struct SetupArgs {
    /// Seed of plan, load and data [default: from the clock]
    ///
    /// The run records the seed that was used.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Folder for trial data [default: inside the run's folder]
    ///
    /// Its disk is the disk that is measured.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Model a slower disk: `4ms`, a preset, a file, `source`, or `none`
    ///
    /// The time a sync takes (`4ms`), `sync=4ms,sync_p99=20ms,queue=serial`, a preset (`uplift list --disks`), a file of
    /// `doctor --save-disk` or of fio, `source` for the disk that the scenario's published figures come from, or `none` for
    /// the disk that is there.
    #[arg(long, value_name = "DISK", value_parser = disk::parse)]
    pub disk: Option<DiskChoice>,
    /// Memory limit of a trial in MiB [default: 3/4 of the machine's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub memory_max: Option<u64>,
    /// Accept builds with debug assertions
    #[arg(long)]
    pub allow_debug: bool,
    /// Print the plan and how long it takes at most; start and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How agents are started.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// How agents are started: shared by every command that runs trials.
#[derive(Clone, Debug, Default, Args)]
pub struct LaunchArgs {
    /// How to start agents [default: process, or as the variant says]
    #[arg(long, value_enum)]
    pub launch: Option<Launcher>,
    /// Run trials only on nodes of the swarm with this label
    #[arg(long = "swarm-label", value_name = "KEY=VALUE", value_parser = node_label)]
    pub swarm_labels: Vec<String>,
    /// Base image of the agent's container [default: none]
    ///
    /// For instance one with a server that the target needs.
    #[arg(long, value_name = "IMAGE")]
    pub docker_base: Option<String>,
    /// CPU limit of a container, as 1.5 [default: all]
    #[arg(long, value_name = "N", value_parser = cpu_count)]
    pub cpus: Option<f64>,
    /// Memory limit of a container, as 512m [default: --memory-max]
    ///
    /// Containers have no swap.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// Pass an option of `docker run` to containers
    ///
    /// For instance --docker-arg=--device-write-iops=/dev/sda:50.
    #[arg(long = "docker-arg", value_name = "OPTION", allow_hyphen_values = true)]
    pub docker_args: Vec<String>,
}

/// The ways to start an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// A child process
    Process,
    /// A container on the engine that DOCKER_HOST names
    Docker,
    /// Jobs of the swarm whose manager DOCKER_HOST names, each pair of trials on one node
    Swarm,
}

impl From<Launcher> for LaunchKind {
    fn from(launcher: Launcher) -> Self {
        match launcher {
            Launcher::Process => Self::Process,
            Launcher::Docker => Self::Docker,
            Launcher::Swarm => Self::Swarm,
        }
    }
}

fn node_label(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("write KEY=VALUE, such as disk=ssd".to_owned()),
    }
}

fn cpu_count(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.01..=4096.0).contains(&number) => Ok(number),
        _ => Err("write a number of CPUs between 0.01 and 4096".to_owned()),
    }
}

fn memory(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        bytes if bytes < 6 << 20 => Err("a container has at least 6m".to_owned()),
        bytes if bytes > 1 << 50 => Err("no machine has more than 1024t of memory".to_owned()),
        bytes => Ok(bytes),
    }
}

/// What profile trials sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProfileMode {
    /// Nothing: there are none.
    #[default]
    Off,
    /// Threads that run.
    Cpu,
    /// Threads that run and threads that wait.
    Full,
    /// What is allocated: calls and bytes, and the stacks with which it is.
    Allocations,
}

/// How stacks are sampled.
#[derive(Clone, Debug, Args)]
pub struct SamplingArgs {
    /// Samples per second of every running thread
    #[arg(long = "sampling-frequency", value_name = "HZ", default_value_t = 499, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub frequency: u32,
    /// How long each profile trial samples
    #[arg(long = "sampling-window", value_name = "DURATION", default_value = "5s", value_parser = window)]
    pub window: HumanDuration,
    /// Profile trials of each variant; their samples add up
    #[arg(long = "sampling-repeats", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Profile calls slower than this percentile apart, as p99.9
    #[arg(long = "tail", value_name = "PERCENTILE", value_parser = percentile)]
    pub tail: Option<f64>,
}

impl SamplingArgs {
    /// The plan of profile trials that these arguments ask for.
    pub fn plan(&self, mode: ProfileMode) -> ProfilePlan {
        ProfilePlan { sampling: self.sampling(mode), window: self.window.0, repeats: self.repeats }
    }

    /// How agents are to be sampled.
    pub fn sampling(&self, mode: ProfileMode) -> Sampling {
        Sampling {
            frequency_hz: self.frequency,
            off_cpu: mode == ProfileMode::Full,
            tail_percentile: self.tail,
            allocations: mode == ProfileMode::Allocations,
        }
    }
}

/// A time in which something can be sampled, and that a person would wait for.
fn window(text: &str) -> Result<HumanDuration, String> {
    match text.parse::<HumanDuration>()? {
        HumanDuration(Duration::ZERO) => {
            Err("a window of no length samples nothing; write a time such as 5s".to_owned())
        }
        HumanDuration(long) if long > Duration::from_secs(24 * 3600) => Err("it is longer than a day".to_owned()),
        window => Ok(window),
    }
}

/// `p99.9` → 99.9.
fn percentile(text: &str) -> Result<f64, String> {
    match text.strip_prefix('p').unwrap_or(text).parse::<f64>() {
        Ok(number) if (50.0..100.0).contains(&number) => Ok(number),
        _ => Err("write a percentile from p50 to below p100, as p99 or p99.9".to_owned()),
    }
}
