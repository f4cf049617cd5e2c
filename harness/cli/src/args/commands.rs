//! Programs on the command line instead of a scenario: `--cmd` and what belongs to it, in the words of other tools.

use clap::Args;
use uplift_model::duration::HumanDuration;

use super::trials::budget;
use crate::error::CliError;

/// Programs to measure, without a scenario file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Commands")]
pub struct CommandArgs {
    /// A program and its arguments, instead of a scenario; repeat for each
    ///
    /// Words are split as a shell would and the program is started directly. In each run {data} stands for a fresh
    /// folder, {block} for one that lives as long as the block, {seed} for a number that is the same for all programs of
    /// a block, {run} for the number of the run.
    #[arg(long, value_name = "COMMAND")]
    pub cmd: Vec<String>,
    /// Name of a program, in order [default: what differs between them]
    #[arg(short = 'n', long = "name", alias = "command-name", value_name = "NAME", requires = "cmd")]
    pub names: Vec<String>,
    /// Give commands to a shell, for pipes and redirections
    #[arg(short = 'S', long, value_name = "SHELL", num_args = 0..=1, require_equals = true, default_missing_value = "sh", requires = "cmd")]
    pub shell: Option<String>,
    /// Start commands without a shell, which is what happens anyway
    #[arg(short = 'N', hide = true, conflicts_with = "shell")]
    pub no_shell: bool,
    /// Run this before each run, not timed
    ///
    /// Given once it is for all programs, otherwise once for each, in order.
    #[arg(short = 'p', long, value_name = "COMMAND", requires = "cmd")]
    pub prepare: Vec<String>,
    /// Run this after each run, not timed
    #[arg(short = 'C', short_alias = 'c', long, alias = "conclude", value_name = "COMMAND", requires = "cmd")]
    pub cleanup: Option<String>,
    /// Run this once before the runs of each block
    #[arg(short = 's', long, value_name = "COMMAND", requires = "cmd")]
    pub setup: Option<String>,
    /// Run this once after the runs of each block
    #[arg(long, value_name = "COMMAND", requires = "cmd")]
    pub teardown: Option<String>,
    /// File that each run reads as standard input [default: nothing]
    #[arg(long, value_name = "FILE", requires = "cmd")]
    pub input: Option<String>,
    /// Where standard output goes: `null`, `pipe` or a file
    ///
    /// What goes to a `pipe` is read and thrown away.
    #[arg(long = "output", value_name = "WHERE", requires = "cmd")]
    pub stdout: Option<String>,
    /// Exactly so many runs of each program [default: until it is decided]
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "cmd")]
    pub runs: Option<u32>,
    /// At least so many runs of each program
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "cmd", conflicts_with = "runs")]
    pub min_runs: Option<u32>,
    /// At most so many runs of each program
    #[arg(short = 'M', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "cmd", conflicts_with = "runs")]
    pub max_runs: Option<u32>,
    /// Time for each program, as 5000 (ms) or 5s [default: until decided]
    #[arg(short = 'd', long, value_name = "DURATION", value_parser = milliseconds, requires = "cmd", conflicts_with = "runs")]
    pub duration: Option<HumanDuration>,
    /// Runs at the beginning of each block that are not timed [default: 1]
    #[arg(short = 'w', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "cmd")]
    pub warmup: Option<u32>,
    /// Take runs with another exit status than 0 like others
    #[arg(short = 'i', short_alias = 'f', long, visible_alias = "allow-failures", requires = "cmd")]
    pub ignore_failure: bool,
    /// The longest that one run may take [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = budget, requires = "cmd")]
    pub timeout: Option<HumanDuration>,
    /// Environment of the runs
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable, requires = "cmd")]
    pub env: Vec<(String, String)>,
    /// Working folder of the runs [default: this one]
    #[arg(long, value_name = "DIR", requires = "cmd")]
    pub dir: Option<String>,
    /// Standard output must be the same in every run and of all programs
    #[arg(long, requires = "cmd")]
    pub same_output: bool,
    /// Standard output of every run must be that of this file
    #[arg(long, value_name = "FILE", requires = "cmd")]
    pub expect_stdout: Option<String>,
    /// Standard output of every run must match this regular expression
    #[arg(long, value_name = "REGEX", requires = "cmd")]
    pub expect_match: Option<String>,
    /// An exit status that is right; may be given several times [default: 0]
    #[arg(long = "exit-code", value_name = "N", requires = "cmd")]
    pub exit_codes: Vec<i32>,
    /// A value that the program prints, as `tps=pgbench.tps`
    ///
    /// Or `NAME=UNIT,higher|lower,regex:REGEX`, or `NAME=UNIT,higher|lower,json:POINTER`.
    #[arg(long = "value", value_name = "NAME=WHERE", requires = "cmd")]
    pub values: Vec<String>,
    /// How sync calls are counted
    #[arg(long, value_name = "COLLECTOR", value_parser = ["auto", "seccomp", "tracepoint", "preload", "off"], requires = "cmd")]
    pub sync_collector: Option<String>,
    /// Count in one more run of each block: `instructions`, `allocations`
    ///
    /// Instructions are counted by callgrind, allocations by a preloaded library.
    /// May be given several times. What variants of a scenario allocate is told by `--profile allocations`.
    #[arg(long, value_name = "WHAT", value_parser = ["instructions", "allocations"], requires = "cmd")]
    pub count: Vec<String>,
    /// Build this revision of the repository and compare with it
    ///
    /// With --cmd, given once, that program is built by --build in a worktree of the revision and in the working tree.
    /// Without it, for `gate`, the program that serves trials is.
    #[arg(long, value_name = "REVISION")]
    pub base_ref: Option<String>,
    /// The other revision [default: the working tree as it is]
    #[arg(long, value_name = "REVISION", requires = "base_ref")]
    pub head_ref: Option<String>,
    /// Build a revision by this, given to `sh`
    ///
    /// It runs in the folder of the revision that corresponds to the current one.
    #[arg(long, value_name = "COMMAND", requires = "cmd")]
    pub build: Option<String>,
    /// Write the scenario file for this, `scenarios/command/NAME.toml`
    #[arg(long, value_name = "NAME", requires = "cmd")]
    pub save: Option<String>,
}

impl CommandArgs {
    /// What no single argument can tell.
    pub fn check(&self) -> Result<(), CliError> {
        if self.base_ref.is_some() && self.cmd.is_empty() {
            return Err(CliError::usage(
                "--base-ref says in which revision a program is, and no --cmd names one",
                "give --cmd, or `uplift gate --base-ref` for the scenarios of this repository",
            ));
        }
        Ok(())
    }
}

/// A time, which a plain number says in milliseconds as poop has it.
fn milliseconds(text: &str) -> Result<HumanDuration, String> {
    match text.parse::<u64>() {
        Ok(number) => budget(&format!("{number}ms")),
        Err(_) => budget(text),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
