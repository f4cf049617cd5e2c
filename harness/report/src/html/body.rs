//! The markdown document as the body of a page.

use maud::{PreEscaped, html};
use pulldown_cmark::{Alignment, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html::push_html};
use uplift_model::verdict::Verdict;

use super::{Attachment, badge, frame, record_anchor, slug};
use crate::{ReportInput, plots::Plot};

/// Tables of more columns than this become cards on a phone.
const CARDS_FROM: usize = 4;

/// What became of the document.
pub struct Body {
    /// Its title, without markup.
    pub title: String,
    /// Sections: place and title.
    pub contents: Vec<(String, String)>,
    /// The sections.
    pub html: String,
    /// Paths of the attachments that stand in it.
    pub framed: Vec<String>,
}

struct Writer<'a> {
    input: &'a ReportInput<'a>,
    plots: &'a [Plot],
    attachments: &'a [Attachment],
    out: Body,
    /// Events that need nothing special, not yet written.
    plain: Vec<Event<'a>>,
    /// The scenario of this section.
    scenario: Option<&'a str>,
    /// The heading of this section.
    section: String,
    /// The last heading below it.
    topic: String,
    in_section: bool,
    in_plots: bool,
    frame_bytes_left: usize,
}

impl Body {
    /// Reads `text` as markdown.
    ///
    /// Flame graphs of up to `frames_max` bytes stand in it; the others stay links.
    pub fn of(
        text: &str,
        input: &ReportInput<'_>,
        plots: &[Plot],
        attachments: &[Attachment],
        frames_max: usize,
    ) -> Self {
        let empty = Self { title: String::new(), contents: Vec::new(), html: String::new(), framed: Vec::new() };
        let mut writer = Writer {
            input,
            plots,
            attachments,
            out: empty,
            plain: Vec::new(),
            scenario: None,
            section: String::new(),
            topic: String::new(),
            in_section: false,
            in_plots: false,
            frame_bytes_left: frames_max,
        };
        let events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
        writer.all(&events);
        writer.out
    }
}

