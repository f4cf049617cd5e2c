//! The part of an agent where several drive one system: one keeps it, the others send.

use std::{fs, ops::Range};

use uplift_model::{
    load_agent::LoadAgent,
    protocol::{Prepare, Reply, Request, Role},
    scenario::Load,
    trial::{Failure, FailureKind, TurnRecord},
};

use uplift_sdk::{OpenContext, Part as Joining, Target, TargetError, TargetFactory};

use crate::{
    recorder::Starts,
    serve::{HarnessConnection, failure},
};

/// The part of this agent, which is held to its CPUs from when it is known.
pub(crate) struct Part {
    role: Option<Role>,
    /// Whether it is held to CPUs.
    held: bool,
}

impl Part {
    /// As a trial is prepared.
    pub(crate) fn of(prepare: &Prepare) -> Result<Self, Failure> {
        let role = prepare.role.clone();
        let cpus = match &role {
            Some(Role::Keeper { cpus } | Role::Sender { cpus, .. }) => cpus.as_slice(),
            None => &[],
        };
        if !cpus.is_empty() {
            // Before anything is started: threads and processes inherit it.
            hold_to(cpus).map_err(|error| {
                failure(
                    FailureKind::Target,
                    "set-up",
                    format!("the agent cannot be held to the CPUs {cpus:?}: {error}"),
                )
            })?;
        }
        Ok(Self { held: !cpus.is_empty(), role })
    }

    /// Sets the target up, or joins what another agent keeps.
    pub(crate) fn open(
        &self,
        factory: &dyn TargetFactory,
        context: OpenContext,
    ) -> Result<Box<dyn Target>, TargetError> {
        match &self.role {
            Some(Role::Sender { number, of, system, .. }) => {
                factory.join(context, Joining { system: system.clone(), number: *number, of: *of })
            }
            _ => factory.open(context),
        }
    }

    /// The clients that are this agent's.
    pub(crate) fn clients(&self, load: &Load) -> Range<u32> {
        match &self.role {
            None => 0..load.clients(),
            Some(Role::Keeper { .. }) => 0..0,
            Some(Role::Sender { number, .. }) => load.clients_of_agent(*number),
        }
    }

    pub(crate) const fn does_all(&self) -> bool {
        self.role.is_none()
    }

    pub(crate) const fn keeps(&self) -> bool {
        matches!(self.role, Some(Role::Keeper { .. }))
    }

    pub(crate) const fn sends_only(&self) -> bool {
        matches!(self.role, Some(Role::Sender { .. }))
    }

    /// The CPUs of a keeper that is held to some.
    pub(crate) fn held_cpus(&self) -> Vec<u32> {
        if self.keeps() && self.held { own_cpus() } else { Vec::new() }
    }

    /// How long the threads of a sender have waited for a CPU so far.
    pub(crate) fn queued_ns(&self) -> Option<u64> {
        if self.sends_only() { threads_queued_ns() } else { None }
    }
}

/// How a turn begins.
pub(crate) enum Begin<'a> {
    /// At once.
    Now,
    /// At a moment that was agreed on.
    At(u64),
    /// When others send, who begin once the harness knows that this agent is ready.
    WithOthers(&'a mut HarnessConnection),
}

impl Begin<'_> {
    /// The moment, where others keep it too. With others this returns when they are done.
    pub(crate) fn agree(self) -> Result<Option<u64>, Failure> {
        match self {
            Self::Now => Ok(None),
            Self::At(at_ns) => Ok(Some(at_ns)),
            Self::WithOthers(link) => {
                link.send(&Reply::Watching)?;
                match link.receive()? {
                    Some(Request::WatchEnd { at_ns }) => Ok(Some(at_ns)),
                    Some(_) => {
                        Err(failure(FailureKind::Protocol, "trial", "a turn that others send ends by watch-end"))
                    }
                    None => Err(failure(FailureKind::Protocol, "trial", "the harness hung up in the middle of a turn")),
                }
            }
        }
    }
}

/// How well a sender kept up, over the turns that count.
#[derive(Default)]
pub(crate) struct Sending {
    starts: Starts,
    queued_ns: Option<u64>,
}

impl Sending {
    /// After a measured turn.
    pub(crate) fn note(&mut self, starts: Starts, before_ns: Option<u64>, after_ns: Option<u64>) {
        self.starts.absorb(starts);
        if let (Some(before_ns), Some(after_ns)) = (before_ns, after_ns) {
            *self.queued_ns.get_or_insert(0) += after_ns.saturating_sub(before_ns);
        }
    }

    /// What the sender says of itself. Where it runs and how its clock goes only the harness knows.
    pub(crate) fn of<'t>(&self, clients: u32, turns: impl Iterator<Item = &'t TurnRecord>) -> LoadAgent {
        let mut agent = LoadAgent {
            clients,
            place: None,
            cpus: own_cpus(),
            held: false,
            attempts: 0,
            wall_ns: 0,
            cpu_ns: 0,
            queued_ns: self.queued_ns,
            starts: self.starts.waited,
            late_starts: self.starts.late,
            clock_offset_ns: 0,
            clock_error_ns: 0,
        };
        for turn in turns {
            agent.attempts += turn.attempts;
            agent.wall_ns += turn.wall_ns;
            agent.cpu_ns += turn.cpu_ns;
        }
        agent
    }
}

/// The most CPUs that are told apart.
const CPUS_MAX: usize = libc::CPU_SETSIZE as usize;

/// Holds this process, which has one thread yet, and whatever it starts to these CPUs.
fn hold_to(cpus: &[u32]) -> std::io::Result<()> {
    // SAFETY: a zeroed set is a set, numbers are below its size, and the pointer is valid for its length.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().map(|&cpu| cpu as usize).filter(|&cpu| cpu < CPUS_MAX).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The CPUs that this process may use.
fn own_cpus() -> Vec<u32> {
    // SAFETY: a zeroed set is a set, the pointer is valid for its length, and numbers are below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..CPUS_MAX).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).map(|cpu| cpu as u32).collect()
    }
}

/// How long the threads of this process that live have waited for a CPU (the second number of `schedstat`).
fn threads_queued_ns() -> Option<u64> {
    let mut sum = None;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        if let Some(ns) = text.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()) {
            *sum.get_or_insert(0) += ns;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_held_to_its_cpus() {
        // A thread of its own: the others keep theirs.
        std::thread::spawn(|| {
            let all = own_cpus();
            hold_to(&all[..1]).unwrap();
            assert_eq!(own_cpus(), all[..1]);
            assert!(hold_to(&[]).is_err(), "no CPU is not enough");
        })
        .join()
        .unwrap();
        assert!(threads_queued_ns().is_some());
    }
}
