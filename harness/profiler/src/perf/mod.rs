//! The sampler on `perf_event_open`: one ring for each CPU, every thread, those born later too.
//!
//! The kernel does not let an event both follow a thread to any CPU and be inherited by the threads it starts, with
//! a ring. So each thread gets one event for each CPU, and all events of a CPU write to its one ring. Processes that a
//! thread starts inherit its events as well: that is how programs are sampled from their first instruction on.

pub mod collected;
mod complaints;
pub mod event;
mod order;
pub mod record;
pub mod ring;
pub mod stacks;

use std::{
    collections::HashMap,
    env, fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
};

use uplift_instrument::{
    calls::Tail,
    clock,
    external_processes::tree,
    sampler::{RunningSampler, SamplerOptions, Work},
};
use uplift_model::protocol::Profiled;

use self::{
    collected::{ADDRESSES_MAX, Collected},
    complaints::{complaints, refusal},
    event::{Kind, Scope},
    order::Order,
    ring::Ring,
    stacks::Stacks,
};
use crate::{
    fold::Folder,
    interned_stacks::{Limits, Names},
    maps::{self, Module},
    off_cpu,
    processes::Processes,
    symbol::{KernelSymbols, UserSymbols},
    unwind::Unwinder,
};

/// The most data pages of a ring, a power of two: for machines that spare little memory for rings, and to see what a loss
/// looks like.
pub const RING_PAGES_VARIABLE: &str = "UPLIFT_SAMPLER_RING_PAGES";

/// Bytes of the stack that each CPU-time sample copies: where the C library has used the frame pointer for something
/// else, only what was copied can be unwound, and the frames of async code are large.
const fn cpu_stack_bytes(frequency_hz: u32) -> u32 {
    match frequency_hz {
        0..=1_000 => 16 << 10,
        1_001..=2_500 => 8 << 10,
        _ => 4 << 10,
    }
}
/// The same for each switch, of which there may be many thousand a second.
const SWITCH_STACK_BYTES: u32 = 1 << 10;
/// Data pages of a ring, most first: without privilege only some are granted.
const RING_PAGES: [usize; 7] = [1024, 512, 256, 128, 64, 32, 16];
/// The longest that a ring is left alone.
const DRAIN_EVERY_MS: libc::c_int = 100;

/// A sampler at work.
pub struct PerfSampler {
    clocks: Vec<OwnedFd>,
    switches: Vec<OwnedFd>,
    reader: JoinHandle<Collected>,
    stop: Arc<AtomicBool>,
    frequency_hz: u32,
    off_cpu: bool,
    work: Work,
    kernel: bool,
    start_ns: u64,
    modules: Vec<Module>,
    names: HashMap<u32, String>,
    warnings: Vec<String>,
    not_sampled: Option<String>,
}

/// The events of one kind, and their rings.
struct Opened {
    events: Vec<OwnedFd>,
    rings: Vec<Ring>,
    /// Descriptors that can be polled for each ring.
    owners: Vec<libc::c_int>,
}

/// Starts sampling.
///
/// # Errors
/// Why the kernel does not allow it, and the fix.
pub fn start(options: &SamplerOptions) -> Result<PerfSampler, String> {
    start_with(&ring_pages()?, options)
}

