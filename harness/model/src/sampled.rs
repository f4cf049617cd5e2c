//! A target's own numbers over time: what a service counts while it is under load.

use serde::{Deserialize, Serialize};

use crate::Unit;

/// The numbers, and what asking for them took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// How often it was asked, in nanoseconds from one time to the next.
    pub every_ns: u64,
    /// How many times.
    pub samples: u64,
    /// How long all answers together took.
    pub asking_ns: u64,
    /// How long the slowest took.
    pub asking_max_ns: u64,
    /// The numbers.
    pub numbers: Vec<NumberSeries>,
}

/// One number over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberSeries {
    /// Its name, that of the metric that is made from it.
    pub name: String,
    /// The unit of its value.
    pub unit: Unit,
    /// Whether it only grows; otherwise it goes up and down.
    pub grows: bool,
    /// What goes on while it moves, as a clause: "a checkpoint was writing".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// When, in nanoseconds since the agent was ready, and the value.
    pub points: Vec<(u64, f64)>,
}
