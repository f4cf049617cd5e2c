//! The sampler of what is allocated: a library in the process counts and samples, and what it wrote is unwound at the end.
//!
//! Each sample carries the top of its stack, as those of CPU time do, and the same code unwinds and names it. Folded stacks
//! then hold bytes. Counts of calls and bytes are exact.

use std::{collections::HashMap, sync::Arc};

use uplift_instrument::{
    allocations::{self, Log, Sample},
    calls::Tail,
    clock,
    sampler::{RunningSampler, SamplerOptions, Work},
};
use uplift_model::protocol::{Allocations, Profiled};

use crate::{
    fold::{Folder, Stack},
    interned_stacks::{self, Limits, Names},
    processes::{OfProcess, Processes},
    symbol::UserSymbols,
    unwind::{FRAMES_MAX, Places as _, Registers, Unwinder},
};

/// A sampler at work.
pub struct AllocationSampler {
    log: Arc<Log>,
    work: Work,
    start_ns: u64,
}

/// Starts counting.
///
/// # Errors
/// Why that is not possible here.
pub fn start(options: &SamplerOptions) -> Result<AllocationSampler, String> {
    let log = Arc::new(Log::new(true)?);
    if options.work != Work::Children {
        log.attach_self()?;
    }
    // Here whoever serves turns finds it, and counts while one lasts: what the agent allocates between them is not the
    // target's.
    allocations::set_of_children(Some(Arc::clone(&log)));
    Ok(AllocationSampler { log, work: options.work.clone(), start_ns: clock::now_ns() })
}

impl AllocationSampler {
    /// Stacks with the bytes that they stand for, what names them, and what could not be read.
    fn stacks(&self) -> Result<(HashMap<Stack, u64>, Processes), String> {
        let mut reader = Reader {
            processes: Processes::new(),
            unwinder: Unwinder::new(&[]),
            names: HashMap::new(),
            stacks: HashMap::new(),
            frames: Vec::new(),
            of_agent: self.work != Work::Children,
        };
        let (mut spaces, mut samples) = (Vec::new(), Vec::new());
        self.log
            .read(
                |space| spaces.push(space),
                |sample| samples.push((Sample { stack: &[], ..sample.clone() }, sample.stack.to_vec())),
            )
            .map_err(|error| format!("could not read what was allocated: {error}"))?;
        // A thread may have written its sample before another had written down where the code lies.
        for space in spaces {
            reader.processes.adopt_maps(key(space.number), space.pid, &space.name, &space.maps);
            reader.names.insert(space.number, space.name);
        }
        reader.processes.new_modules().iter().for_each(|module| reader.unwinder.add(module));
        samples.iter().for_each(|(sample, stack)| reader.take(sample, stack));
        Ok((reader.stacks, reader.processes))
    }
}

/// The number of a space among processes: no process has such a one.
fn key(space: u64) -> u32 {
    (1 << 30) | (space as u32 & ((1 << 30) - 1))
}

struct Reader {
    processes: Processes,
    unwinder: Unwinder,
    /// Names of processes by space.
    names: HashMap<u64, String>,
    stacks: HashMap<Stack, u64>,
    frames: Vec<u64>,
    of_agent: bool,
}

impl Reader {
    fn take(&mut self, sample: &Sample<'_>, stack: &[u8]) {
        let mut places = OfProcess { processes: &mut self.processes, pid: key(sample.space) };
        let chain = chain(sample, stack, &mut places);
        let registers = Registers::of_caller(sample.instruction, sample.stack_pointer, sample.frame_pointer);
        self.unwinder.unwind(Some(registers), &chain, stack, &mut places, &mut self.frames);
        let process = self.names.get(&sample.space).map_or("[starting]", String::as_str);
        let group = match (self.of_agent, sample.thread == process) {
            // As in a profile of its CPU time.
            (true, true) => "main".to_owned(),
            (true, false) => crate::fold::thread_group(&sample.thread),
            (false, true) => process.to_owned(),
            (false, false) => format!("{process}: {}", sample.thread),
        };
        let group = self.processes.group_named(group);
        let stack = Stack { tid: group, kernel: Vec::new(), user: self.frames.clone(), preempted: false, other: false };
        *self.stacks.entry(stack).or_insert(0) += sample.weight;
    }
}

/// What frame pointers tell, within what was copied: the instruction, then where calls return to.
fn chain(sample: &Sample<'_>, stack: &[u8], places: &mut OfProcess<'_>) -> Vec<u64> {
    let word = |address: u64| -> Option<u64> {
        let at = usize::try_from(address.checked_sub(sample.stack_pointer)?).ok()?;
        Some(u64::from_ne_bytes(stack.get(at..at.checked_add(8)?)?.try_into().ok()?))
    };
    let mut chain = vec![places.place(sample.instruction)];
    let mut frame = sample.frame_pointer;
    while chain.len() < FRAMES_MAX {
        let (Some(outer), Some(returns_to)) = (word(frame), frame.checked_add(8).and_then(word)) else { break };
        if returns_to == 0 {
            break;
        }
        chain.push(places.place(returns_to.wrapping_sub(1)).wrapping_add(1));
        if outer <= frame {
            break;
        }
        frame = outer;
    }
    chain
}

impl RunningSampler for AllocationSampler {
    fn name(&self) -> String {
        let whose = if self.work == Work::Children { "of the programs" } else { "of the agent" };
        format!("allocations {whose}, by a preloaded library")
    }

    fn warnings(&self) -> Vec<String> {
        if self.work != Work::Children {
            return Vec::new();
        }
        vec![
            "memory that is taken from the kernel itself (mmap), as Go and Java do, and static programs are not seen"
                .to_owned(),
        ]
    }

    fn stop(self: Box<Self>, _: Option<&Tail>) -> Result<Profiled, String> {
        self.log.count(false);
        allocations::set_of_children(None);
        let (duration_ns, counts) = (clock::now_ns() - self.start_ns, self.log.counts());
        let (stacks, processes) = self.stacks()?;
        let found = processes.finish();
        let user = UserSymbols::new(found.modules);
        let mut folder = Folder { user, kernel: None, threads: found.groups, names: Names::default() };
        let folded = folder.fold(stacks.iter().map(|(stack, bytes)| (stack, *bytes)));
        let mut written = interned_stacks::write(&folder.names, &[&folded.stacks], Limits::MESSAGE);
        let put_together = written.put_together[0].count;
        let mut warnings = self.warnings();
        warnings.extend(found.warnings);
        warnings.extend(folded.complaint());
        if counts.lost > 0 {
            warnings.push(format!("{} samples found no room", counts.lost));
        }
        let not_sampled = match &self.work {
            Work::OwnAnd(roots) => Some(format!(
                "what {} processes that work for the target allocate is not counted: they run already",
                roots.len()
            )),
            _ => counts.unseen().map(str::to_owned),
        };
        Ok(Profiled {
            sampler: self.name(),
            frequency_hz: 0,
            sample_ns: 0.0,
            symbolised_share: folded.named_share(put_together),
            frames: written.frames,
            folded: written.texts.remove(0),
            folded_off_cpu: None,
            lost: Some(counts.lost),
            kernel_frames: false,
            duration_ns,
            operations: 0,
            warnings,
            tail: None,
            not_sampled,
            allocations: Some(Allocations { calls: counts.calls, bytes: counts.bytes }),
        })
    }
}

impl Drop for AllocationSampler {
    fn drop(&mut self) {
        self.log.count(false);
        allocations::set_of_children(None);
    }
}
