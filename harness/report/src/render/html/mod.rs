//! A document as one file that needs nothing else: no request, no frame, and a script only where there are stacks to
//! walk through.

mod context;
mod headline;
mod parts;
mod prose;
mod records;
mod stacks;

use std::cell::Cell;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::records::records;
use self::{
    context::{Context, meanings},
    parts::text,
};
use crate::{ReportInput, build::Report, document::Document, plots::Plot};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("flame.js");
/// How many bytes of plots stand in a page; what does not fit is a link to its file.
const PLOT_BYTES_MAX: usize = 900_000;
/// How many bytes of details of scenarios; of more, `report.md` has them.
const DETAIL_BYTES_MAX: usize = 1_000_000;
/// How many bytes of stacks; of more, the files beside the page are named.
const STACK_BYTES_MAX: usize = 1_000_000;

/// What a page is made of beside its document.
pub struct Page<'a> {
    /// What is said.
    pub document: &'a Document,
    /// The plots that the document names.
    pub plots: &'a [Plot],
    /// The records behind the figures.
    pub records: Option<Markup>,
    /// Whether figures may lead to them.
    pub has_records: bool,
    /// Stacks by the name that the document gives them, as JSON.
    pub stacks: Vec<(String, String)>,
    /// The line below the title.
    pub about: Markup,
    /// What tells this page's script from others'.
    pub nonce: String,
}

/// The page of a run.
pub fn report(input: &ReportInput<'_>, report: &Report) -> String {
    let run = input.run;
    Page {
        document: &report.document,
        plots: &report.plots,
        records: Some(records(input)),
        has_records: records::are_shown(input),
        stacks: stacks::of_run(input),
        about: html! { "run " code { (run.id) } " · seed " (run.seed) " · uplift " (run.environment.uplift_version) },
        nonce: format!("{:013x}", run.seed),
    }
    .draw()
}

/// A page of a document that is no run's: a search, a list, a site.
pub fn page(document: &Document, plots: &[Plot], about: &str) -> String {
    let about = html! { (about) };
    Page { document, plots, records: None, has_records: false, stacks: Vec::new(), about, nonce: String::new() }.draw()
}

impl Page<'_> {
    /// Draws it.
    pub fn draw(&self) -> String {
        let mut left = STACK_BYTES_MAX;
        let fitting: Vec<&(String, String)> = self
            .stacks
            .iter()
            .filter(|(_, json)| {
                let fits = json.len() <= left;
                left -= if fits { json.len() } else { 0 };
                fits
            })
            .collect();
        let context = Context {
            plots: self.plots,
            stacks: fitting,
            meanings: meanings(self.document),
            has_records: self.has_records,
            plot_bytes_left: Cell::new(PLOT_BYTES_MAX),
            detail_bytes_left: Cell::new(DETAIL_BYTES_MAX),
        };
        let scripted = !context.stacks.is_empty();
        let script_policy = if scripted { format!(" script-src 'nonce-{}';", self.nonce) } else { String::new() };
        let policy = format!("default-src 'none'; style-src 'unsafe-inline'; img-src data:;{script_policy}");
        let title = self.document.title.words();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    link rel="icon" href="data:,";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        h1 { (text(&self.document.title)) }
                        p { (self.about) }
                    }
                    div.page {
                        (self.contents())
                        main #content {
                            @for section in &self.document.sections { (parts::section(section, 2, &context)) }
                            @if let Some(records) = &self.records { (records) }
                        }
                    }
                    @for (id, json) in &context.stacks {
                        script type="application/json" id=(id) { (PreEscaped(json)) }
                    }
                    @if scripted { script nonce=(self.nonce) { (PreEscaped(SCRIPT)) } }
                }
            }
        };
        let mut page = page.into_string();
        page.push('\n');
        page
    }

    fn contents(&self) -> Markup {
        let entries: Vec<(&str, &str)> = self
            .document
            .sections
            .iter()
            .filter_map(|section| Some((section.id.as_str(), section.contents.as_deref()?)))
            .chain(self.records.is_some().then_some(("records", "Records")))
            .collect();
        if entries.len() < 2 {
            return html! {};
        }
        html! {
            nav aria-label="Contents" {
                ul { @for (id, words) in entries { li { a href={ "#" (id) } { (words) } } } }
            }
        }
    }
}
