//! A run as a line of the history, and a series of such lines with its change points.

use std::collections::BTreeMap;

use uplift_model::{
    MetricClass, Trial,
    history::{HISTORY_SCHEMA, HistoryEntry, HistoryPoint, HistoryValue},
    run::Run,
};

use crate::{
    change_points::{ChangePoint, change_points},
    estimate::{median, median_interval},
    metrics, shape,
};

const LEVEL: f64 = 0.95;
/// Changes of level are looked for among so many of the newest runs: the search takes the square of their number.
pub const RUNS_SEARCHED_MAX: usize = 400;

/// The lines of a run: one for each variant of each scenario that measured something.
pub fn entries(run: &Run, trials: &[Trial]) -> Vec<HistoryEntry> {
    let mut entries = Vec::new();
    for planned in &run.scenarios {
        let name = &planned.scenario.name;
        let mut seen: Vec<&str> = Vec::new();
        for variant in &planned.variants {
            if seen.contains(&variant.as_str()) {
                continue;
            }
            seen.push(variant);
            let mut values: BTreeMap<String, (HistoryValue, Vec<f64>)> = BTreeMap::new();
            let own = trials.iter().filter(|t| &t.scenario == name && &t.variant == variant && t.succeeded());
            for value in own.flat_map(|trial| metrics::of_trial(trial, planned)) {
                let Ok(number) = value.value else { continue };
                let spec = value.spec;
                let empty = HistoryValue {
                    median: number,
                    ci: None,
                    n: 0,
                    unit: spec.unit,
                    better: spec.better,
                    class: spec.class,
                };
                values.entry(spec.name.to_string()).or_insert((empty, Vec::new())).1.push(number);
            }
            if values.is_empty() {
                continue;
            }
            let metrics = values
                .into_iter()
                .map(|(metric, (value, numbers))| {
                    let value = HistoryValue {
                        median: median(&numbers).unwrap_or(value.median),
                        ci: median_interval(&numbers, LEVEL),
                        n: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
                        ..value
                    };
                    (metric, value)
                })
                .collect();
            entries.push(HistoryEntry {
                schema: HISTORY_SCHEMA,
                run: run.id.clone(),
                started_unix_s: run.started_unix_s,
                machine: run.environment.machine.clone(),
                revision: run.environment.git_revision.clone(),
                dirty: run.environment.git_dirty,
                scenario: name.clone(),
                shape: shape::of(&planned.scenario),
                variant: variant.clone(),
                metrics,
            });
        }
    }
    entries
}

/// A metric of one variant over many runs.
#[derive(Clone, Debug)]
pub struct Trend {
    /// The runs in the order of time.
    pub runs: Vec<HistoryPoint>,
    /// Where the level changed.
    pub changes: Vec<ChangePoint>,
    /// Runs that were left out, each group with its reason.
    pub left_out: Vec<String>,
}

/// The trend of `metric` in those of the lines that are of this scenario and variant, as [`trend_of`] finds it.
pub fn trend(entries: &[HistoryEntry], scenario: &str, variant: &str, metric: &str) -> Option<Trend> {
    let own = entries.iter().filter(|entry| entry.scenario == scenario && entry.variant == variant);
    trend_of(own.filter_map(|entry| HistoryPoint::of(entry, metric)).collect())
}

/// The trend of the points that are comparable with the newest; `None` of none.
///
/// Values that depend on time are comparable on one machine only; all of them only while the scenario asks for the same.
pub fn trend_of(mut own: Vec<HistoryPoint>) -> Option<Trend> {
    own.sort_by(|a, b| (a.started_unix_s, &a.run).cmp(&(b.started_unix_s, &b.run)));
    let newest = own.last()?.clone();
    let all = own.len();
    own.retain(|point| point.shape == newest.shape);
    let same_work = own.len();
    if newest.value.class != MetricClass::Counter {
        own.retain(|point| point.machine.is_some() && point.machine == newest.machine || point.run == newest.run);
    }
    let mut left_out = Vec::new();
    if same_work < all {
        left_out.push(format!("{} runs of the scenario as it was before it was changed", all - same_work));
    }
    if own.len() < same_work {
        left_out.push(format!("{} runs on other machines, where times are not comparable", same_work - own.len()));
    }
    let skipped = own.len().saturating_sub(RUNS_SEARCHED_MAX);
    if skipped > 0 {
        left_out.push(format!("the {skipped} oldest runs from the search for changes of level"));
    }
    let medians: Vec<f64> = own[skipped..].iter().map(|point| point.value.median).collect();
    let mut changes = change_points(&medians);
    for change in &mut changes {
        change.index += skipped;
    }
    Some(Trend { changes, runs: own, left_out })
}
