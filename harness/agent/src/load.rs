//! Load generators: closed and open loops over a pool of client threads that takes turns.
//!
//! Between turns the threads are parked and cost nothing. A closed loop sends the next operation when the last one is
//! done. An open loop has an intended start for each operation, drawn before the operation is sent and never moved
//! when the target is slow: what waits is counted as waiting (no coordinated omission). Response time runs from the
//! intended start, service time from the sending.
//!
//! The gate is a lock of std and not of parking_lot: std's condition variable wakes all clients at once, parking_lot's hands
//! the lock from one to the next, and a turn would begin later for the last of them.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_model::{
    protocol::TurnLength,
    scenario::{Arrival, Load, Profile},
};

use uplift_instrument::{
    calls::{CallLog, Calls},
    clock,
};
use uplift_sdk::{Batch, Client, Target, TargetError, seed::client_seed};

use crate::recorder::Recorder;

/// How long after the end of a turn an open loop goes on sending what was due in it, at least.
const GRACE_MIN_NS: u64 = 1_000_000_000;

/// A pool of client threads, one client each, alive for one trial.
pub struct Pool {
    gate: Mutex<Gate>,
    start: Condvar,
    done: Condvar,
    tickets: AtomicU64,
    notes_calls: AtomicBool,
    load: Load,
    /// The clients of this pool among those of the load.
    share: Range<u32>,
    seed: u64,
}

struct Gate {
    generation: u64,
    turn: Option<Turn>,
    running: usize,
    merged: Recorder,
    calls: Calls,
    failure: Option<String>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Turn {
    start_ns: u64,
    deadline_ns: u64,
    operations: Option<u64>,
    /// Whether the start is one that others keep too, and lies ahead.
    agreed: bool,
}

impl Pool {
    /// A pool for `load`, whose turns are counted into recorders shaped like `recorder`.
    pub fn new(load: Load, seed: u64, recorder: Recorder) -> Self {
        let gate = Gate {
            generation: 0,
            turn: None,
            running: 0,
            merged: recorder,
            calls: Calls::default(),
            failure: None,
            closed: false,
        };
        Self {
            gate: Mutex::new(gate),
            start: Condvar::new(),
            done: Condvar::new(),
            tickets: AtomicU64::new(0),
            notes_calls: AtomicBool::new(false),
            share: 0..load.clients(),
            load,
            seed,
        }
    }

    /// The pool with these of the load's clients only: others send the rest.
    pub fn with_share(mut self, share: Range<u32>) -> Self {
        self.share = share;
        self
    }

    /// How many clients it has.
    pub fn clients(&self) -> u32 {
        self.share.len() as u32
    }

    /// Starts the client threads within `scope`, each making its own client.
    ///
    /// # Errors
    /// The first client that could not be created.
    pub fn spawn<'scope, 'env>(
        &'env self,
        scope: &'scope thread::Scope<'scope, 'env>,
        target: &'env dyn Target,
    ) -> Result<(), TargetError> {
        let (made, makings) = std::sync::mpsc::channel();
        let clients = self.load.clients();
        for index in self.share.clone().map(|index| index as usize) {
            let made = made.clone();
            thread::Builder::new()
                .name(format!("client-{index}"))
                .spawn_scoped(scope, move || {
                    let seed = client_seed(self.seed, index);
                    match target.client(index, seed) {
                        Ok(mut client) => {
                            let _ = made.send(Ok(()));
                            drop(made);
                            self.serve(index, client.as_mut());
                        }
                        Err(error) => {
                            let _ = made.send(Err(error));
                        }
                    }
                })
                .map_err(|error| TargetError::new(format!("starting client thread {index} of {clients}"), error))?;
        }
        drop(made);
        makings.into_iter().collect()
    }

    /// Whether the turns from now on note when each call of a client began and ended.
    pub fn note_calls(&self, notes: bool) {
        self.notes_calls.store(notes, Ordering::Relaxed);
    }

    /// The calls that were noted, which are forgotten here.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.lock().calls)
    }

