//! What `uplift saturate` leaves behind: a search for the highest rate, or a sweep of clients. Pages are rebuilt from these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    objective::Objective,
    trial::{Event, Slice},
};

/// The version of both records.
pub const SATURATION_SCHEMA: u32 = 1;
/// The file of a search for the highest rate.
pub const SATURATION_FILE: &str = "saturation.json";
/// The file of a sweep of clients.
pub const SCALABILITY_FILE: &str = "scalability.json";

/// A search for the highest rate that is sustained, or that holds an objective. Older records have no objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// [`SATURATION_SCHEMA`] of the writer.
    pub schema: u32,
    /// `target/name` of the scenario.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// What had to hold; absent where a rate only had to be sustained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// The highest rate that was sustained (and held the objective).
    pub sustained: Option<f64>,
    /// The lowest rate above it that was not.
    pub diverged: Option<f64>,
    /// The highest rate up to which every trial held the objective, and the lowest from which on none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[Option<f64>; 2]>,
    /// Whether the search was interrupted, or ran out of steps, before it had both ends within its precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
    /// Every rate that was tried, in the order of the trials.
    pub steps: Vec<RateStep>,
    /// Half of the highest sustained rate.
    pub half: Option<RateStep>,
}

/// One rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateStep {
    /// Operations a second that arrived.
    pub rate: f64,
    /// Whether every one of its trials sustained it (and held the objective).
    pub sustained: bool,
    /// Of each trial why it did not; `null` where it did.
    pub trials_diverged: Vec<Option<String>>,
    /// Medians over its trials, by metric.
    pub medians: BTreeMap<String, f64>,
    /// The least and the greatest trial, by metric.
    pub ranges: BTreeMap<String, [f64; 2]>,
    /// Its first trial over time.
    #[serde(default)]
    pub timeline: RateTimeline,
}

/// Throughput and events of one trial on one line of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateTimeline {
    /// Throughput.
    pub slices: Vec<Slice>,
    /// What happened within them.
    pub events: Vec<Event>,
}

/// A sweep of clients under a closed load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scalability {
    /// [`SATURATION_SCHEMA`] of the writer.
    pub schema: u32,
    /// `target/name` of the scenario.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// CPUs of the machine.
    pub cores: u32,
    /// What was measured, in ascending order of clients.
    pub points: Vec<ClientsPoint>,
    /// Why the sweep ended before its last point, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
}

/// One number of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientsPoint {
    /// How many clients.
    pub clients: u32,
    /// Successful operations a second of each trial.
    pub throughput: Vec<f64>,
    /// Medians over its trials, by metric.
    pub medians: BTreeMap<String, f64>,
}

impl RateStep {
    /// How many of its trials held.
    pub fn held(&self) -> usize {
        self.trials_diverged.iter().filter(|why| why.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1.0 wrote it.
    #[test]
    fn a_record_without_an_objective_is_read() {
        let text = r#"{ "schema": 1, "scenario": "a/b", "variant": "v", "sustained": 100.0, "diverged": null,
            "steps": [{ "rate": 100.0, "sustained": true, "trials_diverged": [null], "medians": { "response_p99": 5.0 },
                "ranges": { "response_p99": [4.0, 6.0] }, "timeline": { "slices": [], "events": [] } }], "half": null }"#;
        let record: Saturation = serde_json::from_str(text).unwrap();
        assert_eq!((record.objective, record.interval, record.steps[0].held()), (None, None, 1));
    }
}
