//! Two stored runs side by side, and what of them may be compared.
//!
//! Runs are not interleaved: whatever the machine did between them is in every time. So times of another machine or
//! another day are incomparable, times of the same day stay undecided, and only counters per operation are judged.

use serde::Serialize;
use uplift_model::{
    Better, MetricClass, Trial, Unit,
    run::{PlannedScenario, Run},
    verdict::{Estimate, Verdict},
};

use crate::{
    BLOCKS_MIN, FAMILY_ALPHA,
    deterministic_counter::{self, Strict},
    estimate::{Location, median, median_interval},
    evidence::FEW_SHARE,
    judge::direction,
    metrics, shape,
};

const LEVEL: f64 = 0.95;
/// Runs that are further apart are of another day.
const DAY_S: u64 = 24 * 3600;
const REMEDY: &str = "run both builds side by side: `uplift compare` with --baseline-bin, or `uplift gate --base-ref`";

/// Two runs side by side.
#[derive(Clone, Debug, Serialize)]
pub struct RunDiff {
    /// Version of this record's shape.
    pub schema: u32,
    /// The first run.
    pub first: String,
    /// The second.
    pub second: String,
    /// What was looked at before anything was compared.
    pub checks: Vec<Condition>,
    /// What both have.
    pub scenarios: Vec<ScenarioDiff>,
    /// What only one of them has, or what must not be compared, with the reason.
    pub left_out: Vec<String>,
}

/// Something that should be equal.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// What.
    pub what: String,
    /// In the first run.
    pub first: String,
    /// In the second.
    pub second: String,
    /// Whether it is equal.
    pub same: bool,
}

/// A variant of a scenario in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioDiff {
    /// The scenario.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// Its metrics.
    pub metrics: Vec<MetricDiff>,
}

/// A metric in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct MetricDiff {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// How it is compared.
    pub class: MetricClass,
    /// In the first run.
    pub first: Estimate,
    /// In the second.
    pub second: Estimate,
    /// second / first − 1, `None` where the first is 0; of proportions the difference.
    pub change: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// A stored run.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Its record.
    pub run: &'a Run,
    /// Its trials.
    pub trials: &'a [Trial],
}

/// Puts two runs side by side.
pub fn diff(first: Side<'_>, second: Side<'_>) -> RunDiff {
    let checks = conditions(first.run, second.run);
    let days_apart = first.run.started_unix_s.abs_diff(second.run.started_unix_s) >= DAY_S;
    let machine = |run: &Run| run.environment.machine.clone();
    let times = if first.run.intent.is_screen() || second.run.intent.is_screen() {
        (Verdict::Incomparable, format!("a time of a screen, whose variants ran at the same time; {REMEDY}"))
    } else if machine(first.run).is_none() || machine(first.run) != machine(second.run) {
        (Verdict::Incomparable, format!("a time of another machine; {REMEDY}"))
    } else if first.run.environment.build_profile != second.run.environment.build_profile {
        (Verdict::Incomparable, "a time of another build profile".to_owned())
    } else if days_apart {
        (Verdict::Incomparable, format!("a time of another day; {REMEDY}"))
    } else {
        (
            Verdict::Inconclusive,
            format!("runs one after the other do not separate the build from the machine; {REMEDY}"),
        )
    };
    let mut result = RunDiff {
        schema: 1,
        first: first.run.id.clone(),
        second: second.run.id.clone(),
        checks,
        scenarios: Vec::new(),
        left_out: Vec::new(),
    };
    for planned in &first.run.scenarios {
        let name = &planned.scenario.name;
        let Some(other) = second.run.scenarios.iter().find(|other| &other.scenario.name == name) else {
            result.left_out.push(format!("`{name}` is only in {}", first.run.id));
            continue;
        };
        if shape::of(&planned.scenario) != shape::of(&other.scenario) {
            result
                .left_out
                .push(format!("`{name}` asks for other work in the two runs: workload, load or trial differ"));
            continue;
        }
        for variant in &planned.variants {
            if !other.variants.contains(variant) {
                result.left_out.push(format!("variant `{variant}` of `{name}` is only in {}", first.run.id));
                continue;
            }
            let known = result.scenarios.iter().any(|one| &one.scenario == name && &one.variant == variant);
            let metrics = metrics_of([(first, planned), (second, other)], variant, &times);
            if !known && !metrics.is_empty() {
                result.scenarios.push(ScenarioDiff { scenario: name.clone(), variant: variant.clone(), metrics });
            }
        }
    }
    for planned in &second.run.scenarios {
        let name = &planned.scenario.name;
        match first.run.scenarios.iter().find(|other| &other.scenario.name == name) {
            None => result.left_out.push(format!("`{name}` is only in {}", second.run.id)),
            Some(other) => {
                for variant in planned.variants.iter().filter(|variant| !other.variants.contains(variant)) {
                    result.left_out.push(format!("variant `{variant}` of `{name}` is only in {}", second.run.id));
                }
            }
        }
    }
    result
}

