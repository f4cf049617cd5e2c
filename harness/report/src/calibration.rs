//! What a calibration found, in words and tables, and the curve of budget against detectable change.

use std::fmt::Write as _;

use uplift_analysis::calibrate;
use uplift_model::{calibration::Calibration, run::PlannedScenario};

use crate::{
    ReportInput,
    number::significant,
    plots::{
        Plot,
        chart::{Chart, Mark, Series, linear_axis, log_axis},
    },
};

fn percent(ratio: f64) -> String {
    format!("{} %", significant(ratio * 100.0))
}

/// The calibration of one scenario as markdown, which reads well on a terminal too.
pub fn section(calibration: &Calibration) -> String {
    let mut text = String::new();
    let alarms = &calibration.false_alarms;
    let _ = writeln!(
        text,
        "`{}`: {} blocks of `{}` against itself.\n",
        calibration.scenario, calibration.blocks, calibration.variant
    );
    let interval = alarms.ci.map_or_else(
        || "too few blocks for one experiment".to_owned(),
        |[low, high]| format!("95 % interval of the rate {} … {}", percent(low), percent(high)),
    );
    let _ = writeln!(
        text,
        "False alarms: {} of {} experiments of {} blocks called some judged metric improved or regressed ({interval}); with the same blocks chosen and turned round at random {} of {}.\n",
        alarms.alarms, alarms.experiments, alarms.blocks_each, alarms.replay_alarms, alarms.replays
    );
    let _ = writeln!(text, "| metric | deviation of a block | robust | noise floor |\n|---|---:|---:|---:|");
    for (metric, noise) in &calibration.noise {
        let _ = writeln!(
            text,
            "| {metric} | {} | {} | {} |",
            percent(noise.deviation.exp_m1()),
            percent(noise.robust_deviation.exp_m1()),
            percent(noise.floor),
        );
    }
    text.push_str(
        "\nThe noise floor is the farther end of the 95 % interval of the change between copies. It moves no margin: a margin says which change matters.\n\n",
    );
    if !calibration.detectable.is_empty() {
        let _ = writeln!(
            text,
            "| blocks | time | smallest change of {} found 8 times in 10 |\n|---:|---:|---:|",
            calibration.primary
        );
        for one in &calibration.detectable {
            let seconds = one.seconds.map_or_else(|| "n/a".to_owned(), |seconds| format!("{seconds:.0} s"));
            let _ = writeln!(text, "| {} | {seconds} | {} |", one.blocks, percent(one.change));
        }
        text.push('\n');
    }
    text
}

/// The smallest detectable change against the budget.
pub fn plot(input: &ReportInput<'_>, planned: &PlannedScenario, variant: &str) -> Option<Plot> {
    let found = calibrate::budget(planned, input.trials, variant);
    let points: Vec<(f64, f64)> =
        found.iter().filter_map(|one| Some((one.seconds?.max(0.001).log10(), one.change.log10()))).collect();
    let (first, last) = (found.first()?, found.last()?);
    if points.len() < 2 || points.iter().any(|(_, y)| !y.is_finite()) {
        return None;
    }
    let chart = Chart {
        title: format!("What a budget finds: {}", planned.scenario.name),
        x: log_axis("measuring time, logarithmic".to_owned(), first.seconds?, last.seconds?, |s| {
            format!("{} s", significant(s))
        }),
        y: log_axis(
            format!("smallest change of {} found 8 times in 10 · ↓ lower is better", planned.scenario.primary),
            last.change,
            first.change,
            percent,
        ),
        series: vec![Series { name: variant.to_owned(), place: 0, points, band: Vec::new(), marked: true }],
        lanes: Vec::new(),
        marks: Vec::<Mark>::new(),
    };
    let description = format!(
        "Smallest change of {} that is found 8 times in 10: {} with {} blocks, {} with {} blocks.",
        planned.scenario.primary,
        percent(first.change),
        first.blocks,
        percent(last.change),
        last.blocks
    );
    Some(Plot::new(&planned.scenario.name, "budget", chart.draw(), description))
}

/// Whether the axis of a trend must reach 0: a level that changes by a few per cent is not seen from there.
pub(crate) fn trend_axis(
    label: String,
    low: f64,
    high: f64,
    word: impl Fn(f64) -> String,
) -> crate::plots::chart::Axis {
    let room = ((high - low) * 0.1).max(high.abs() * 0.01).max(f64::MIN_POSITIVE);
    linear_axis(label, if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room, word)
}
