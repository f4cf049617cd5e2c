//! The answer for one scenario, from its verdict and its records.

use uplift_analysis::{insight, settings, warning};
use uplift_model::{
    Better,
    verdict::{MetricVerdict, Parity, ScenarioVerdict, SettingRow, Status},
};

use super::scene::Scene;
use crate::{
    document::{Bar, Change, ChangedSetting, Extent, Headline, Measured, Note, NoteKind, Text},
    headline,
    number::Scale,
};

/// What a reader should know after ten seconds.
pub fn of(scene: &Scene<'_>, verdict: &ScenarioVerdict) -> Headline {
    let primary = verdict.primary().filter(|_| verdict.status == Status::Compared);
    let names = scene.compared().map_or(["baseline", "candidate"], |(_, names)| names);
    let bars = primary.map_or_else(Vec::new, |metric| {
        let scale = Scale::of_estimates([&metric.baseline, &metric.candidate].into_iter().flatten(), metric.unit);
        names
            .iter()
            .zip([&metric.baseline, &metric.candidate])
            .filter_map(|(name, estimate)| {
                let value = Measured::of(estimate.as_ref()?, metric.unit, scale);
                Some(Bar { variant: (*name).to_owned(), value })
            })
            .collect()
    });
    Headline {
        scenario: verdict.name.clone(),
        title: scene.planned.scenario.title.clone(),
        status: verdict.status,
        verdict: primary.map(|metric| metric.verdict),
        sentence: headline::of_scenario(verdict).into(),
        reason: verdict.reason.as_ref().map(Text::from),
        metric: primary.map(|metric| metric.metric.clone()),
        lower_is_better: primary.is_some_and(|metric| metric.better == Better::Lower),
        change: primary.map(Change::of),
        blocks: verdict.blocks,
        bars,
        changed: changed(verdict),
        changed_together: headline::changed_together(verdict).map(Text::from),
        durability: verdict.durability,
        durability_words: durability(verdict).into(),
        counter: insight::moved_counter(verdict).map(|found| Text::plain(counter_words(found))),
        why: scene.insights().first().map(|found| found.text.as_str().into()),
        warnings: warning::of_scenario(verdict)
            .into_iter()
            .map(|warning| Note {
                kind: NoteKind::Warning,
                text: warning.text().into(),
                remedy: Some(warning.remedy().into()),
                record: None,
                extent: Extent::Brief,
            })
            .collect(),
    }
}

fn counter_words(metric: &MetricVerdict) -> String {
    let (Some(a), Some(b)) = (&metric.baseline, &metric.candidate) else { return metric.metric.clone() };
    let scale = Scale::of([a.median, b.median], metric.unit);
    let change = Change::of(metric).shown().0.unwrap_or_else(|| "n/a".to_owned());
    format!("{} {} → {} ({change})", metric.metric, scale.show(a.median), scale.show(b.median))
}

/// What is in force otherwise than in the baseline, or otherwise than was asked for.
pub fn changed(verdict: &ScenarioVerdict) -> Vec<ChangedSetting> {
    let meant = settings::changed_on_purpose(&verdict.settings);
    let several = meant.len() > 1;
    // What only one side has belongs to another setting, such as the engine that has it.
    let told = |row: &SettingRow| row.baseline.effective.is_some() && row.candidate.effective.is_some();
    verdict
        .settings
        .iter()
        .filter(|row| row.baseline != row.candidate || row.baseline.is_ignored() || row.candidate.is_ignored())
        .map(|row| {
            let is_meant = meant.iter().any(|other| other.key == row.key);
            let ignored = row.baseline.is_ignored() || row.candidate.is_ignored();
            ChangedSetting {
                key: row.key.clone(),
                baseline: row.baseline.clone(),
                candidate: row.candidate.clone(),
                flagged: ignored || (told(row) && settings::in_force_differently(row) && (several || !is_meant)),
            }
        })
        .collect()
}

/// What an acknowledged write survives, in a sentence.
pub fn durability(verdict: &ScenarioVerdict) -> String {
    let reason = verdict.durability_reason.as_deref().unwrap_or_default();
    match verdict.durability {
        Parity::Equal => "equal: an acknowledged write survives the same in both variants".to_owned(),
        Parity::Stronger => format!("stronger: {reason}"),
        Parity::Weaker => format!("weaker: {reason}"),
        Parity::Unknown => "not known: nothing was measured that tells".to_owned(),
    }
}
