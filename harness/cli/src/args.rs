//! The command line as it is written. Resolution into something runnable is `session.rs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uplift_docker::parse_size;
use uplift_engine::{ProfilePlan, Sampling};
use uplift_model::{duration::HumanDuration, scenario::LaunchKind};

/// Did my change make it faster, by how much, at what cost in durability, and where did the time go?
#[derive(Debug, Parser)]
#[command(name = "uplift", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "exit codes: 0 fine · 1 the gate found a regression · 2 usage or scenario error · 3 gate inconclusive (--strict) · 4 incomparable · 5 a target or the environment failed · 130 interrupted"
)]
pub struct Cli {
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure two variants in interleaved trials and say which is better: the main job
    Compare(CompareArgs),
    /// Compare, hold the result against thresholds, and answer with the exit code: for CI
    Gate(GateArgs),
    /// Measure variants without comparing them
    Run(RunArgs),
    /// Sample stacks and say where the time went, and against another variant what moved
    Profile(ProfileArgs),
    /// Search the highest rate that an open load sustains
    Saturate(SaturateArgs),
    /// Run every scenario once at its smallest and check that it is correct
    Verify(VerifyArgs),
    /// List scenarios, variants and targets
    List(ListArgs),
    /// Print a stored run
    Show(StoredArgs),
    /// Rebuild the documents of a stored run from its records
    Report(ReportArgs),
    /// Print a stored run in the format of another tool
    Export(ExportArgs),
    /// Look after what uplift keeps on a Docker engine
    Docker(DockerArgs),
    /// Measure a variant against itself: the noise floor of this machine, kept for later comparisons
    Calibrate(CalibrateArgs),
    /// Show a metric over many runs, and where its level changed
    History(HistoryArgs),
    /// Put two stored runs side by side, as far as they may be compared
    Diff(DiffArgs),
    /// Measure a grid of settings in random order and find its best point
    Sweep(SweepArgs),
    /// Say what this machine can measure, and how to make it measure more
    Doctor(DoctorArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
}

/// How results are shown.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// When to use colours; NO_COLOR is obeyed
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Print no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more about what happens
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The form of the results on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// The report as markdown.
    Markdown,
    /// verdicts.json.
    Json,
}

/// Where scenarios are, and which are meant.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Scenarios: `target/name`, `name` where it is unique, or `target` for all of a target
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Where they are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where scenarios are, and what of them is changed.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Folder with the scenario files [default: `scenarios` here or in a folder above]
    #[arg(long, value_name = "DIR", env = "UPLIFT_SCENARIOS")]
    pub scenario_dir: Option<PathBuf>,
    /// Override a value: `key=v` for a setting of every variant, `workload.key=v`, `load.key=v`, `trial.key=v`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// How trials are run: shared by every verb that runs any.
#[derive(Clone, Debug, Args)]
pub struct TrialArgs {
    /// Time for all scenarios together, such as 5m [default: 1m for each]
    #[arg(long, value_name = "DURATION")]
    pub budget: Option<HumanDuration>,
    /// A first impression: short blocks, under three minutes for everything
    #[arg(long)]
    pub quick: bool,
    /// Exactly so many blocks of each scenario instead of a budget
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub blocks: Option<u32>,
    /// Seed of the plan, the load and the data [default: from the clock, recorded in the run]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Folder for the data of trials; its disk is what is measured [default: inside the run's folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The most memory of one trial, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB")]
    pub memory_max: Option<u64>,
    /// Measure builds with debug assertions too
    #[arg(long)]
    pub allow_debug: bool,
    /// How agents are started.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// How agents are started: shared by every verb that runs trials.
#[derive(Clone, Debug, Default, Args)]
pub struct LaunchArgs {
    /// How agents are started, where a variant does not say so itself [default: process]
    #[arg(long, value_enum)]
    pub launch: Option<Launcher>,
    /// A label that nodes of a swarm must have for trials to run on them
    #[arg(long = "swarm-label", value_name = "KEY=VALUE", value_parser = node_label)]
    pub swarm_labels: Vec<String>,
    /// Image below the agent's container, such as one with a server that the target needs [default: nothing]
    #[arg(long, value_name = "IMAGE")]
    pub docker_base: Option<String>,
    /// Processors of a container, such as 1.5 [default: all]
    #[arg(long, value_name = "N", value_parser = processors)]
    pub cpus: Option<f64>,
    /// Memory of a container, such as 512m; there is no swap [default: as --memory-max]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// An option of `docker run` for containers, such as --docker-arg=--device-write-iops=/dev/sda:50
    #[arg(long = "docker-arg", value_name = "OPTION", allow_hyphen_values = true)]
    pub docker_args: Vec<String>,
}

/// The ways to start an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// A child process.
    Process,
    /// A container of the engine that DOCKER_HOST names.
    Docker,
    /// Jobs of the swarm whose manager DOCKER_HOST names, each pair of trials on one of its nodes.
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

fn processors(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.01..=4096.0).contains(&number) => Ok(number),
        _ => Err("write a number of processors between 0.01 and 4096".to_owned()),
    }
}

