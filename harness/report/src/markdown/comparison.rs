//! What was decided for one scenario: the metrics of both variants, what changed in force, durability, published figures.

use std::fmt::Write as _;

use uplift_model::{
    MetricClass,
    verdict::{ClaimOutcome, Estimate, Parity, ScenarioVerdict, SettingValue, Status},
};

use super::{escape, header, row};
use crate::{
    number::{Scale, change, change_with_interval, significant, with_unit},
    terminal::{arrow, class_of, outcome_word, p_value, shown_by_default, verdict_word},
};

pub fn comparison_table(verdict: &ScenarioVerdict, baseline: &str, candidate: &str, text: &mut String) {
    if verdict.metrics.is_empty() {
        return;
    }
    text.push_str("### Detailed comparison\n\n");
    header(&["metric", baseline, candidate, "change", "interval", "p", "MDE", "n", "verdict"], text);
    let cell = |estimate: &Option<Estimate>, scale: Scale| {
        estimate.as_ref().map_or_else(|| "n/a".to_owned(), |of| scale.with_range(of.median, of.ci))
    };
    for metric in &verdict.metrics {
        if metric.baseline.is_none() && metric.candidate.is_none() && !shown_by_default(metric) {
            continue;
        }
        let name = if metric.primary { format!("**{}**", metric.metric) } else { metric.metric.clone() };
        let word = verdict_word(metric);
        let (shown_change, interval) = change_with_interval(metric.change, metric.ci, metric.class);
        let estimates = || [&metric.baseline, &metric.candidate].into_iter().flatten();
        let scale = Scale::of(estimates().map(|one| one.median), metric.unit);
        row(
            &[
                format!("{name}{}", arrow(metric.better)),
                cell(&metric.baseline, scale),
                cell(&metric.candidate, scale),
                shown_change.unwrap_or_else(|| "n/a".to_owned()),
                interval.unwrap_or_else(|| "n/a".to_owned()),
                match metric.p {
                    Some(p) if metric.class != MetricClass::Info => p_value(p).replace('<', "&lt;"),
                    _ => "–".to_owned(),
                },
                metric
                    .minimum_detectable
                    .map_or_else(|| "–".to_owned(), |value| change(value, metric.class).replace('+', "")),
                metric.baseline.as_ref().map_or(0, |estimate| estimate.n).to_string(),
                if metric.primary { format!("**{word}**") } else { word.to_owned() },
            ],
            text,
        );
    }
    text.push_str(
        "\nValues are medians over blocks with their 95 % interval; the change is the paired estimate with its corrected interval; p is before correction; MDE is the smallest change that this many blocks would have found 8 times in 10. ↑ more is better, ↓ less is better, – described and not judged.\n\n",
    );
    let reasons: Vec<_> = verdict.metrics.iter().filter(|metric| metric.class != MetricClass::Info).collect();
    if !reasons.is_empty() && verdict.status == Status::Compared {
        text.push_str("<details><summary>Why each verdict</summary>\n\n");
        for metric in reasons {
            let _ = writeln!(text, "- `{}`: {}: {}", metric.metric, metric.verdict.word(), escape(&metric.reason));
        }
        text.push_str("\n</details>\n\n");
    }
}

pub fn settings_table(verdict: &ScenarioVerdict, baseline: &str, candidate: &str, text: &mut String) {
    let rows: Vec<_> = verdict
        .settings
        .iter()
        .filter(|row| row.baseline != row.candidate || row.baseline.is_ignored() || row.candidate.is_ignored())
        .collect();
    text.push_str("### What changed in force\n\n");
    if rows.is_empty() {
        text.push_str("Nothing: both variants asked for the same and got the same.\n\n");
        return;
    }
    header(&["setting", baseline, candidate, "remark"], text);
    let cell = |value: &SettingValue| match (&value.requested, &value.effective) {
        (Some(asked), Some(got)) if value.is_ignored() => format!("asked `{asked}`, **in force `{got}`**"),
        (_, Some(got)) => format!("`{got}`"),
        (Some(asked), None) => format!("asked `{asked}`, not read back"),
        (None, None) => "–".to_owned(),
    };
    for setting in rows {
        let ignored = setting.baseline.is_ignored() || setting.candidate.is_ignored();
        let same = setting.baseline.effective == setting.candidate.effective;
        let remark = match (ignored, same) {
            (true, true) => "⚠ ignored: no difference in force",
            (true, false) => "⚠ not as asked",
            (false, true) => "no difference in force",
            (false, false) => "",
        };
        row(
            &[
                format!("`{}`", setting.key),
                escape(&cell(&setting.baseline)),
                escape(&cell(&setting.candidate)),
                remark.to_owned(),
            ],
            text,
        );
    }
    text.push('\n');
}

pub fn durability(verdict: &ScenarioVerdict, text: &mut String) {
    let sentence = match verdict.durability {
        Parity::Equal => "Equal: an acknowledged write survives the same in both variants.".to_owned(),
        Parity::Stronger | Parity::Weaker => format!(
            "**{}**: {}.",
            if verdict.durability == Parity::Weaker { "Weaker" } else { "Stronger" },
            verdict.durability_reason.as_deref().unwrap_or_default()
        ),
        Parity::Unknown => "Not known: nothing was measured that tells.".to_owned(),
    };
    let _ = writeln!(text, "### Durability\n\n{sentence}\n");
}

pub fn claims_table(verdict: &ScenarioVerdict, text: &mut String) {
    // What is about other variants is the replication page's.
    let own: Vec<_> = verdict.claims.iter().filter(|claim| claim.outcome != ClaimOutcome::NotMeasured).collect();
    if own.is_empty() {
        return;
    }
    text.push_str("### Published figures\n\n");
    header(&["source", "variant", "metric", "published", "measured", "outcome", "why"], text);
    for claim in own {
        let class = class_of(verdict, &claim.metric);
        let unit = verdict.metrics.iter().find(|metric| metric.metric == claim.metric).map(|metric| metric.unit);
        let value = |value: f64| unit.map_or_else(|| significant(value), |unit| with_unit(value, unit));
        let published = match (claim.published_baseline, claim.published_candidate, claim.published) {
            (Some(a), Some(b), Some(relative)) => {
                format!("{} → {} ({})", value(a), value(b), change(relative, class))
            }
            (_, _, Some(relative)) => change(relative, class),
            (_, Some(own), None) => value(own),
            _ => "–".to_owned(),
        };
        let published = if claim.figure.is_empty() { published } else { escape(&claim.figure) };
        let measured = match change_with_interval(claim.measured, claim.ci, class) {
            (Some(value), Some(ci)) => format!("{value} {ci}"),
            (Some(value), None) => value,
            _ => "–".to_owned(),
        };
        row(
            &[
                claim.source.clone(),
                claim.variant.clone(),
                claim.metric.clone(),
                published,
                measured,
                format!("**{}**", outcome_word(claim.outcome)),
                escape(&claim.reason),
            ],
            text,
        );
    }
    text.push('\n');
}
