//! `history.jsonl`: one line for each variant of each scenario of a run, for trends over many runs.

use std::{collections::BTreeMap, sync::Arc};

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

/// What a trend needs of a line: the value of one metric, and what makes it comparable. A history has a million lines
/// whose texts repeat, so points share them.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPoint {
    /// The run.
    pub run: Box<str>,
    /// When it began, seconds since the Unix epoch.
    pub started_unix_s: u64,
    /// The machine's digest.
    pub machine: Option<Arc<str>>,
    /// The revision that was measured.
    pub revision: Option<Arc<str>>,
    /// Whether it had changes that were not committed.
    pub dirty: Option<bool>,
    /// A digest of the scenario's workload, load and trial.
    pub shape: Arc<str>,
    /// The metric.
    pub value: HistoryValue,
}

impl HistoryPoint {
    /// The value of `metric` in a line; `None` where the line has no such metric.
    pub fn of(entry: &HistoryEntry, metric: &str) -> Option<Self> {
        Some(Self {
            run: entry.run.as_str().into(),
            started_unix_s: entry.started_unix_s,
            machine: entry.machine.as_deref().map(Arc::from),
            revision: entry.revision.as_deref().map(Arc::from),
            dirty: entry.dirty,
            shape: entry.shape.as_str().into(),
            value: *entry.metrics.get(metric)?,
        })
    }
}