/// As [`start`], with the first of these sizes of rings, in pages, that the kernel grants.
///
/// # Errors
/// As [`start`].
pub fn start_with(pages: &[usize], options: &SamplerOptions) -> Result<PerfSampler, String> {
    let &SamplerOptions { frequency_hz, off_cpu, moments, ref work, .. } = options;
    event::raise_file_limit();
    let mut warnings = Vec::new();
    let kernel = may_see_kernel()?;
    if !kernel {
        warnings.push(
            "the kernel hides itself from this user: user frames only, and time in the kernel is not sampled; \
             sysctl kernel.perf_event_paranoid=1, or CAP_PERFMON"
                .to_owned(),
        );
    }
    let (modules, unreadable) =
        maps::modules().map_err(|error| format!("could not read the mappings of this process: {error}"))?;
    warnings.extend(unreadable);
    let unwinder = Unwinder::new(&modules);

    // Started before the events are opened, so that it inherits none and is not in its own profile.
    let stop = Arc::new(AtomicBool::new(false));
    let (send_rings, receive_rings) = sync_channel::<Option<Readable>>(1);
    let (send_tid, receive_tid) = sync_channel(1);
    let reader_stop = Arc::clone(&stop);
    let of = work.clone();
    let reader = thread::Builder::new()
        .name("uplift-sampler".to_owned())
        .spawn(move || {
            // SAFETY: gettid has no preconditions.
            let _ = send_tid.send(unsafe { libc::gettid() });
            read_rings(&receive_rings, &reader_stop, unwinder, moments, &of)
        })
        .map_err(|error| format!("could not start the sampler's thread: {error}"))?;
    let own = receive_tid.recv().map_err(|_| "the sampler's thread ended at once".to_owned())?;

    let opened = (|| {
        let mut threads: Vec<libc::pid_t> = threads().into_iter().filter(|&tid| tid != own).collect();
        if let Work::OwnAnd(roots) = work {
            threads.extend(tree::of(roots).into_iter().flat_map(threads_of));
        }
        let processes = *work != Work::Own;
        let period_ns = 1_000_000_000 / u64::from(frequency_hz);
        let clock = Kind::CpuClock { period_ns };
        let mut opened =
            open_all(clock, Scope { kernel, stack_bytes: cpu_stack_bytes(frequency_hz), processes }, &threads, pages)
                .map_err(|error| refusal("cpu-clock", &error))?;
        let mut switch_events = Vec::new();
        if off_cpu && kernel {
            let scope = Scope { kernel, stack_bytes: SWITCH_STACK_BYTES, processes };
            match open_all(Kind::ContextSwitch, scope, &threads, pages) {
                Ok(switches) => {
                    switch_events = switches.events;
                    opened.rings.extend(switches.rings);
                    opened.owners.extend(switches.owners);
                }
                Err(error) => warnings.push(refusal("context-switches", &error)),
            }
        } else if off_cpu {
            warnings.push(
                "waiting threads are not seen: context switches happen in the kernel, which hides itself; \
                 sysctl kernel.perf_event_paranoid=1, or CAP_PERFMON"
                    .to_owned(),
            );
        }
        Ok((opened, switch_events))
    })();
    let (opened, switches) = match opened {
        Ok(opened) => opened,
        Err(message) => {
            let _ = send_rings.send(None);
            return Err(message);
        }
    };
    let start_ns = clock::now_ns();
    for event in opened.events.iter().chain(&switches) {
        if let Err(error) = event::enable(event) {
            let _ = send_rings.send(None);
            return Err(refusal("enabling", &error));
        }
    }
    let _ = send_rings.send(Some(Readable { rings: opened.rings, owners: opened.owners }));
    Ok(PerfSampler {
        off_cpu: !switches.is_empty(),
        clocks: opened.events,
        switches,
        reader,
        stop,
        frequency_hz,
        work: work.clone(),
        kernel,
        start_ns,
        modules,
        names: thread_names(&threads()),
        warnings,
        not_sampled: None,
    })
}

impl PerfSampler {
    /// The same, which does not see the processes that do the work; `why` not.
    pub fn without_the_work(self, why: String) -> Self {
        Self { not_sampled: Some(format!("the processes that do the work cannot be sampled: {why}")), ..self }
    }
}

/// Whether kernel frames are allowed; an error where nothing is.
fn may_see_kernel() -> Result<bool, String> {
    let scope = |kernel| Scope { kernel, stack_bytes: 1 << 10, processes: false };
    let probe = |kernel| event::open(Kind::CpuClock { period_ns: 1_000_000 }, scope(kernel), 0, -1);
    match probe(true) {
        Ok(_) => Ok(true),
        Err(_) => match probe(false) {
            Ok(_) => Ok(false),
            Err(error) => Err(refusal("cpu-clock", &error)),
        },
    }
}

