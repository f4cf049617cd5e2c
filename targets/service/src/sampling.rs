//! Counters of the service over time: a thread reads them once a second while the load goes on, over a connection of its own.
//!
//! It asks nothing while the variant must be quiet, and how long the answers took is in the record.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};
use uplift_sdk::{NumberSeries, Sampled, Samples, clock};

use crate::{
    counters::{CounterRule, Counters, Per},
    driver::Options,
};

/// Points of one number that are kept: an hour and a half, once a second.
const POINTS_MAX: usize = 6_000;

/// The thread, and what it has read.
pub struct Sampling {
    shared: Arc<Shared>,
    rules: Vec<(String, CounterRule)>,
    every: Duration,
    origin_ns: u64,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether the load goes on.
    under_load: bool,
    /// Whether an answer is awaited.
    is_asking: bool,
    is_over: bool,
    last_ns: u64,
    samples: u64,
    asking_ns: u64,
    asking_max_ns: u64,
    points: BTreeMap<String, Vec<(u64, f64)>>,
}

impl State {
    /// Growth between two readings that almost touch is noise: the later one is not kept. Turns may be much shorter than
    /// the time between two readings.
    fn keep(&mut self, now_ns: u64, every: Duration, samples: &Samples) {
        if now_ns.saturating_sub(self.last_ns) < (every / 2).as_nanos() as u64 {
            return;
        }
        self.last_ns = now_ns;
        for (name, value) in samples.counters().iter().chain(samples.gauges()) {
            let points = self.points.entry(name.to_string()).or_default();
            if points.len() < POINTS_MAX {
                points.push((now_ns, *value));
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Asks whenever `every` has gone by since the last answer, while there is load.
    fn run(&self, every: Duration, mut counters: Counters) {
        let mut state = self.lock();
        while !state.is_over {
            let since = Duration::from_nanos(clock::now_ns().saturating_sub(state.last_ns));
            let left = if state.under_load { every.saturating_sub(since) } else { Duration::MAX };
            if !left.is_zero() {
                self.moved.wait_for(&mut state, left);
                continue;
            }
            state.is_asking = true;
            drop(state);
            let began_ns = clock::now_ns();
            let mut samples = Samples::default();
            counters.sample(&mut samples);
            let now_ns = clock::now_ns();
            state = self.lock();
            state.is_asking = false;
            state.samples += 1;
            state.asking_ns += now_ns - began_ns;
            state.asking_max_ns = state.asking_max_ns.max(now_ns - began_ns);
            state.keep(now_ns, every, &samples);
            self.moved.notify_all();
        }
    }
}

impl Sampling {
    /// Starts the thread, where there is something to read and `every` is not 0. It waits for [`Sampling::resume`].
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        rules: &BTreeMap<String, CounterRule>,
        every: Duration,
        origin_ns: u64,
        options: &Options,
    ) -> std::io::Result<Option<Self>> {
        if rules.is_empty() || every.is_zero() {
            return Ok(None);
        }
        let counters = Counters::open(rules.clone().into_iter(), options);
        let rules = counters.rules().to_vec();
        let shared = Arc::new(Shared { state: Mutex::default(), moved: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("counters".to_owned()).spawn(move || own.run(every, counters))?;
        Ok(Some(Self { shared, rules, every, origin_ns, thread: Some(thread) }))
    }

    /// The load begins.
    pub fn resume(&self) {
        self.shared.lock().under_load = true;
        self.shared.moved.notify_all();
    }

    /// The load has ended: returns when nothing is asked any more.
    pub fn pause(&self) {
        let mut state = self.shared.lock();
        state.under_load = false;
        while state.is_asking {
            self.shared.moved.wait(&mut state);
        }
    }

    /// Takes what was read around a window: its ends are then on the time line too.
    pub fn note(&self, samples: &Samples) {
        self.shared.lock().keep(clock::now_ns(), self.every, samples);
    }

    /// Everything that was read.
    pub fn sampled(&self) -> Sampled {
        let state = self.shared.lock();
        let numbers = self.rules.iter().filter_map(|(name, rule)| {
            let points = state.points.get(name)?;
            Some(NumberSeries {
                name: name.clone(),
                unit: rule.unit(),
                grows: rule.per != Per::Gauge,
                means: rule.means.clone(),
                points: points.iter().map(|(at_ns, value)| (at_ns.saturating_sub(self.origin_ns), *value)).collect(),
            })
        });
        Sampled {
            every_ns: self.every.as_nanos() as u64,
            samples: state.samples,
            asking_ns: state.asking_ns,
            asking_max_ns: state.asking_max_ns,
            numbers: numbers.collect(),
        }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.moved.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
