//! Where workers' time went by stage, and what moved from one variant to another.
//!
//! Stage clocks are read in every trial, so what moved has an interval over blocks, which shares of samples do not.

use std::collections::{BTreeMap, BTreeSet};

use uplift_model::{Trial, trial::StageRecord};

use crate::estimate::{Location, median};

/// A worker and one of its stages; `None` is what no stage accounts for.
pub type Place = (String, Option<String>);

/// Time of one stage of one worker, all trials of a variant together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRow {
    /// The worker.
    pub worker: String,
    /// The stage; `None`: the unaccounted rest.
    pub stage: Option<String>,
    /// The most clocks that bore the worker's name at a time.
    pub clocks: u32,
    /// Time at work.
    pub process_ns: u64,
    /// Time waiting.
    pub wait_ns: u64,
    /// Spans.
    pub spans: u64,
    /// Wall time of the worker: what its rows add up to.
    pub wall_ns: u64,
}

/// A stage's time for each operation, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct StageMove {
    /// The worker.
    pub worker: String,
    /// The stage; `None`: the unaccounted rest.
    pub stage: Option<String>,
    /// Whether it is time waiting.
    pub waiting: bool,
    /// Median over the baseline's trials, nanoseconds for each successful operation.
    pub baseline_ns: f64,
    /// The same of the candidate.
    pub candidate_ns: f64,
    /// The change within blocks.
    pub change_ns: f64,
    /// Where it lies at 95 %, by the spread over blocks; `None` of a single block.
    pub ci_ns: Option<[f64; 2]>,
}

impl StageMove {
    /// Whether it is more than blocks differ by themselves.
    pub fn is_clear(&self) -> bool {
        self.ci_ns.is_some_and(|[low, high]| low > 0.0 || high < 0.0)
    }
}

/// Work and waiting of a stage.
type Times = BTreeMap<Place, (u64, u64, u64)>;

/// What one trial's clocks say: each stage, and the rest that makes the wall time of each worker.
fn of_trial(trial: &Trial) -> (Times, BTreeMap<String, (u64, u32)>) {
    let (mut times, mut walls) = (Times::new(), BTreeMap::new());
    let Some(measured) = &trial.measured else { return (times, walls) };
    // Records without a wall time of their own ran during the turns.
    let turns_ns: u64 = measured.turns.iter().map(|turn| turn.wall_ns).sum();
    for StageRecord { stage, worker, process_ns, wait_ns, count, wall_ns, clocks } in &measured.stages {
        let worker = worker.clone().unwrap_or_default();
        let entry = times.entry((worker.clone(), Some(stage.clone()))).or_default();
        *entry = (entry.0 + process_ns, entry.1 + wait_ns, entry.2 + count);
        walls.insert(worker, (wall_ns.unwrap_or(turns_ns), clocks.unwrap_or(1)));
    }
    for (worker, (wall_ns, _)) in &walls {
        let accounted: u64 =
            times.iter().filter(|((of, _), _)| of == worker).map(|(_, (process, wait, _))| process + wait).sum();
        times.insert((worker.clone(), None), (wall_ns.saturating_sub(accounted), 0, 0));
    }
    (times, walls)
}

/// The rows of some trials of one variant, by worker; a worker's unaccounted rest comes last.
pub fn rows(trials: &[&Trial]) -> Vec<StageRow> {
    let mut rows: BTreeMap<Place, StageRow> = BTreeMap::new();
    let mut wall_ns: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for trial in trials {
        let (times, walls) = of_trial(trial);
        for (worker, (ns, clocks)) in walls {
            let wall = wall_ns.entry(worker).or_default();
            *wall = (wall.0 + ns, wall.1.max(clocks));
        }
        for ((worker, stage), (process_ns, wait_ns, spans)) in times {
            let row = rows.entry((worker.clone(), stage.clone())).or_default();
            (row.worker, row.stage) = (worker, stage);
            row.process_ns += process_ns;
            row.wait_ns += wait_ns;
            row.spans += spans;
        }
    }
    let mut rows: Vec<StageRow> = rows.into_values().collect();
    for row in &mut rows {
        (row.wall_ns, row.clocks) = wall_ns.get(&row.worker).copied().unwrap_or_default();
    }
    rows.sort_by(|a, b| {
        let time = |row: &StageRow| std::cmp::Reverse(row.process_ns + row.wait_ns);
        (&a.worker, a.stage.is_none(), time(a), &a.stage).cmp(&(&b.worker, b.stage.is_none(), time(b), &b.stage))
    });
    rows
}

/// Nanoseconds for each successful operation by place, and whether waiting.
fn per_operation(trial: &Trial) -> Option<BTreeMap<(Place, bool), f64>> {
    let operations: u64 = trial.measured.as_ref()?.turns.iter().map(|turn| turn.ok).sum();
    let times = of_trial(trial).0;
    (operations > 0 && !times.is_empty()).then(|| {
        times
            .into_iter()
            .flat_map(|(place, (process, wait, _))| [((place.clone(), false), process), ((place, true), wait)])
            .map(|(key, ns)| (key, ns as f64 / operations as f64))
            .collect()
    })
}