fn thread_names(threads: &[libc::pid_t]) -> HashMap<u32, String> {
    threads
        .iter()
        .filter_map(|&tid| {
            let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).ok()?;
            // The first thread is called as the program's file is, which is of no interest.
            let name = if tid.unsigned_abs() == std::process::id() { "main" } else { name.trim_end() };
            Some((u32::try_from(tid).ok()?, name.to_owned()))
        })
        .collect()
}

/// The threads of this process.
fn threads() -> Vec<libc::pid_t> {
    threads_of(std::process::id())
}

fn threads_of(pid: u32) -> Vec<libc::pid_t> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn open_all(kind: Kind, scope: Scope, threads: &[libc::pid_t], pages: &[usize]) -> io::Result<Opened> {
    let mut opened = Opened { events: Vec::new(), rings: Vec::new(), owners: Vec::new() };
    for cpu in event::cpus() {
        let mut owner: Option<OwnedFd> = None;
        for &tid in threads {
            let event = match event::open(kind, scope, tid, cpu) {
                Ok(event) => event,
                // The thread has ended since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                Err(error) => return Err(error),
            };
            match &owner {
                Some(owner) => {
                    event::redirect(&event, owner)?;
                    opened.events.push(event);
                }
                None => {
                    opened.rings.push(map(&event, pages)?);
                    owner = Some(event);
                }
            }
        }
        if let Some(owner) = owner {
            opened.owners.push(owner.as_raw_fd());
            opened.events.push(owner);
        }
    }
    Ok(opened)
}

/// Sizes of a ring to try, the largest first.
fn ring_pages() -> Result<Vec<usize>, String> {
    let Ok(text) = env::var(RING_PAGES_VARIABLE) else { return Ok(RING_PAGES.to_vec()) };
    match text.parse::<usize>() {
        Ok(most) if most.is_power_of_two() => {
            Ok([most].into_iter().chain(RING_PAGES.into_iter().filter(|pages| *pages < most)).collect())
        }
        _ => Err(format!("{RING_PAGES_VARIABLE} must be a power of two, not `{text}`")),
    }
}

