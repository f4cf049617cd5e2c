//! A run as a line of the history, and a series of such lines with its change points.

use std::collections::BTreeMap;

use uplift_model::{
    MetricClass, Trial,
    history::{HISTORY_SCHEMA, HistoryEntry, HistoryValue},
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
pub struct Trend<'a> {
    /// The runs in the order of time, each with its value.
    pub runs: Vec<(&'a HistoryEntry, HistoryValue)>,
    /// Where the level changed.
    pub changes: Vec<ChangePoint>,
    /// Runs that were left out, each group with its reason.
    pub left_out: Vec<String>,
}

/// The trend of `metric`, of what is comparable with the newest run; `None` where no run has it.
///
/// Values that depend on time are comparable on one machine only; all of them only while the scenario asks for the same.
pub fn trend<'a>(entries: &'a [HistoryEntry], scenario: &str, variant: &str, metric: &str) -> Option<Trend<'a>> {
    let mut own: Vec<(&HistoryEntry, HistoryValue)> = entries
        .iter()
        .filter(|entry| entry.scenario == scenario && entry.variant == variant)
        .filter_map(|entry| Some((entry, *entry.metrics.get(metric)?)))
        .collect();
    own.sort_by(|a, b| (a.0.started_unix_s, &a.0.run).cmp(&(b.0.started_unix_s, &b.0.run)));
    let (newest, value) = *own.last()?;
    let all = own.len();
    own.retain(|(entry, _)| entry.shape == newest.shape);
    let same_work = own.len();
    if value.class != MetricClass::Counter {
        own.retain(|(entry, _)| entry.machine.is_some() && entry.machine == newest.machine || entry.run == newest.run);
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
    let medians: Vec<f64> = own[skipped..].iter().map(|(_, value)| value.median).collect();
    let mut changes = change_points(&medians);
    for change in &mut changes {
        change.index += skipped;
    }
    Some(Trend { changes, runs: own, left_out })
}
