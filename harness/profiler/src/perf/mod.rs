//! The sampler on `perf_event_open`: one ring for each processor, every thread, those born later too.
//!
//! The kernel does not let an event both follow a thread to any processor and be inherited by the threads it starts, with
//! a ring. So each thread gets one event for each processor, and all events of a processor write to its one ring.

pub mod event;
pub mod record;
pub mod ring;

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
};

use uplift_model::protocol::{CallStacks, Profiled, TailProfile};
use uplift_target::{
    agent::RunningSampler,
    calls::{Calls, Tail},
    clock,
};

use self::{
    event::{Kind, Scope},
    record::Record,
    ring::Ring,
};
use crate::{
    fold::{Folded, Folder, Stack},
    maps::{self, Module},
    off_cpu::{self, Away, Switch, What},
    symbol::{KernelSymbols, UserSymbols},
    unwind::{Registers, Unwinder},
};

/// Bytes of the stack that each processor-time sample copies: where the C library has used the frame pointer for something
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
/// The most switches that are kept; beyond it they are counted as lost.
const SWITCHES_MAX: usize = 8 << 20;

/// A sampler at work.
pub struct PerfSampler {
    events: Vec<OwnedFd>,
    reader: JoinHandle<Collected>,
    stop: Arc<AtomicBool>,
    frequency_hz: u32,
    off_cpu: bool,
    kernel: bool,
    start_ns: u64,
    modules: Vec<Module>,
    names: HashMap<u32, String>,
    warnings: Vec<String>,
}

/// Everything that was read from the rings.
struct Collected {
    stacks: HashMap<Stack, u32>,
    samples: HashMap<u32, u64>,
    /// When each sample was taken, of which thread, and its stack; where that was asked for.
    moments: Option<Vec<Moment>>,
    switches: Vec<Switch>,
    lost: u64,
    throttled: u64,
    /// Samples of processes that this one started: they inherit its events, and their addresses mean nothing here.
    of_others: u64,
    threads: HashMap<u32, String>,
}

/// A sample's moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    time_ns: u64,
    tid: u32,
    stack: u32,
}

/// The events of one kind, and their rings.
struct Opened {
    events: Vec<OwnedFd>,
    rings: Vec<Ring>,
    /// Descriptors that can be polled for each ring.
    owners: Vec<libc::c_int>,
}

