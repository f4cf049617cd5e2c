//! The processes of one agent: itself, its group, and whatever these started, daemons included.
//!
//! The harness is the reaper of orphans below it (`PR_SET_CHILD_SUBREAPER`), so a daemon of an agent becomes a child of
//! the harness and not of the machine's first process. It is the agent's if it carries the agent's mark in its
//! environment, or was seen as its descendant before. Other orphans, such as a daemon of `git`, are left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, process,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use procfs_core::{FromRead as _, process::Stat};
use uplift_model::protocol::GUARD_NAME;

/// The variable that marks the processes of an agent.
pub(super) const MARK: &str = "UPLIFT_AGENT_MARK";

/// The variable, with the value 1, of a process that cleans up when its agent is gone (`engines/postgres-service` starts one).
const JANITOR_VARIABLE: &str = "UPLIFT_JANITOR";

/// How often leftovers are looked for again: what is killed has perhaps just started another.
const SWEEPS_MAX: u32 = 200;
const BETWEEN_SWEEPS: Duration = Duration::from_millis(5);
/// How many sweeps those may take that remove what an agent cannot remove any more: half a minute, for a large folder.
const CLEANING_SWEEPS_MAX: u32 = 6_000;

/// A process, as its `stat` tells.
#[derive(Clone, Debug)]
struct Process {
    id: u32,
    name: String,
    zombie: bool,
    parent: u32,
    group: u32,
    /// When it began, in clock ticks since boot: numbers are given again.
    start: u64,
}

/// The family of one agent.
#[derive(Debug)]
pub(super) struct Family {
    leader: u32,
    mark: String,
    /// Those seen so far and when they began.
    known: BTreeMap<u32, u64>,
}

/// What became of the processes that an agent left behind.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Names of those that were ended.
    pub ended: Vec<String>,
    /// Names and numbers of those that could not be ended.
    pub alive: Vec<String>,
}

