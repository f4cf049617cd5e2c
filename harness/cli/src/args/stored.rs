//! The verbs that read stored runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;

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
    /// pprof (gzipped protocol buffer) of the CPU time of each profiled variant, for `go tool pprof`
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
