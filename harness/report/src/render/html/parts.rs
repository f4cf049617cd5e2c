//! Sections, tables and sentences of a page.

use maud::{Markup, PreEscaped, html};
use uplift_model::verdict::{SettingValue, Verdict};

use super::{
    context::{Context, MEANINGS, meaning_anchor, record_anchor, records_anchor},
    headline::headline,
    prose::story,
};
use crate::document::{Block, Cell, Figure, FlameGraph, Note, NoteKind, Record, Row, Section, Span, Table, Text};

/// The headings of parts of scenarios.
const DETAILS_LEVEL: usize = 3;
/// Tables of more columns than this become cards on a phone.
const CARDS_FROM: usize = 4;

/// A section with its parts; a folded one opens when it is asked for, or when something in it is the target of a link.
pub fn section(part: &Section, level: usize, context: &Context<'_>) -> Markup {
    let heading = html! {
        @match level {
            2 => h2 id=(part.id) { (text(&part.title)) },
            3 => h3 id=(part.id) { (text(&part.title)) },
            _ => h4 id=(part.id) { (text(&part.title)) },
        }
    };
    let body = html! {
        (blocks(part, context))
        @for inner in part.sections.iter().filter(|inner| inner.extent.in_documents()) {
            (detail(inner, level + 1, context))
        }
    };
    if part.folded {
        return html! {
            section aria-labelledby=(part.id) { details { summary { (heading) } (body) } }
        };
    }
    html! { section aria-labelledby=(part.id) { (heading) (body) } }
}

/// A part of a part, as long as there is room for it.
fn detail(part: &Section, level: usize, context: &Context<'_>) -> Markup {
    let left = context.detail_bytes_left.get();
    if left == 0 {
        return html! { p { a href="report.md" { (part.title.words()) } } };
    }
    let drawn = section(part, level, context);
    if level == DETAILS_LEVEL {
        context.detail_bytes_left.set(left.saturating_sub(drawn.0.len()));
    }
    drawn
}

