//! Sync calls by tracepoints of the kernel, as the system calls begin: exact for every program, with the right to trace.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    process::{Child, Command},
};

use parking_lot::Mutex;
use uplift_model::{
    Histogram, Problem,
    trial::{SyncCalls, SyncKind, SyncRecord},
};

use super::{SyncCollector, plain_call, spawner::Spawner, timed_calls};
use crate::external_processes::tracepoint::{CALLS, Point, ids, open, value};

/// Only MS_SYNC waits for the device.
const MSYNC: Point = Point { kind: SyncKind::Msync, event: "syscalls/sys_enter_msync", filter: Some("flags & 4") };

/// Counters that the programs inherit from the thread that starts them.
pub struct Tracepoints {
    spawner: Spawner,
    counters: Vec<(SyncKind, OwnedFd)>,
    /// Calls that were made to measure the cost.
    own: Mutex<u64>,
}

impl Tracepoints {
    /// Opens the counters.
    pub fn open() -> Result<Self, Problem> {
        let (spawner, counters) = Spawner::start(|| {
            let points: Vec<Point> = CALLS.into_iter().chain([MSYNC]).collect();
            let numbers = ids(&points).map_err(|error| {
                Problem::new("tracepoints: their numbers cannot be read")
                    .because(error.to_string())
                    .fix("mount tracefs (mount -t tracefs none /sys/kernel/tracing) and make it readable")
            })?;
            let mut counters = Vec::new();
            for (point, id) in points.iter().zip(numbers) {
                // Process 0 is the calling thread.
                let event = open(id, 0, point.filter).map_err(|error| {
                    Problem::new(format!("tracepoints: `{}` cannot be counted", point.event))
                        .because(error.to_string())
                        .fix("run as root, or set kernel.perf_event_paranoid to -1")
                })?;
                counters.push((point.kind, event));
            }
            Ok(counters)
        })?;
        Ok(Self { spawner, counters, own: Mutex::new(0) })
    }
}

impl SyncCollector for Tracepoints {
    fn spawn(&self, command: Command) -> io::Result<Child> {
        self.spawner.spawn(command)
    }

    fn record(&self) -> SyncRecord {
        let own = *self.own.lock();
        let kinds: BTreeMap<SyncKind, SyncCalls> = self
            .counters
            .iter()
            .map(|(kind, event)| (*kind, value(event) - if *kind == SyncKind::Fsync { own } else { 0 }))
            .filter(|(_, calls)| *calls > 0)
            .map(|(kind, calls)| (kind, SyncCalls { calls, errors: 0, latency: Histogram::new() }))
            .collect();
        SyncRecord {
            collector: Some("tracepoints syscalls:sys_enter_*sync*".to_owned()),
            blind_spots: ["io_uring", "files opened with O_SYNC or O_DSYNC", "latency and errors of the calls"]
                .map(str::to_owned)
                .to_vec(),
            kinds,
            ..SyncRecord::default()
        }
    }

    fn cost_ns(&self) -> Result<f64, String> {
        let plain = timed_calls(plain_call);
        let mut own = self.own.lock();
        let counted = self.spawner.call(|| timed_calls(plain_call)).map_err(|error| error.to_string())?;
        *own += u64::from(super::COST_CALLS);
        Ok((counted - plain).max(0.0))
    }
}
