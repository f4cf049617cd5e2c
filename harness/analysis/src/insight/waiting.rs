//! What waiting costs, by Little's law: how many are in a state is how often it is entered times how long it lasts.

use uplift_model::{Trial, Unit, run::PlannedScenario, scenario::Load};

use super::{
    Insight, Topic,
    figures::{percent, short, time},
    side::Side,
};
use crate::{estimate::median, metrics};

/// Fewer than so many in a state at a time are not worth a statement.
const MANY: f64 = 0.2;

/// How the names of times begin that are slept between attempts, and what counts the attempts and why they failed.
const BACKOFF: &str = "backoff";
const RETRIES: &str = "retries_per_op";
const CAUSE: &str = "_errors_per_op";

/// What most of the retries are for, where the target counts them by cause.
fn behind(planned: &PlannedScenario, middle: impl Fn(&str) -> Option<f64>) -> Option<String> {
    let retries = middle(RETRIES).filter(|retries| *retries > 0.0)?;
    let names = planned.metrics.iter().map(|metric| metric.spec.name.as_ref());
    let causes = names.filter_map(|name| Some((name.strip_suffix(CAUSE)?, middle(name)?)));
    let (cause, count) = causes.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, count)| 2.0 * count > retries)?;
    let share = percent((count / retries).min(1.0));
    Some(format!("; behind it: {share} of the {} retries for each operation are {cause} errors", short(retries)))
}

/// Times that the target itself counts for each operation: a back-off, a wait for a lock.
pub fn own_times(planned: &PlannedScenario, side: &Side<'_>, trials: &[&Trial]) -> Vec<Insight> {
    let own = planned.metrics.iter().filter(|metric| metric.spec.unit == Unit::NanosecondsPerOp);
    let middle = |name: &str| {
        let values = trials.iter().filter_map(|trial| metrics::named(trial, planned, name)?.value.ok());
        median(&values.collect::<Vec<f64>>())
    };
    own.filter_map(|metric| {
        let name = metric.spec.name.as_ref();
        let each_ns = middle(name)?;
        let number = each_ns * side.rate / 1e9;
        (number >= MANY).then(|| {
            let clients = match &planned.scenario.load {
                Load::Closed { clients, .. } => f64::from(*clients),
                Load::Open { clients, .. } => f64::from(*clients),
            };
            let text = format!(
                "waiting in `{}`: {name} {} × {} op/s = {} threads or calls are in it at any time{}",
                side.name,
                time(each_ns),
                short(side.rate),
                short(number),
                if name.starts_with(BACKOFF) { behind(planned, middle).unwrap_or_default() } else { String::new() }
            );
            Insight::new(Topic::Waiting, number / (number + clients.min(8.0)), text, Some(name))
        })
    })
    .collect()
}