fn blocks(part: &Section, context: &Context<'_>) -> Markup {
    let shown: Vec<&Block> = part
        .blocks
        .iter()
        .filter(|block| match block {
            Block::Note(note) => note.extent.in_documents(),
            Block::Table(table) => table.extent.in_documents(),
            _ => true,
        })
        .collect();
    let mut drawn = Vec::new();
    let mut at = 0;
    while at < shown.len() {
        // Members of a list, and pictures, stand together.
        let run = shown[at..].iter().take_while(|block| kind(block) == kind(shown[at])).count();
        let run = if kind(shown[at]) == Kind::Alone { 1 } else { run };
        let group = &shown[at..at + run];
        drawn.push(match kind(group[0]) {
            Kind::List(class) => html! { ul.(class) { @for block in group { (item(block, context)) } } },
            Kind::Figures => html! { div.plots { @for block in group { (picture(block, context)) } } },
            Kind::Alone => alone(group[0], part, context),
        });
        at += run;
    }
    html! { @for one in drawn { (one) } }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List(&'static str),
    Figures,
    Alone,
}

const fn kind(block: &Block) -> Kind {
    match block {
        Block::Note(Note { kind: NoteKind::Item | NoteKind::Remark, .. }) => Kind::List("items"),
        Block::Note(Note { kind: NoteKind::Failure, .. }) => Kind::List("failures"),
        Block::Note(Note { kind: NoteKind::Insight, .. }) => Kind::List("insights"),
        Block::Figure(_) => Kind::Figures,
        _ => Kind::Alone,
    }
}

fn item(block: &Block, context: &Context<'_>) -> Markup {
    let Block::Note(note) = block else { return html! {} };
    let to = note.record.as_ref().filter(|_| context.has_records).map(to_record);
    html! { li { (text(&note.text)) @if let Some(to) = to { " " a.record href=(to) { "records" } } } }
}

fn picture(block: &Block, context: &Context<'_>) -> Markup {
    let Block::Figure(Figure { path, description }) = block else { return html! {} };
    let drawn = context.plots.iter().find(|plot| &plot.path == path).map(crate::plots::Plot::inline);
    match drawn {
        Some(svg) if svg.len() <= context.plot_bytes_left.get() => {
            context.plot_bytes_left.set(context.plot_bytes_left.get() - svg.len());
            html! { figure { (PreEscaped(svg)) figcaption { (description) } } }
        }
        // A picture that is not here would be a request to elsewhere.
        _ => html! { p { a href=(path) { (description) } } },
    }
}

fn alone(block: &Block, part: &Section, context: &Context<'_>) -> Markup {
    match block {
        Block::Headline(one) => headline(one, context),
        Block::Table(one) => table(one, part.id == MEANINGS, context),
        Block::FlameGraph(graph) => flame_graph(graph, context),
        Block::Note(note) => match note.kind {
            NoteKind::Warning => warning(note),
            NoteKind::Command => html! { pre { code { (note.text.words()) } } },
            NoteKind::Story => html! { div.story { (PreEscaped(story(&note.text.words()))) } },
            _ => html! { p { (text(&note.text)) } },
        },
        Block::Figure(_) => html! {},
    }
}

/// What must be known, with what to do about it.
pub fn warning(note: &Note) -> Markup {
    html! {
        p.warning {
            span aria-hidden="true" { "! " } (text(&note.text))
            @if let Some(remedy) = &note.remedy { " " span.remedy { "Fix: " (text(remedy)) "." } }
        }
    }
}

fn flame_graph(graph: &FlameGraph, context: &Context<'_>) -> Markup {
    let live = context.stacks.iter().any(|(id, _)| *id == graph.id);
    html! {
        @if live { div.flames data-stacks=(graph.id) data-scenario=(graph.scenario) {} }
        details.files {
            summary { "The same samples as files" }
            ul { @for (path, words) in &graph.files { li { a href=(path) { (words) } } } }
        }
    }
}

fn table(table: &Table, meanings: bool, context: &Context<'_>) -> Markup {
    // On a phone a row of a wide table becomes a card, whose figures bear the names of their columns.
    let cards = table.columns.len() > CARDS_FROM;
    html! {
        div.scroll.cards[cards] role="region" tabindex="0" aria-label=(table.label) {
            table {
                thead { tr { @for column in &table.columns {
                    th scope="col" class=[column.figures.then_some("n")] { (column.name) }
                } } }
                tbody { @for row in table.rows.iter().filter(|row| row.extent.in_documents()) {
                    tr.strong[row.strong] { @for column in 0..row.cells.len() {
                        (cell(table, row, column, cards, meanings, context))
                    } }
                } }
            }
        }
        @if let Some(legend) = &table.legend { p.legend { (text(legend)) } }
    }
}

fn cell(table: &Table, row: &Row, column: usize, cards: bool, meanings: bool, context: &Context<'_>) -> Markup {
    let (cell, head) = (&row.cells[column], &table.columns[column]);
    let inner = html! {
        @match cell {
            Cell::Text(words) => (text(words)),
            Cell::Metric { name, .. } => (metric(cell, name, meanings, context)),
            Cell::Value(value) => {
                (value.shown())
                @if let Some(range) = value.range() { " " span.between { "(" (range) ")" } }
            }
            Cell::Verdict { verdict: Some(verdict), .. } => (badge(*verdict)),
            Cell::Setting(value) => (setting(value)),
            other => (other.words()),
        }
    };
    // One link to the records for each row: every figure of it has the same.
    let first_change =
        row.cells.iter().position(|cell| matches!(cell, Cell::Change(_) | Cell::Value(_) | Cell::Figure(_)));
    let linked =
        row.record.as_ref().filter(|_| context.has_records && Some(column) == first_figure(row).or(first_change));
    let inner = match linked {
        Some(record) => html! { a href=(to_record(record)) { (inner) } },
        None => inner,
    };
    if column == 0 {
        let id = match cell {
            Cell::Metric { name, .. } if meanings => Some(meaning_anchor(name)),
            _ => None,
        };
        return html! { th scope="row" id=[id] class=[head.figures.then_some("n")] { (inner) } };
    }
    let class = match (head.figures, cards && cell.is_blank()) {
        (true, true) => Some("n o"),
        (true, false) => Some("n"),
        (false, true) => Some("o"),
        (false, false) => None,
    };
    html! { td class=[class] data-l=[Some(&head.name).filter(|_| cards)] { (inner) } }
}

fn first_figure(row: &Row) -> Option<usize> {
    row.cells.iter().position(|cell| matches!(cell, Cell::Change(_)))
}

fn metric(cell: &Cell, name: &str, meanings: bool, context: &Context<'_>) -> Markup {
    let words = cell.words();
    if meanings || !context.meanings.contains(name) {
        return html! { (words) };
    }
    html! { a href={ "#" (meaning_anchor(name)) } { (words) } }
}

fn to_record(record: &Record) -> String {
    match record {
        Record::Metric { scenario, metric } => format!("#{}", record_anchor(scenario, metric)),
        Record::Scenario { scenario } => format!("#{}", records_anchor(scenario)),
    }
}

/// A setting: what is in force, and what was asked for where that is something else.
pub fn setting(value: &SettingValue) -> Markup {
    match (&value.requested, &value.effective) {
        (Some(asked), Some(got)) if value.is_ignored() => {
            html! { "asked " code { (asked) } ", " strong { "in force " code { (got) } } }
        }
        (_, Some(got)) => html! { code { (got) } },
        (Some(asked), None) => html! { "asked " code { (asked) } ", not read back" },
        (None, None) => html! { "–" },
    }
}

/// The sign of a verdict.
pub const fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Improved => "▲",
        Verdict::Regressed => "▼",
        Verdict::Unchanged => "=",
        Verdict::Inconclusive => "?",
        Verdict::Incomparable => "⊘",
    }
}

/// A verdict with a sign, so that colour is never alone.
fn badge(verdict: Verdict) -> Markup {
    html! { span class={ "v " (verdict.word()) } { span aria-hidden="true" { (symbol(verdict)) " " } (verdict.word()) } }
}

/// A line of text.
pub fn text(text: &Text) -> Markup {
    html! {
        @for span in &text.0 {
            @match span {
                Span::Plain(words) => (words),
                Span::Code(name) => code { (name) },
                Span::Strong(words) => strong { (words) },
                Span::Link { words, to } => a href=(to) { (words) },
            }
        }
    }
}
