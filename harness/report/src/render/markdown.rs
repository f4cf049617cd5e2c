//! A document as markdown.

use std::fmt::Write as _;

use uplift_model::verdict::SettingValue;

use crate::{
    document::{Block, Cell, Document, FlameGraph, Headline, Note, NoteKind, Row, Section, Span, Table, Text},
    printable::printable,
};

/// The whole document.
pub fn document(document: &Document) -> String {
    let mut text = format!("# {}\n\n", inline(&document.title));
    for part in &document.sections {
        section(part, 2, &mut text);
    }
    finished(&text)
}

/// A section by itself, its title on the highest level.
pub fn part(part: &Section) -> String {
    let mut text = String::new();
    section(part, 3, &mut text);
    finished(&text)
}

fn finished(text: &str) -> String {
    let mut text = printable(text.trim_end(), false);
    text.push('\n');
    text
}

fn section(part: &Section, level: usize, text: &mut String) {
    let _ = writeln!(text, "{} {}\n", "#".repeat(level.min(6)), inline(&part.title));
    let mut blocks = part.blocks.iter().filter(|block| is_shown(block)).peekable();
    while let Some(block) = blocks.next() {
        self::block(block, text);
        // Members of a list stand together.
        if is_item(block) && !blocks.peek().is_some_and(|next| is_item(next)) {
            text.push('\n');
        }
    }
    for part in part.sections.iter().filter(|part| part.extent.in_documents()) {
        section(part, level + 1, text);
    }
}

fn is_shown(block: &Block) -> bool {
    match block {
        Block::Note(note) => note.extent.in_documents(),
        Block::Table(table) => table.extent.in_documents(),
        _ => true,
    }
}

const fn is_item(block: &Block) -> bool {
    matches!(
        block,
        Block::Note(Note { kind: NoteKind::Item | NoteKind::Remark | NoteKind::Failure | NoteKind::Insight, .. })
    )
}

fn block(block: &Block, text: &mut String) {
    match block {
        Block::Headline(one) => headline(one, text),
        Block::Table(one) => table(one, text),
        Block::Figure(figure) => {
            let words = escaped(&figure.description).replace(['[', ']'], "");
            let _ = writeln!(text, "![{words}]({})\n", figure.path);
        }
        Block::FlameGraph(graph) => flame_graph(graph, text),
        Block::Note(one) => note(one, text),
    }
}

fn headline(one: &Headline, text: &mut String) {
    let _ = writeln!(text, "**{}**\n", inline(&Text::plain(one.sentence.quoted())));
    let mut items = Vec::new();
    items.extend(one.changed_together.as_ref().map(|changed| format!("! {}", inline(changed))));
    items.extend(one.warnings.iter().map(warning));
    items.push(format!("durability is {}", inline(&one.durability_words)));
    items.extend(one.counter.as_ref().map(|counter| format!("the counter that moved with it: {}", inline(counter))));
    items.extend(one.why.as_ref().map(|why| format!("why: {}", inline(why))));
    for item in items {
        let _ = writeln!(text, "- {item}");
    }
    text.push('\n');
}

fn warning(note: &Note) -> String {
    let remedy = note.remedy.as_ref().map_or_else(String::new, |remedy| format!("; fix: {}", inline(remedy)));
    format!("⚠ {}{remedy}", inline(&note.text))
}

fn flame_graph(graph: &FlameGraph, text: &mut String) {
    for (path, words) in &graph.files {
        if path.ends_with(".svg") {
            let _ = writeln!(text, "![{}]({path})\n", escaped(words));
        }
    }
    let others: Vec<String> = graph
        .files
        .iter()
        .filter(|(path, _)| !path.ends_with(".svg"))
        .map(|(path, words)| format!("[{words}]({path})"))
        .collect();
    let _ = writeln!(text, "The same samples for other tools: {}.\n", others.join(", "));
}

fn note(one: &Note, text: &mut String) {
    let words = inline(&one.text);
    let _ = match one.kind {
        NoteKind::Prose => writeln!(text, "{words}\n"),
        NoteKind::Item | NoteKind::Remark | NoteKind::Insight => writeln!(text, "- {words}"),
        NoteKind::Failure => writeln!(text, "- ✗ {words}"),
        NoteKind::Warning => writeln!(text, "> {}\n", warning(one)),
        NoteKind::Command => writeln!(text, "```sh\n{}\n```\n", one.text.words()),
        NoteKind::Story => writeln!(text, "{}\n", one.text.words()),
    };
}

fn table(table: &Table, text: &mut String) {
    let names: Vec<String> = table.columns.iter().map(|column| escaped(&column.name)).collect();
    let rules: Vec<&str> = table.columns.iter().map(|column| if column.figures { "---:" } else { "---" }).collect();
    let _ = writeln!(text, "| {} |\n|{}|", names.join(" | "), rules.join("|"));
    for row in table.rows.iter().filter(|row| row.extent.in_documents()) {
        let cells: Vec<String> = (0..row.cells.len()).map(|column| cell(table, row, column)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if let Some(legend) = &table.legend {
        let _ = write!(text, "\n{}\n", inline(legend));
    }
    text.push('\n');
}

/// The name and the change of a row that stands out are in bold.
fn cell(table: &Table, row: &Row, column: usize) -> String {
    let cell = &row.cells[column];
    let stands_out = row.strong && (column == 0 || table.columns[column].name == "change");
    let written = match cell {
        Cell::Text(text) if stands_out => return bold(&inline(text)),
        Cell::Text(text) => return inline(text),
        Cell::Metric { name, .. } => {
            let arrow = cell.words()[name.len()..].to_owned();
            return if stands_out { format!("{}{arrow}", bold(&escaped(name))) } else { escaped(name) + &arrow };
        }
        Cell::Value(value) => match value.range() {
            Some(range) => format!("{} ({range})", value.shown()),
            None => value.shown(),
        },
        Cell::Verdict { primary: true, .. } => return bold(&cell.words()),
        Cell::Setting(setting) => return self::setting(setting),
        other => other.words(),
    };
    let written = escaped(&written);
    if stands_out { bold(&written) } else { written }
}

fn setting(value: &SettingValue) -> String {
    let code = |text: &str| inline(&Text::code(text));
    match (&value.requested, &value.effective) {
        (Some(asked), Some(got)) if value.is_ignored() => {
            format!("asked {}, **in force {}**", code(asked), code(got))
        }
        (_, Some(got)) => code(got),
        (Some(asked), None) => format!("asked {}, not read back", code(asked)),
        (None, None) => "–".to_owned(),
    }
}

fn bold(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("**{text}**") }
}

fn inline(text: &Text) -> String {
    let span = |span: &Span| match span {
        Span::Plain(text) => escaped(text),
        // A name may hold backticks itself.
        Span::Code(text) => format!("`{}`", text.replace('`', "'").replace('|', "\\|").replace('\n', " ")),
        Span::Strong(text) => bold(&escaped(text)),
        // A place within the page has no counterpart here.
        Span::Link { words, to } if to.starts_with('#') => escaped(words),
        Span::Link { words, to } => format!("[{}]({to})", escaped(words)),
    };
    text.0.iter().map(span).collect()
}

/// Text that must not end a table cell or start markup.
fn escaped(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ");
    let parts: Vec<&str> = text.split('`').collect();
    // Within backticks nothing starts markup, and an entity would be read as it is written.
    let has_code = parts.len() % 2 == 1 && !text.contains("``");
    let part = |(index, part): (usize, &&str)| match has_code && index % 2 == 1 {
        true => (*part).to_owned(),
        false => part.replace('<', "&lt;"),
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join("`")
}
