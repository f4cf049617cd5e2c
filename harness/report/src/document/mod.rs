//! What a result says, before anybody decides how it looks: one document for every command.
//!
//! A document is built once from verdicts and records. The renderers (terminal, markdown, HTML; JSON by `serde`) walk
//! over it and compute nothing. What is not in the document is said nowhere.

mod cell;
mod headline;
mod table;
mod text;

use serde::Serialize;

pub use self::{
    cell::{Cell, Change, Measured, arrow},
    headline::{Bar, ChangedSetting, Headline},
    table::{Column, Row, Table},
    text::{Span, Text},
};

/// A whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Its title.
    pub title: Text,
    /// What it says, in order.
    pub sections: Vec<Section>,
}

/// Where a part of a document is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Everywhere.
    Brief,
    /// On a terminal only where all metrics were asked for.
    Detailed,
    /// In documents alone.
    Page,
    /// On a terminal alone: a line for what a document has a table for.
    Terminal,
}

impl Extent {
    /// Whether a terminal shows it.
    pub const fn on_terminal(self, all: bool) -> bool {
        match self {
            Self::Brief | Self::Terminal => true,
            Self::Detailed => all,
            Self::Page => false,
        }
    }

    /// Whether a document shows it.
    pub const fn in_documents(self) -> bool {
        !matches!(self, Self::Terminal)
    }
}

/// A part with a title.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its place in a page.
    pub id: String,
    /// Its title.
    pub title: Text,
    /// Its title in a list of contents; `None`: it does not stand there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    /// Whether a page shows it closed at first.
    pub folded: bool,
    /// Whether a terminal leaves its title out, since what stands around it says enough.
    #[serde(skip)]
    pub untitled: bool,
    /// Where it is shown.
    pub extent: Extent,
    /// What it says.
    pub blocks: Vec<Block>,
    /// Its parts.
    pub sections: Vec<Section>,
}

/// A piece of a section.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "block", rename_all = "kebab-case")]
pub enum Block {
    /// The answer for one scenario.
    Headline(Box<Headline>),
    /// Rows of typed cells.
    Table(Table),
    /// A plot.
    Figure(Figure),
    /// Stacks that can be walked through.
    FlameGraph(FlameGraph),
    /// A sentence.
    Note(Note),
}

/// A plot, drawn elsewhere and kept in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its place in the run's folder.
    pub path: String,
    /// What it shows, in words with figures.
    pub description: String,
}

/// The stacks of a scenario's profiles; the page draws them, other forms link to the drawn files.
#[derive(Clone, Debug, Serialize)]
pub struct FlameGraph {
    /// What names the data of the page.
    pub id: String,
    /// The scenario.
    pub scenario: String,
    /// Files for those who cannot walk through them: place in the run's folder, and words.
    pub files: Vec<(String, String)>,
}

/// The kind of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// A paragraph.
    Prose,
    /// A member of a list.
    Item,
    /// What the reader must know before believing anything.
    Warning,
    /// What the analysis remarks.
    Remark,
    /// Something that went wrong.
    Failure,
    /// What the numbers mean, computed from them.
    Insight,
    /// A command line.
    Command,
    /// The author's own markdown.
    Story,
}

/// A sentence.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// What kind of sentence it is.
    pub kind: NoteKind,
    /// The sentence.
    pub text: Text,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Text>,
    /// The records behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Where it is shown.
    pub extent: Extent,
}

/// The records that a figure was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Record {
    /// A metric in every trial of a scenario.
    Metric {
        /// The scenario.
        scenario: String,
        /// The metric.
        metric: String,
    },
    /// Every trial of a scenario.
    Scenario {
        /// The scenario.
        scenario: String,
    },
}

impl Record {
    /// A metric of a scenario.
    pub fn metric(scenario: &str, metric: &str) -> Self {
        Self::Metric { scenario: scenario.to_owned(), metric: metric.to_owned() }
    }

    /// A scenario.
    pub fn scenario(scenario: &str) -> Self {
        Self::Scenario { scenario: scenario.to_owned() }
    }
}

impl Document {
    /// An empty document.
    pub fn new(title: impl Into<Text>) -> Self {
        Self { title: title.into(), sections: Vec::new() }
    }

    /// A document of one section, which bears the title.
    pub fn of(section: Section) -> Self {
        Self { title: section.title.clone(), sections: vec![section] }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Where a number has no JSON form, which would be a defect of the analysis.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

impl Section {
    /// An empty section of a page.
    pub fn new(id: impl Into<String>, title: impl Into<Text>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            contents: None,
            folded: false,
            untitled: false,
            extent: Extent::Page,
            blocks: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// The same, shown everywhere.
    #[must_use]
    pub fn brief(mut self) -> Self {
        self.extent = Extent::Brief;
        self
    }

    /// The same, shown on a terminal where all metrics were asked for.
    #[must_use]
    pub fn detailed(mut self) -> Self {
        self.extent = Extent::Detailed;
        self
    }

    /// The same, without its title on a terminal.
    #[must_use]
    pub fn untitled(mut self) -> Self {
        self.untitled = true;
        self
    }

    /// The same, closed at first.
    #[must_use]
    pub fn folded(mut self) -> Self {
        self.folded = true;
        self
    }

    /// The same, with a line in the list of contents.
    #[must_use]
    pub fn listed(mut self, contents: impl Into<String>) -> Self {
        self.contents = Some(contents.into());
        self
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.sections.iter().all(Self::is_empty)
    }

    /// Adds a part unless it says nothing.
    pub fn part(&mut self, part: Self) {
        if !part.is_empty() {
            self.sections.push(part);
        }
    }

    /// Adds a table unless it has no row.
    pub fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }

    /// Adds a sentence of a kind and gives it back to be furnished.
    pub fn note(&mut self, kind: NoteKind, text: impl Into<Text>) -> &mut Note {
        let extent = match kind {
            NoteKind::Warning | NoteKind::Remark | NoteKind::Failure | NoteKind::Insight => Extent::Brief,
            NoteKind::Prose | NoteKind::Item | NoteKind::Command | NoteKind::Story => Extent::Page,
        };
        self.blocks.push(Block::Note(Note { kind, text: text.into(), remedy: None, record: None, extent }));
        match self.blocks.last_mut() {
            Some(Block::Note(note)) => note,
            _ => unreachable!("the block was just pushed"),
        }
    }

    /// Adds a paragraph.
    pub fn prose(&mut self, text: impl Into<Text>) -> &mut Note {
        self.note(NoteKind::Prose, text)
    }

    /// Adds a line for terminals, which have no room for a table of it.
    pub fn terminal_only(&mut self, text: impl Into<Text>) {
        self.note(NoteKind::Prose, text).extent = Extent::Terminal;
    }

    /// Adds a member of a list.
    pub fn item(&mut self, text: impl Into<Text>) -> &mut Note {
        self.note(NoteKind::Item, text)
    }
}

impl Note {
    /// Shows it on terminals too.
    pub fn brief(&mut self) -> &mut Self {
        self.extent = Extent::Brief;
        self
    }

    /// Says what to do about it.
    pub fn remedy(&mut self, remedy: impl Into<Text>) -> &mut Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says what it was computed from.
    pub fn record(&mut self, record: Record) -> &mut Self {
        self.record = Some(record);
        self
    }
}