/// What moved within the blocks of two variants: what is clear first, then the largest, and last what no stage accounts
/// for; nothing where a side has no stages.
pub fn moves(pairs: &[(&Trial, &Trial)]) -> Vec<StageMove> {
    let pairs: Vec<_> = pairs
        .iter()
        .filter_map(|(baseline, candidate)| Some((per_operation(baseline)?, per_operation(candidate)?)))
        .collect();
    let keys: BTreeSet<_> = pairs.iter().flat_map(|(a, b)| a.keys().chain(b.keys())).cloned().collect();
    let mut moves: Vec<StageMove> = keys
        .into_iter()
        .filter_map(|key| {
            let of = |side: &BTreeMap<_, f64>| side.get(&key).copied().unwrap_or(0.0);
            let (before, after): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (of(a), of(b))).unzip();
            if before.iter().chain(&after).all(|ns| *ns == 0.0) {
                return None;
            }
            let changes: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
            let location = Location::mean(&changes);
            let ((worker, stage), waiting) = key;
            Some(StageMove {
                worker,
                stage,
                waiting,
                baseline_ns: median(&before)?,
                candidate_ns: median(&after)?,
                change_ns: location.map_or_else(|| changes[0], |location| location.center),
                ci_ns: location.map(|location| location.interval(0.05)),
            })
        })
        .collect();
    moves.sort_by(|a, b| {
        a.stage
            .is_none()
            .cmp(&b.stage.is_none())
            .then(b.is_clear().cmp(&a.is_clear()))
            .then(b.change_ns.abs().total_cmp(&a.change_ns.abs()))
            .then((&a.worker, &a.stage, a.waiting).cmp(&(&b.worker, &b.stage, b.waiting)))
    });
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored trial with these stages in place of its own.
    fn trial(stages: &[(&str, &str, u64, u64)], wall_ns: Option<u64>) -> Trial {
        let text = include_str!("../../../report/tests/data/slower/trials.jsonl");
        let mut trial: Trial =
            text.lines().map(|line| serde_json::from_str::<Trial>(line).unwrap()).find(Trial::succeeded).unwrap();
        let measured = trial.measured.as_mut().unwrap();
        measured.turns.truncate(1);
        (measured.turns[0].ok, measured.turns[0].wall_ns) = (10, 1_000);
        measured.stages = stages
            .iter()
            .map(|&(worker, stage, process_ns, wait_ns)| StageRecord {
                stage: stage.to_owned(),
                worker: Some(worker.to_owned()),
                process_ns,
                wait_ns,
                count: 1,
                wall_ns,
                clocks: wall_ns.map(|_| 2),
            })
            .collect();
        trial
    }

    #[test]
    fn every_worker_adds_up_to_its_wall_time() {
        let one =
            trial(&[("client", "lock", 100, 300), ("client", "write", 500, 0), ("flusher", "sync", 0, 900)], None);
        let other = trial(&[("client", "lock", 100, 300)], Some(2_000));
        for (trials, walls) in [(vec![&one], [1_000, 1_000]), (vec![&one, &other], [3_000, 1_000])] {
            let rows = rows(&trials);
            for (worker, wall_ns) in ["client", "flusher"].into_iter().zip(walls) {
                let of: Vec<_> = rows.iter().filter(|row| row.worker == worker).collect();
                assert_eq!(of.iter().map(|row| row.process_ns + row.wait_ns).sum::<u64>(), wall_ns, "{worker}");
                assert!(of.iter().all(|row| row.wall_ns == wall_ns));
                assert!(of.last().unwrap().stage.is_none());
            }
        }
    }

    #[test]
    fn a_move_is_per_operation_and_has_an_interval_of_several_blocks() {
        let slow = trial(&[("client", "sync", 0, 900)], None);
        let fast = trial(&[("client", "sync", 0, 100), ("client", "gather", 40, 0)], None);
        let single = moves(&[(&slow, &fast)]);
        let sync = single.iter().find(|row| row.stage.as_deref() == Some("sync")).unwrap();
        assert_eq!((sync.waiting, sync.baseline_ns, sync.candidate_ns, sync.change_ns), (true, 90.0, 10.0, -80.0));
        assert_eq!((sync.ci_ns, sync.is_clear()), (None, false));
        // What shrank in one place and grew in another: changes of one worker add up to the change of its wall time.
        assert!(single.iter().map(|row| row.change_ns).sum::<f64>().abs() < 1e-9, "{single:?}");
        let faster = trial(&[("client", "sync", 0, 90), ("client", "gather", 41, 0)], None);
        let several = moves(&[(&slow, &fast), (&slow, &faster), (&slow, &fast)]);
        assert!(several[0].is_clear() && several[0].ci_ns.unwrap()[1] < several[0].change_ns + 5.0, "{several:?}");
        assert!(moves(&[(&slow, &trial(&[], None))]).is_empty());
    }
}
