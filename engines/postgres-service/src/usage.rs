//! What a server's processes have used, read from `/proc`.

use std::fs;

use procfs_core::{FromRead as _, process::Stat};

/// What the processes of a server have used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in seconds, user and kernel, of the living and of those that have ended. Its resolution is the
    /// kernel's clock tick (10 ms).
    pub cpu_s: f64,
    /// Resident memory of the first process and its children in bytes, shared pages counted once for each.
    pub resident_bytes: u64,
}

/// The process `root` and its children, as a postmaster's family is: backends have no children of their own.
pub(crate) fn of_family(root: u32) -> Option<Usage> {
    // SAFETY: sysconf with valid names has no preconditions.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    if ticks <= 0 || page <= 0 {
        return None;
    }
    let first = stat_of(root)?;
    // Children that have ended are in the numbers of whoever waited for them.
    let mut total_ticks = first.utime + first.stime + (first.cutime + first.cstime).unsigned_abs();
    let mut pages = first.rss;
    for stat in children_of(root).into_iter().filter_map(stat_of) {
        total_ticks += stat.utime + stat.stime;
        pages += stat.rss;
    }
    Some(Usage { cpu_s: total_ticks as f64 / ticks as f64, resident_bytes: pages * page as u64 })
}

/// The living children of a process, as its first thread has them.
pub(crate) fn children_of(process: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn stat_of(pid: u32) -> Option<Stat> {
    Stat::from_file(format!("/proc/{pid}/stat")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of work of this very process shows up.
    #[test]
    fn work_shows_up() {
        let before = of_family(std::process::id()).unwrap();
        let mut value = 1u64;
        while of_family(std::process::id()).unwrap().cpu_s < before.cpu_s + 0.05 {
            value = std::hint::black_box(value.wrapping_mul(3));
        }
        let after = of_family(std::process::id()).unwrap();
        assert!(after.cpu_s >= before.cpu_s + 0.05 && after.resident_bytes > 0);
    }
}
