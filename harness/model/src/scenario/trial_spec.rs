//! How trials are taken: the table `[trial]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Complaint;
use crate::duration::HumanDuration;

/// The most rounds of a block: each is a record of every trial, and an entry of the plan.
const ROUNDS_MAX: u32 = 100_000;
/// The most operations of one turn.
const TURN_OPERATIONS_MAX: u64 = 1_000_000_000_000;
/// The longest turn and window: agents make room for every slice of it.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);

/// How variants take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interleave {
    /// Both resident, short turns in random order. For everything that a turn does not falsify.
    #[default]
    Turns,
    /// A fresh trial of each in random order: for state that grows, long queues, start-up costs.
    Trials,
}

/// The `[trial]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrialSpec {
    /// How variants take turns.
    pub interleave: Interleave,
    /// Load before anything counts.
    pub warmup: HumanDuration,
    /// Length of a turn; lengthened where it would hold fewer than 20 operations.
    pub turn: HumanDuration,
    /// Length of a turn in calls of the client instead of time.
    pub turn_operations: Option<u64>,
    /// Rounds of a block (`interleave = "turns"`).
    pub rounds: u32,
    /// The longest that the rounds of a block should take where a turn is so many operations: fewer are taken where
    /// operations are slow, at least one. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<HumanDuration>,
    /// Length of the measured window (`interleave = "trials"`).
    pub window: HumanDuration,
    /// The longest that set-up, a turn, or the final check may each take before the agent is killed.
    pub timeout: HumanDuration,
    /// The longest that an idle CPU may take to wake, asked of the kernel while trials run; "0s" keeps idle
    /// CPUs from sleeping. Absent: as the machine does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_latency: Option<HumanDuration>,
}

impl Default for TrialSpec {
    fn default() -> Self {
        Self {
            interleave: Interleave::Turns,
            warmup: HumanDuration::from_millis(500),
            turn: HumanDuration::from_millis(25),
            turn_operations: None,
            rounds: 40,
            block: None,
            window: HumanDuration::from_secs(3),
            timeout: HumanDuration::from_secs(60),
            cpu_latency: None,
        }
    }
}

impl TrialSpec {
    /// What is wrong with it.
    pub(super) fn validate(&self) -> Result<(), Complaint> {
        if self.rounds == 0 {
            return Err(("rounds", "0 rounds measure nothing".to_owned(), "write at least 1; the default is 40"));
        }
        if self.rounds > ROUNDS_MAX {
            return Err((
                "rounds",
                format!("{} rounds are more than {ROUNDS_MAX}", self.rounds),
                "write a number between 1 and 100000; the default is 40",
            ));
        }
        for (key, length) in [("turn", self.turn), ("window", self.window), ("warmup", self.warmup)] {
            if length.0 > WINDOW_MAX {
                return Err((key, format!("{length} is longer than a day"), "write a duration up to \"24h\""));
            }
        }
        if self.turn_operations.is_some_and(|operations| operations > TURN_OPERATIONS_MAX) {
            return Err((
                "turn_operations",
                format!("a turn of more than {TURN_OPERATIONS_MAX} operations never ends"),
                "write a number up to 1000000000000",
            ));
        }
        if self.turn.0.is_zero() && self.turn_operations.is_none() {
            return Err((
                "turn",
                "a turn of no length measures nothing".to_owned(),
                "write a duration such as \"25ms\"",
            ));
        }
        if self.turn_operations == Some(0) {
            return Err((
                "turn_operations",
                "a turn of 0 operations measures nothing".to_owned(),
                "write at least 1, or leave the key out",
            ));
        }
        if self.window.0.is_zero() {
            return Err((
                "window",
                "a window of no length measures nothing".to_owned(),
                "write a duration such as \"3s\"",
            ));
        }
        if self.timeout.0.is_zero() {
            return Err(("timeout", "a timeout of 0 kills every trial".to_owned(), "write a duration such as \"60s\""));
        }
        Ok(())
    }
}
