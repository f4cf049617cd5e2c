//! Counts the sync calls of programs that are started through a collector, and of all their descendants.
//!
//! Three ways behind one trait. Each starts programs on a thread of its own, which carries what the programs inherit: a
//! seccomp filter, or counters of tracepoints. A collector does not know what the programs are, or when a run of
//! one begins and ends.

mod holding;
mod preload;
mod seccomp;
mod spawner;
mod tracepoints;

use std::{
    io,
    path::Path,
    process::{Child, Command},
};

pub use holding::{is_holding, spawn};
use uplift_model::{
    Problem,
    trial::{SyncCollectorChoice, SyncRecord},
};

/// Starts programs and counts their sync calls.
pub trait SyncCollector: Send + Sync {
    /// Starts a program whose calls are counted.
    ///
    /// # Errors
    /// What the system said.
    fn spawn(&self, command: Command) -> io::Result<Child>;

    /// What was counted so far, by whom, and what was not seen.
    fn record(&self) -> SyncRecord;

    /// What counting adds to one call, measured here, in nanoseconds.
    ///
    /// # Errors
    /// Why it could not be measured.
    fn cost_ns(&self) -> Result<f64, String>;
}

/// The collector that `choice` means; `folder` is where one may put files. `None`: nothing is to be counted.
///
/// # Errors
/// Why it is not available; of "auto" why none can.
pub fn open(choice: SyncCollectorChoice, folder: &Path) -> Result<Option<Box<dyn SyncCollector>>, Problem> {
    type Opened = Result<Box<dyn SyncCollector>, Problem>;
    let seccomp = || -> Opened { Ok(Box::new(seccomp::Seccomp::open()?)) };
    let tracepoints = || -> Opened { Ok(Box::new(tracepoints::Tracepoints::open()?)) };
    let preload = || -> Opened { Ok(Box::new(preload::Preload::open(folder)?)) };
    match choice {
        SyncCollectorChoice::Off => Ok(None),
        SyncCollectorChoice::Seccomp => seccomp().map(Some),
        SyncCollectorChoice::Tracepoint => tracepoints().map(Some),
        SyncCollectorChoice::Preload => preload().map(Some),
        SyncCollectorChoice::Auto => seccomp()
            .or_else(|first| tracepoints().or_else(|second| preload().map_err(|third| none_of([first, second, third]))))
            .map(Some),
    }
}

/// Several ways that are all closed, as one problem.
fn none_of(ways: [Problem; 3]) -> Problem {
    let states: Vec<String> = ways.iter().map(Problem::state).collect();
    let fixes = ways.iter().filter_map(|way| way.remedy.as_deref());
    fixes.fold(Problem::new(states.join("; ")), Problem::fix)
}

/// How often a call is made to see what counting adds.
const COST_CALLS: u32 = 1_000;

/// The time of one `fsync(-1)` through `call`, in nanoseconds: it fails in the kernel before anything is done.
fn timed_calls(call: impl Fn() -> libc::c_long) -> f64 {
    let start_ns = crate::clock::now_ns();
    for _ in 0..COST_CALLS {
        call();
    }
    (crate::clock::now_ns() - start_ns) as f64 / f64::from(COST_CALLS)
}

/// The system call itself, which neither the C library nor this crate's own probe sees.
fn plain_call() -> libc::c_long {
    // SAFETY: -1 is no descriptor: the call fails with EBADF and touches nothing.
    unsafe { libc::syscall(libc::SYS_fsync, -1) }
}

#[cfg(test)]
mod tests;
