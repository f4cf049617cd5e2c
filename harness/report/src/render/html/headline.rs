//! The answer for one scenario on one screen.

use maud::{Markup, html};
use uplift_model::verdict::{Parity, Status};

use super::{
    context::Context,
    parts::{setting, symbol, text, warning},
};
use crate::document::{Bar, ChangedSetting, Headline};

/// So many changed settings stand in the answer; the table has all.
const CHANGED_MAX: usize = 6;

/// The card.
pub fn headline(one: &Headline, _context: &Context<'_>) -> Markup {
    html! {
        div.answer {
            (verdict(one))
            @if one.bars.len() == 2 { (bars(&one.bars, one.lower_is_better, one.metric.as_deref().unwrap_or_default())) }
            @for note in &one.warnings { (warning(note)) }
            dl {
                (changed(one))
                dt { "Durability" }
                dd {
                    @if one.durability == Parity::Weaker { span.flag { "!" } " " }
                    (text(&one.durability_words))
                }
                @if let Some(counter) = &one.counter { dt { "Moved with it" } dd { (text(counter)) } }
                @if let Some(why) = &one.why { dt { "Why" } dd { (text(why)) } }
            }
        }
    }
}

fn verdict(one: &Headline) -> Markup {
    let Some((verdict, change, metric)) = one
        .verdict
        .zip(one.change.as_ref())
        .zip(one.metric.as_ref())
        .map(|((verdict, change), metric)| (verdict, change, metric))
    else {
        let word = match one.status {
            Status::Skipped => "skipped",
            Status::Failed => "failed",
            Status::Incomparable => "incomparable",
            Status::Compared => "not measured",
        };
        return html! {
            p.verdict { span class={ "v " (word) } { (word) } }
            @if let Some(reason) = &one.reason { p { (text(reason)) } }
        };
    };
    let (value, interval) = change.shown();
    html! {
        p.verdict {
            span class={ "v " (verdict.word()) } { span aria-hidden="true" { (symbol(verdict)) " " } (metric) " " (verdict.word()) }
            " " strong.size { (value.as_deref().unwrap_or("no ratio")) }
            " " span.interval { (interval.as_deref().unwrap_or("no interval")) ", " (one.blocks) " blocks" }
        }
        @if let Some(reason) = &one.reason { p { (text(reason)) } }
    }
}

/// Two bars on one axis, each with its interval.
fn bars(bars: &[Bar], lower_is_better: bool, metric: &str) -> Markup {
    let most = bars
        .iter()
        .map(|bar| bar.value.interval.map_or(bar.value.value, |[_, high]| high.max(bar.value.value)))
        .fold(f64::MIN_POSITIVE, f64::max);
    let percent = |value: f64| (value / most * 100.0).clamp(0.0, 100.0);
    let better = if lower_is_better { "less is better" } else { "more is better" };
    html! {
        div.bars {
            @for (index, bar) in bars.iter().enumerate() {
                span.who { (bar.variant) }
                span.track aria-hidden="true" {
                    span class={ "fill fill-" (index + 1) } style={ "width:" (format!("{:.2}", percent(bar.value.value))) "%" } {}
                    @if let Some([low, high]) = bar.value.interval {
                        span.whisker style={ "left:" (format!("{:.2}", percent(low))) "%;width:" (format!("{:.2}", percent(high) - percent(low))) "%" } {}
                    }
                }
                span.amount { (bar.value.shown()) @if let Some(range) = bar.value.range() { " " span.between { "(" (range) ")" } } }
            }
            span.axis { (metric) ", " (better) }
        }
    }
}

fn changed(one: &Headline) -> Markup {
    // What is flagged comes first.
    let mut rows: Vec<&ChangedSetting> = one.changed.iter().filter(|row| row.flagged).collect();
    rows.extend(one.changed.iter().filter(|row| !row.flagged));
    let more = rows.len().saturating_sub(CHANGED_MAX);
    html! {
        dt { "Changed in force" }
        dd {
            @if rows.is_empty() { "nothing that is asked for or read back" }
            @for row in rows.iter().take(CHANGED_MAX) {
                span.change {
                    @if row.flagged { span.flag title="not the one change that was meant" { "!" } " " }
                    code { (row.key) } " " (setting(&row.baseline)) " → " (setting(&row.candidate))
                }
            }
            @if more > 0 { span.change { "and " (more) " more, in the table below" } }
            @if one.changed_together.is_some() {
                span.change { "Several settings are changed together: the effect is that of all of them." }
            }
        }
    }
}