/// Starts sampling; with `moments` it remembers when each sample was taken.
///
/// # Errors
/// Why the kernel does not let this process sample itself, and the remedy.
pub fn start(frequency_hz: u32, off_cpu: bool, moments: bool) -> Result<PerfSampler, String> {
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
        maps::modules().map_err(|error| format!("the mappings of this process cannot be read: {error}"))?;
    warnings.extend(unreadable);
    let unwinder = Unwinder::new(&modules);

    // Started before the events are opened, so that it inherits none and is not in its own profile.
    let stop = Arc::new(AtomicBool::new(false));
    let (send_rings, receive_rings) = sync_channel::<Option<Readable>>(1);
    let (send_tid, receive_tid) = sync_channel(1);
    let reader_stop = Arc::clone(&stop);
    let reader = thread::Builder::new()
        .name("uplift-sampler".to_owned())
        .spawn(move || {
            // SAFETY: gettid has no preconditions.
            let _ = send_tid.send(unsafe { libc::gettid() });
            read_rings(&receive_rings, &reader_stop, unwinder, moments)
        })
        .map_err(|error| format!("the sampler's thread cannot be started: {error}"))?;
    let own = receive_tid.recv().map_err(|_| "the sampler's thread ended at once".to_owned())?;

    let opened = (|| {
        let threads: Vec<libc::pid_t> = threads().into_iter().filter(|&tid| tid != own).collect();
        let period_ns = 1_000_000_000 / u64::from(frequency_hz);
        let clock = Kind::CpuClock { period_ns };
        let mut opened = open_all(clock, Scope { kernel, stack_bytes: cpu_stack_bytes(frequency_hz) }, &threads)
            .map_err(|error| refusal("cpu-clock", &error))?;
        let mut switches_are_seen = false;
        if off_cpu && kernel {
            match open_all(Kind::ContextSwitch, Scope { kernel, stack_bytes: SWITCH_STACK_BYTES }, &threads) {
                Ok(switches) => {
                    switches_are_seen = true;
                    opened.events.extend(switches.events);
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
        Ok((opened, switches_are_seen))
    })();
    let (opened, off_cpu) = match opened {
        Ok(opened) => opened,
        Err(message) => {
            let _ = send_rings.send(None);
            return Err(message);
        }
    };
    let start_ns = clock::now_ns();
    for event in &opened.events {
        if let Err(error) = event::enable(event) {
            let _ = send_rings.send(None);
            return Err(refusal("enabling", &error));
        }
    }
    let _ = send_rings.send(Some(Readable { rings: opened.rings, owners: opened.owners }));
    Ok(PerfSampler {
        events: opened.events,
        reader,
        stop,
        frequency_hz,
        off_cpu,
        kernel,
        start_ns,
        modules,
        names: thread_names(&threads()),
        warnings,
    })
}

/// Whether kernel frames are allowed; an error where nothing is.
fn may_see_kernel() -> Result<bool, String> {
    let probe =
        |kernel| event::open(Kind::CpuClock { period_ns: 1_000_000 }, Scope { kernel, stack_bytes: 1 << 10 }, 0, -1);
    match probe(true) {
        Ok(_) => Ok(true),
        Err(_) => match probe(false) {
            Ok(_) => Ok(false),
            Err(error) => Err(refusal("cpu-clock", &error)),
        },
    }
}

fn refusal(what: &str, error: &io::Error) -> String {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let state = paranoid.map_or_else(String::new, |level| format!(" (perf_event_paranoid is {})", level.trim()));
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE) => "raise the limit of open files (ulimit -n)",
        Some(libc::ENOSYS) => "this kernel has no perf events",
        _ => "sysctl kernel.perf_event_paranoid=1; in a container also allow perf_event_open (--cap-add PERFMON)",
    };
    format!("perf_event_open {what}: {error}{state}; {remedy}")
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
    fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn open_all(kind: Kind, scope: Scope, threads: &[libc::pid_t]) -> io::Result<Opened> {
    let mut opened = Opened { events: Vec::new(), rings: Vec::new(), owners: Vec::new() };
    for cpu in event::processors() {
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
                    opened.rings.push(map(&event)?);
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

fn map(event: &OwnedFd) -> io::Result<Ring> {
    let mut last = io::Error::from_raw_os_error(libc::EPERM);
    for pages in RING_PAGES {
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
) -> Collected {
    let mut collected = Collected {
        stacks: HashMap::new(),
        samples: HashMap::new(),
        moments: moments.then(Vec::new),
        switches: Vec::new(),
        lost: 0,
        throttled: 0,
        of_others: 0,
        threads: HashMap::new(),
    };
    let Ok(Some(mut readable)) = receive.recv() else { return collected };
    let mut frames = Vec::new();
    // The rings of processor time come first, those of switches after them.
    let processors = event::processors().len();
    loop {
        // Before draining: what is written after the last look is not asked for.
        let last = stop.load(Ordering::Acquire);
        for (index, ring) in readable.rings.iter_mut().enumerate() {
            ring.drain(|kind, misc, body| {
                if let Some(record) = record::parse(kind, misc, body) {
                    collected.take(record, index >= processors, &mut unwinder, &mut frames);
                }
            });
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

impl Collected {
    fn take(&mut self, record: Record<'_>, of_switches: bool, unwinder: &mut Unwinder, frames: &mut Vec<u64>) {
        let own = std::process::id();
        match record {
            Record::Sample(sample) if sample.pid != own => self.of_others += u64::from(!of_switches),
            Record::Switch { pid, .. } | Record::Name { pid, .. } if pid != own => {}
            Record::Sample(sample) => {
                unwinder.unwind(sample.registers.map(Registers::new), &sample.user, sample.stack, frames);
                let stack = Stack { tid: sample.tid, kernel: sample.kernel, user: frames.clone(), preempted: false };
                let next = self.stacks.len() as u32;
                let stack = *self.stacks.entry(stack).or_insert(next);
                if of_switches {
                    self.switch(Switch { time_ns: sample.time_ns, tid: sample.tid, what: What::Leaves { stack } });
                } else {
                    *self.samples.entry(stack).or_insert(0) += 1;
                    if let Some(moments) = &mut self.moments {
                        moments.push(Moment { time_ns: sample.time_ns, tid: sample.tid, stack });
                    }
                }
            }
            Record::Switch { tid, time_ns, out, preempted, .. } => {
                self.switch(Switch { time_ns, tid, what: if out { What::Left { preempted } } else { What::Back } });
            }
            Record::Name { tid, name, .. } => {
                self.threads.insert(tid, name);
            }
            Record::Lost { records } => self.lost += records,
            Record::Throttled => self.throttled += 1,
        }
    }

    fn switch(&mut self, switch: Switch) {
        if self.switches.len() < SWITCHES_MAX { self.switches.push(switch) } else { self.lost += 1 }
    }
}

impl RunningSampler for PerfSampler {
    fn name(&self) -> String {
        "perf cpu-clock".to_owned()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn stop(self: Box<Self>, tail: Option<&Tail>) -> Result<Profiled, String> {
        for event in &self.events {
            event::disable(event).map_err(|error| format!("sampling cannot be stopped: {error}"))?;
        }
        let end_ns = clock::now_ns();
        self.stop.store(true, Ordering::Release);
        let collected = self.reader.join().map_err(|_| "the sampler's thread panicked".to_owned())?;
        drop(self.events);

        let mut warnings = self.warnings;
        if collected.throttled > 0 {
            warnings.push(format!(
                "the kernel paused sampling {} times because samples came too fast; sample less often",
                collected.throttled
            ));
        }
        if collected.of_others > 0 {
            warnings.push(format!(
                "{} samples of processes that the system started are left out: only the agent's own code has names here",
                collected.of_others
            ));
        }
        // The newest name of each thread: as it is called now, as it called itself meanwhile, as it was called before.
        let mut names = self.names;
        names.extend(collected.threads);
        names.extend(thread_names(&threads()));
        let kernel =
            if self.kernel { KernelSymbols::read().map_err(|message| warnings.push(message)).ok() } else { None };
        // Read again: a library may have been loaded meanwhile.
        let modules = maps::modules().map_or(self.modules, |(modules, _)| modules);
        let mut stacks = Stacks {
            folder: Folder { user: UserSymbols::new(modules), kernel, threads: names },
            by_index: vec![None; collected.stacks.len()],
        };
        for (stack, index) in collected.stacks {
            stacks.by_index[index as usize] = Some(stack);
        }
        let folded = stacks.on_cpu(&collected.samples);
        warnings.extend(folded.complaint());
        if folded.cut * 50 > folded.total {
            warnings.push(format!(
                "{:.1} % of the stacks are cut: code without frame pointers or unwind tables lies in them",
                folded.cut as f64 / folded.total as f64 * 100.0
            ));
        }
        let away = self.off_cpu.then(|| off_cpu::stretches(collected.switches, end_ns));
        let folded_off_cpu = away.as_ref().map(|away| stacks.off_cpu(&off_cpu::waits(away, off_cpu::whole)));
        let tail = match (tail, &collected.moments) {
            (Some(tail), Some(moments)) => Some(stacks.tail(tail, moments, away.as_deref())),
            _ => None,
        };
        Ok(Profiled {
            sampler: "perf cpu-clock".to_owned(),
            frequency_hz: self.frequency_hz,
            sample_ns: 1e9 / f64::from(self.frequency_hz),
            symbolised_share: folded.named_share(),
            folded: folded.text,
            folded_off_cpu,
            lost: Some(collected.lost),
            kernel_frames: self.kernel,
            duration_ns: end_ns.saturating_sub(self.start_ns),
            operations: 0,
            warnings,
            tail,
        })
    }
}

/// All stacks that were seen, and what names them.
struct Stacks {
    folder: Folder,
    by_index: Vec<Option<Stack>>,
}

impl Stacks {
    fn on_cpu(&mut self, samples: &HashMap<u32, u64>) -> Folded {
        let Self { folder, by_index } = self;
        folder.fold(samples.iter().filter_map(|(index, count)| Some((by_index[*index as usize].as_ref()?, *count))))
    }

    /// In microseconds.
    fn off_cpu(&mut self, waits: &HashMap<(u32, bool), u64>) -> String {
        let waits: Vec<(Stack, u64)> = waits
            .iter()
            .filter_map(|(&(index, preempted), wait_ns)| {
                Some((Stack { preempted, ..self.by_index[index as usize].clone()? }, wait_ns / 1_000))
            })
            .collect();
        self.folder.fold(waits.iter().map(|(stack, wait_us)| (stack, *wait_us))).text
    }

    fn tail(&mut self, tail: &Tail, moments: &[Moment], away: Option<&[Away]>) -> TailProfile {
        let mut of = |calls: &Calls| {
            let mut samples = HashMap::new();
            for moment in moments.iter().filter(|moment| calls.holds(moment.tid, moment.time_ns)) {
                *samples.entry(moment.stack).or_insert(0) += 1;
            }
            let within = |away: &Away| calls.overlap_ns(away.tid, away.from_ns, away.to_ns);
            let stacks = CallStacks {
                calls: calls.count(),
                service_ns: calls.service_ns(),
                folded: self.on_cpu(&samples).text,
                folded_off_cpu: away.map(|away| self.off_cpu(&off_cpu::waits(away, within))),
            };
            (stacks, samples.values().sum::<u64>())
        };
        let ((slow, _), (all, samples)) = (of(&tail.slow), of(&tail.all));
        TailProfile {
            percentile: tail.percentile,
            threshold_ns: tail.threshold_ns,
            slow,
            all,
            calls_missed: tail.all.missed,
            samples_elsewhere: moments.len() as u64 - samples,
        }
    }
}
