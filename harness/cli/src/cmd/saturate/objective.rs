//! `--slo`: the highest rate that holds a service-level objective.

use uplift_analysis::{metrics::known_names, objective_search::ObjectiveSearch};
use uplift_model::{
    Unit,
    objective::{Objective, ObjectiveError},
    registry::{self, KIND_SUFFIXES},
    saturation::{RateStep, SATURATION_SCHEMA, Saturation},
    scenario::RATES,
};
use uplift_report::{build::saturation, number::with_unit};

use super::{Ended, Searching, Stopped};
use crate::{
    catalogue::Entry,
    error::{CliError, suggestion},
};

/// The most measurements of one search: some twenty to close in from far away, and as many again near the edge.
const ASKS_MAX: u32 = 48;
/// The fewest operations of a window.
const OPERATIONS_MIN: f64 = 10.0;
/// Where the curve is filled in, in parts of the highest rate: a search leaves gaps below it.
const CURVE: [f64; 4] = [0.25, 0.5, 0.75, 0.9];
/// A rate is near another within this factor.
const NEAR: f64 = 1.1;

/// Reads `--slo` with the metrics of the scenario.
pub fn parse(text: &str, entry: &Entry) -> Result<Objective, CliError> {
    let own = || entry.description.metrics.iter();
    let kinds = || entry.description.operations.iter().map(AsRef::as_ref);
    let unit_of = |name: &str| -> Option<Unit> {
        let of_kind = || {
            let is = |kind: &str| KIND_SUFFIXES.iter().any(|suffix| registry::kind_of(name, suffix) == Some(kind));
            kinds().any(is).then_some(Unit::Nanoseconds)
        };
        let of_target = || own().find(|metric| metric.spec.name == name).map(|metric| metric.spec.unit);
        registry::find(name).map(|entry| entry.unit).or_else(of_target).or_else(of_kind)
    };
    Objective::parse(text, &unit_of).map_err(|error| {
        let help = match &error {
            ObjectiveError::UnknownMetric(name) => {
                let known = known_names(kinds(), own().map(|metric| metric.spec.name.as_ref()));
                suggestion(name, known.iter().map(String::as_str))
            }
            _ => "write --slo 'response_p99 < 50ms, success_rate > 99.9%'".to_owned(),
        };
        CliError::usage(format!("--slo: {error}"), &help)
    })
}

/// Searches.
pub fn search(searching: &Searching<'_>, start: f64, objective: &Objective) -> Result<(Saturation, Ended), CliError> {
    // With fewer operations in a window nothing is a percentile.
    let least = OPERATIONS_MIN / searching.entry.scenario.trial.window.0.as_secs_f64();
    let range = [least, *RATES.end()];
    let mut search = ObjectiveSearch::new(start, range, searching.precision(), searching.args.blocks, ASKS_MAX);
    let mut steps: Vec<RateStep> = Vec::new();
    let mut ended = Ended::Whole;
    while let Some(ask) = search.next() {
        let step = match searching.step(ask.rate, ask.trials, Some(objective)) {
            Ok(Ok(measured)) => measured.step,
            Ok(Err(stopped)) => {
                ended = Ended::Stopped(stopped);
                break;
            }
            // Lower rates have too few operations for a percentile: what was measured above them stands.
            Err(error) if !steps.is_empty() => {
                ended = Ended::Stopped(Stopped { why: error.report.to_string(), code: error.exit });
                break;
            }
            Err(error) => return Err(error),
        };
        searching.terminal.say(&saturation::line(&step, Some(objective)));
        let outcomes: Vec<bool> = step.trials_diverged.iter().map(Option::is_none).collect();
        search.tell(ask.rate, &outcomes);
        steps.push(step);
        searching.say_elapsed(&match search.found() {
            (Some(low), Some(high)) => format!("the edge lies between {} and {}", rate(low), rate(high)),
            _ => "no bound on one side yet".to_owned(),
        });
    }
    let (sustained, diverged) = search.found();
    if let (Some(highest), Ended::Whole) = (sustained, &ended) {
        for part in CURVE {
            let wanted = highest * part;
            if steps.iter().any(|step| (wanted / NEAR..=wanted * NEAR).contains(&step.rate)) {
                continue;
            }
            match searching.step(wanted, 1, Some(objective))? {
                Ok(measured) => steps.push(measured.step),
                Err(stopped) => {
                    ended = Ended::Stopped(stopped);
                    break;
                }
            }
        }
    }
    let cut_short = match &ended {
        Ended::Stopped(Stopped { why, .. }) => Some(why.clone()),
        Ended::Whole => search.shortfall(),
    };
    let record = Saturation {
        schema: SATURATION_SCHEMA,
        scenario: searching.entry.scenario.name.clone(),
        variant: searching.args.variant.clone(),
        objective: Some(objective.clone()),
        sustained,
        diverged,
        interval: Some(search.interval()),
        cut_short,
        steps,
        half: None,
    };
    Ok((record, ended))
}

fn rate(rate: f64) -> String {
    with_unit(rate, Unit::OpsPerSecond)
}