fn memory(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        bytes if bytes < 6 << 20 => Err("a container has at least 6m".to_owned()),
        bytes => Ok(bytes),
    }
}

/// How two variants are compared: shared by the verbs that do.
#[derive(Clone, Debug, Args)]
pub struct ComparisonArgs {
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Profile both variants after they were measured, in trials of their own
    #[arg(long, value_enum, default_value_t)]
    pub profile: ProfileMode,
    /// How stacks are sampled.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Another metric as the one that decides
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Binary of the baseline, instead of this one
    #[arg(long, value_name = "PATH")]
    pub baseline_bin: Option<PathBuf>,
    /// Binary of the candidate, instead of this one
    #[arg(long, value_name = "PATH")]
    pub candidate_bin: Option<PathBuf>,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
}

/// `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// The variant to compare against
    pub baseline: String,
    /// The variant in question
    pub candidate: String,
    /// Which scenarios [default: every scenario that has both variants]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How they are compared.
    #[command(flatten)]
    pub how: ComparisonArgs,
}

/// `gate`.
#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// The variant to compare against, the variant in question, and which scenarios; with --base-ref scenarios only
    #[arg(value_name = "NAME")]
    pub variants_and_scenarios: Vec<String>,
    /// Compare with this revision: it is built in a worktree, and both builds run interleaved on this machine
    #[arg(long, value_name = "REVISION", conflicts_with = "baseline_bin")]
    pub base_ref: Option<String>,
    /// The variant of both builds with --base-ref
    #[arg(long, value_name = "VARIANT", default_value = "optimized")]
    pub variant: String,
    /// Where scenarios are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How they are compared.
    #[command(flatten)]
    pub how: ComparisonArgs,
    /// Answer 3 where a rule stays open
    #[arg(long)]
    pub strict: bool,
}

/// `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Which scenarios
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant; may be given several times
    #[arg(long = "variant", value_name = "VARIANT", required_unless_present = "ledger")]
    pub variants: Vec<String>,
    /// Measure the steps of the scenario's `ledger` instead, and say what each brought against the one before it
    #[arg(long, conflicts_with = "variants")]
    pub ledger: bool,
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
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
}

/// How stacks are sampled.
#[derive(Clone, Debug, Args)]
pub struct SamplingArgs {
    /// Samples a second of every running thread
    #[arg(long = "sampling-frequency", value_name = "HZ", default_value_t = 499, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub frequency: u32,
    /// How long each profile trial samples
    #[arg(long = "sampling-window", value_name = "DURATION", default_value = "5s")]
    pub window: HumanDuration,
    /// Profile trials of each variant; their samples are added up
    #[arg(long = "sampling-repeats", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Show the calls slower than this percentile apart from all: p99, p99.9
    #[arg(long = "tail", value_name = "PERCENTILE", value_parser = percentile)]
    pub tail: Option<f64>,
}

/// `p99.9` → 99.9.
fn percentile(text: &str) -> Result<f64, String> {
    match text.strip_prefix('p').unwrap_or(text).parse::<f64>() {
        Ok(number) if (50.0..100.0).contains(&number) => Ok(number),
        _ => Err("write a percentile from p50 to below p100, as p99 or p99.9".to_owned()),
    }
}

/// `profile`.
#[derive(Clone, Debug, Args)]
pub struct ProfileArgs {
    /// Which scenarios
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: String,
    /// Another variant: show what moved from it to the first
    #[arg(long, value_name = "VARIANT")]
    pub against: Option<String>,
    /// What to sample
    #[arg(long, value_enum, default_value_t = ProfileMode::Full)]
    pub mode: ProfileMode,
    /// How stacks are sampled.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Measure what sampling costs instead: the variant against itself under the sampler
    #[arg(long, conflicts_with_all = ["against", "tail"])]
    pub cost: bool,
    /// Time for all scenarios together, with --cost
    #[arg(long, value_name = "DURATION", requires = "cost")]
    pub budget: Option<HumanDuration>,
    /// Seed of the load and the data [default: from the clock, recorded in the run]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Folder for the data of trials [default: inside the run's folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The most memory of one trial, in MiB [default: three quarters of the machine's]
    #[arg(long, value_name = "MIB")]
    pub memory_max: Option<u64>,
    /// How agents are started.
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// Sample builds with debug assertions too
    #[arg(long)]
    pub allow_debug: bool,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `saturate`.
#[derive(Clone, Debug, Args)]
pub struct SaturateArgs {
    /// Which scenario: one with an open load
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: String,
    /// Rate of the first step, operations a second [default: the scenario's]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub from: Option<f64>,
    /// How wide the interval may stay, in percent of the highest sustained rate
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = positive)]
    pub precision: f64,
    /// How trials are run; `--blocks` is the trials of each rate [default: 3]
    #[command(flatten)]
    pub trials: TrialArgs,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("write a positive number".to_owned()),
    }
}

