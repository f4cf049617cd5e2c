//! The commands that read stored runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Format, metric_name};

/// A stored run.
#[derive(Clone, Debug, Args)]
pub struct RunArg {
    /// A run: `latest`, a folder, or a name in the results folder
    ///
    /// The beginning of a name is enough where it is unique.
    pub run: String,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
}

/// Commands on a stored run.
#[derive(Clone, Debug, Args)]
pub struct StoredArgs {
    /// The run.
    #[command(flatten)]
    pub stored: RunArg,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
}

/// `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Runs: `latest`, folders, or names in the results folder
    ///
    /// The beginning of a name is enough where it is unique.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Print the results as well, in this format
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Print the results as well, with every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
    /// Write a page that compares published figures with these runs
    ///
    /// Every figure that a scenario's `claims` cite stands beside what these runs measured. Their own documents are not rebuilt.
    #[arg(long, value_name = "FILE")]
    pub replication: Option<PathBuf>,
    /// Folder with the scenario files [default: the nearest `scenarios`]
    #[arg(long, value_name = "DIR", env = "UPLIFT_SCENARIOS")]
    pub scenario_dir: Option<PathBuf>,
}

/// `history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The scenario, as `target/name`
    pub scenario: String,
    /// The metric
    #[arg(long, value_name = "METRIC", default_value = "throughput", value_parser = metric_name)]
    pub metric: String,
    /// Only this variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// Folder with the runs; the history is beside it
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Folder to write a plot of each variant into
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Of hyperfine, `go test -bench` or criterion; or criterion's folder
    pub file: PathBuf,
    /// Name of what was measured, where the file has none [default: imported]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Show every metric in the table
    #[arg(long)]
    pub all_metrics: bool,
}

/// `site`.
#[derive(Clone, Debug, Args)]
pub struct SiteArgs {
    /// Folder with the runs, at any depth
    #[arg(value_name = "RESULTS", default_value = "results/runs")]
    pub results: PathBuf,
    /// Folder to write the pages into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Copy the reports beside the pages, for a host of pages
    #[arg(long)]
    pub copy: bool,
}

/// `diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// The first run: `latest`, a folder, or a name in the results folder
    pub first: String,
    /// The second run
    pub second: String,
    /// Folder with results
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
    /// Output format
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
    /// Direction of the metrics in github-benchmark
    #[arg(long, value_enum, default_value_t)]
    pub better: Direction,
    /// Write the documents into this folder
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
