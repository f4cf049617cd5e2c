//! `calibration.json`: how much this machine shows between a variant and itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::MetricClass;

/// The version of `calibration.json`. A reader refuses a newer one.
pub const CALIBRATION_SCHEMA: u32 = 1;

/// `calibration.json`: the newest calibration of each machine, scenario and variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibrations {
    /// [`CALIBRATION_SCHEMA`] of the writer.
    pub schema: u32,
    /// One entry for each machine, scenario and variant.
    pub entries: Vec<Calibration>,
}

/// One variant against itself on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The run that measured it.
    pub run: String,
    /// When, seconds since the Unix epoch.
    pub measured_unix_s: u64,
    /// The machine's digest; `None`: it could not be read, and the calibration is used nowhere.
    pub machine: Option<String>,
    /// The scenario.
    pub scenario: String,
    /// A digest of its workload, load and trial: a changed scenario needs a new calibration.
    pub shape: String,
    /// The variant.
    pub variant: String,
    /// Blocks that were compared.
    pub blocks: u32,
    /// Mean time of a block, in nanoseconds; `None` of a single block.
    pub block_ns: Option<u64>,
    /// The noise of each metric that has a ratio.
    #[serde(deserialize_with = "crate::metric_names::keys")]
    pub noise: BTreeMap<String, Noise>,
    /// What the rule of the verdicts made of it.
    pub false_alarms: FalseAlarms,
    /// The metric that decides.
    #[serde(deserialize_with = "crate::metric_names::name")]
    pub primary: String,
    /// The smallest change of that metric that would be found, against the blocks that are paid for.
    pub detectable: Vec<Detectable>,
}

/// How much a metric differs between a variant and itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// How the metric is compared.
    #[serde(rename = "tier")]
    pub class: MetricClass,
    /// Blocks that have a ratio.
    pub n: u32,
    /// Standard deviation of ln(copy / copy) over blocks.
    pub deviation: f64,
    /// The same, robust: 1.4826 times the median absolute deviation.
    pub robust_deviation: f64,
    /// The noise floor: the farther end of the 95 % interval of the change between copies, as a ratio − 1.
    pub floor: f64,
}

/// How often the rule of the verdicts called copies different.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalseAlarms {
    /// Blocks of one experiment.
    pub blocks_each: u32,
    /// Experiments of blocks of their own.
    pub experiments: u32,
    /// Those in which any judged metric was called improved or regressed.
    pub alarms: u32,
    /// The exact 95 % interval of the rate (Clopper and Pearson 1934); `None` without an experiment.
    pub ci: Option<[f64; 2]>,
    /// Experiments made of the same blocks again, chosen and turned round at random.
    pub replays: u32,
    /// Those with an alarm. They share their blocks, so there is no interval.
    pub replay_alarms: u32,
}

/// A budget and what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detectable {
    /// Blocks.
    pub blocks: u32,
    /// The time they take, in seconds; `None` where that is not known.
    pub seconds: Option<f64>,
    /// The smallest change that is found 8 times in 10, as a ratio − 1.
    pub change: f64,
}