/// `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Which scenarios [default: all]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Folder for the data of trials [default: a temporary folder beside the results]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// How agents are started.
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// `list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Which scenarios [default: all]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// List the targets with their settings instead
    #[arg(long)]
    pub targets: bool,
    /// Print the JSON Schema of scenario files and of every target's settings
    #[arg(long)]
    pub schema: bool,
    /// Form of the list
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A stored run.
#[derive(Clone, Debug, Args)]
pub struct RunArg {
    /// The run: a folder, a name in the results folder or the beginning of one, or `latest`
    pub run: String,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
}

/// Verbs on a stored run.
#[derive(Clone, Debug, Args)]
pub struct StoredArgs {
    /// The run.
    #[command(flatten)]
    pub stored: RunArg,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
}

/// `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Runs: folders, names in the results folder or beginnings of such, or `latest`
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Print the results as well, in this form
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Print the results as well, with every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
    /// Write a page that holds every published figure of the scenarios against these runs, instead of their documents
    #[arg(long, value_name = "FILE")]
    pub replication: Option<PathBuf>,
    /// Folder with the scenario files [default: `scenarios` here or in a folder above]
    #[arg(long, value_name = "DIR", env = "UPLIFT_SCENARIOS")]
    pub scenario_dir: Option<PathBuf>,
}

/// `sweep`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// The scenario
    pub scenario: String,
    /// A parameter and its values; several make a grid. Names are those of --set: a bare key is a setting of the target
    #[arg(long = "param", value_name = "NAME=A,B,C", required = true)]
    pub parameters: Vec<String>,
    /// The variant whose settings every point starts from
    #[arg(long, value_name = "VARIANT", default_value = "baseline")]
    pub variant: String,
    /// Another metric as the one that decides
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Where scenarios are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `calibrate`.
#[derive(Clone, Debug, Args)]
pub struct CalibrateArgs {
    /// Which scenarios [default: every scenario that has the variant]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant that is compared with itself
    #[arg(long, value_name = "VARIANT", default_value = "baseline")]
    pub variant: String,
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The scenario, as `target/name`
    pub scenario: String,
    /// The metric
    #[arg(long, value_name = "METRIC", default_value = "throughput")]
    pub metric: String,
    /// Only this variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// Folder with the runs; the history lies beside it
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Folder to write a plot of each variant into
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// The first run: a folder, a name in the results folder or the beginning of one, or `latest`
    pub first: String,
    /// The second run
    pub second: String,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The run.
    #[command(flatten)]
    pub stored: RunArg,
    /// The format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: ExportFormat,
    /// Only this scenario
    #[arg(long, value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Only this variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// Which metrics go into github-benchmark, whose files have one direction
    #[arg(long, value_enum, default_value_t)]
    pub better: Direction,
    /// Folder to write documents into instead of printing the one
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
}

/// A direction of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Less is better.
    #[default]
    Lower,
    /// More is better.
    Higher,
}

/// Formats of other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Bencher Metric Format (JSON)
    Bmf,
    /// github-action-benchmark (JSON, one direction: see --better)
    GithubBenchmark,
    /// JUnit XML: each rule of the gate a test case
    Junit,
    /// One line for each metric of each trial
    Csv,
    /// HdrHistogram interval log of response times
    Hlog,
    /// HdrHistogram percentile distribution of response times, one document for each variant
    Hgrm,
    /// Go benchmark format, for `benchstat -col /variant`
    Benchfmt,
    /// OpenMetrics text
    Openmetrics,
    /// pprof (gzipped protocol buffer) of the processor time of each profiled variant, for `go tool pprof`
    Pprof,
}

impl ExportFormat {
    /// The format as the report knows it.
    pub const fn format(self) -> uplift_report::export::Format {
        use uplift_report::export::Format;
        match self {
            Self::Bmf => Format::Bmf,
            Self::GithubBenchmark => Format::GithubBenchmark,
            Self::Junit => Format::Junit,
            Self::Csv => Format::Csv,
            Self::Hlog => Format::Hlog,
            Self::Hgrm => Format::Hgrm,
            Self::Benchfmt => Format::Benchfmt,
            Self::Openmetrics => Format::Openmetrics,
            Self::Pprof => Format::Pprof,
        }
    }
}

/// `docker`.
#[derive(Clone, Debug, Args)]
pub struct DockerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DockerCommand,
}

/// What can be done.
#[derive(Clone, Debug, Subcommand)]
pub enum DockerCommand {
    /// Remove containers, volumes and images that killed runs left behind; those of a run that is alive stay
    Prune(PruneArgs),
}

/// `docker prune`.
#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Remove also what belongs to runs of which it cannot be told from here whether they are alive
    #[arg(long)]
    pub unknown: bool,
}

/// `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The folder whose disk is tried
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data_dir: PathBuf,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl SamplingArgs {
    /// The plan of profile trials that these arguments ask for.
    pub fn plan(&self, mode: ProfileMode) -> ProfilePlan {
        ProfilePlan { sampling: self.sampling(mode), window: self.window.0, repeats: self.repeats }
    }

    /// How agents are to be sampled.
    pub fn sampling(&self, mode: ProfileMode) -> Sampling {
        Sampling { frequency_hz: self.frequency, off_cpu: mode == ProfileMode::Full, tail_percentile: self.tail }
    }
}
