//! The commands that run trials.

use std::path::PathBuf;

use clap::{Args, builder::ArgPredicate};
use uplift_model::{
    duration::HumanDuration,
    scenario::{Bound, RATES},
};

use super::{
    Format,
    commands::CommandArgs,
    metric_name,
    trials::{PlaceArgs, ProfileMode, SamplingArgs, SelectionArgs, SetupArgs, TrialArgs, budget},
};

/// How two variants are compared: shared by the commands that do.
#[derive(Clone, Debug, Args)]
pub struct ComparisonArgs {
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Profile both variants after the measurement, in trials of their own
    #[arg(long, value_enum, default_value_t)]
    pub profile: ProfileMode,
    /// How stacks are sampled.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Kill both variants and cut their power so many times afterwards
    ///
    /// What they hold of what they declare is shown beside the comparison; a variant that declares more cannot be compared.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub crash: Option<u32>,
    /// Override the primary metric, which decides
    #[arg(long, value_name = "METRIC", value_parser = metric_name)]
    pub metric: Option<String>,
    /// Run the baseline with this binary
    #[arg(long, value_name = "PATH")]
    pub baseline_bin: Option<PathBuf>,
    /// Run the candidate with this binary
    #[arg(long, value_name = "PATH")]
    pub candidate_bin: Option<PathBuf>,
    /// Output format
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
    #[arg(required = false, required_unless_present = "cmd", default_value_if("cmd", ArgPredicate::IsPresent, ""))]
    pub baseline: String,
    /// The variant in question
    #[arg(required = false, required_unless_present = "cmd", default_value_if("cmd", ArgPredicate::IsPresent, ""))]
    pub candidate: String,
    /// Programs instead of variants of a scenario.
    #[command(flatten)]
    pub commands: CommandArgs,
    /// Which scenarios [default: every scenario that has both variants]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Run both at the same time: say quickly whether something moved
    ///
    /// Each variant has half of the CPUs, fresh processes and rounds of the same moments. The answer is "moved", "not seen to move"
    /// or "cannot tell", and no size: two that run at the same time get in each other's way. `compare` without it measures the size.
    #[arg(long, conflicts_with_all = ["quick", "profile", "crash", "base_ref"])]
    pub screen: bool,
    /// How they are compared.
    #[command(flatten)]
    pub how: ComparisonArgs,
}

/// `run_time<=+5%`: a metric and its bound.
fn rule(text: &str) -> Result<(String, Bound), String> {
    let at = text.find(['<', '>', '=']).ok_or("write a metric, a comparison and a number, such as `run_time<=+5%`")?;
    let (metric, bound) = text.split_at(at);
    if metric.trim().is_empty() {
        return Err("it names no metric: write `run_time<=+5%`".to_owned());
    }
    Ok((uplift_model::metric_names::current(metric.trim()).to_owned(), bound.parse()?))
}

/// `gate`.
#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// Baseline, candidate and scenarios; with --base-ref scenarios only
    #[arg(value_name = "NAME")]
    pub variants_and_scenarios: Vec<String>,
    /// Programs instead of variants, and the revision to compare with.
    #[command(flatten)]
    pub commands: CommandArgs,
    /// The variant of both builds with --base-ref
    #[arg(long, value_name = "VARIANT", default_value = "optimized")]
    pub variant: String,
    /// Where scenarios are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How they are compared.
    #[command(flatten)]
    pub how: ComparisonArgs,
    /// A rule for every scenario, as `run_time<=+5%`; instead of its own
    #[arg(long = "rule", value_name = "RULE", value_parser = rule)]
    pub rules: Vec<(String, Bound)>,
    /// Compare the baseline with itself first, for so long: the A/A floor
    ///
    /// What it shows stands beside each change in the comment, and times that move less than it are not told apart.
    #[arg(long, value_name = "DURATION", value_parser = budget)]
    pub floor: Option<HumanDuration>,
    /// Exit 3 if any rule is inconclusive
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
    #[arg(long = "variant", value_name = "VARIANT", required_unless_present_any = ["ledger", "cmd"])]
    pub variants: Vec<String>,
    /// Measure the steps of the scenario's `ledger`, each against the last
    #[arg(long, conflicts_with = "variants")]
    pub ledger: bool,
    /// Programs instead of variants; several are ranked.
    #[command(flatten)]
    pub commands: CommandArgs,
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
}

/// `profile`.
#[derive(Clone, Debug, Args)]
pub struct ProfileArgs {
    /// Which scenarios
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant
    #[arg(
        long,
        value_name = "VARIANT",
        required_unless_present = "cmd",
        conflicts_with = "cmd",
        default_value_if("cmd", ArgPredicate::IsPresent, "")
    )]
    pub variant: String,
    /// Programs instead of a variant: of two what moved from the first to the second.
    #[command(flatten)]
    pub commands: CommandArgs,
    /// Show what moved from this variant to the first
    #[arg(long, value_name = "VARIANT")]
    pub against: Option<String>,
    /// What to sample
    #[arg(long, value_enum, default_value_t = ProfileMode::Full)]
    pub mode: ProfileMode,
    /// Count and sample what is allocated, the same as `--mode allocations`
    #[arg(long, conflicts_with_all = ["mode", "tail", "cost"])]
    pub allocations: bool,
    /// How stacks are sampled.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Measure what sampling costs instead: the variant against itself
    #[arg(long, conflicts_with_all = ["against", "tail", "cmd"])]
    pub cost: bool,
    /// Time for all scenarios together, with --cost
    #[arg(long, value_name = "DURATION", requires = "cost", value_parser = budget)]
    pub budget: Option<HumanDuration>,
    /// What all commands that run trials share.
    #[command(flatten)]
    pub setup: SetupArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl ProfileArgs {
    /// What is sampled.
    pub const fn mode(&self) -> ProfileMode {
        if self.allocations { ProfileMode::Allocations } else { self.mode }
    }
}

