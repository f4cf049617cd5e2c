//! Tables: columns that know their place and weight, rows that know their records.

use serde::Serialize;

use super::{Cell, Extent, Record, Text};

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether its cells are figures, which stand at the right.
    pub figures: bool,
    /// How dispensable it is: a narrow terminal leaves out those with the largest number first, and never those with 0.
    #[serde(skip)]
    pub rank: u8,
}

impl Column {
    /// A column of words.
    pub fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: false, rank: 0 }
    }

    /// A column of figures.
    pub fn figures(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: true, rank: 0 }
    }

    /// The same, left out where there is no room; the largest number first.
    #[must_use]
    pub const fn dispensable(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its cells, one for each column.
    pub cells: Vec<Cell>,
    /// What its figures were computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Whether it stands out: it moved beyond chance, it is the best.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strong: bool,
    /// Where it is shown.
    pub extent: Extent,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it shows, for those who do not see what stands around it.
    pub label: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// How to read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legend: Option<Text>,
    /// Where it is shown.
    pub extent: Extent,
}

impl Table {
    /// An empty table for documents.
    pub fn new(label: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { label: label.into(), columns, rows: Vec::new(), legend: None, extent: Extent::Page }
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

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) -> &mut Row {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.label);
        self.rows.push(Row { cells, record: None, strong: false, extent: Extent::Brief });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Says how to read it.
    pub fn legend(&mut self, legend: impl Into<Text>) {
        self.legend = Some(legend.into());
    }
}

impl Row {
    /// Says what its figures were computed from.
    pub fn record(&mut self, record: Record) -> &mut Self {
        self.record = Some(record);
        self
    }

    /// Makes it stand out.
    pub fn strong(&mut self, strong: bool) -> &mut Self {
        self.strong = strong;
        self
    }

    /// Says where it is shown.
    pub fn extent(&mut self, extent: Extent) -> &mut Self {
        self.extent = extent;
        self
    }
}