/// Reads one condition off a run; `None` where it is not known.
type ReadCondition = fn(&Run) -> Option<String>;

fn conditions(first: &Run, second: &Run) -> Vec<Condition> {
    let unknown = || "could not be read".to_owned();
    let own = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
    let rows: [(&str, ReadCondition); 8] = [
        ("machine", |run| run.environment.machine.clone()),
        ("CPU", |run| run.environment.cpu_model.clone()),
        ("cores", |run| run.environment.cores.map(|cores| cores.to_string())),
        ("kernel", |run| run.environment.kernel.clone()),
        ("filesystem", |run| run.environment.filesystem.clone()),
        ("uplift", |run| Some(run.environment.uplift_version.clone())),
        ("build profile", |run| Some(run.environment.build_profile.clone())),
        ("revision", |run| run.environment.git_revision.clone()),
    ];
    rows.into_iter()
        .map(|(what, read)| {
            let (a, b) = (read(first), read(second));
            Condition { what: what.to_owned(), first: own(&a), second: own(&b), same: a.is_some() && a == b }
        })
        .collect()
}

fn metrics_of(sides: [(Side<'_>, &PlannedScenario); 2], variant: &str, times: &(Verdict, String)) -> Vec<MetricDiff> {
    let values = |(side, planned): (Side<'_>, &PlannedScenario)| {
        let mut values: Vec<(uplift_model::MetricSpec, Vec<f64>)> = Vec::new();
        for trial in side.trials {
            if trial.scenario != planned.scenario.name || trial.variant != variant || !trial.succeeded() {
                continue;
            }
            for value in metrics::of_trial(trial, planned) {
                let Ok(number) = value.value else { continue };
                match values.iter_mut().find(|(spec, _)| spec.name == value.spec.name) {
                    Some((_, numbers)) => numbers.push(number),
                    None => values.push((value.spec, vec![number])),
                }
            }
        }
        values
    };
    let (first, second) = (values(sides[0]), values(sides[1]));
    first
        .into_iter()
        .filter(|(spec, _)| spec.class != MetricClass::Info)
        .filter_map(|(spec, a)| {
            let (_, b) = second.iter().find(|(other, _)| other.name == spec.name)?;
            let estimate = |values: &[f64]| {
                Some(Estimate {
                    median: median(values)?,
                    ci: median_interval(values, LEVEL),
                    n: u32::try_from(values.len()).unwrap_or(u32::MAX),
                })
            };
            let (x, y) = (estimate(&a)?, estimate(b)?);
            let (verdict, reason) = match spec.class {
                MetricClass::Counter => counter(&a, b, spec.better),
                MetricClass::Time | MetricClass::Proportion | MetricClass::Info => times.clone(),
            };
            Some(MetricDiff {
                metric: spec.name.to_string(),
                unit: spec.unit,
                better: spec.better,
                class: spec.class,
                change: match spec.class {
                    MetricClass::Proportion => Some(y.median - x.median),
                    _ => (x.median != 0.0).then(|| y.median / x.median - 1.0),
                },
                first: x,
                second: y,
                verdict,
                reason,
            })
        })
        .collect()
}

fn counter(a: &[f64], b: &[f64], better: Better) -> (Verdict, String) {
    let blocks = a.len().min(b.len());
    if blocks < BLOCKS_MIN {
        let reason = format!("{blocks} blocks are fewer than the {BLOCKS_MIN} that a verdict needs");
        return (Verdict::Inconclusive, reason);
    }
    match deterministic_counter::compare(a, b) {
        Strict::Same => (Verdict::Unchanged, "a near-deterministic counter with equal values".to_owned()),
        Strict::Differ(change) if is_beyond_chance(a, b) => (
            direction(better, change.is_none_or(|change| change > 0.0)),
            "a near-deterministic counter with other values".to_owned(),
        ),
        Strict::Differ(_) => (
            Verdict::Inconclusive,
            "a near-deterministic counter whose values lie apart by no more than chance may bring".to_owned(),
        ),
        Strict::NotStrict => {
            (Verdict::Inconclusive, format!("the counter varies within a run, and runs are not interleaved; {REMEDY}"))
        }
    }
}

/// Whether the means of two runs differ by more than the spreads within them explain, with the fewer degrees of freedom
/// of the two.
fn is_beyond_chance(a: &[f64], b: &[f64]) -> bool {
    let (Some(a), Some(b)) = (Location::mean(a), Location::mean(b)) else { return false };
    let difference = Location {
        center: b.center - a.center,
        error: a.error.hypot(b.error),
        freedom: a.freedom.min(b.freedom),
        n: a.n.min(b.n),
    };
    difference.p(0.0) < FAMILY_ALPHA * FEW_SHARE
}
