//! `report.html`: the same document as `report.md` in one file that needs nothing else.
//!
//! The markdown is the only source of what is said; this module gives it a page: contents, pictures in place, a link
//! from each figure to the records that it comes from. There is no script in it, its policy forbids any request, and it
//! follows light and dark. Flame graphs bring a script of their own and live in frames that are closed to the page.

mod body;
mod records;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use uplift_model::{
    file_name,
    verdict::{MetricVerdict, ScenarioVerdict, Status, Verdict},
};

use crate::{ReportInput, number::change_with_interval, plots::Plot, terminal::verdict_word};

const STYLE: &str = include_str!("style.css");
/// The most bytes of flame graphs in one page; what does not fit stays a link to its file.
const FRAMES_BYTES_MAX: usize = 1_500_000;
/// What a page should weigh at most: it is sent around.
const PAGE_BYTES_MAX: usize = 2_900_000;

/// A picture that lies beside the report and was not drawn by it: a flame graph.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its place in the run's folder: `profiles/docdb-crud-baseline.svg`.
    pub path: String,
    /// Its SVG.
    pub svg: String,
}

/// The page that says what `text`, the markdown document, says.
pub fn document(input: &ReportInput<'_>, text: &str, plots: &[Plot], attachments: &[Attachment]) -> String {
    let records = records::section(input);
    let frames_max = frames_bytes_max(text, plots, &records);
    let body = body::Body::of(text, input, plots, attachments, frames_max);
    let run = input.run;
    let scripts = if attachments.is_empty() { "" } else { " script-src 'unsafe-inline'; frame-src data:;" };
    let policy = format!("default-src 'none'; style-src 'unsafe-inline'; img-src data:;{scripts}");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (body.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    h1 { (body.title) }
                    p { "run " code { (run.id) } " · seed " (run.seed) " · uplift " (run.environment.uplift_version) }
                }
                div.page {
                    nav aria-label="Contents" {
                        ul {
                            @for (slug, title) in &body.contents {
                                li { a href={ "#" (slug) } { (title) } }
                            }
                            li { a href="#records" { "Records" } }
                        }
                    }
                    main #content {
                        (at_a_glance(input))
                        (PreEscaped(&body.html))
                        (loose_frames(attachments, &body.framed, frames_max))
                        (records)
                    }
                }
                footer {
                    p { "Every figure links to the records that it was computed from. Made by uplift from " code { "run.json" } " and " code { "trials.jsonl" } "." }
                }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

/// How many bytes of flame graphs fit beside the rest. Markup is about twice its text, and pictures grow by a third when
/// they are written into a page.
fn frames_bytes_max(text: &str, plots: &[Plot], records: &Markup) -> usize {
    let drawn: usize = plots.iter().map(|plot| plot.inline().len()).sum();
    let rest = 3 * text.len() + drawn + records.0.len() + STYLE.len();
    (PAGE_BYTES_MAX.saturating_sub(rest) / 4 * 3).min(FRAMES_BYTES_MAX)
}

/// The anchor of a scenario, which has a `/` and of which there may be many alike, or of another heading.
fn slug(name: &str) -> String {
    if name.contains('/') {
        return file_name(&[name]);
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// The place of a metric of a scenario in the records.
fn record_anchor(scenario: &str, metric: &str) -> String {
    format!("r-{}", file_name(&[scenario, metric]))
}

const fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Improved => "▲",
        Verdict::Regressed => "▼",
        Verdict::Unchanged => "=",
        Verdict::Inconclusive => "?",
        Verdict::Incomparable => "⊘",
    }
}

/// A verdict with a sign, so that colour is never alone.
fn badge(verdict: Verdict, word: &str) -> Markup {
    html! { span class={ "v " (verdict.word()) } { span aria-hidden="true" { (symbol(verdict)) " " } (word) } }
}

