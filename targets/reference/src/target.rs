//! The target and its clients: they do what they are told, and count it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, OpenContext, Outcome, OutcomeKind, Samples, Target, TargetError,
    TargetErrorKind, clock,
    stage::{StageClock, StageTable},
};

use crate::{
    settings::{Distribution, Fault, Settings, Workload},
    work,
};

/// The stages, and their numbers.
mod stage {
    pub const NAMES: [&str; 4] = ["compute", "stall", "write", "sync"];
    pub const COMPUTE: usize = 0;
    pub const STALL: usize = 1;
    pub const WRITE: usize = 2;
    pub const SYNC: usize = 3;
}

/// Sets the target up, or fails as it is told.
///
/// # Errors
/// Where the fault is one of set-up, and where its file cannot be opened.
pub fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Box<dyn Target>, TargetError> {
    match settings.fault {
        Fault::Setup => return Err(TargetError::engine("setting up", "an injected failure of set-up")),
        Fault::Unavailable => {
            return Err(TargetError::new(
                "setting up",
                TargetErrorKind::Unavailable {
                    state: "an injected service is not there".to_owned(),
                    remedy: "remove `fault` from the variant".to_owned(),
                },
            ));
        }
        Fault::FillDisk => {
            fill_disk(&context.data_dir.join("filling")).map_err(|error| TargetError::new("filling the disk", error))?
        }
        _ => {}
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(context.data_dir.join("reference.log"))
        .map_err(|error| TargetError::new("opening reference.log in the data directory", error))?;
    let stop = Arc::new(AtomicBool::new(false));
    for index in 0..settings.busy_threads {
        let stop = Arc::clone(&stop);
        thread::Builder::new()
            .name(format!("busy-{index}"))
            .spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work::operation(1_000, 1);
                }
            })
            .map_err(|error| TargetError::new("starting a busy thread", error))?;
    }
    Ok(Box::new(Reference {
        workload,
        settings,
        file,
        counts: Counts::default(),
        first_ns: AtomicU64::new(0),
        stop,
        stages: StageTable::new(&stage::NAMES),
    }))
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    acknowledged: AtomicU64,
    written: AtomicU64,
    steps: AtomicU64,
}

struct Reference {
    workload: Workload,
    settings: Settings,
    file: File,
    counts: Counts,
    /// When the first operation began; 0 before.
    first_ns: AtomicU64,
    stop: Arc<AtomicBool>,
    stages: StageTable,
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Target for Reference {
    fn effective(&self) -> BTreeMap<String, String> {
        let settings = serde_json::to_value(&self.settings).unwrap_or_default();
        let mut effective: BTreeMap<String, String> = settings
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        // A label changes nothing: nothing of it is in force.
        effective.remove("label");
        effective
    }

    fn durability(&self) -> Durability {
        if self.settings.fsyncs_per_op > 0 { Durability::PowerLoss } else { Durability::ProcessCrash }
    }

    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let steps = f64::from(self.workload.work) * (1.0 + self.settings.slowdown_percent / 100.0);
        let random = ChaCha8Rng::seed_from_u64(seed);
        // A client that has nothing to draw or inject skips the drawing: the empty operation must be empty.
        let plain = self.workload.distribution == Distribution::Constant
            && self.workload.nothing_rate == 0.0
            && self.settings.error_rate == 0.0
            && self.settings.fsyncs_per_op == 0
            && self.settings.stall.is_none()
            && matches!(self.settings.fault, Fault::None | Fault::WrongResult);
        Ok(Box::new(ReferenceClient {
            target: self,
            random,
            steps,
            plain,
            stalled: false,
            done_steps: 0,
            value: index as u64,
            clock: self.stages.clock("client"),
        }))
    }

    fn stage_table(&self) -> Option<&StageTable> {
        Some(&self.stages)
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let length =
            self.file.metadata().map_err(|error| TargetError::new("reading the length of reference.log", error))?.len();
        let written = self.counts.written.load(Ordering::Relaxed) * RECORD.len() as u64;
        let wrong = self.settings.fault == Fault::WrongResult;
        Ok(Check {
            passed: length == written && !wrong,
            checked: 1,
            detail: if wrong {
                "an injected wrong result".to_owned()
            } else {
                format!("reference.log holds {length} bytes, {written} were acknowledged")
            },
        })
    }

    fn sample(&self, samples: &mut Samples) {
        samples.counter("steps", self.counts.steps.load(Ordering::Relaxed) as f64);
        samples.gauge("log_bytes", (self.counts.written.load(Ordering::Relaxed) * RECORD.len() as u64) as f64);
    }
}

