//! What the numbers mean: ranked statements, each with its figures and the record behind it, and only where the data
//! show it.
//!
//! A statement is arithmetic on what was measured (Little 1961, Amdahl 1967), never a guess: where a figure is missing
//! there is no statement. Bounds are bounds: what a change "could bring at most" is what it would bring if the part that
//! it touches cost nothing and all the rest stayed as it is.

mod figures;
mod gain;
mod resource;
mod side;
mod stalls;
mod waiting;

use uplift_model::{
    MetricClass, Trial,
    run::PlannedScenario,
    scenario::Load,
    verdict::{MetricVerdict, ScenarioVerdict, Status, Verdict},
};

use self::side::Side;

/// What a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The limit that the workload sets.
    Ceiling,
    /// What waiting costs.
    Waiting,
    /// The resource that is used up.
    Critical,
    /// Why the gain is not larger.
    Gain,
    /// What got worse meanwhile.
    Worse,
    /// What would be next.
    Next,
    /// What stops the work for a while.
    Stalls,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Insight {
    /// What it is about.
    pub topic: Topic,
    /// How much of the answer it is, between 0 and 1: the share of the time, of the gain, of the machine.
    pub weight: f64,
    /// The statement with its figures.
    pub text: String,
    /// The metric whose records it was computed from; `None`: several of the scenario's.
    pub metric: Option<String>,
}

impl Insight {
    fn new(topic: Topic, weight: f64, text: String, metric: Option<&str>) -> Self {
        Self { topic, weight: weight.clamp(0.0, 1.0), text, metric: metric.map(str::to_owned) }
    }
}

/// Every statement that the data of a scenario hold, the weightiest first. Of a run that compares, the last variant is the
/// one in question.
pub fn insights(
    planned: &PlannedScenario,
    verdict: Option<&ScenarioVerdict>,
    variants: &[(&str, Vec<&Trial>)],
) -> Vec<Insight> {
    let sides: Vec<Side<'_>> = variants.iter().filter_map(|(name, trials)| Side::of(name, trials)).collect();
    let mut found = Vec::new();
    // What arrives at a given rate is limited by that rate.
    let limited = matches!(planned.scenario.load, Load::Closed { .. });
    for side in &sides {
        found.extend(resource::ceiling(side));
        if limited {
            found.extend(resource::critical(side));
        }
    }
    for ((_, trials), side) in variants.iter().filter(|(_, trials)| !trials.is_empty()).zip(&sides) {
        found.extend(waiting::own_times(planned, side, trials));
        found.extend(stalls::stalls(side.name, trials));
    }
    if let (Some(verdict), [baseline, candidate]) = (verdict.filter(|one| one.status == Status::Compared), &sides[..]) {
        found.extend(gain::not_larger(verdict, baseline, candidate));
        found.extend(gain::worse(verdict));
    }
    found.extend(sides.last().filter(|_| limited).and_then(gain::next));
    found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    found
}

/// The judged counter that moved most with the verdict.
pub fn moved_counter(verdict: &ScenarioVerdict) -> Option<&MetricVerdict> {
    let primary = verdict.primary()?;
    let decided = matches!(primary.verdict, Verdict::Improved | Verdict::Regressed);
    let size = |metric: &MetricVerdict| metric.change.map_or(0.0, |change| change.max(-0.999_999).ln_1p().abs());
    verdict
        .metrics
        .iter()
        .filter(|metric| decided && !metric.primary && metric.class == MetricClass::Counter)
        .filter(|metric| metric.verdict == primary.verdict)
        .max_by(|a, b| size(a).total_cmp(&size(b)))
}
