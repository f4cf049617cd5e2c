//! An error in a scenario file, with the place where it stands.

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use toml::de::{DeTable, DeValue};

/// What is wrong with a scenario file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScenarioError {
    message: String,
    help: Option<String>,
    // Boxed: an error that carries the whole file should not make every `Result` large.
    source_code: Box<NamedSource<String>>,
    span: Option<Range<usize>>,
    line_column: Option<(usize, usize)>,
}

impl ScenarioError {
    /// What the TOML reader or serde complained about.
    pub fn from_toml(path: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim().to_owned();
        let help = ["missing field", "unknown field", "unknown variant", "invalid type"]
            .iter()
            .any(|about_keys| message.starts_with(about_keys))
            .then(|| "scenarios/README.md lists every key; `uplift list --schema` prints the JSON Schema".to_owned());
        Self::new(path, text, error.span(), message, help)
    }

    /// A complaint about the value at `keys`, such as `["variants", "baseline", "fsync"]`; points at the nearest
    /// ancestor that stands in the file.
    pub fn at(path: &str, text: &str, keys: &[&str], message: impl Into<String>, help: &str) -> Self {
        let span = span_of(text, keys).map(|place| place.value);
        Self::new(path, text, span, message.into(), (!help.is_empty()).then(|| help.to_owned()))
    }

    /// The same where the key itself is wrong, and not its value.
    pub fn at_key(path: &str, text: &str, keys: &[&str], message: impl Into<String>, help: &str) -> Self {
        let span = span_of(text, keys).map(|place| place.key);
        Self::new(path, text, span, message.into(), (!help.is_empty()).then(|| help.to_owned()))
    }

    fn new(path: &str, text: &str, span: Option<Range<usize>>, message: String, help: Option<String>) -> Self {
        let line_column = span.as_ref().map(|span| {
            let before = &text[..text.floor_char_boundary(span.start.min(text.len()))];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        Self {
            message,
            help,
            source_code: Box::new(NamedSource::new(path, text.to_owned()).with_language("TOML")),
            span,
            line_column,
        }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Line and column, from 1.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.line_column
    }

    /// The file.
    pub fn path(&self) -> &str {
        self.source_code.name()
    }
}

impl Diagnostic for ScenarioError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::at(span, "here"))))
    }
}

/// Where an entry of a table stands.
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// Where the entry at `keys` stands in `text`, or its nearest ancestor; `None` where nothing of it does.
fn span_of(text: &str, keys: &[&str]) -> Option<Place> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for key in keys {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == *key) else { break };
        let place = match value.get_ref() {
            // The span of a table is its whole body: the key is the better place to point at.
            DeValue::Table(_) => name.span(),
            _ => value.span(),
        };
        found = Some(Place { key: name.span(), value: place });
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}