    /// Lets every client work for one turn and returns what was counted. The recorder is valid until the next turn.
    ///
    /// # Errors
    /// A sentence, where a client panicked.
    pub fn run(&self, length: TurnLength) -> Result<TurnRun<'_>, String> {
        self.run_at(length, None)
    }

    /// As [`Pool::run`], beginning at a moment that others keep as well.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub fn run_at(&self, length: TurnLength, at_ns: Option<u64>) -> Result<TurnRun<'_>, String> {
        let mut gate = self.lock();
        let start_ns = at_ns.unwrap_or_else(clock::now_ns);
        let (deadline_ns, operations) = match length {
            TurnLength::Nanoseconds(ns) => (start_ns.saturating_add(ns), None),
            TurnLength::Operations(n) => (u64::MAX, Some(n)),
        };
        self.tickets.store(0, Ordering::Relaxed);
        gate.merged.begin(start_ns);
        gate.turn = Some(Turn { start_ns, deadline_ns, operations, agreed: at_ns.is_some() });
        gate.generation += 1;
        gate.running = self.share.len();
        self.start.notify_all();
        while gate.running > 0 {
            gate = self.done.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        match gate.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(TurnRun { gate, start_ns }),
        }
    }

    /// Ends the client threads.
    pub fn close(&self) {
        self.lock().closed = true;
        self.start.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, index: usize, client: &mut dyn Client) {
        clock::precise_timers();
        let mut recorder = {
            let mut recorder = self.lock().merged.clone();
            recorder.begin(0);
            recorder
        };
        let mut arrivals = Arrivals::new(&self.load, index, client_seed(self.seed ^ ARRIVAL_SEED, index));
        let mut calls = CallLog::of_this_thread();
        let mut seen = 0;
        loop {
            let turn = {
                let mut gate = self.lock();
                while gate.generation == seen && !gate.closed {
                    gate = self.start.wait(gate).unwrap_or_else(PoisonError::into_inner);
                }
                if gate.closed {
                    return;
                }
                seen = gate.generation;
                gate.turn
            };
            let Some(turn) = turn else { continue };
            recorder.begin(turn.start_ns);
            calls.begin(self.notes_calls.load(Ordering::Relaxed), self.clients());
            if turn.agreed {
                clock::sleep_until_ns(turn.start_ns);
                recorder.starts.note(turn.start_ns, clock::now_ns());
            }
            let panicked = catch_unwind(AssertUnwindSafe(|| match &self.load {
                Load::Closed { think, batch, .. } => {
                    let think_ns = think.map_or(0, |think| think.as_nanos());
                    self.closed_loop(turn, client, &mut recorder, &mut calls, (*batch, think_ns));
                }
                Load::Open { batch_window, .. } => {
                    arrivals.begin(turn.start_ns);
                    let window_ns = batch_window.map_or(0, |window| window.as_nanos());
                    self.open_loop(turn, client, &mut recorder, &mut calls, (&mut arrivals, window_ns));
                }
            }))
            .err();
            let mut gate = self.lock();
            gate.merged.absorb(&mut recorder);
            gate.calls.absorb(&mut calls);
            if let Some(panic) = panicked {
                gate.failure = Some(format!("client {index} panicked: {}", panic_text(&*panic)));
            }
            gate.running -= 1;
            if gate.running == 0 {
                self.done.notify_all();
            }
        }
    }

    /// Whether this turn has another call for the asking client.
    #[inline]
    fn has_ticket(&self, turn: &Turn) -> bool {
        match turn.operations {
            None => true,
            Some(operations) => self.tickets.fetch_add(1, Ordering::Relaxed) < operations,
        }
    }

    fn closed_loop(
        &self,
        turn: Turn,
        client: &mut dyn Client,
        recorder: &mut Recorder,
        calls: &mut CallLog,
        (batch, think_ns): (u32, u64),
    ) {
        let batch = Batch { operations: batch };
        let mut sent_ns = clock::now_ns();
        while sent_ns < turn.deadline_ns && self.has_ticket(&turn) {
            let outcome = client.operate(batch);
            let done_ns = clock::now_ns();
            recorder.record(outcome, sent_ns, sent_ns, done_ns);
            calls.note(sent_ns, done_ns);
            sent_ns = done_ns;
            if think_ns > 0 {
                let next_ns = done_ns + think_ns;
                if next_ns >= turn.deadline_ns {
                    break;
                }
                clock::sleep_until_ns(next_ns);
                sent_ns = clock::now_ns();
            }
        }
        // A client that had to wait for a CPU was kept waiting by the others' work: that time counts.
        recorder.busy_ns = sent_ns.saturating_sub(turn.start_ns);
    }

    fn open_loop(
        &self,
        turn: Turn,
        client: &mut dyn Client,
        recorder: &mut Recorder,
        calls: &mut CallLog,
        (arrivals, batch_window_ns): (&mut Arrivals, u64),
    ) {
        let grace_ns = GRACE_MIN_NS.max(turn.deadline_ns.saturating_sub(turn.start_ns));
        let give_up_ns = turn.deadline_ns.saturating_add(grace_ns);
        while arrivals.next_ns < turn.deadline_ns && self.has_ticket(&turn) {
            let mut now_ns = clock::now_ns();
            if now_ns >= give_up_ns {
                recorder.unsent += arrivals.count_until(turn.deadline_ns);
                break;
            }
            // The first of a batch waits for others, but never beyond the end of the turn.
            let send_ns = (arrivals.next_ns + batch_window_ns).min(turn.deadline_ns);
            if now_ns < send_ns {
                clock::sleep_until_ns(send_ns);
                now_ns = clock::now_ns();
                recorder.starts.note(send_ns, now_ns);
            }
            let due = arrivals.take_due(now_ns.min(turn.deadline_ns.saturating_sub(1)));
            let sent_ns = clock::now_ns();
            recorder.last_sent_ns = sent_ns;
            let outcome = client.operate(Batch { operations: due.len() as u32 });
            let done_ns = clock::now_ns();
            calls.note(sent_ns, done_ns);
            if let [only] = due {
                recorder.record(outcome, *only, sent_ns, done_ns);
            } else {
                for &intended_ns in due {
                    recorder.record_units(outcome, 1, intended_ns, sent_ns, done_ns);
                }
                recorder.last_done_ns = done_ns;
            }
        }
    }
}

