//! What of a block's time is measured, and what takes the rest.

use uplift_model::{Trial, run::PlannedScenario};

use crate::{estimate::median, pairing::Pair};

/// Set-up that takes no more than this part of a block is not said.
const SET_UP_MAX: f64 = 0.25;

/// Says that more than a quarter of a block is not measured, and what takes it; `None` where it is not, or where one block
/// only tells no length.
pub(super) fn note(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> Option<String> {
    let starts: Vec<u64> =
        pairs.iter().map(|pair| pair.baseline.started_unix_ns.min(pair.candidate.started_unix_ns)).collect();
    // Blocks that were taken up again later lie apart for no reason of their own.
    let steps: Vec<f64> = starts.windows(2).filter_map(|two| Some(two[1].checked_sub(two[0])? as f64)).collect();
    let block_ns = median(&steps).filter(|ns| *ns > 0.0)?;
    let of = |part: fn(&Trial) -> u64| {
        let both = |pair: &Pair<'_>| (part(pair.baseline) + part(pair.candidate)) as f64;
        Some(median(&pairs.iter().map(both).collect::<Vec<_>>())? / block_ns)
    };
    let turns = of(|trial| {
        let turns = trial.measured.iter().flat_map(|measured| &measured.turns);
        turns.map(|turn| turn.wall_ns + turn.quiesce_ns).sum()
    })?;
    let prepared = of(|trial| trial.measured.as_ref().map_or(0, |measured| measured.setup_ns))?;
    let drained = of(|trial| trial.measured.as_ref().map_or(0, |measured| measured.drain.duration_ns))?;
    let warmed = 2.0 * planned.scenario.trial.warmup.as_nanos() as f64 / block_ns;
    let rest = 1.0 - turns;
    (rest > SET_UP_MAX).then(|| {
        format!(
            "{:.0} % of a block's {:.1} s is not measured: {:.0} % prepares the data, {:.0} % warms up, {:.0} % drains, the rest starts, checks and removes; more rounds or a longer window make that less",
            rest * 100.0,
            block_ns / 1e9,
            prepared * 100.0,
            warmed * 100.0,
            drained * 100.0
        )
    })
}
