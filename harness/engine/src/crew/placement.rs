//! CPUs of one machine, divided between the system and those who ask it.

use uplift_model::protocol::Role;

/// Who is held to which CPUs; empty: nobody is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    system: Vec<u32>,
    senders: Vec<u32>,
}

impl Placement {
    /// For so many senders beside the system on the CPUs of this machine. One CPU cannot be divided.
    pub(super) fn here(senders: u32) -> Self {
        Self::of(&own_cpus(), senders)
    }

    /// A CPU for each sender as long as the system keeps half of them.
    fn of(cpus: &[u32], senders: u32) -> Self {
        let theirs = (senders as usize).min(cpus.len() / 2);
        if theirs == 0 {
            return Self::default();
        }
        let (system, senders) = cpus.split_at(cpus.len() - theirs);
        Self { system: system.to_vec(), senders: senders.to_vec() }
    }

    pub(super) fn keeper(&self) -> Role {
        Role::Keeper { cpus: self.system.clone() }
    }

    pub(super) fn senders(&self) -> &[u32] {
        &self.senders
    }
}

/// The CPUs that the harness may use, and its agents with it.
fn own_cpus() -> Vec<u32> {
    // SAFETY: a zeroed set is a set, the pointer is valid for its length, and numbers are below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).map(|cpu| cpu as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_keeps_half_of_the_cpus_at_least() {
        let of = |cpus: u32, senders| {
            let all: Vec<u32> = (0..cpus).collect();
            let placement = Placement::of(&all, senders);
            (placement.system.len(), placement.senders.len())
        };
        assert_eq!(
            [of(1, 1), of(2, 1), of(2, 4), of(4, 1), of(4, 4), of(9, 4)],
            [(0, 0), (1, 1), (1, 1), (3, 1), (2, 2), (5, 4)]
        );
    }
}
