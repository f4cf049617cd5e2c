//! `crash.jsonl`: what was acknowledged before a cut, and what was there after it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Durability, trial::Failure};

/// The version of a line of `crash.jsonl`. A reader refuses a newer one.
pub const CRASH_SCHEMA: u32 = 1;

/// Where a client's ledger tells that its first operation was begun: four bytes that are zero before.
pub const LEDGER_BEGUN_AT: u64 = 28;

/// One cut: a fresh target under load that died, and what a fresh agent found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// [`CRASH_SCHEMA`] of the writer.
    pub schema: u32,
    /// `target/name`.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// Its number among the cuts of its variant and mode, from 0.
    pub number: u32,
    /// The seed of data, load and of what the cut left.
    pub seed: u64,
    /// What died.
    pub mode: CutMode,
    /// When.
    pub point: CutPoint,
    /// What the disk kept of that which was not synced; absent: the machine lived on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// What was done to the disk besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What the target declared; absent: it was not set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Durability>,
    /// The settings in force.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub effective: BTreeMap<String, String>,
    /// How long it was under load.
    pub load_ns: u64,
    /// Sync calls that reached the disk under load; absent: nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syncs: Option<u64>,
    /// What the target said where it gave up before the cut, as a fault may make it do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
    /// What came of it.
    pub outcome: CutOutcome,
}

/// What dies at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutMode {
    /// Every process of the target, by SIGKILL; what it wrote stays in the page cache.
    Kill,
    /// The machine: what was not synced may be gone.
    Power,
}

impl fmt::Display for CutMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Power => "power",
        })
    }
}

/// When a cut comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutPoint {
    /// So many nanoseconds after the load began.
    After(u64),
    /// When this sync call of the load begins, counted from 1.
    Sync(u64),
}

/// What a disk keeps of that which was not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Some pages of files, some entries of directories, drawn by the cut's seed.
    Part,
}

/// What was done to the disk, and to which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To which call of the load, counted from 1.
    pub nth: u64,
    /// Whether to all calls after it as well.
    pub for_ever: bool,
}

/// What can be done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A sync fails with EIO, and its pages count as clean.
    FailedSync,
    /// A write fails with ENOSPC.
    FullDisk,
    /// A write takes half of its bytes.
    ShortWrite,
    /// One bit of what the disk holds is another one when the target opens it again.
    FlippedBit,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.for_ever { "+" } else { "" };
        match self.kind {
            FaultKind::FailedSync => write!(f, "eio@sync:{}{more}", self.nth),
            FaultKind::FullDisk => write!(f, "enospc@write:{}{more}", self.nth),
            FaultKind::ShortWrite => write!(f, "short@write:{}{more}", self.nth),
            FaultKind::FlippedBit => f.write_str("flip@open"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || {
            format!(
                "`{text}` is no fault; write eio@sync:7 (the 7th sync fails), enospc@write:7, short@write:7, each with a `+` behind it for all from then on, or flip@open"
            )
        };
        if text == "flip@open" {
            return Ok(Self { kind: FaultKind::FlippedBit, nth: 1, for_ever: false });
        }
        let (what, number) = text.split_once(':').ok_or_else(rule)?;
        let kind = match what {
            "eio@sync" => FaultKind::FailedSync,
            "enospc@write" => FaultKind::FullDisk,
            "short@write" => FaultKind::ShortWrite,
            _ => return Err(rule()),
        };
        let (number, for_ever) = number.strip_suffix('+').map_or((number, false), |number| (number, true));
        match number.parse() {
            Ok(nth) if nth > 0 => Ok(Self { kind, nth, for_ever }),
            _ => Err(rule()),
        }
    }
}

/// What came of a cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CutOutcome {
    /// It opened, and what is there was checked against the ledger.
    Audited {
        /// How long opening took.
        recovery_ns: u64,
        /// What was found.
        audit: Audit,
    },
    /// It does not open any more.
    NotOpened {
        /// Operations that were acknowledged; absent: it took the agent down with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledged: Option<u64>,
        /// What it said.
        message: String,
    },
    /// The cut could not be carried out: nothing is known.
    Failed(Failure),
}

/// What is there, checked against what was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Operations that changed something and were acknowledged before the cut.
    pub acknowledged: u64,
    /// Those of them whose effect could not be looked at, because a later one replaced it.
    pub superseded: u64,
    /// Operations that were begun and not answered: they may be there or not.
    pub in_flight: u64,
    /// Acknowledged operations whose effect is gone.
    pub lost: u64,
    /// Things that are there and were never written, or are not as they were written.
    pub wrong: u64,
    /// Operations whose effect is there more than once.
    pub twice: u64,
    /// How long before the cut the oldest lost operation was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_lost_ns: Option<u64>,
    /// The first thing that was amiss, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The command that its documentation prescribes, where it opened only after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
}

impl Audit {
    /// Whether everything that was acknowledged is there once and as it was written.
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.twice == 0
    }

    /// Acknowledged operations whose effect could be looked at.
    pub const fn verified(&self) -> u64 {
        self.acknowledged.saturating_sub(self.superseded)
    }

    /// Notes that something is wrong, if it is the first.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.detail.is_none() {
            self.detail = Some(what());
        }
    }

    /// Notes an operation that is gone and when it was acknowledged.
    pub fn note_lost(&mut self, acknowledged_ns: u64, cut_ns: u64) {
        self.lost += 1;
        let age = cut_ns.saturating_sub(acknowledged_ns);
        self.oldest_lost_ns = Some(self.oldest_lost_ns.map_or(age, |oldest| oldest.max(age)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for text in ["eio@sync:7", "eio@sync:1+", "enospc@write:3", "short@write:12+", "flip@open"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        for text in ["", "eio", "eio@sync", "eio@sync:0", "eio@write:1", "eio@sync:x", "flip@open:1"] {
            assert!(text.parse::<Fault>().unwrap_err().contains("eio@sync:7"), "{text}");
        }
    }

    #[test]
    fn the_oldest_lost_operation_is_the_window() {
        let mut audit = Audit::default();
        assert!(audit.is_clean());
        audit.note_lost(90, 100);
        audit.note_lost(60, 100);
        audit.note_lost(95, 100);
        assert_eq!((audit.lost, audit.oldest_lost_ns), (3, Some(40)));
        assert!(!audit.is_clean());
    }
}
