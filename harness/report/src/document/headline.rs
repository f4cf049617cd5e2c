//! The answer for one scenario: what a reader knows after ten seconds.

use serde::Serialize;
use uplift_model::verdict::{Parity, SettingValue, Status, Verdict};

use super::{Change, Measured, Note, Text};

/// One variant's value.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// The variant.
    pub variant: String,
    /// Its value of the metric that decides.
    pub value: Measured,
}

/// A setting that is in force otherwise in the candidate than in the baseline, or was asked for and ignored.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedSetting {
    /// The setting.
    pub key: String,
    /// In the baseline.
    pub baseline: SettingValue,
    /// In the candidate.
    pub candidate: SettingValue,
    /// Whether the reader must know: it was not meant to differ, is not what was asked for, or differs beside others.
    pub flagged: bool,
}

/// The answer for one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Headline {
    /// The scenario.
    pub scenario: String,
    /// What it is about, in the author's words.
    pub title: String,
    /// Whether it could be compared.
    pub status: Status,
    /// What was decided about the metric that decides; `None` where it was not measured.
    pub verdict: Option<Verdict>,
    /// All of it in a sentence.
    pub sentence: Text,
    /// Why nothing more can be said, where that is so.
    pub reason: Option<Text>,
    /// The metric that decides.
    pub metric: Option<String>,
    /// Whether less of it is better.
    pub lower_is_better: bool,
    /// How it changed.
    pub change: Option<Change>,
    /// Blocks that were compared.
    pub blocks: u32,
    /// Baseline and candidate.
    pub bars: Vec<Bar>,
    /// What changed in force.
    pub changed: Vec<ChangedSetting>,
    /// Several changes at once, in a sentence.
    pub changed_together: Option<Text>,
    /// What an acknowledged write survives in the candidate, against the baseline.
    pub durability: Parity,
    /// That in a sentence.
    pub durability_words: Text,
    /// The counter that moved with the verdict.
    pub counter: Option<Text>,
    /// Why, in a sentence.
    pub why: Option<Text>,
    /// What the reader must know before believing anything.
    pub warnings: Vec<Note>,
}
