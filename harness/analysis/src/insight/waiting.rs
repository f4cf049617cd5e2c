//! What waiting costs, by Little's law: how many are in a state is how often it is entered times how long it lasts.

use uplift_model::{Trial, Unit, run::PlannedScenario, scenario::Load};

use super::{
    Insight, Topic,
    figures::{short, time},
    side::Side,
};
use crate::{estimate::median, metrics};

/// Fewer than so many in a state at a time are not worth a statement.
const MANY: f64 = 0.2;

/// Times that the target itself counts for each operation: a back-off, a wait for a lock.
pub fn own_times(planned: &PlannedScenario, side: &Side<'_>, trials: &[&Trial]) -> Vec<Insight> {
    let own = planned.metrics.iter().filter(|metric| metric.spec.unit == Unit::NanosecondsPerOp);
    own.filter_map(|metric| {
        let name = metric.spec.name.as_ref();
        let values = trials.iter().filter_map(|trial| metrics::named(trial, planned, name)?.value.ok());
        let each_ns = median(&values.collect::<Vec<f64>>())?;
        let number = each_ns * side.rate / 1e9;
        (number >= MANY).then(|| {
            let clients = match &planned.scenario.load {
                Load::Closed { clients, .. } => f64::from(*clients),
                Load::Open { clients, .. } => f64::from(*clients),
            };
            let text = format!(
                "waiting in `{}`: {name} {} × {} op/s = {} threads or calls are in it at any time",
                side.name,
                time(each_ns),
                short(side.rate),
                short(number)
            );
            Insight::new(Topic::Waiting, number / (number + clients.min(8.0)), text, Some(name))
        })
    })
    .collect()
}