/// What one turn counted.
pub struct TurnRun<'pool> {
    gate: MutexGuard<'pool, Gate>,
    /// When the clients were released.
    pub start_ns: u64,
}

impl TurnRun<'_> {
    /// The counts of all clients.
    pub fn recorder(&mut self) -> &mut Recorder {
        &mut self.gate.merged
    }
}

/// Separates the random numbers of arrivals from those of clients.
const ARRIVAL_SEED: u64 = 0x5bd1_e995_9e37_79b9;

/// Intended starts of one client of an open load. The superposition of the clients' arrivals has the load's rate.
struct Arrivals {
    next_ns: u64,
    mean_gap_ns: f64,
    offset_ns: f64,
    exact_ns: f64,
    /// Rates that change: then arrivals lie where the profile has as many operations as they would have at the mean rate.
    profile: Option<Profile>,
    start_ns: u64,
    operations_per_ns: f64,
    arrival: Arrival,
    random: ChaCha8Rng,
    due: Vec<u64>,
    batch: usize,
}

impl Arrivals {
    fn new(load: &Load, index: usize, seed: u64) -> Self {
        let (rate, arrival, phases) = match load {
            Load::Open { rate, arrival, phases, .. } => (*rate, *arrival, phases.as_slice()),
            Load::Closed { .. } => (1.0, Arrival::Constant, [].as_slice()),
        };
        let clients = f64::from(load.clients());
        let batch = load.batch() as usize;
        Self {
            next_ns: 0,
            mean_gap_ns: 1e9 * clients / rate,
            offset_ns: 1e9 * index as f64 / rate,
            exact_ns: 0.0,
            profile: Profile::new(phases, rate),
            start_ns: 0,
            operations_per_ns: rate / 1e9,
            arrival,
            random: ChaCha8Rng::seed_from_u64(seed),
            due: Vec::with_capacity(batch),
            batch,
        }
    }

    fn begin(&mut self, start_ns: u64) {
        self.exact_ns = start_ns as f64;
        self.start_ns = start_ns;
        self.next_ns = start_ns;
        match self.arrival {
            Arrival::Constant => self.advance(self.offset_ns),
            Arrival::Poisson => self.advance_random(),
        }
    }

