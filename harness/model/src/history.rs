//! `history.jsonl`: one line for each variant of each scenario of a run, for trends over many runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Better, MetricClass, Unit};

/// The version of a line. A reader refuses a newer one.
pub const HISTORY_SCHEMA: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    /// [`HISTORY_SCHEMA`] of the writer.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// When it began, seconds since the Unix epoch.
    pub started_unix_s: u64,
    /// The machine's digest: values that depend on time are a series on one machine only.
    pub machine: Option<String>,
    /// The revision that was measured.
    pub revision: Option<String>,
    /// Whether it had changes that were not committed.
    pub dirty: Option<bool>,
    /// The scenario.
    pub scenario: String,
    /// A digest of its workload, load and trial: a changed scenario begins a new series.
    pub shape: String,
    /// The variant.
    pub variant: String,
    /// Its metrics.
    #[serde(deserialize_with = "crate::metric_names::keys")]
    pub metrics: BTreeMap<String, HistoryValue>,
}

/// A metric over the trials of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryValue {
    /// Median over trials.
    pub median: f64,
    /// Its 95 % interval; `None` of too few trials.
    pub ci: Option<[f64; 2]>,
    /// Trials.
    pub n: u32,
    /// The unit.
    pub unit: Unit,
    /// The good direction.
    pub better: Better,
    /// How it is compared.
    #[serde(rename = "tier")]
    pub class: MetricClass,
}