/// `saturate`.
#[derive(Clone, Debug, Args)]
pub struct SaturateArgs {
    /// Which scenario: one with an open load, or with a closed one for --clients
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: String,
    /// What must hold: `response_p99 < 50ms, success_rate > 99.9%`
    ///
    /// Finds the highest rate that holds it, instead of the highest that is sustained.
    #[arg(long, value_name = "TERMS")]
    pub slo: Option<String>,
    /// Sweep a closed load's clients instead: `1..64`, `1,2,4,8`
    ///
    /// Fits the Universal Scalability Law to throughput, and says what it predicts and how far it may be believed.
    #[arg(long, value_name = "LOW..HIGH", value_parser = clients, conflicts_with_all = ["slo", "from", "precision"])]
    pub clients: Option<Clients>,
    /// First rate, in operations per second [default: the scenario's]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub from: Option<f64>,
    /// Width of the interval to stop at, in percent of the sustained rate
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percent)]
    pub precision: f64,
    /// Trials that decide about each rate
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub blocks: u32,
    /// A first impression: short trials
    #[arg(long)]
    pub quick: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What all commands that run trials share.
    #[command(flatten)]
    pub setup: SetupArgs,
}

impl SaturateArgs {
    /// How the trials of one rate are run. A search takes as many steps as it needs: it has no budget.
    pub fn trials(&self) -> TrialArgs {
        TrialArgs { budget: None, quick: self.quick, blocks: Some(self.blocks), setup: self.setup.clone() }
    }
}

/// Numbers of clients. Clap takes a bare list for several values of one option.
pub type Clients = std::sync::Arc<[u32]>;

fn clients(text: &str) -> Result<Clients, String> {
    crate::cmd::saturate::parse_clients(text).map(Into::into)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("write a positive number".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match positive(text)? {
        percent if percent <= 100.0 => Ok(percent),
        _ => Err("write a percentage up to 100".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match positive(text)? {
        rate if RATES.contains(&rate) => Ok(rate),
        _ => Err("write operations a second, between 0.001 and 1000000000".to_owned()),
    }
}

/// `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Which scenarios [default: all]
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What all commands that run trials share.
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// `sweep`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// The scenario
    #[arg(required = false, required_unless_present = "cmd", default_value_if("cmd", ArgPredicate::IsPresent, ""))]
    pub scenario: String,
    /// One program instead of a scenario.
    #[command(flatten)]
    pub commands: CommandArgs,
    /// A parameter and its values; several make a grid
    ///
    /// Names are those of --set: a bare key is a setting of the target. Where `{NAME}` stands in a setting it is filled
    /// in there.
    #[arg(long = "param", value_name = "NAME=A,B,C", required_unless_present_any = ["lists", "scans"])]
    pub parameters: Vec<String>,
    /// The same as --param, in hyperfine's words
    #[arg(short = 'L', long = "parameter-list", num_args = 2, value_names = ["NAME", "A,B,C"])]
    pub lists: Vec<String>,
    /// A parameter that goes from a number to another
    #[arg(short = 'P', long = "parameter-scan", num_args = 3, value_names = ["NAME", "FROM", "TO"], allow_hyphen_values = true)]
    pub scans: Vec<String>,
    /// By how much it grows each time
    #[arg(short = 'D', long = "parameter-step-size", value_name = "STEP", default_value_t = 1.0, value_parser = positive, requires = "scans")]
    pub step: f64,
    /// The variant whose settings every point starts from
    #[arg(long, value_name = "VARIANT", default_value = "baseline")]
    pub variant: String,
    /// Override the primary metric, which decides
    #[arg(long, value_name = "METRIC", value_parser = metric_name)]
    pub metric: Option<String>,
    /// Where scenarios are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How trials are run.
    #[command(flatten)]
    pub trials: TrialArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `crossover`.
#[derive(Clone, Debug, Args)]
pub struct CrossoverArgs {
    /// The scenario
    pub scenario: String,
    /// The two variants
    #[arg(long, num_args = 2, value_names = ["BASELINE", "CANDIDATE"], required = true)]
    pub between: Vec<String>,
    /// What varies: `disk.sync=50us..20ms`, `load.clients=1..64`
    ///
    /// Names are those of --set.
    #[arg(long, value_name = "KEY=LOW..HIGH")]
    pub over: String,
    /// The most points
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..=50))]
    pub points: u32,
    /// Stop when the points around a crossing are this close
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0, value_parser = percent)]
    pub precision: f64,
    /// Where scenarios are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Blocks of each point
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub blocks: u32,
    /// What all commands that run trials share.
    #[command(flatten)]
    pub setup: SetupArgs,
    /// Output format
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
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
