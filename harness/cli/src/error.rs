//! An error for the user: what, which rule, what to do, and the exit code.

use miette::{MietteDiagnostic, Report, Severity};
use uplift_engine::{EngineError, StoreError};
use uplift_model::ScenarioError;

use crate::exit;

/// An error that ends the command.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: u8,
    /// What the user is told.
    pub report: Report,
}

impl CliError {
    fn new(exit: u8, message: impl Into<String>, help: &str) -> Self {
        let diagnostic = MietteDiagnostic::new(message).with_severity(Severity::Error);
        let diagnostic = if help.is_empty() { diagnostic } else { diagnostic.with_help(help) };
        Self { exit, report: Report::from(diagnostic) }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>, help: &str) -> Self {
        Self::new(exit::USAGE, message, help)
    }

    /// The environment failed.
    pub fn environment(message: impl Into<String>, help: &str) -> Self {
        Self::new(exit::FAILED, message, help)
    }
}

impl From<ScenarioError> for CliError {
    fn from(error: ScenarioError) -> Self {
        Self { exit: exit::USAGE, report: Report::new(error) }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::environment(error.to_string(), "")
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        Self::environment(error.to_string(), "")
    }
}

/// "did you mean" for a word that is not among `known`; and what is, where nothing is near.
pub fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let near = known
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name), *name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => format!("did you mean `{name}`? known: {}", known.join(", ")),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}
