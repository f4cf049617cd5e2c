//! What the trials of one rate, or of one number of clients, showed.

use std::collections::BTreeMap;

use uplift_analysis::{
    estimate::median,
    metrics,
    objective_search::first_missed,
    saturation::{Finding, examine},
};
use uplift_model::{
    Trial,
    objective::Objective,
    run::PlannedScenario,
    saturation::{ClientsPoint, RateStep, RateTimeline},
    trial::Event,
};
use uplift_report::{
    build::{saturation, scalability},
    number::with_unit,
};

use crate::finished::Finished;

/// One rate, from the run that measured it. A rate must be sustained, and hold the objective where there is one.
///
/// # Errors
/// Why its trials show nothing.
pub fn of_rate(rate: f64, finished: &Finished, objective: Option<&Objective>) -> Result<RateStep, String> {
    let planned = &finished.run.scenarios[0];
    let window_ns = planned.scenario.trial.window.as_nanos();
    let mut trials_diverged = Vec::new();
    for trial in &finished.trials {
        let Some(measured) = &trial.measured else { continue };
        let Some(turn) = measured.turns.get(measured.dropped_turns as usize) else { continue };
        let unmet = objective.map_or(Ok(None), |objective| missed(objective, trial, planned));
        // What was asked for comes first.
        let why = match (examine(turn, &measured.slices, window_ns)?, unmet) {
            (_, Ok(Some(unmet))) => Some(unmet),
            (Finding::Diverged(why), _) => Some(why),
            (Finding::Sustained, unmet) => unmet?,
        };
        trials_diverged.push(why);
    }
    let (medians, ranges) = shown(&saturation::SHOWN, objective, &finished.trials, planned);
    Ok(RateStep {
        rate,
        sustained: !trials_diverged.is_empty() && trials_diverged.iter().all(Option::is_none),
        trials_diverged,
        medians,
        ranges,
        timeline: finished.trials.iter().find(|trial| trial.succeeded()).map(timeline).unwrap_or_default(),
    })
}

/// One number of clients.
pub fn of_clients(clients: u32, finished: &Finished) -> ClientsPoint {
    let planned = &finished.run.scenarios[0];
    let throughput = values("throughput", &finished.trials, planned);
    let (medians, _) = shown(&scalability::SHOWN, None, &finished.trials, planned);
    ClientsPoint { clients, throughput, medians }
}

/// The term that a trial missed, in words.
fn missed(objective: &Objective, trial: &Trial, planned: &PlannedScenario) -> Result<Option<String>, String> {
    let found = first_missed(objective, trial, planned)?;
    Ok(found.map(|(term, value)| format!("`{}` was missed: {}", term.text, with_unit(value, term.unit))))
}

fn values(name: &str, trials: &[Trial], planned: &PlannedScenario) -> Vec<f64> {
    trials.iter().filter_map(|trial| metrics::named(trial, planned, name)?.value.ok()).collect()
}

/// Median, and the least and the greatest, of each metric that was measured.
type Shown = (BTreeMap<String, f64>, BTreeMap<String, [f64; 2]>);

fn shown(names: &[&str], objective: Option<&Objective>, trials: &[Trial], planned: &PlannedScenario) -> Shown {
    let own = objective.iter().flat_map(|objective| &objective.terms).map(|term| term.metric.as_str());
    let mut shown = Shown::default();
    for name in names.iter().copied().chain(own) {
        let values = values(name, trials, planned);
        if let Some(middle) = median(&values) {
            let end = |pick: fn(f64, f64) -> f64| values.iter().copied().fold(middle, pick);
            shown.0.insert(name.to_owned(), middle);
            shown.1.insert(name.to_owned(), [end(f64::min), end(f64::max)]);
        }
    }
    shown
}

/// Of the window; what happened before and after it is left out.
fn timeline(trial: &Trial) -> RateTimeline {
    let Some(measured) = &trial.measured else { return RateTimeline::default() };
    let slices = measured.slices.clone();
    let begin_ns = slices.first().map_or(0, |slice| slice.start_ns);
    let end_ns = slices.last().map_or(0, |slice| slice.start_ns + slice.duration_ns);
    let within = |event: &&Event| (begin_ns..end_ns).contains(&event.start_ns);
    RateTimeline { events: measured.events.iter().filter(within).cloned().collect(), slices }
}
