//! A line of text with names, emphasis and links: no markup of any renderer.

use serde::Serialize;

/// A run of text that looks alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// As it is.
    Plain(String),
    /// A name: of a variant, a setting, a function.
    Code(String),
    /// What the eye should find.
    Strong(String),
    /// Words that lead to a file of the run's folder.
    Link {
        /// The words.
        words: String,
        /// The file.
        to: String,
    },
}

/// A line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(pub Vec<Span>);

impl Text {
    /// Text in which backticks are what they are: the author's own, or a value.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(vec![Span::Plain(text.into())])
    }

    /// A name.
    pub fn code(name: impl Into<String>) -> Self {
        Self(vec![Span::Code(name.into())])
    }

    /// What the eye should find.
    pub fn strong(text: impl Into<String>) -> Self {
        Self(vec![Span::Strong(text.into())])
    }

    /// A sentence of the harness, in which backticks stand around names.
    pub fn sentence(text: &str) -> Self {
        let parts: Vec<&str> = text.split('`').collect();
        // Backticks that are not in pairs belong to the text.
        if parts.len().is_multiple_of(2) {
            return Self::plain(text);
        }
        let spans = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
        Self(
            spans
                .map(|(index, part)| match index % 2 {
                    0 => Span::Plain(part.to_owned()),
                    _ => Span::Code(part.to_owned()),
                })
                .collect(),
        )
    }

    /// The same with more behind it.
    #[must_use]
    pub fn then(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// The same with a link behind it.
    #[must_use]
    pub fn link(mut self, words: impl Into<String>, to: impl Into<String>) -> Self {
        self.0.push(Span::Link { words: words.into(), to: to.into() });
        self
    }

    /// The words alone.
    pub fn words(&self) -> String {
        let word = |span: &Span| match span {
            Span::Plain(text) | Span::Code(text) | Span::Strong(text) => text.clone(),
            Span::Link { words, .. } => words.clone(),
        };
        self.0.iter().map(word).collect()
    }

    /// The words with names in backticks, as a terminal shows them.
    pub fn quoted(&self) -> String {
        let word = |span: &Span| match span {
            Span::Plain(text) | Span::Strong(text) => text.clone(),
            Span::Code(text) => format!("`{text}`"),
            Span::Link { words, to } => format!("{words} ({to})"),
        };
        self.0.iter().map(word).collect()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::sentence(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::sentence(&text)
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::sentence(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_stand_around_names_where_they_are_in_pairs() {
        let text = Text::sentence("`a` failed: see `b`");
        assert_eq!(text.0.len(), 3);
        assert_eq!((text.words(), text.quoted()), ("a failed: see b".to_owned(), "`a` failed: see `b`".to_owned()));
        assert_eq!(Text::sentence("5` of rain").0, [Span::Plain("5` of rain".to_owned())]);
    }
}
