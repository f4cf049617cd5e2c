//! The command line as it is written. Resolution into something runnable is `session.rs`.

#[cfg(test)]
mod bounds;
mod commands;
mod crash;
pub mod disk;
mod measuring;
mod stored;
mod trials;

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use uplift_model::duration::HumanDuration;

pub use self::{
    commands::CommandArgs,
    crash::{CrashArgs, Cutting, Mode},
    measuring::{
        CalibrateArgs, CompareArgs, ComparisonArgs, CrossoverArgs, GateArgs, ProfileArgs, RunArgs, SaturateArgs,
        SweepArgs, VerifyArgs,
    },
    stored::{DiffArgs, Direction, ExportArgs, HistoryArgs, ImportArgs, ReportArgs, RunArg, SiteArgs, StoredArgs},
    trials::{LaunchArgs, Launcher, PlaceArgs, ProfileMode, SelectionArgs, SetupArgs, TrialArgs},
};

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
    /// Measure the targets of this program, not those built in
    ///
    /// It is any program that speaks the protocol of `uplift agent`; its targets are then the only ones.
    #[arg(long, global = true, value_name = "PROGRAM", env = "UPLIFT_AGENT", hide_env = true)]
    pub agent: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands; `help.rs` groups them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare two variants in interleaved trials: the main job
    Compare(CompareArgs),
    /// Compare, check the result against thresholds, and exit with the answer
    Gate(GateArgs),
    /// Measure variants without comparing them
    Run(RunArgs),
    /// Sample stacks: where the time goes, and what moved between two variants
    Profile(ProfileArgs),
    /// Kill a variant or cut its power under load, and count what is gone
    Crash(CrashArgs),
    /// Find the highest rate that an open load sustains
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
    /// Remove what killed runs left on this machine
    Prune(LeftoverArgs),
    /// Manage what uplift keeps on a Docker engine
    Docker(DockerArgs),
    /// Measure a variant against itself: the noise floor of this machine
    Calibrate(CalibrateArgs),
    /// Show a metric over many runs, and where its level changed
    History(HistoryArgs),
    /// Make a site of all runs: plain pages that need no server
    Site(SiteArgs),
    /// Store what another tool measured as a run
    Import(ImportArgs),
    /// Compare two stored runs as far as they are comparable
    Diff(DiffArgs),
    /// Measure a grid of settings in random order and find its best point
    Sweep(SweepArgs),
    /// Find where the better of two variants changes: which disk, how many clients
    Crossover(CrossoverArgs),
    /// Check what this machine can measure, and how to make it measure more
    Doctor(DoctorArgs),
    /// Write the built-in scenarios out, to be read and changed
    Init(InitArgs),
    /// Write manual pages
    Man(ManArgs),
    /// Write a crate for a target of your own, ready to run
    New(NewArgs),
    /// Test whether a program speaks the protocol of an agent
    AgentCheck(AgentCheckArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
}

/// How results are shown.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// When to use colors; NO_COLOR is obeyed
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Print no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print every column, however wide
    #[arg(long, global = true)]
    pub wide: bool,
    /// Open the report in a browser when it is there
    #[arg(long, global = true)]
    pub open: bool,
    /// Print more about what happens
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    #[value(alias = "ansi")]
    Always,
    /// Never.
    Never,
}

/// A metric under the name that it has today.
fn metric_name(text: &str) -> Result<String, Infallible> {
    Ok(uplift_model::metric_names::current(text).to_owned())
}

/// Output format.
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

/// `list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Which scenarios [default: all]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// List the targets with their settings instead
    #[arg(long)]
    pub targets: bool,
    /// List the disks that can be modelled by name, with their sources
    #[arg(long, conflicts_with_all = ["targets", "schema"])]
    pub disks: bool,
    /// Print the JSON Schema of scenario files and of every target's settings
    #[arg(long)]
    pub schema: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
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
    /// Remove what killed runs left behind
    ///
    /// Containers, volumes, images and networks of a run that is alive stay.
    Prune(PruneArgs),
}

/// `docker prune`.
#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove what belongs to runs that may be alive elsewhere
    #[arg(long)]
    pub unknown: bool,
}

/// `prune`.
#[derive(Clone, Debug, Args)]
pub struct LeftoverArgs {
    /// Folder with results, whose runs may have left data
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Look in this folder for trial data too
    ///
    /// The folder that runs were given as `--data-dir`. Only folders that name the run that made them are looked at.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove what belongs to runs that may be alive elsewhere
    #[arg(long)]
    pub unknown: bool,
}

/// `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The folder whose disk is tested
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data_dir: PathBuf,
    /// Measure that disk and save it for `--disk FILE` elsewhere
    #[arg(long, value_name = "FILE.toml")]
    pub save_disk: Option<PathBuf>,
    /// Set governor, turbo and perf permissions so that it measures better
    ///
    /// What may not be changed is printed as a command for root. What was in force is written down first.
    #[arg(long, conflicts_with = "save_disk")]
    pub fix: bool,
    /// Put back what --fix changed
    #[arg(long, conflicts_with_all = ["fix", "save_disk"])]
    pub restore: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `init`.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// Where to
    #[arg(value_name = "FOLDER", default_value = "scenarios")]
    pub folder: PathBuf,
}

/// `man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Where to
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// `new`.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// The folder to create; its last part is the name of the crate
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the SDK comes from: a checkout of uplift, or its git address
    ///
    /// Without it, the checkout that this binary was built from where that is still there, else crates.io.
    #[arg(long, value_name = "WHERE")]
    pub sdk: Option<String>,
}

/// `agent-check`.
#[derive(Clone, Debug, Args)]
pub struct AgentCheckArgs {
    /// The program
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// The target to try [default: the first that it describes]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Its workload, as the scenario would have it
    #[arg(long, value_name = "KEY=VALUE")]
    pub workload: Vec<String>,
    /// Its settings, as a variant would have them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The longest that one answer may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = trials::budget)]
    pub timeout: HumanDuration,
}

/// `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
