//! What could not be sampled, in sentences with the fix.

use std::{fs, io};

use super::collected::Collected;

/// Why an event is not available.
pub(super) fn refusal(what: &str, error: &io::Error) -> String {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let state = paranoid.map_or_else(String::new, |level| format!(" (perf_event_paranoid is {})", level.trim()));
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE) => "raise the limit of open files (ulimit -n)",
        Some(libc::ENOSYS) => "this kernel has no perf events",
        _ => "sysctl kernel.perf_event_paranoid=1; in a container also allow perf_event_open (--cap-add PERFMON)",
    };
    format!("perf_event_open {what}: {error}{state}; {remedy}")
}

/// What the rings did not tell, each with its fix.
pub(super) fn complaints(collected: &Collected) -> Vec<String> {
    let mut said = Vec::new();
    let taken: u64 = collected.samples.values().sum();
    if collected.lost > 0 {
        said.push(format!(
            "{} of {} samples were lost because they came faster than they could be read: what ran then is missing; sample \
             less often (--sampling-frequency)",
            collected.lost,
            collected.lost + taken
        ));
    }
    if collected.lost_switches > 0 {
        said.push(format!(
            "{} records of threads that left or came back were lost: the waiting time of the threads is incomplete; \
             sample for less time (--sampling-window)",
            collected.lost_switches
        ));
    }
    if collected.throttled > 0 {
        said.push(format!(
            "the kernel paused sampling {} times because samples came too fast; sample less often",
            collected.throttled
        ));
    }
    if collected.of_others > 0 {
        said.push(format!(
            "{} samples of processes that the system started are left out: only the agent's own code has names here",
            collected.of_others
        ));
    }
    said
}
