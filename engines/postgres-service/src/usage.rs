//! What a server's processes have used, read from `/proc`.

use std::fs;

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
    let first = Stat::read(root)?;
    // Children that have ended are in the numbers of whoever waited for them.
    let mut total_ticks = first.own_ticks + first.waited_ticks;
    let mut pages = first.resident_pages;
    for stat in children_of(root).into_iter().filter_map(Stat::read) {
        total_ticks += stat.own_ticks;
        pages += stat.resident_pages;
    }
    Some(Usage { cpu_s: total_ticks as f64 / ticks as f64, resident_bytes: pages * page as u64 })
}

/// The living children of a process, as its first thread has them.
pub(crate) fn children_of(process: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

struct Stat {
    own_ticks: u64,
    waited_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything; fields are counted from behind it (proc(5): 14 to 17, 24).
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            own_ticks: field(14)? + field(15)?,
            waited_ticks: field(16)? + field(17)?,
            resident_pages: field(24)?,
        })
    }
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
