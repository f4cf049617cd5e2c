//! Processes and their children, and what they used, from `/proc`.

use std::fs;

use procfs_core::{FromRead as _, process::Stat};

use crate::resources::{Io, Usage};

/// `roots`, their children, and theirs, each once.
pub fn of(roots: &[u32]) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    let mut open = roots.to_vec();
    while let Some(pid) = open.pop() {
        if all.contains(&pid) {
            continue;
        }
        all.push(pid);
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

/// What process `pid` used so far, together with those of its children that have ended; `None` where it
/// has ended. Context switches are left out: the kernel keeps none of children that have ended.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = Stat::from_file(format!("/proc/{pid}/stat")).ok()?;
    let mut usage = times(&stat, ticks_per_second());
    if let Ok(io) = fs::read_to_string(format!("/proc/{pid}/io")) {
        usage.io = Some(Io::parse(&io));
    }
    Some(usage)
}

/// Nanoseconds that process `pid` was on a CPU: precise, where the times of [`usage`] come in clock ticks.
pub fn scheduled_ns(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_thread = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
    Some(
        threads.flatten().filter_map(|t| fs::read_to_string(t.path().join("schedstat")).ok().and_then(of_thread)).sum(),
    )
}

/// CPU time and faults, those of children that have ended included.
fn times(stat: &Stat, ticks_per_second: u64) -> Usage {
    let ns = |own: u64, of_children: i64| (own + of_children.unsigned_abs()) * 1_000_000_000 / ticks_per_second.max(1);
    Usage {
        major_faults: stat.majflt + stat.cmajflt,
        cpu_user_ns: ns(stat.utime, stat.cutime),
        cpu_system_ns: ns(stat.stime, stat.cstime),
        ..Usage::default()
    }
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let line =
            b"77 (a) b (c) S 1 77 77 0 -1 4194560 900 0 3 4 110 20 30 40 20 0 1 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 \
            17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let stat = Stat::from_read(line.as_slice()).unwrap();
        assert_eq!(stat.comm, "a) b (c");
        let usage = times(&stat, 100);
        assert_eq!(usage.major_faults, 7);
        assert_eq!((usage.cpu_user_ns, usage.cpu_system_ns), (1_400_000_000, 600_000_000));
        assert!(Stat::from_read(b"77 (cut off".as_slice()).is_err());
    }

    #[test]
    fn a_tree_holds_children_of_children() {
        let mut child =
            Command::new("sh").args(["-c", "sh -c 'read line; exit 0'; exit 0"]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        // The grandchild is there as soon as its parent waits for it.
        let grown = (0..10_000).find(|_| {
            std::thread::yield_now();
            of(&[pid]).len() >= 2
        });
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(grown.is_some());
        assert!(usage(std::process::id()).is_some() && scheduled_ns(std::process::id()).is_some());
        assert!(usage(pid).is_none(), "an ended process has no usage");
    }
}