impl<'a> Writer<'a> {
    fn all(&mut self, events: &[Event<'a>]) {
        let mut at = 0;
        while at < events.len() {
            let end = match &events[at] {
                Event::Start(tag) => matching(events, at, &tag.to_end()),
                _ => at,
            };
            let inner = &events[at..=end];
            match &events[at] {
                Event::Start(Tag::Heading { level, .. }) => self.heading(*level, &inner[1..inner.len() - 1]),
                Event::Start(Tag::Table(columns)) => {
                    self.close_plots();
                    self.table(columns, inner);
                }
                Event::Start(Tag::Paragraph) if matches!(inner.get(1), Some(Event::Start(Tag::Image { .. }))) => {
                    self.pictures(&inner[1..inner.len() - 1]);
                }
                _ => {
                    self.close_plots();
                    self.plain.extend(inner.iter().map(|event| safe(event.clone())));
                }
            }
            at = end + 1;
        }
        self.close_plots();
        self.flush();
        if self.in_section {
            self.out.html.push_str("</section>\n");
        }
    }

    fn flush(&mut self) {
        if !self.plain.is_empty() {
            push_html(&mut self.out.html, self.plain.drain(..));
        }
    }

    fn close_plots(&mut self) {
        if self.in_plots {
            self.flush();
            self.out.html.push_str("</div>\n");
            self.in_plots = false;
        }
    }

    fn heading(&mut self, level: HeadingLevel, inner: &[Event<'a>]) {
        self.close_plots();
        self.flush();
        let title = plain_text(inner);
        match level {
            HeadingLevel::H1 => self.out.title = title,
            HeadingLevel::H2 => {
                if self.in_section {
                    self.out.html.push_str("</section>\n");
                }
                self.in_section = true;
                self.topic.clear();
                self.section.clone_from(&title);
                let names = self.input.run.scenarios.iter().map(|planned| planned.scenario.name.as_str());
                self.scenario = names.into_iter().find(|name| title.starts_with(&format!("{name}: ")));
                let place = slug(self.scenario.unwrap_or(&title));
                let markup =
                    html! { section aria-labelledby=(place) { h2 id=(place) { (PreEscaped(rendered(inner))) } } };
                // The section stays open until the next one.
                self.out.html.push_str(markup.into_string().trim_end_matches("</section>"));
                self.out.contents.push((place, self.scenario.map_or(title, str::to_owned)));
            }
            _ => {
                let markup = html! { h3 { (PreEscaped(rendered(inner))) } };
                self.out.html.push_str(&markup.into_string());
                self.topic = title;
            }
        }
        self.out.html.push('\n');
    }

    fn pictures(&mut self, inner: &[Event<'a>]) {
        let mut at = 0;
        while at < inner.len() {
            let Event::Start(Tag::Image { dest_url, .. }) = &inner[at] else {
                at += 1;
                continue;
            };
            let end = matching(inner, at, &TagEnd::Image);
            let words = plain_text(&inner[at + 1..end]);
            at = end + 1;
            if !self.in_plots {
                self.flush();
                self.out.html.push_str("<div class=\"plots\">\n");
                self.in_plots = true;
            }
            let plot = self.plots.iter().find(|plot| plot.path == dest_url.as_ref());
            let attachment = self.attachments.iter().find(|one| one.path == dest_url.as_ref());
            let markup = match (plot, attachment) {
                (Some(plot), _) => {
                    html! { figure { (PreEscaped(plot.inline())) figcaption { (plot.description) } } }
                }
                (None, Some(one)) if one.svg.len() <= self.frame_bytes_left => {
                    self.frame_bytes_left -= one.svg.len();
                    self.out.framed.push(one.path.clone());
                    frame(one, &words)
                }
                // A picture that is not here would be a request to elsewhere.
                _ => html! { p { a href=(dest_url) { (words) } } },
            };
            self.out.html.push_str(&markup.into_string());
            self.out.html.push('\n');
        }
    }

    fn table(&mut self, columns: &[Alignment], events: &[Event<'a>]) {
        self.flush();
        let rows = rows_of(events);
        let Some((head, rows)) = rows.split_first() else { return };
        // The document aligns every column but the first to the right; in a page only figures are.
        let numeric = |column: usize| {
            let figures = rows.iter().filter(|row| row.get(column).is_some_and(|cell| is_figure(&plain_text(cell))));
            matches!(columns.get(column), Some(Alignment::Right)) && 2 * figures.count() >= rows.len().max(1)
        };
        let class = |column: usize| if numeric(column) { Some("n") } else { None };
        // On a phone a row of a wide table becomes a card, whose figures bear the names of their columns.
        let names: Vec<String> = head.iter().map(|cell| plain_text(cell)).collect();
        let cards = names.len() > CARDS_FROM;
        let cell_class = |column: usize, cell: &[Event<'_>]| {
            let empty = cards && matches!(plain_text(cell).as_str(), "" | "–");
            match (numeric(column), empty) {
                (true, true) => Some("n o"),
                (true, false) => Some("n"),
                (false, true) => Some("o"),
                (false, false) => None,
            }
        };
        let label = match (self.scenario, self.topic.as_str()) {
            (Some(scenario), "") => scenario.to_owned(),
            (Some(scenario), topic) => format!("{topic}: {scenario}"),
            (None, "") => self.section.clone(),
            (None, topic) => topic.to_owned(),
        };
        let markup = html! {
            div.scroll.cards[cards] role="region" tabindex="0" aria-label=(label) {
                table {
                    thead { tr { @for (column, cell) in head.iter().enumerate() {
                        th scope="col" class=[class(column)] { (PreEscaped(rendered(cell))) }
                    } } }
                    tbody { @for row in rows { tr {
                        @for (column, cell) in row.iter().enumerate() {
                            @if column == 0 {
                                th scope="row" { (PreEscaped(rendered(cell))) }
                            } @else {
                                td class=[cell_class(column, cell)] data-l=[names.get(column).filter(|_| cards)] {
                                    (self.cell(row, column, cell))
                                }
                            }
                        }
                    } } }
                }
            }
        };
        self.out.html.push_str(&markup.into_string());
        self.out.html.push('\n');
    }

    /// A cell: a verdict gets its sign, a figure of a scenario a link to its records.
    fn cell(&self, row: &[&[Event<'a>]], column: usize, cell: &[Event<'a>]) -> PreEscaped<String> {
        let text = plain_text(cell);
        if let Some(verdict) = verdict_of(&text) {
            return badge(verdict, &text);
        }
        let inner = match text.split_once(" (").filter(|_| text.ends_with(')') && is_figure(&text)) {
            // The interval below its value: beside it, the verdicts of a comparison would lie outside the window.
            Some((value, interval)) => html! { (value) " " span.between { "(" (interval) } },
            None => PreEscaped(rendered(cell)),
        };
        match self.records_of(row, column) {
            Some(to) if !text.is_empty() && text != "–" => html! { a href={ "#" (to) } { (inner) } },
            _ => inner,
        }
    }

    fn records_of(&self, row: &[&[Event<'a>]], column: usize) -> Option<String> {
        let scenario = self.scenario?;
        let word = |index: usize| row.get(index).map(|cell| plain_text(cell)).unwrap_or_default();
        let metric = |text: &str| text.trim_end_matches([' ', '↑', '↓']).to_owned();
        match self.topic.as_str() {
            "Measurements" | "Detailed comparison" => Some(record_anchor(scenario, &metric(&word(0)))),
            "p95 by operation" => Some(record_anchor(
                scenario,
                &match word(0).as_str() {
                    "all together" => "response_p95".to_owned(),
                    kind => format!("{kind}_response_p95"),
                },
            )),
            "Published figures" if column == 4 => Some(record_anchor(scenario, &word(2))),
            "Per operation"
            | "Per group"
            | "Sync calls"
            | "Where the time went"
            | "Inside the system"
            | "Sprint ledger"
            | "Sweep"
                if column > 1 =>
            {
                Some(format!("records-{}", slug(scenario)))
            }
            _ => None,
        }
    }
}

fn is_figure(text: &str) -> bool {
    let first = text.chars().next();
    text == "n/a" || (text.len() < 60 && first.is_some_and(|c| c.is_ascii_digit() || "+-×<–[".contains(c)))
}

fn verdict_of(text: &str) -> Option<Verdict> {
    [Verdict::Improved, Verdict::Regressed, Verdict::Unchanged, Verdict::Inconclusive, Verdict::Incomparable]
        .into_iter()
        .find(|verdict| verdict.word() == text)
}

/// The index of the end of the element that begins at `at`.
fn matching(events: &[Event<'_>], at: usize, end: &TagEnd) -> usize {
    let mut depth = 0usize;
    for (index, event) in events.iter().enumerate().skip(at) {
        match event {
            Event::Start(tag) if tag.to_end() == *end => depth += 1,
            Event::End(tag) if tag == end => {
                depth -= 1;
                if depth == 0 {
                    return index;
                }
            }
            _ => {}
        }
    }
    events.len() - 1
}

/// The cells of every row of a table, its head first.
fn rows_of<'e, 'a>(events: &'e [Event<'a>]) -> Vec<Vec<&'e [Event<'a>]>> {
    let mut rows: Vec<Vec<&[Event<'_>]>> = Vec::new();
    let mut begin = 0;
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) => begin = index + 1,
            Event::End(TagEnd::TableCell) => {
                if let Some(row) = rows.last_mut() {
                    row.push(&events[begin..index]);
                }
            }
            _ => {}
        }
    }
    rows
}

fn plain_text(events: &[Event<'_>]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            _ => {}
        }
    }
    text
}

fn rendered(events: &[Event<'_>]) -> String {
    let mut text = String::new();
    push_html(&mut text, events.iter().map(|event| safe(event.clone())));
    text
}

/// Markup that is not ours is shown as the text it is; links lead to the web or into the run's folder and run nothing.
fn safe(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) => Event::Html(ours_only(&text)),
        Event::InlineHtml(text) => Event::InlineHtml(ours_only(&text)),
        Event::Start(Tag::Image { link_type, dest_url, title, id } | Tag::Link { link_type, dest_url, title, id }) => {
            let scheme = dest_url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
            let allowed = scheme.is_none_or(|scheme| matches!(scheme.as_str(), "http" | "https"));
            let dest_url = if allowed { dest_url } else { CowStr::Borrowed("#") };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        other => other,
    }
}

fn ours_only(text: &str) -> CowStr<'static> {
    let mut escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for tag in ["details", "/details", "summary", "/summary"] {
        escaped = escaped.replace(&format!("&lt;{tag}&gt;"), &format!("<{tag}>"));
    }
    CowStr::from(escaped)
}
