//! What an acknowledged write survives.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an acknowledged write survives, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: it is lost with the process.
    None,
    /// Written to the system only after it was acknowledged: a killed process loses the newest writes.
    Buffered,
    /// The end of the process, but not of the machine: it is in the page cache.
    ProcessCrash,
    /// The end of the machine: it was synced before it was acknowledged.
    PowerLoss,
}

impl Durability {
    /// The word for it in a sentence: "survives …".
    pub const fn survives(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Buffered => "only what was flushed before the crash",
            Self::ProcessCrash => "a crash of the process",
            Self::PowerLoss => "a loss of power",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Buffered => "buffered",
            Self::ProcessCrash => "process-crash",
            Self::PowerLoss => "power-loss",
        })
    }
}
