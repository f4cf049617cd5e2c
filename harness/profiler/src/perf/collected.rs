//! What was read from the rings, within bounds.

use std::collections::HashMap;

use super::record::{self, Record, Sample};
use crate::{
    fold::Stack,
    off_cpu::{Switch, What},
    processes::{OfProcess, Processes},
    unwind::{Own, Registers, Unwinder},
};

/// The most switches that are kept; beyond it they are counted as lost.
const SWITCHES_MAX: usize = 8 << 20;
/// The most addresses of different stacks that are kept, 512 MiB of them; stacks beyond it are counted and not told apart.
pub const ADDRESSES_MAX: usize = 64 << 20;

/// Everything that was read from the rings.
#[derive(Default)]
pub struct Collected {
    /// Each stack once, with its index.
    pub stacks: HashMap<Stack, u32>,
    /// Addresses in all of them, and the most there may be.
    addresses: usize,
    addresses_max: usize,
    /// Samples of CPU time by stack.
    pub samples: HashMap<u32, u64>,
    /// When each sample was taken, of which thread, and its stack; where that was asked for.
    pub moments: Option<Vec<Moment>>,
    /// When threads left and came back.
    pub switches: Vec<Switch>,
    /// Samples of CPU time that found no room.
    pub lost: u64,
    /// Records of switches that found no room.
    pub lost_switches: u64,
    /// How often the kernel paused sampling.
    pub throttled: u64,
    /// Samples of processes that this one started: they inherit its events, and their addresses mean nothing here.
    pub of_others: u64,
    /// Names that threads took.
    pub threads: HashMap<u32, String>,
    /// The processes beside this one that are sampled; `None`: there are none.
    pub processes: Option<Processes>,
    /// Whether this process is left out.
    leaves_own_out: bool,
}

/// A sample's moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When, by the monotonic clock.
    pub time_ns: u64,
    /// The thread.
    pub tid: u32,
    /// Index of the stack.
    pub stack: u32,
}

impl Collected {
    /// Nothing yet; keeps stacks of at most so many addresses together.
    pub fn new(moments: bool, addresses_max: usize) -> Self {
        Self { addresses_max, moments: moments.then(Vec::new), ..Self::default() }
    }

    /// The same of `processes` as well, and of this one unless it is left out.
    pub fn of_processes(self, processes: Processes, leaves_own_out: bool) -> Self {
        Self { processes: Some(processes), leaves_own_out, ..self }
    }

    /// Takes kind, misc and body of a record, as [`Self::take`].
    pub fn take_bytes(
        &mut self,
        (kind, misc, body): (u32, u16, &[u8]),
        of_switches: bool,
        unwinder: &mut Unwinder,
        frames: &mut Vec<u64>,
    ) {
        if let Some(record) = record::parse(kind, misc, body) {
            self.take(record, of_switches, unwinder, frames);
        }
    }

    /// Takes a record of a ring of switches, or of one of CPU time. `frames` is room for a stack.
    pub fn take(&mut self, record: Record<'_>, of_switches: bool, unwinder: &mut Unwinder, frames: &mut Vec<u64>) {
        let own = std::process::id();
        match record {
            Record::Sample(sample) if sample.pid == own && self.leaves_own_out => {}
            Record::Switch { pid, .. } if pid == own && self.leaves_own_out => {}
            Record::Sample(sample) if sample.pid == own => {
                unwinder.unwind(sample.registers.map(Registers::new), &sample.user, sample.stack, &mut Own, frames);
                self.sampled(&sample, sample.tid, of_switches, frames);
            }
            Record::Sample(sample) => match &mut self.processes {
                Some(processes) => {
                    let pid = sample.pid;
                    let chain: Vec<u64> = sample.user.iter().map(|&address| processes.place_of(pid, address)).collect();
                    let mut places = OfProcess { processes, pid };
                    unwinder.unwind(sample.registers.map(Registers::new), &chain, sample.stack, &mut places, frames);
                    let group = processes.group(pid, sample.tid);
                    self.sampled(&sample, group, of_switches, frames);
                }
                None => self.of_others += u64::from(!of_switches),
            },
            Record::Switch { pid, .. } | Record::Exit { pid, .. } if pid != own && self.processes.is_none() => {}
            Record::Switch { tid, time_ns, out, preempted, .. } => {
                self.switch(Switch { time_ns, tid, what: if out { What::Left { preempted } } else { What::Back } });
            }
            Record::Name { pid, tid, name, .. } if pid == own => {
                self.threads.insert(tid, name);
            }
            Record::Name { pid, tid, name, exec } => {
                self.processes.iter_mut().for_each(|processes| processes.named(pid, tid, &name, exec));
            }
            Record::Mapped(mapped) => {
                if let Some(processes) = &mut self.processes {
                    processes.map(&mapped);
                    processes.new_modules().iter().for_each(|module| unwinder.add(module));
                }
            }
            Record::Fork { pid, parent, tid, parent_tid } => {
                self.processes.iter_mut().for_each(|processes| processes.fork(pid, parent, tid, parent_tid));
            }
            Record::Exit { pid, tid, time_ns } => {
                self.switch(Switch { time_ns, tid, what: What::Gone });
                self.processes.iter_mut().for_each(|processes| processes.exit(pid, tid));
            }
            Record::Lost { records } if of_switches => self.lost_switches += records,
            Record::Lost { records } => self.lost += records,
            Record::Throttled => self.throttled += 1,
        }
    }

