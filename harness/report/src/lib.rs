//! Draws verdicts: terminal, markdown, HTML, plots, JSON. It prints what the analysis decided and decides nothing itself.
//!
//! Every function here is pure: the same run gives the same bytes. What is added up here is only what a table shows
//! (merged histograms, counts by kind); nothing of it enters a verdict.

pub mod calibration;
pub mod crash;
pub mod crossover;
pub mod diff;
mod events;
pub mod export;
pub mod github;
pub mod headline;
pub mod history;
pub mod html;
pub mod ledger;
pub mod markdown;
pub mod number;
pub mod plots;
pub mod printable;
pub mod profile;
pub mod replication;
pub mod sweep;
pub mod terminal;

use uplift_model::{ProfileTrial, Trial, Verdicts, run::Run};

/// Everything that a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// The run's record.
    pub run: &'a Run,
    /// Its trials.
    pub trials: &'a [Trial],
    /// Its profile trials; empty where there are none.
    pub profiles: &'a [ProfileTrial],
    /// What was decided; `None` for a run that compares nothing.
    pub verdicts: Option<&'a Verdicts>,
}

/// `verdicts.json`.
///
/// # Errors
/// Where a number has no JSON form, which would be a defect of the analysis.
pub fn verdicts_json(verdicts: &Verdicts) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(verdicts)?;
    text.push('\n');
    Ok(text)
}