/// A mark that no other agent of this machine has.
pub(super) fn new_mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static ADOPT: Once = Once::new();
    // SAFETY: the call takes no pointers.
    ADOPT.call_once(|| unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    });
    let harness = process::id();
    let start = read(harness).map_or(0, |own| own.start);
    format!("{harness}-{start}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Family {
    pub(super) fn new(leader: u32, mark: String) -> Self {
        Self { leader, mark, known: BTreeMap::new() }
    }

    /// All processes but the leader, which may be gone.
    fn others(&mut self) -> Vec<Process> {
        let all: Vec<Process> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
            .collect();
        let harness = process::id();
        let mut members: BTreeSet<u32> = all
            .iter()
            .filter(|one| {
                one.id == self.leader
                    || one.group == self.leader
                    || self.known.get(&one.id) == Some(&one.start)
                    || one.parent == harness && !one.zombie && self.has_mark(one.id)
            })
            .map(|one| one.id)
            .collect();
        loop {
            let before = members.len();
            members
                .extend(all.iter().filter(|one| members.contains(&one.parent)).map(|one| one.id).collect::<Vec<_>>());
            if members.len() == before {
                break;
            }
        }
        members.remove(&self.leader);
        let others: Vec<Process> = all.into_iter().filter(|one| members.contains(&one.id)).collect();
        self.known = others.iter().map(|one| (one.id, one.start)).collect();
        others
    }

    /// Every process that is alive, the leader first.
    pub(super) fn members(&mut self) -> Vec<u32> {
        let others = self.others().into_iter().filter(|one| !one.zombie).map(|one| one.id);
        std::iter::once(self.leader).chain(others).collect()
    }

    fn has_mark(&self, id: u32) -> bool {
        let wanted = format!("{MARK}={}", self.mark);
        fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|text| text.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
    }

    /// Sends the signal to everything but the leader; who is left is [`Family::end`]'s.
    pub(super) fn kill_others(&mut self) {
        // Who cleans up behind them does so once they are gone.
        for one in self.others().iter().filter(|one| !one.zombie && !is_janitor(one.id)) {
            // SAFETY: the process was just seen as one of this agent's.
            unsafe { libc::kill(one.id as libc::pid_t, libc::SIGKILL) };
        }
    }

    /// Resident memory of all processes but the leader: what each has for itself, and the largest part that is shared.
    pub(super) fn memory_of_others(&mut self) -> Memory {
        self.others().iter().filter_map(|one| memory(one.id)).fold(Memory::default(), Memory::and)
    }

    /// Ends everything but the leader, until nothing is left or nothing helps.
    pub(super) fn end(&mut self) -> Leftovers {
        let mut ended = BTreeMap::new();
        let (mut sweeps, mut cleaning_sweeps) = (0, 0);
        loop {
            let others = self.others();
            // Who removes a server's data outside of the trial's folder sees that the agent is gone, and ends by itself.
            let may_clean = cleaning_sweeps < CLEANING_SWEEPS_MAX;
            let (cleaning, alive): (Vec<&Process>, Vec<&Process>) =
                others.iter().filter(|one| !one.zombie).partition(|one| may_clean && is_janitor(one.id));
            for one in &alive {
                if one.name.as_bytes() != GUARD_NAME.to_bytes() {
                    ended.insert((one.id, one.start), one.name.clone());
                }
                // SAFETY: the process was just seen as one of this agent's.
                unsafe { libc::kill(one.id as libc::pid_t, libc::SIGKILL) };
            }
            for orphan in others.iter().filter(|one| one.parent == process::id()) {
                // SAFETY: a null pointer for the status is allowed; the process is an adopted child of this one, whose
                // end nobody else waits for.
                unsafe { libc::waitpid(orphan.id as libc::pid_t, std::ptr::null_mut(), libc::WNOHANG) };
            }
            match (alive.is_empty(), cleaning.is_empty()) {
                (true, true) => break,
                (true, false) => cleaning_sweeps += 1,
                (false, _) => sweeps += 1,
            }
            if sweeps == SWEEPS_MAX {
                let left: Vec<String> =
                    alive.iter().map(|one| format!("`{}` (process {})", one.name, one.id)).collect();
                for one in &alive {
                    ended.remove(&(one.id, one.start));
                }
                return Leftovers { ended: ended.into_values().collect(), alive: left };
            }
            thread::sleep(BETWEEN_SWEEPS);
        }
        Leftovers { ended: ended.into_values().collect(), alive: Vec::new() }
    }
}

/// Whether a process is there to clean up behind an agent, or was started by one that is.
fn is_janitor(id: u32) -> bool {
    let wanted = format!("{JANITOR_VARIABLE}=1");
    fs::read(format!("/proc/{id}/environ"))
        .is_ok_and(|text| text.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    own: u64,
    shared: u64,
}

impl Memory {
    /// Of both: what is shared is counted once.
    pub(super) fn and(self, other: Self) -> Self {
        Self { own: self.own.saturating_add(other.own), shared: self.shared.max(other.shared) }
    }

    pub(super) fn bytes(self) -> u64 {
        self.own.saturating_add(self.shared)
    }
}

/// Resident memory of one process; `None`: it is gone.
pub(super) fn memory(id: u32) -> Option<Memory> {
    let statm = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    let mut fields = statm.split_whitespace().skip(1).map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()?, fields.next()?);
    // SAFETY: sysconf with a valid name has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    Some(Memory { own: resident.saturating_sub(shared).saturating_mul(page), shared: shared.saturating_mul(page) })
}

fn read(id: u32) -> Option<Process> {
    let stat = Stat::from_file(format!("/proc/{id}/stat")).ok()?;
    Some(Process {
        id,
        zombie: matches!(stat.state, 'Z' | 'X'),
        parent: u32::try_from(stat.ppid).ok()?,
        group: u32::try_from(stat.pgrp).ok()?,
        start: stat.starttime,
        name: stat.comm,
    })
}
