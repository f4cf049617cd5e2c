//! What a calibration found, in words and tables, and the curve of budget against detectable change.

use uplift_analysis::calibrate;
use uplift_model::{calibration::Calibration, run::PlannedScenario};

use super::place;
use crate::{
    ReportInput,
    document::{Cell, Column, Section, Table, Text},
    number::significant,
    plots::{
        Plot,
        chart::{Chart, Mark, Series, linear_axis, log_axis},
    },
};

fn percent(ratio: f64) -> String {
    format!("{} %", significant(ratio * 100.0))
}

/// The calibration of one scenario.
pub fn section(calibration: &Calibration) -> Section {
    let alarms = &calibration.false_alarms;
    let name = &calibration.scenario;
    let mut section = Section::new(place(name, "calibrated"), Text::plain(name)).untitled().brief();
    section
        .prose(format!("`{name}`: {} blocks of `{}` against itself.", calibration.blocks, calibration.variant))
        .brief();
    let interval = alarms.ci.map_or_else(
        || "too few blocks for one experiment".to_owned(),
        |[low, high]| format!("95 % interval of the rate {} … {}", percent(low), percent(high)),
    );
    section
        .prose(format!(
            "False alarms: {} of {} experiments of {} blocks called some judged metric improved or regressed ({interval}); with the same blocks chosen and turned round at random {} of {}.",
            alarms.alarms, alarms.experiments, alarms.blocks_each, alarms.replay_alarms, alarms.replays
        ))
        .brief();
    let columns = vec![
        Column::words("metric"),
        Column::figures("deviation of a block").dispensable(2),
        Column::figures("robust").dispensable(3),
        Column::figures("noise floor"),
    ];
    let mut table = Table::new(format!("Noise: {name}"), columns).brief();
    for (metric, noise) in &calibration.noise {
        table.row(vec![
            Text::plain(metric).into(),
            Cell::Figure(percent(noise.deviation.exp_m1())),
            Cell::Figure(percent(noise.robust_deviation.exp_m1())),
            Cell::Figure(percent(noise.floor)),
        ]);
    }
    table.legend(
        "The noise floor is the farther end of the 95 % interval of the change between copies. It moves no margin: a margin says which change matters.",
    );
    section.table(table);
    let columns = vec![
        Column::figures("blocks"),
        Column::figures("time"),
        Column::figures(format!("smallest change of {} found 8 times in 10", calibration.primary)),
    ];
    let mut table = Table::new(format!("What a budget finds: {name}"), columns).brief();
    for one in &calibration.detectable {
        let seconds = one.seconds.map(|seconds| format!("{seconds:.0} s"));
        table.row(vec![Cell::Figure(one.blocks.to_string()), Cell::figure(seconds), Cell::Figure(percent(one.change))]);
    }
    section.table(table);
    section
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
