//! One variant in figures: what the statements are computed from.

use std::collections::BTreeMap;

use uplift_model::{Histogram, Trial, trial::OperationRecord};

use crate::{estimate::median, pairing::kept, profile::stages};

/// A worker and what it did.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// How many threads bear it.
    pub clocks: u32,
    /// Share of its time at work; what it waits in sync calls is none.
    pub busy: f64,
    /// Its stages, the longest work first: name and share of the worker's time at work in it.
    pub stages: Vec<(String, f64)>,
}

/// One variant over all its trials.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// Its name.
    pub name: &'a str,
    /// Successful operations a second, the median over trials.
    pub rate: f64,
    /// CPUs kept busy, the median over trials, and how many there are.
    pub cpu: Option<(f64, u32)>,
    /// Sync calls a second and how long each took on average, in nanoseconds.
    pub syncs: Option<(f64, f64)>,
    /// The workload's own limit.
    pub ceiling: Option<(f64, &'a str)>,
    /// Its workers, the busiest first.
    pub workers: Vec<Worker>,
}

impl<'a> Side<'a> {
    /// Of the successful trials of a variant; `None` where there is none.
    pub fn of(name: &'a str, trials: &[&'a Trial]) -> Option<Self> {
        let mut rates = Vec::new();
        let mut cpus = Vec::new();
        // Sync calls under way, their rate and their mean, of each trial.
        let mut syncs: Vec<(f64, f64, f64)> = Vec::new();
        for trial in trials {
            let Some(measured) = &trial.measured else { continue };
            let turns = kept(trial);
            let wall_ns: u64 = turns.iter().map(|turn| turn.wall_ns).sum();
            let settled_ns = (wall_ns + turns.iter().map(|turn| turn.quiesce_ns).sum::<u64>()) as f64;
            let ok: u64 = measured.operations.iter().map(|operation: &OperationRecord| operation.ok).sum();
            if wall_ns == 0 {
                continue;
            }
            rates.push(ok as f64 / wall_ns as f64 * 1e9);
            let used = &measured.resources;
            if !used.missing.contains_key("cpu") && settled_ns > 0.0 {
                cpus.push((used.cpu_user_ns + used.cpu_system_ns) as f64 / settled_ns);
            }
            // Where they were counted apart from the timed operations there is no rate of them.
            if measured.syncs.operations.is_none()
                && let Some(calls) = measured.syncs.calls()
            {
                let mut latency = Histogram::new();
                measured.syncs.kinds.values().for_each(|kind| latency.merge(&kind.latency));
                if let Some(mean_ns) = latency.mean() {
                    let rate = calls as f64 / settled_ns * 1e9;
                    syncs.push((rate * mean_ns, rate, mean_ns));
                }
            }
        }
        syncs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let first = trials.iter().find_map(|trial| trial.measured.as_ref())?;
        Some(Self {
            name,
            rate: median(&rates)?,
            cpu: median(&cpus).map(|busy| (busy, first.resources.cores.max(1))),
            // Of the trial in the middle, so that the product is that of its factors.
            syncs: syncs.get(syncs.len() / 2).map(|(_, rate, mean_ns)| (*rate, *mean_ns)),
            ceiling: first.ceiling.as_ref().map(|ceiling| (ceiling.throughput, ceiling.why.as_str())),
            workers: workers(trials),
        })
    }

    /// The busiest worker that is not merely waiting for others, and the next one.
    pub fn busiest(&self) -> Option<(&Worker, Option<&Worker>)> {
        self.workers.first().map(|first| (first, self.workers.get(1)))
    }
}

fn workers(trials: &[&Trial]) -> Vec<Worker> {
    let mut by_name: BTreeMap<String, Worker> = BTreeMap::new();
    for row in stages::rows(trials) {
        let Some(stage) = row.stage else { continue };
        if row.worker.is_empty() || row.wall_ns == 0 {
            continue;
        }
        let worker = by_name.entry(row.worker.clone()).or_insert_with(|| Worker {
            name: row.worker,
            clocks: row.clocks,
            busy: 0.0,
            stages: Vec::new(),
        });
        let share = row.process_ns as f64 / row.wall_ns as f64;
        worker.busy += share;
        worker.stages.push((stage, share));
    }
    let mut workers: Vec<Worker> = by_name.into_values().collect();
    for worker in &mut workers {
        worker.stages.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    workers.sort_by(|a, b| b.busy.total_cmp(&a.busy));
    workers
}