fn map(event: &OwnedFd, sizes: &[usize]) -> io::Result<Ring> {
    let mut last = io::Error::from_raw_os_error(libc::EPERM);
    for &pages in sizes {
        match Ring::map(event, pages) {
            Ok(ring) => return Ok(ring),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What the reader works on.
struct Readable {
    rings: Vec<Ring>,
    owners: Vec<libc::c_int>,
}

fn read_rings(
    receive: &Receiver<Option<Readable>>,
    stop: &AtomicBool,
    mut unwinder: Unwinder,
    moments: bool,
    work: &Work,
) -> Collected {
    let mut collected = Collected::new(moments, ADDRESSES_MAX);
    if *work != Work::Own {
        let mut processes = Processes::new();
        if let Work::OwnAnd(roots) = work {
            tree::of(roots).into_iter().for_each(|pid| processes.adopt(pid));
            processes.new_modules().iter().for_each(|module| unwinder.add(module));
        }
        collected = collected.of_processes(processes, *work == Work::Children);
    }
    let Ok(Some(mut readable)) = receive.recv() else { return collected };
    // The records of one process stand in any order among the rings; those of this process's threads need none.
    let mut order = (*work != Work::Own).then(Order::default);
    let mut frames = Vec::new();
    // The rings of CPU time come first, those of switches after them.
    let cpus = event::cpus().len();
    loop {
        // Before draining: what is written after the last look is not asked for.
        let last = stop.load(Ordering::Acquire);
        if let Some(order) = &mut order {
            order.begin(clock::now_ns());
        }
        for (index, ring) in readable.rings.iter_mut().enumerate() {
            let of_switches = index >= cpus;
            ring.drain(|kind, misc, body| match &mut order {
                Some(order) => order.take(of_switches, kind, misc, body),
                None => collected.take_bytes((kind, misc, body), of_switches, &mut unwinder, &mut frames),
            });
        }
        for one in order.iter_mut().flat_map(|order| order.ripe(last)) {
            collected.take_bytes((one.kind, one.misc, &one.body), one.of_switches, &mut unwinder, &mut frames);
        }
        if last {
            return collected;
        }
        let mut polled: Vec<libc::pollfd> =
            readable.owners.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        // SAFETY: the array is as long as said; the descriptors stay open until this thread has ended.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, DRAIN_EVERY_MS) };
    }
}

impl RunningSampler for PerfSampler {
    fn name(&self) -> String {
        match &self.work {
            Work::Own => "perf cpu-clock".to_owned(),
            Work::Children => "perf cpu-clock of the programs".to_owned(),
            Work::OwnAnd(roots) => {
                let roots: Vec<String> = roots.iter().map(u32::to_string).collect();
                format!("perf cpu-clock of the agent and of {} with their children", roots.join(", "))
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn stop(self: Box<Self>, tail: Option<&Tail>) -> Result<Profiled, String> {
        for event in self.clocks.iter().chain(&self.switches) {
            event::disable(event).map_err(|error| format!("could not stop sampling: {error}"))?;
        }
        let (end_ns, sampler) = (clock::now_ns(), self.name());
        self.stop.store(true, Ordering::Release);
        let mut collected = self.reader.join().map_err(|_| "the sampler's thread panicked".to_owned())?;
        // A full ring says what it lost once there is room again, which after the last sample is never: the kernel's own
        // count, where it keeps one, has that too.
        let counted = |events: &[OwnedFd]| events.iter().map(event::lost).sum::<Option<u64>>().unwrap_or(0);
        collected.lost = collected.lost.max(counted(&self.clocks));
        collected.lost_switches = collected.lost_switches.max(counted(&self.switches));
        drop((self.clocks, self.switches));

        let mut warnings = self.warnings;
        warnings.extend(complaints(&collected));
        // The newest name of each thread: as it is called now, as it called itself meanwhile, as it was called before.
        let mut threads_named = self.names;
        threads_named.extend(std::mem::take(&mut collected.threads));
        threads_named.extend(thread_names(&threads()));
        let kernel = if self.kernel {
            KernelSymbols::read().map_err(|problem| warnings.push(problem.to_string())).ok()
        } else {
            None
        };
        // Read again: a library may have been loaded meanwhile.
        let modules = maps::modules().map_or(self.modules, |(modules, _)| modules);
        let found = collected.processes.take().map(Processes::finish).unwrap_or_default();
        warnings.extend(found.warnings);
        threads_named.extend(found.groups);
        let user = UserSymbols::new(modules.into_iter().chain(found.modules).collect()).with_generated(found.generated);
        let folder = Folder { user, kernel, threads: threads_named, names: Names::default() };
        let mut stacks = Stacks::new(folder, &mut collected);
        let folded = stacks.on_cpu(&collected.samples);
        warnings.extend(folded.complaint());
        if folded.cut * 50 > folded.total {
            warnings.push(format!(
                "{:.1} % of the stacks are cut: code without frame pointers or unwind tables lies in them",
                folded.cut as f64 / folded.total as f64 * 100.0
            ));
        }
        let away = self.off_cpu.then(|| off_cpu::stretches(collected.switches, end_ns));
        let tail = tail.zip(collected.moments.as_deref());
        let texts = stacks.texts(&folded, away.as_deref(), tail, Limits::MESSAGE);
        let put_together = texts.put_together.count;
        warnings.extend(folded.complaint_of_others(put_together));
        Ok(Profiled {
            sampler,
            frequency_hz: self.frequency_hz,
            sample_ns: 1e9 / f64::from(self.frequency_hz),
            symbolised_share: folded.named_share(put_together),
            frames: texts.frames,
            folded: texts.on_cpu,
            folded_off_cpu: texts.off_cpu,
            lost: Some(collected.lost),
            kernel_frames: self.kernel,
            duration_ns: end_ns.saturating_sub(self.start_ns),
            operations: 0,
            warnings,
            tail: texts.tail,
            not_sampled: self.not_sampled,
            allocations: None,
        })
    }
}
