//! The rounds of both variants at their quantiles: whether all rounds changed alike, or the slow ones alone.

use uplift_analysis::estimate::normal_quantile;
use uplift_model::{
    MetricClass, Trial,
    verdict::{MetricVerdict, ScenarioVerdict, Status},
};

use super::{
    Plot,
    chart::{Axis, Chart, Mark, Series, linear_axis},
};
use crate::number::change;

/// Fewer rounds have no quantiles to speak of.
const ROUNDS_MIN: usize = 40;

/// The change of throughput at each quantile of rounds, with that of the total and its interval behind it; `None` where
/// throughput was not compared, or not in enough rounds.
pub fn plot(verdict: &ScenarioVerdict, trials: &[(&str, Vec<&Trial>)]) -> Option<Plot> {
    let metric = verdict.metrics.iter().find(|metric| metric.distribution.is_some())?;
    let shift = &metric.distribution.as_ref()?.shift;
    let (&[first, _], &[last, _]) = (shift.first()?, shift.last()?);
    if verdict.status != Status::Compared || trials.iter().any(|(_, own)| rounds(own) < ROUNDS_MIN) || first >= last {
        return None;
    }
    let across = normal_quantile;
    let points: Vec<(f64, f64)> = shift.iter().map(|&[q, change]| (across(q), 100.0 * change)).collect();
    let ends = (across(first), across(last));
    let mut series =
        vec![Series { name: "rounds at this quantile".to_owned(), place: 1, points, band: Vec::new(), marked: true }];
    series.extend(level(metric, ends));
    let all = || {
        let lines = series.iter().flat_map(|one| one.points.iter().map(|point| point.1));
        lines.chain(series.iter().flat_map(|one| one.band.iter().flat_map(|band| [band.1, band.2])))
    };
    let (low, high) = (all().fold(-1.0, f64::min), all().fold(1.0, f64::max));
    let room = (high - low) * 0.08;
    let word = |q: f64| format!("{}\u{2009}%", (q * 1_000.0).round() / 10.0);
    let chart = Chart {
        title: format!("Change at each quantile of rounds: {}", verdict.name),
        x: Axis {
            label: "quantile of rounds, slowest first".to_owned(),
            range: ends,
            ticks: shift.iter().map(|&[q, _]| (across(q), word(q))).collect(),
        },
        y: linear_axis(
            "change of throughput · ↑ more is better · band: interval of the total".to_owned(),
            low - room,
            high + room,
            |percent| match (percent * 100.0).round() / 100.0 {
                0.0 => "0".to_owned(),
                percent => format!("{percent:+}\u{2009}%"),
            },
        ),
        series,
        lanes: Vec::new(),
        marks: Vec::<Mark>::new(),
    };
    let words: Vec<String> =
        shift.iter().map(|&[q, shifted]| format!("{} at {}", change(shifted, MetricClass::Time), word(q))).collect();
    let description = format!("Change of throughput at each quantile of rounds: {}.", words.join(", "));
    Some(Plot::new(&verdict.name, "shift", chart.draw(), description))
}

/// The change of the total as a level line with its interval.
fn level(metric: &MetricVerdict, (from, to): (f64, f64)) -> Option<Series> {
    let total = 100.0 * metric.change?;
    let band =
        metric.ci.map_or_else(Vec::new, |[low, high]| [from, to].map(|x| (x, 100.0 * low, 100.0 * high)).to_vec());
    Some(Series { name: "total".to_owned(), place: 0, points: vec![(from, total), (to, total)], band, marked: false })
}

/// How many turns of these trials count.
fn rounds(trials: &[&Trial]) -> usize {
    let measured = trials.iter().filter_map(|trial| trial.measured.as_ref());
    measured.map(|one| one.turns.len().saturating_sub(one.dropped_turns as usize)).sum()
}
