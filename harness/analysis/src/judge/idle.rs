//! A resident variant that works while the other is measured: how much, and whether that could change a verdict.

use uplift_model::{
    Better, MetricClass, Trial,
    run::PlannedScenario,
    scenario::Interleave,
    trial::{IDLE_CPU_SHARE_MAX, Idle},
    verdict::{MetricVerdict, Verdict},
};

use crate::{estimate::Location, pairing::Pair};

/// The error probability of the bound on what an idle variant used.
const ALPHA: f64 = 0.05;
/// The share of a core from which on an open verdict is refused as well.
const HEAVY: f64 = 0.25;
const REMEDY: &str = "let the target's quiesce stop its background work, or measure with `interleave = \"trials\"`";

/// At least one variant used a CPU while it should have been idle.
pub(super) struct NotIdle {
    /// The share of one core, of the baseline and of the candidate: seen, and at most. 0 of one that was idle.
    shares: [[f64; 2]; 2],
    names: [String; 2],
}

fn sides<'a>(pairs: &[Pair<'a>]) -> [Vec<&'a Trial>; 2] {
    [pairs.iter().map(|pair| pair.baseline).collect(), pairs.iter().map(|pair| pair.candidate).collect()]
}

fn pauses(trials: &[&Trial]) -> Vec<Idle> {
    trials.iter().filter_map(|trial| Some(trial.measured.as_ref()?.idle)).collect()
}

/// Whether a variant made sync calls while it should have been idle, in most blocks. What those cost the other cannot be
/// told: both wait for one disk.
pub(super) fn synced(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> Option<String> {
    if planned.scenario.trial.interleave != Interleave::Turns {
        return None;
    }
    sides(pairs).into_iter().find_map(|trials| {
        let idle = pauses(&trials);
        let syncing = idle.iter().filter(|idle| idle.synced()).count();
        (2 * syncing > idle.len()).then(|| {
            format!(
                "`{}` made sync calls while it should have been idle, in {syncing} of {} blocks, so it disturbed the other variant; {REMEDY}",
                trials.first().map_or("", |trial| &trial.variant),
                idle.len()
            )
        })
    })
}

/// What both variants used in all their pauses; `None` where both were idle.
pub(super) fn judge(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> Option<NotIdle> {
    if planned.scenario.trial.interleave != Interleave::Turns || pairs.is_empty() {
        return None;
    }
    let mut judged = NotIdle { shares: [[0.0; 2]; 2], names: [String::new(), String::new()] };
    for (side, trials) in sides(pairs).into_iter().enumerate() {
        let idle = pauses(&trials);
        let (cpu_ns, wall_ns) =
            idle.iter().fold((0u64, 0u64), |(cpu, wall), idle| (cpu + idle.cpu_ns, wall + idle.wall_ns));
        let share = if wall_ns == 0 { 0.0 } else { cpu_ns as f64 / wall_ns as f64 };
        trials.first().map_or("", |trial| &trial.variant).clone_into(&mut judged.names[side]);
        if share >= IDLE_CPU_SHARE_MAX {
            let shares: Vec<f64> = idle.iter().filter_map(Idle::cpu_share).collect();
            let noise = Location::mean(&shares).map_or(share, |location| location.half_width(ALPHA));
            judged.shares[side] = [share, share + noise];
        }
    }
    judged.shares.iter().any(|share| share[0] > 0.0).then_some(judged)
}

impl NotIdle {
    /// By how much the truth may lie below and above what was measured, as logarithms: the idle variant took at most its
    /// share of one core from the one that was measured.
    pub(super) fn slack(&self, better: Better) -> [f64; 2] {
        let [by_baseline, by_candidate] = self.shares.map(|share| -(-share[1].min(0.99)).ln_1p());
        // Work of the baseline slows the candidate: it may truly have more throughput, or less latency.
        if better == Better::Lower { [by_baseline, by_candidate] } else { [by_candidate, by_baseline] }
    }

    /// Whether the verdict on `metric` could be the disturbance's; `robust` says whether a verdict stands with the slack.
    pub(super) fn could_change(&self, metric: &MetricVerdict, robust: impl Fn(Verdict) -> bool) -> bool {
        if metric.class != MetricClass::Time {
            return false;
        }
        if metric.verdict == Verdict::Inconclusive {
            // It claims nothing, but with so much beside it there is nothing that it could have found.
            return metric.ci.is_some() && self.shares.iter().any(|share| share[0] >= HEAVY);
        }
        if !matches!(metric.verdict, Verdict::Improved | Verdict::Regressed | Verdict::Unchanged) {
            return false;
        }
        // A few per cent of the time can be all of a tail.
        let is_tail = ["_p90", "_p95", "_p99", "_p999", "_max"].iter().any(|tail| metric.metric.ends_with(tail));
        is_tail || !robust(metric.verdict)
    }

    fn seen(&self) -> String {
        let each = self.shares.iter().zip(&self.names).filter(|(share, _)| share[0] > 0.0).map(|(share, name)| {
            format!(
                "`{name}` used {:.1} % of a core (at most {:.1} %) while it should have been idle (the rule: under 2 %)",
                share[0] * 100.0,
                share[1] * 100.0
            )
        });
        each.collect::<Vec<_>>().join(", and ")
    }

    /// Why a verdict is refused.
    pub(super) fn reason(&self) -> String {
        format!("{}, so it disturbed the other variant by as much as could change the verdict; {REMEDY}", self.seen())
    }

    /// What is said where no verdict on the primary metric hangs on it.
    pub(super) fn note(&self) -> String {
        let most = self.slack(Better::Higher).iter().fold(0.0f64, |most, slack| most.max(*slack)).exp_m1();
        format!(
            "{}; that moves the change by a factor of {:.3} at most, which does not change the verdict on the primary metric",
            self.seen(),
            1.0 + most
        )
    }
}