    /// Counts a sample whose user frames are `frames`; `name` is what its thread is named by.
    fn sampled(&mut self, sample: &Sample<'_>, name: u32, of_switches: bool, frames: &[u64]) {
        let stack =
            Stack { tid: name, kernel: sample.kernel.clone(), user: frames.to_vec(), preempted: false, other: false };
        let stack = self.index(stack);
        if of_switches {
            self.switch(Switch { time_ns: sample.time_ns, tid: sample.tid, what: What::Leaves { stack } });
            return;
        }
        *self.samples.entry(stack).or_insert(0) += 1;
        if let Some(moments) = &mut self.moments {
            moments.push(Moment { time_ns: sample.time_ns, tid: sample.tid, stack });
        }
    }

    fn index(&mut self, mut stack: Stack) -> u32 {
        if let Some(&known) = self.stacks.get(&stack) {
            return known;
        }
        let addresses = stack.kernel.len() + stack.user.len();
        if self.addresses + addresses <= self.addresses_max {
            self.addresses += addresses;
        } else {
            stack = Stack { tid: stack.tid, kernel: Vec::new(), user: Vec::new(), preempted: false, other: true };
        }
        let next = self.stacks.len() as u32;
        *self.stacks.entry(stack).or_insert(next)
    }

    fn switch(&mut self, switch: Switch) {
        if self.switches.len() < SWITCHES_MAX { self.switches.push(switch) } else { self.lost_switches += 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::record::Sample;

    #[test]
    fn stacks_beyond_the_room_for_them_are_counted_and_not_told_apart() {
        let mut collected = Collected::new(false, 1_000);
        let mut unwinder = Unwinder::new(&[]);
        let mut frames = Vec::new();
        for number in 0..5_000 {
            let sample = Sample {
                pid: std::process::id(),
                tid: 1 + number % 2,
                time_ns: 0,
                kernel: vec![u64::from(number); 10],
                user: Vec::new(),
                registers: None,
                stack: &[],
            };
            // Each twice: the second time it is known, or is one of the others.
            collected.take(Record::Sample(sample.clone()), false, &mut unwinder, &mut frames);
            collected.take(Record::Sample(sample), false, &mut unwinder, &mut frames);
        }
        let others: Vec<(u32, u64)> = collected
            .stacks
            .iter()
            .filter(|(stack, _)| stack.other)
            .map(|(stack, index)| (stack.tid, collected.samples[index]))
            .collect();
        assert_eq!(collected.stacks.len(), 100 + 2);
        assert_eq!(others.iter().map(|(_, count)| count).sum::<u64>(), 2 * 4_900, "{others:?}");
        assert_eq!(collected.samples.values().sum::<u64>(), 10_000, "every sample is counted");
    }

    #[test]
    fn losses_are_told_apart_by_what_was_lost() {
        let mut collected = Collected::new(false, ADDRESSES_MAX);
        let mut unwinder = Unwinder::new(&[]);
        collected.take(Record::Lost { records: 3 }, false, &mut unwinder, &mut Vec::new());
        collected.take(Record::Lost { records: 40 }, true, &mut unwinder, &mut Vec::new());
        assert_eq!((collected.lost, collected.lost_switches), (3, 40));
    }
}