/// What each synced write appends.
const RECORD: &[u8; 64] = &[b'r'; 64];

struct ReferenceClient<'a> {
    target: &'a Reference,
    random: ChaCha8Rng,
    steps: f64,
    plain: bool,
    stalled: bool,
    done_steps: u64,
    value: u64,
    clock: StageClock,
}

impl ReferenceClient<'_> {
    fn compute(&mut self, steps: f64) {
        let steps = steps as u64;
        if steps > 0 {
            self.clock.process(stage::COMPUTE);
            self.value = work::operation(steps, self.value);
            self.done_steps += steps;
            self.clock.leave();
        }
        work::allocate(self.target.settings.allocations_per_op);
    }

    fn tell(&mut self) {
        self.target.counts.steps.fetch_add(std::mem::take(&mut self.done_steps), Ordering::Relaxed);
    }

    fn inject(&mut self) -> Option<OutcomeKind> {
        let settings = &self.target.settings;
        let calls = self.target.counts.calls.fetch_add(1, Ordering::Relaxed);
        if settings.fault != Fault::None && calls == settings.fault_after {
            match settings.fault {
                Fault::Crash => std::process::abort(),
                Fault::Hang => loop {
                    thread::sleep(Duration::from_secs(3600));
                },
                Fault::Panic => panic!("an injected panic"),
                Fault::Garbage => println!("}}}}garbage on standard output{{{{"),
                Fault::Allocate => allocate_without_bound(),
                Fault::None | Fault::WrongResult | Fault::Setup | Fault::Unavailable | Fault::FillDisk => {}
            }
        }
        if let Some(stall) = settings.stall
            && !self.stalled
        {
            let now_ns = clock::now_ns();
            let first_ns = match self.target.first_ns.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => now_ns,
                Err(first_ns) => first_ns,
            };
            let begin_ns = first_ns + settings.stall_after.as_nanos();
            let end_ns = begin_ns + stall.as_nanos();
            if now_ns >= begin_ns {
                self.stalled = true;
                if now_ns < end_ns {
                    self.clock.wait(stage::STALL);
                    clock::sleep_until_ns(end_ns);
                    self.clock.leave();
                }
            }
        }
        if settings.error_rate > 0.0 && self.random.random::<f64>() < settings.error_rate {
            return Some(OutcomeKind::Failed(0));
        }
        if self.target.workload.nothing_rate > 0.0 && self.random.random::<f64>() < self.target.workload.nothing_rate {
            return Some(OutcomeKind::NoOp(0));
        }
        None
    }

    fn draw_steps(&mut self) -> f64 {
        match self.target.workload.distribution {
            Distribution::Constant => self.steps,
            Distribution::Uniform => 2.0 * self.steps * self.random.random::<f64>(),
            Distribution::Exponential => -self.steps * (1.0 - self.random.random::<f64>()).ln(),
        }
    }

    fn write_and_sync(&mut self) -> std::io::Result<()> {
        for _ in 0..self.target.settings.fsyncs_per_op {
            self.clock.process(stage::WRITE);
            (&self.target.file).write_all(RECORD)?;
            self.target.counts.written.fetch_add(1, Ordering::Relaxed);
            self.clock.wait(stage::SYNC);
            self.target.file.sync_data()?;
        }
        self.clock.leave();
        Ok(())
    }
}

impl Client for ReferenceClient<'_> {
    #[inline]
    fn operate(&mut self, batch: Batch) -> Outcome {
        if self.plain {
            self.compute(self.steps);
            if self.done_steps > 0 {
                self.tell();
            }
            return Outcome::ok(0).of(batch.operations);
        }
        let injected = self.inject();
        let steps = self.draw_steps();
        self.compute(steps);
        self.tell();
        if let Some(result) = injected {
            return Outcome { result, ..Outcome::ok(0).of(batch.operations) };
        }
        if self.write_and_sync().is_err() {
            return Outcome::failed(0, 1).of(batch.operations);
        }
        self.target.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        Outcome::ok(0).of(batch.operations)
    }
}

fn allocate_without_bound() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1u8; 16 << 20]);
        std::hint::black_box(&hoard);
    }
}

/// Writes until the disk is full; not more than a gibibyte, so that a disk that was not meant survives it.
fn fill_disk(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..1024 {
        file.write_all(&[0; 1 << 20])?;
    }
    file.sync_data()
}
