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

    /// The command is through before its end, and all is well: a plan was asked for and printed.
    pub fn through() -> Self {
        Self::new(exit::OK, "nothing more to do", "")
    }

    /// Whether there is nothing to complain about.
    pub const fn is_no_error(&self) -> bool {
        self.exit == exit::OK
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

/// The most names that are listed beside one that is near.
const LISTED_MAX: usize = 12;

/// The name among `known` that `word` was perhaps meant to be.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// "did you mean" for a word that is not among `known`; and what is, where nothing is near or that is not much.
pub fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    match nearest(word, known.iter().copied()) {
        Some(name) if known.len() > LISTED_MAX => format!("did you mean `{name}`?"),
        Some(name) => format!("did you mean `{name}`? known: {}", known.join(", ")),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}

/// "did you mean" for a word that is not among `known`, and `where_listed` for all that are, which are too many to show.
pub fn pointer<'a>(word: &str, known: impl Iterator<Item = &'a str>, where_listed: &str) -> String {
    match nearest(word, known) {
        Some(name) => format!("did you mean `{name}`? {where_listed}"),
        None => where_listed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_suggested_and_long_lists_are_not_shown() {
        let few = ["baseline", "optimized"];
        assert_eq!(suggestion("optimised", few.into_iter()), "did you mean `optimized`? known: baseline, optimized");
        assert_eq!(suggestion("xyz", few.into_iter()), "known: baseline, optimized");
        let many: Vec<String> = (0..100).map(|index| format!("other-{index}")).chain(["baseline".to_owned()]).collect();
        let many = || many.iter().map(String::as_str);
        assert_eq!(suggestion("basline", many()), "did you mean `baseline`?");
        assert_eq!(pointer("basline", many(), "look there"), "did you mean `baseline`? look there");
        assert_eq!(pointer("zzz", many(), "look there"), "look there");
    }
}
