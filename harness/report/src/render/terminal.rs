//! A document on a terminal: the brief parts of it, in tables that fit.

mod layout;

use uplift_model::verdict::Verdict;

use self::layout::{Styled, grid, wrapped};
use crate::document::{Block, Cell, Document, Headline, Note, NoteKind, Section, Table};

/// How a terminal report is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: bool,
    /// Whether every metric is shown and not only those that people ask for first.
    pub all_metrics: bool,
    /// Width of the terminal; `None`: not a terminal, lines may be long.
    pub width: Option<u16>,
}

/// The parts of the document that are for terminals; the summary, which counts, stands last.
pub fn document(document: &Document, style: Style) -> String {
    let (last, first): (Vec<_>, Vec<_>) = document.sections.iter().partition(|section| section.id == "summary");
    let mut text = String::new();
    for section in first.into_iter().chain(last) {
        text.push_str(&part(section, style));
    }
    text
}

/// One section, with an empty line behind it; nothing where it has nothing for terminals.
pub fn part(section: &Section, style: Style) -> String {
    let mut lines = Vec::new();
    lines_of(section, style, 0, &mut lines);
    if lines.is_empty() {
        return String::new();
    }
    lines.push(String::new());
    lines.into_iter().map(|line| line + "\n").collect()
}

fn lines_of(section: &Section, style: Style, depth: usize, lines: &mut Vec<String>) {
    if !section.extent.on_terminal(style.all_metrics) {
        return;
    }
    let mut own = Vec::new();
    for block in &section.blocks {
        lines_of_block(block, style, &mut own);
    }
    for part in &section.sections {
        lines_of(part, style, depth + 1, &mut own);
    }
    let has_headline = section.blocks.iter().any(|block| matches!(block, Block::Headline(_)));
    if !own.is_empty() && !section.untitled && !has_headline {
        let indent = if depth == 0 { "" } else { "  " };
        lines.extend(wrapped(&section.title.quoted(), indent, indent, style.width));
    }
    lines.append(&mut own);
}

fn lines_of_block(block: &Block, style: Style, lines: &mut Vec<String>) {
    match block {
        Block::Headline(one) => headline(one, style, lines),
        Block::Table(table) if table.extent.on_terminal(style.all_metrics) => self::table(table, style, lines),
        Block::Note(one) if one.extent.on_terminal(style.all_metrics) => note(one, style, lines),
        Block::Table(_) | Block::Note(_) | Block::Figure(_) | Block::FlameGraph(_) => {}
    }
}

fn headline(one: &Headline, style: Style, lines: &mut Vec<String>) {
    lines.extend(wrapped(&one.sentence.quoted(), "", "    ", style.width));
    let mut said = |text: &str| lines.extend(wrapped(text, "  ! ", "    ", style.width));
    if let Some(changed) = &one.changed_together {
        said(&changed.quoted());
    }
    for warning in &one.warnings {
        said(&warning.text.quoted());
    }
    if let Some(why) = &one.why {
        lines.extend(wrapped(&why.quoted(), "  → ", "    ", style.width));
    }
}

fn note(one: &Note, style: Style, lines: &mut Vec<String>) {
    let sign = match one.kind {
        NoteKind::Warning | NoteKind::Failure => "  ! ",
        NoteKind::Remark => "  note: ",
        NoteKind::Insight => "  → ",
        _ => "  ",
    };
    lines.extend(wrapped(&one.text.quoted(), sign, "    ", style.width));
}

fn table(table: &Table, style: Style, lines: &mut Vec<String>) {
    let header: Vec<Styled> = table.columns.iter().map(|column| Styled::plain(&column.name)).collect();
    let drawn = |spread: bool| -> Vec<Vec<Styled>> {
        let shown = table.rows.iter().filter(|row| row.extent.on_terminal(style.all_metrics));
        shown.map(|row| row.cells.iter().map(|cell| styled(cell, spread, style)).collect()).collect()
    };
    lines.extend(grid(&table.columns, &header, drawn, style.width));
}

/// A cell with its colour. `spread` says how far the interval of a value reaches.
fn styled(cell: &Cell, spread: bool, style: Style) -> Styled {
    let words = match cell {
        Cell::Metric { name, primary, .. } => {
            let arrow = &cell.words()[name.len()..];
            format!("{}{name}{arrow}", if *primary { "* " } else { "  " })
        }
        Cell::Text(text) => text.quoted(),
        Cell::Value(value) if spread => match value.spread() {
            Some(spread) => format!("{} {spread}", value.shown()),
            None => value.shown(),
        },
        other => other.words(),
    };
    let colour = match cell {
        Cell::Verdict { verdict: Some(verdict), .. } if style.colour => colour_of(*verdict),
        _ => None,
    };
    Styled { words, colour }
}

const fn colour_of(verdict: Verdict) -> Option<u8> {
    match verdict {
        Verdict::Improved => Some(32),
        Verdict::Regressed => Some(31),
        Verdict::Incomparable => Some(35),
        Verdict::Inconclusive => Some(33),
        Verdict::Unchanged => None,
    }
}
