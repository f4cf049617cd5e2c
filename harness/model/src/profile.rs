//! One profile trial: a trial that was run to be sampled, apart from those that were run to be measured.

use serde::{Deserialize, Serialize};

use crate::{protocol::Profiled, trial::Trial};

/// The version of a line of `profiles.jsonl`. A reader refuses a newer one.
pub const PROFILE_SCHEMA: u32 = 1;

/// A line of `profiles.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileTrial {
    /// [`PROFILE_SCHEMA`] of the writer.
    pub schema: u32,
    /// The trial, its block the number of the repetition. Its times are those of a sampled system and enter no verdict.
    pub trial: Trial,
    /// The stacks; `None` where the trial failed before they were had.
    pub profiled: Option<Profiled>,
}