fn at_a_glance(input: &ReportInput<'_>) -> Markup {
    let Some(verdicts) = input.verdicts else { return html! {} };
    let row = |scenario: &ScenarioVerdict, metric: &MetricVerdict| {
        let to = format!("#{}", record_anchor(&scenario.name, &metric.metric));
        let (change, interval) = change_with_interval(metric.change, metric.ci, metric.class);
        html! {
            td { (badge(metric.verdict, verdict_word(metric))) }
            td.n { a href=(to) { (change.as_deref().unwrap_or("n/a")) } }
            td.n { a href=(to) { (interval.as_deref().unwrap_or("n/a")) } }
            td { (metric.metric) }
        }
    };
    html! {
        p { "The metric that decides, for each scenario: " (verdicts.candidate) " against " (verdicts.baseline) "." }
        div.scroll role="region" tabindex="0" aria-label="Verdicts at a glance" {
            table {
                thead { tr { th scope="col" { "scenario" } th scope="col" { "verdict" } th.n scope="col" { "change" } th.n scope="col" { "interval" } th scope="col" { "metric" } } }
                tbody {
                    @for scenario in &verdicts.scenarios {
                        tr {
                            th scope="row" { a href={ "#" (slug(&scenario.name)) } { (scenario.name) } }
                            @match (scenario.status, scenario.primary()) {
                                (Status::Compared | Status::Incomparable, Some(metric)) => (row(scenario, metric)),
                                (Status::Skipped, _) => { td colspan="4" { "skipped" } }
                                _ => { td colspan="4" { "failed" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A frame that holds a flame graph. Its script runs without access to the page.
fn frame(attachment: &Attachment, words: &str) -> Markup {
    let height = attribute_of(&attachment.svg, "height").unwrap_or(600).clamp(120, 1_600);
    html! {
        figure.wide {
            iframe sandbox="allow-scripts" title=(words) height=(height + 8)
                src={ "data:image/svg+xml;base64," (STANDARD.encode(guarded(&attachment.svg))) } {}
            figcaption { (words) " (" a href=(attachment.path) { (attachment.path) } ")" }
        }
    }
}

fn attribute_of(svg: &str, name: &str) -> Option<u32> {
    let head = svg.split_once("<svg")?.1.split('>').next()?;
    let value = head.split_once(&format!(" {name}=\""))?.1.split('"').next()?;
    value.parse::<f64>().ok().map(|value| value as u32)
}

/// Flame graphs that the document does not mention by themselves.
fn loose_frames(attachments: &[Attachment], framed: &[String], bytes_max: usize) -> Markup {
    let loose: Vec<&Attachment> = attachments.iter().filter(|one| !framed.contains(&one.path)).collect();
    if loose.is_empty() {
        return html! {};
    }
    let used: usize = attachments.iter().filter(|one| framed.contains(&one.path)).map(|one| one.svg.len()).sum();
    let mut left = bytes_max.saturating_sub(used);
    html! {
        section aria-labelledby="flame-graphs" {
            h2 #flame-graphs { "Flame graphs" }
            @for attachment in loose {
                @if attachment.svg.len() <= left {
                    @let () = left -= attachment.svg.len();
                    details open { summary { (attachment.path) } (frame(attachment, &attachment.path)) }
                } @else {
                    p { a href=(attachment.path) { (attachment.path) } " (a file beside this page: it would make the page too heavy)" }
                }
            }
        }
    }
}

/// The graph's script subtracts its margins from the frame's width, which is nothing while the frame is not laid out: it
/// waits until it is. It also notes every click in the address, which a frame without an address of its own may not.
fn guarded(svg: &str) -> String {
    const WIDTH: &str = "svg.width.baseVal.value - xpad * 2";
    const BEGIN: &str = "setTimeout(function() {";
    const WAIT: &str =
        "setTimeout(function begin() { if (svg.width.baseVal.value <= xpad * 2) { setTimeout(begin, 100); return; }";
    svg.replace(WIDTH, &format!("Math.max(1, {WIDTH})"))
        .replace(BEGIN, WAIT)
        .replace("history.replaceState(", "((...to) => { try { history.replaceState(...to); } catch {} })(")
}
