//! Processes outside the agent that work for the target, such as a database server: what they use is the target's.

pub(crate) mod tracepoint;
pub mod tree;

use uplift_model::trial::{Resources, SyncCalls, SyncKind, SyncRecord};

use crate::{resources::Usage, sync_probe};
use tracepoint::SyncCounters;

/// Watches the processes that a target names, and their children.
pub struct ExternalProcesses {
    roots: Vec<u32>,
    /// Counters of their sync calls, or why there are none.
    syncs: Result<SyncCounters, String>,
    /// Why what works for the target outside cannot be watched at all.
    unobservable: Option<String>,
}

/// The sync calls of the watched processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct ExternalSyncs(Vec<(SyncKind, u64)>);

impl ExternalProcesses {
    /// Begins to watch `roots`. Children that start later are watched too. `unobservable` says why what works for the
    /// target cannot be watched, where that is so.
    pub fn watch(roots: Vec<u32>, unobservable: Option<String>) -> Self {
        let syncs = if roots.is_empty() { Ok(SyncCounters::default()) } else { SyncCounters::open(&roots) };
        Self { roots, syncs, unobservable }
    }

    /// Adds what the watched processes have used so far to `usage`.
    pub fn add_to(&self, usage: &mut Usage) {
        for pid in tree::of(&self.roots) {
            if let Some(other) = tree::usage(pid) {
                usage.add(&other);
            }
        }
    }

    /// CPU time of the watched processes that are alive, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        tree::of(&self.roots).into_iter().filter_map(tree::scheduled_ns).sum()
    }

    /// Their sync calls so far.
    pub fn syncs(&self) -> ExternalSyncs {
        ExternalSyncs(self.syncs.as_ref().map(SyncCounters::read).unwrap_or_default())
    }

    /// Whether every sync call made for the target can be counted.
    pub fn counts_syncs(&self) -> bool {
        sync_probe::is_live() && self.unobservable.is_none() && self.syncs.is_ok()
    }

    /// Says in `record` how sync calls were counted, or that they were not and why.
    pub fn describe_syncs(&self, record: &mut SyncRecord) {
        match (&self.unobservable, &self.syncs) {
            (Some(reason), _) | (None, Err(reason)) => {
                record.collector = None;
                record.missing = Some(reason.clone());
            }
            (None, Ok(counters)) if !self.roots.is_empty() => {
                if let Some(own) = &mut record.collector {
                    *own = format!("{own}; processes outside the agent: {}", counters.collector());
                }
                record.blind_spots.extend(counters.blind_spots().iter().map(|&spot| spot.to_owned()));
            }
            (None, Ok(_)) => {}
        }
    }

    /// Takes out of `total` what the agent alone used, where most of the work is done by something unseen.
    pub fn describe_usage(&self, total: &mut Resources) {
        let Some(reason) = &self.unobservable else { return };
        for field in ["cpu", "storage_written_bytes", "storage_read_bytes", "written_bytes", "write_calls"] {
            total.missing.insert(field.to_owned(), reason.clone());
        }
        (total.storage_written_bytes, total.storage_read_bytes) = (None, None);
        (total.written_bytes, total.write_calls) = (None, None);
    }
}

impl ExternalSyncs {
    /// Calls of every kind.
    pub fn calls(&self) -> u64 {
        self.0.iter().map(|(_, calls)| calls).sum()
    }

    /// Adds what happened between `self` and the later `end` to `record`. There are no latencies: the calls are counted
    /// by the kernel, not timed.
    pub fn add_growth_to(&self, end: &Self, record: &mut SyncRecord) {
        for (&(kind, before), &(_, after)) in self.0.iter().zip(&end.0) {
            if after > before {
                let entry = record.kinds.entry(kind).or_insert_with(|| SyncCalls {
                    calls: 0,
                    errors: 0,
                    latency: uplift_model::Histogram::new(),
                });
                entry.calls += after - before;
            }
        }
    }
}
