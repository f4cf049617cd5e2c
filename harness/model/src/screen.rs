//! `screen.json`: whether something moved while two variants ran at the same time.

use serde::{Deserialize, Serialize};

use crate::metric::Better;

/// The version of `screen.json`. A reader refuses a newer one.
pub const SCREEN_SCHEMA: u32 = 1;

/// `screen.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screens {
    /// [`SCREEN_SCHEMA`] of the writer.
    pub schema: u32,
    /// The variant compared against.
    pub baseline: String,
    /// The variant in question.
    pub candidate: String,
    /// The answer of each scenario, in the order of the run.
    pub scenarios: Vec<Screen>,
    /// What the reader must know about the run.
    pub notes: Vec<String>,
}

/// What a screen of one scenario came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screen {
    /// The scenario.
    pub name: String,
    /// The answer.
    pub answer: Answer,
    /// Where something moved: whether the candidate read better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<bool>,
    /// The metric that was looked at.
    pub metric: String,
    /// Which direction of it is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Better>,
    /// Blocks in which both variants ran to the end.
    pub blocks: u32,
    /// Whether the two could not be compared at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomparable: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// What the metric read beside the other variant, as a ratio − 1, with its interval. It is no effect: two variants
    /// that run at the same time are in each other's way, and what one loses the other may gain. Kept for those who study
    /// the method; no report shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupled_reading: Option<[f64; 3]>,
    /// What the reader must know about the scenario.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The answers of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The two differ by more than chance and more than the margin.
    Moved,
    /// No difference beyond the margin was seen. What both share may hide one.
    NotSeen,
    /// Neither can be said.
    CannotTell,
}

impl Answer {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::NotSeen => "not seen to move",
            Self::CannotTell => "cannot tell",
        }
    }
}
