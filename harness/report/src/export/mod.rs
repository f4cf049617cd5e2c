//! Results in the formats of other tools: one file for each format, each a function from records to documents.
//!
//! What a format has no word for is left out of it, never bent: a metric that is not available is absent, and a
//! format with a single direction gets the metrics of that direction only.

mod benchfmt;
mod bmf;
mod csv;
mod github_benchmark;
mod hgrm;
mod hlog;
pub mod junit;
mod openmetrics;
mod pprof;

use std::fmt;

use uplift_analysis::{
    estimate::{median, median_interval},
    metrics,
};
use uplift_model::{Better, Histogram, MetricSpec, Trial, run::PlannedScenario};

use crate::{ReportInput, build::variants, profile::DrawError};

/// The level of the intervals that go with medians.
const LEVEL: f64 = 0.95;

/// A format of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bencher Metric Format: JSON of benchmark → measure → value with bounds.
    Bmf,
    /// The custom JSON of github-action-benchmark, for one direction.
    GithubBenchmark,
    /// JUnit XML: each rule of the gate a test case.
    Junit,
    /// One line for each metric of each trial.
    Csv,
    /// HdrHistogram interval log, one line for each operation kind of each trial.
    Hlog,
    /// HdrHistogram percentile distribution, one document for each variant.
    Hgrm,
    /// The Go benchmark format, which benchstat reads.
    Benchfmt,
    /// OpenMetrics text.
    Openmetrics,
    /// The profile of each variant as pprof's protocol buffer, gzipped.
    Pprof,
}

impl Format {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 9] = [
        Self::Bmf,
        Self::GithubBenchmark,
        Self::Junit,
        Self::Csv,
        Self::Hlog,
        Self::Hgrm,
        Self::Benchfmt,
        Self::Openmetrics,
        Self::Pprof,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bmf => "bmf",
            Self::GithubBenchmark => "github-benchmark",
            Self::Junit => "junit",
            Self::Csv => "csv",
            Self::Hlog => "hlog",
            Self::Hgrm => "hgrm",
            Self::Benchfmt => "benchfmt",
            Self::Openmetrics => "openmetrics",
            Self::Pprof => "pprof",
        }
    }

    /// How its files end.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Bmf | Self::GithubBenchmark => "json",
            Self::Junit => "xml",
            Self::Csv => "csv",
            Self::Hlog => "hlog",
            Self::Hgrm => "hgrm",
            Self::Benchfmt => "txt",
            Self::Openmetrics => "prom",
            Self::Pprof => "pb.gz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What of a run is exported.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only this scenario.
    pub scenario: Option<String>,
    /// Only this variant.
    pub variant: Option<String>,
    /// The direction of a format that has room for one only; lower, where it is not said.
    pub higher_is_better: bool,
}

impl Selection {
    fn has(&self, scenario: &str, variant: &str) -> bool {
        self.scenario.as_deref().is_none_or(|wanted| wanted == scenario)
            && self.variant.as_deref().is_none_or(|wanted| wanted == variant)
    }
}

/// One file's worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// A name for the file.
    pub name: String,
    /// Its content: text, but for pprof.
    pub bytes: Vec<u8>,
}

/// The documents of `format`; none where nothing of the run fits into it.
///
/// # Errors
/// A profile that cannot be read or written; every other format has none.
pub fn documents(format: Format, input: &ReportInput<'_>, selection: &Selection) -> Result<Vec<Document>, DrawError> {
    let one = |text: Option<String>| {
        let name = format!("{}.{}", format.name(), format.extension());
        text.map(|text| Document { name, bytes: text.into_bytes() }).into_iter().collect()
    };
    Ok(match format {
        Format::Bmf => one(bmf::export(input, selection)),
        Format::GithubBenchmark => one(github_benchmark::export(input, selection)),
        Format::Junit => one(junit::export(input, selection)),
        Format::Csv => one(csv::export(input, selection)),
        Format::Hlog => one(hlog::export(input, selection)),
        Format::Hgrm => hgrm::export(input, selection),
        Format::Benchfmt => one(benchfmt::export(input, selection)),
        Format::Openmetrics => one(openmetrics::export(input, selection)),
        Format::Pprof => pprof::export(input, selection)?,
    })
}

/// One metric of one variant of one scenario over its trials.
struct Summary {
    scenario: String,
    variant: String,
    spec: MetricSpec,
    median: f64,
    ci: Option<[f64; 2]>,
    n: usize,
}

/// A variant of a scenario, with its trials and where they are in the record.
type Group<'a> = (&'a PlannedScenario, &'a str, Vec<(usize, &'a Trial)>);

/// Successful trials of what is selected, by scenario and variant in the order of the report.
fn groups<'a>(input: &ReportInput<'a>, selection: &Selection) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    for planned in &input.run.scenarios {
        let name = &planned.scenario.name;
        for variant in variants(planned).into_iter().filter(|variant| selection.has(name, variant)) {
            let own = input.trials.iter().enumerate();
            let own = own.filter(|(_, trial)| &trial.scenario == name && trial.variant == variant && trial.succeeded());
            groups.push((planned, variant, own.collect()));
        }
    }
    groups
}

fn summaries(input: &ReportInput<'_>, selection: &Selection) -> Vec<Summary> {
    let mut all = Vec::new();
    for (planned, variant, trials) in groups(input, selection) {
        let mut order: Vec<(MetricSpec, Vec<f64>)> = Vec::new();
        for value in trials.iter().flat_map(|(_, trial)| metrics::of_trial(trial, planned)) {
            let Ok(number) = value.value else { continue };
            match order.iter_mut().find(|(spec, _)| spec.name == value.spec.name) {
                Some((_, values)) => values.push(number),
                None => order.push((value.spec, vec![number])),
            }
        }
        for (spec, values) in order {
            let Some(center) = median(&values) else { continue };
            all.push(Summary {
                scenario: planned.scenario.name.clone(),
                variant: variant.to_owned(),
                spec,
                median: center,
                ci: median_interval(&values, LEVEL),
                n: values.len(),
            });
        }
    }
    all
}

impl Summary {
    fn benchmark(&self) -> String {
        format!("{} ({})", self.scenario, self.variant)
    }

    fn is_better(&self, better: Better) -> bool {
        self.spec.better == better
    }
}

fn merged(trials: &[(usize, &Trial)]) -> Histogram {
    let mut merged = Histogram::new();
    for operation in trials.iter().filter_map(|(_, trial)| trial.measured.as_ref()).flat_map(|m| &m.operations) {
        merged.merge(&operation.response);
    }
    merged
}