    fn advance(&mut self, gap_ns: f64) {
        // Monotonic nanoseconds of a machine that has been up for a year fit a double to 4 ns.
        self.exact_ns += gap_ns;
        self.next_ns = match &self.profile {
            None => self.exact_ns as u64,
            Some(profile) => {
                let operations = (self.exact_ns - self.start_ns as f64) * self.operations_per_ns;
                self.start_ns + (profile.seconds_until(operations) * 1e9) as u64
            }
        };
    }

    fn advance_random(&mut self) {
        // Inverse transform; 1 - u lies in (0, 1], so the logarithm is finite.
        let uniform: f64 = self.random.random();
        self.advance(-(1.0 - uniform).ln() * self.mean_gap_ns);
    }

    fn step(&mut self) {
        match self.arrival {
            Arrival::Constant => self.advance(self.mean_gap_ns),
            Arrival::Poisson => self.advance_random(),
        }
    }

    /// The arrivals up to `now_ns`, at least one and at most a batch.
    fn take_due(&mut self, now_ns: u64) -> &[u64] {
        self.due.clear();
        loop {
            self.due.push(self.next_ns);
            self.step();
            if self.next_ns > now_ns || self.due.len() >= self.batch {
                return &self.due;
            }
        }
    }

    /// How many arrivals are left before `deadline_ns`.
    fn count_until(&mut self, deadline_ns: u64) -> u64 {
        let mut count = 0;
        while self.next_ns < deadline_ns {
            count += 1;
            self.step();
        }
        count
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rate: f64, clients: u32, arrival: Arrival) -> Load {
        Load::Open { rate, arrival, clients, batch: 1, batch_window: None, phases: Vec::new(), agents: 0 }
    }

    /// All clients together arrive at the load's rate: constant exactly, Poisson within five standard deviations.
    #[test]
    fn arrivals_have_the_rate_of_the_load() {
        for (arrival, slack) in [(Arrival::Constant, 8.0), (Arrival::Poisson, 5.0 * 10_000f64.sqrt())] {
            let load = open(1_000.0, 7, arrival);
            let total: u64 = (0..7)
                .map(|index| {
                    let mut arrivals = Arrivals::new(&load, index, client_seed(9, index));
                    arrivals.begin(1_000);
                    arrivals.count_until(1_000 + 10_000_000_000)
                })
                .sum();
            assert!((total as f64 - 10_000.0).abs() <= slack, "{arrival:?}: {total}");
        }
    }

    /// A quiet second, a spike of a second: each has its own share, within five standard deviations.
    #[test]
    fn arrivals_follow_the_phases_of_the_load() {
        for (arrival, slack) in [(Arrival::Constant, 4.0), (Arrival::Poisson, 5.0 * 900f64.sqrt())] {
            let load = serde_json::from_value(serde_json::json!({
                "mode": "open", "rate": 500.0, "arrival": arrival, "clients": 3,
                "phases": [{ "for": "1s", "rate": 100.0 }, { "for": "1s", "rate": 900.0 }],
            }))
            .unwrap();
            let mut counts = [0u64; 2];
            for index in 0..3 {
                let mut arrivals = Arrivals::new(&load, index, client_seed(9, index));
                arrivals.begin(5_000);
                counts[0] += arrivals.count_until(5_000 + 1_000_000_000);
                counts[1] += arrivals.count_until(5_000 + 2_000_000_000);
            }
            assert!((counts[0] as f64 - 100.0).abs() <= slack, "{arrival:?}: {counts:?}");
            assert!((counts[1] as f64 - 900.0).abs() <= slack, "{arrival:?}: {counts:?}");
        }
    }

    #[test]
    fn due_arrivals_are_taken_once_and_in_order() {
        let load = Load::Open {
            rate: 1e6,
            arrival: Arrival::Poisson,
            clients: 1,
            batch: 8,
            batch_window: None,
            phases: Vec::new(),
            agents: 0,
        };
        let mut arrivals = Arrivals::new(&load, 0, 3);
        arrivals.begin(0);
        let mut last = 0;
        for _ in 0..100 {
            let now_ns = arrivals.next_ns + 3_000;
            let due = arrivals.take_due(now_ns).to_vec();
            assert!(!due.is_empty() && due.len() <= 8);
            for intended_ns in due {
                assert!(intended_ns >= last);
                last = intended_ns;
            }
        }
    }
}
