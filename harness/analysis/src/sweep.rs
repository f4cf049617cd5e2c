//! Which point of a grid is best, and which others cannot be told from it.

use uplift_model::{Better, MetricClass, Trial, Unit, run::PlannedScenario, verdict::Estimate};

use crate::{
    BLOCKS_MIN, FAMILY_ALPHA,
    correction::holm,
    estimate::{median, median_interval},
    evidence::Evidence,
    metrics,
};

const LEVEL: f64 = 0.95;

/// The points of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The metric that decides.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// The points in the order of the run.
    pub points: Vec<Point>,
    /// Index of the best point; `None` where nothing was measured or the metric has no good direction.
    pub best: Option<usize>,
}

/// One point of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The variant that stands for it.
    pub variant: String,
    /// Its value over blocks; `None` where it was not available.
    pub value: Option<Estimate>,
    /// The best point against this one, paired by block: change of the best, as a ratio − 1; `None` for the best itself.
    pub best_ahead_by: Option<f64>,
    /// The corrected interval of that.
    pub ci: Option<[f64; 2]>,
    /// Whether the data tell this point from the best.
    pub told_apart: bool,
}

/// The sweep of one scenario by its primary metric; `None` where no trial has it.
///
/// The best point is that with the best median. It was chosen by the same data that compare it with the others, so its
/// lead over its nearest neighbours is a little too large; the interval of the lead is corrected over all points.
pub fn sweep(planned: &PlannedScenario, trials: &[Trial]) -> Option<Sweep> {
    let own: Vec<&Trial> =
        trials.iter().filter(|trial| trial.scenario == planned.scenario.name && trial.succeeded()).collect();
    let primary = &planned.scenario.primary;
    let spec = own.iter().find_map(|trial| metrics::named(trial, planned, primary))?.spec;
    // Block and value, for each point.
    let values: Vec<Vec<(u32, f64)>> = planned
        .variants
        .iter()
        .map(|variant| {
            own.iter()
                .filter(|trial| &trial.variant == variant)
                .filter_map(|trial| Some((trial.block, metrics::named(trial, planned, primary)?.value.ok()?)))
                .collect()
        })
        .collect();
    let mut points: Vec<Point> = planned
        .variants
        .iter()
        .zip(&values)
        .map(|(variant, values)| {
            let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
            let value = median(&numbers).map(|median| Estimate {
                median,
                ci: median_interval(&numbers, LEVEL),
                n: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
            });
            Point { variant: variant.clone(), value, best_ahead_by: None, ci: None, told_apart: false }
        })
        .collect();
    let medians = points.iter().enumerate().filter_map(|(index, point)| Some((index, point.value.as_ref()?.median)));
    let best = match spec.better {
        Better::Higher => medians.max_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Lower => medians.min_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Neither => None,
    }
    .map(|(index, _)| index);
    if let Some(best) = best {
        compare_with_best(&mut points, &values, best, spec.class, spec.better);
    }
    Some(Sweep { metric: primary.clone(), unit: spec.unit, better: spec.better, points, best })
}

fn compare_with_best(
    points: &mut [Point],
    values: &[Vec<(u32, f64)>],
    best: usize,
    class: MetricClass,
    better: Better,
) {
    let evidence: Vec<Option<Evidence>> = values
        .iter()
        .enumerate()
        .map(|(index, own)| {
            if index == best || class == MetricClass::Proportion {
                return None;
            }
            let changes: Vec<f64> = own
                .iter()
                .filter_map(|(block, value)| {
                    let (_, ahead) = values[best].iter().find(|(other, _)| other == block)?;
                    (*value > 0.0 && *ahead > 0.0).then(|| (ahead / value).ln())
                })
                .collect();
            Evidence::of(&changes)
        })
        .collect();
    let judged: Vec<usize> =
        (0..points.len()).filter(|&index| evidence[index].as_ref().is_some_and(|e| e.n() >= BLOCKS_MIN)).collect();
    let p: Vec<f64> = judged.iter().filter_map(|&index| Some(evidence[index].as_ref()?.p())).collect();
    let corrected = holm(&p, FAMILY_ALPHA);
    for (index, point) in points.iter_mut().enumerate() {
        let Some(evidence) = &evidence[index] else { continue };
        point.best_ahead_by = Some(evidence.location.center.exp_m1());
        if let Some(place) = judged.iter().position(|&one| one == index) {
            let alpha = corrected[place].alpha;
            point.ci = Some(evidence.interval(alpha).map(f64::exp_m1));
            // The best by its median may be behind in the paired changes; then nothing is told.
            let ahead = (evidence.location.center > 0.0) == (better == Better::Higher);
            point.told_apart = ahead && evidence.excludes_zero(alpha);
        }
    }
}
