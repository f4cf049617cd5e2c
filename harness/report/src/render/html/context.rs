//! What the parts of a page share: what fits, and the places that links lead to.

use std::{cell::Cell, collections::BTreeSet};

use uplift_model::file_name;

use crate::{
    document::{Block, Document, Section},
    plots::Plot,
};

/// What the parts of a page share.
pub struct Context<'a> {
    /// The plots that the document names.
    pub plots: &'a [Plot],
    /// The stacks that fit.
    pub stacks: Vec<&'a (String, String)>,
    /// Metrics whose meaning is on the page.
    pub meanings: BTreeSet<&'a str>,
    /// Whether figures may lead to records.
    pub has_records: bool,
    /// Room for plots.
    pub plot_bytes_left: Cell<usize>,
    /// Room for details of scenarios.
    pub detail_bytes_left: Cell<usize>,
}

/// The metrics that the section on meanings explains.
pub fn meanings(document: &Document) -> BTreeSet<&str> {
    let section = document.sections.iter().find(|section| section.id == MEANINGS);
    let tables = section.into_iter().flat_map(|section: &Section| &section.blocks).filter_map(|block| match block {
        Block::Table(table) => Some(table),
        _ => None,
    });
    tables
        .flat_map(|table| &table.rows)
        .filter_map(|row| match row.cells.first() {
            Some(crate::document::Cell::Metric { name, .. }) => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

/// The place of the section on meanings.
pub const MEANINGS: &str = "metrics";

/// The place of the meaning of a metric.
pub fn meaning_anchor(metric: &str) -> String {
    format!("m-{}", file_name(&[metric]))
}

/// The place of a metric of a scenario in the records.
pub fn record_anchor(scenario: &str, metric: &str) -> String {
    format!("r-{}", file_name(&[scenario, metric]))
}

/// The place of a scenario in the records.
pub fn records_anchor(scenario: &str) -> String {
    format!("records-{}", file_name(&[scenario]))
}
