//! The thread that owns a file: it alone writes, and one commit of its serves everybody who waits.
//!
//! A batch is one `BEGIN IMMEDIATE` transaction. Each operation runs in a savepoint of its own, so that one that fails
//! takes nothing with it. Before the commit, fetches that wait for work are offered what the batch has brought: an
//! acknowledgement and the fetch of what it enqueued share a commit. Nobody hears of anything until it is committed.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use duroxide::providers::ProviderError;
use tokio::sync::oneshot;

use crate::{
    clock,
    completion::Completions,
    fetch::{Answer, Held, Slot, TaskFetch, TurnFetch},
    options::Options,
    queue::Queue,
    shard::ShardNumber,
    store::{Effects, FetchedTask, FetchedTurn, Relay, Store, TaskFilter},
};

/// What became of the transaction.
pub type Committed<'a> = Result<(), &'a rusqlite::Error>;
/// Tells a caller how its operation went.
type Reply = Box<dyn FnOnce(Committed<'_>) + Send>;
/// Carries out an operation; false if it is to be undone.
type Operation = Box<dyn FnOnce(&mut Store) -> (bool, Reply) + Send>;
/// A step of somebody who has the file for himself.
type Step = Box<dyn FnOnce(&mut Store) + Send>;

/// What a writer is asked to do.
pub enum Command {
    Operation(Operation),
    FetchTurn(TurnFetch),
    FetchTask(TaskFetch),
    /// A transaction whose steps come from elsewhere.
    Exclusive(Exclusive),
}

/// Hands a transaction to somebody.
pub struct Exclusive {
    /// Told when the transaction has begun.
    pub begun: oneshot::Sender<Result<(), ProviderError>>,
    /// Steps until `None` commits. If the other end goes away, everything is undone.
    pub steps: mpsc::Receiver<Option<Step>>,
    /// Told when it is over.
    pub ended: oneshot::Sender<Result<(), ProviderError>>,
}

/// An operation as a command, with where its answer will come.
pub fn operation<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce(&mut Store) -> Result<T, ProviderError> + Send + 'static,
) -> (Command, oneshot::Receiver<Result<T, ProviderError>>) {
    let (sender, receiver) = oneshot::channel();
    let operation = move |store: &mut Store| {
        let result = run(store);
        let keep = result.is_ok();
        let reply = move |committed: Committed<'_>| {
            let result = match committed {
                Err(error) if keep => Err(ProviderError::retryable(name, error.to_string())),
                _ => result,
            };
            let _ = sender.send(result);
        };
        (keep, Box::new(reply) as Reply)
    };
    (Command::Operation(Box::new(operation)), receiver)
}

/// Counts of one shard's work.
#[derive(Default)]
pub struct Counts {
    pub transactions: AtomicU64,
    pub operations: AtomicU64,
    pub fetches_served: AtomicU64,
}

/// What the writers of one file share.
pub struct Lane {
    pub queue: Queue<Command>,
    pub counts: Counts,
}

/// What a writer must know of its surroundings.
pub struct Surroundings {
    pub shard: ShardNumber,
    pub options: Options,
    /// All shards' lanes; gone when the provider is dropped.
    pub lanes: Weak<Vec<Arc<Lane>>>,
    pub completions: Arc<Completions>,
}

/// A writer with those who wait for work.
pub struct Writer {
    store: Store,
    lane: Arc<Lane>,
    surroundings: Surroundings,
    turns: VecDeque<TurnFetch>,
    tasks: VecDeque<TaskFetch>,
    /// When something becomes visible.
    due: BinaryHeap<Reverse<i64>>,
    next_recheck: Instant,
}

/// A fetch that found something in the transaction that is under way.
enum Served {
    Turn(Arc<Slot<FetchedTurn>>, Answer<FetchedTurn>),
    Task(Arc<Slot<FetchedTask>>, Answer<FetchedTask>),
}

/// What a batch will say once it is committed.
#[derive(Default)]
struct Outcome {
    replies: Vec<Reply>,
    served: Vec<Served>,
    effects: Effects,
}

impl Writer {
    pub fn new(store: Store, lane: Arc<Lane>, surroundings: Surroundings) -> rusqlite::Result<Self> {
        let due = store.future()?.into_iter().map(Reverse).collect();
        let next_recheck = Instant::now() + surroundings.options.recheck_interval;
        Ok(Self { store, lane, surroundings, turns: VecDeque::new(), tasks: VecDeque::new(), due, next_recheck })
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        match self.store.outbox() {
            Ok(relays) => self.send_relays(relays),
            Err(error) => tracing::error!(%error, "the outbox cannot be read; its messages stay until the next start"),
        }
        let most = self.surroundings.options.max_batch;
        let mut batch = Vec::new();
        while self.lane.queue.take(&mut batch, most, self.wake_at()) {
            let delay = self.surroundings.options.max_delay;
            if !delay.is_zero() && !batch.is_empty() && batch.len() < most {
                let missing = most - batch.len();
                self.lane.queue.take_when(&mut batch, missing, missing, Some(Instant::now() + delay));
            }
            let (exclusive, ordinary): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|command| matches!(command, Command::Exclusive(_)));
            let look = self.should_look();
            if look || !ordinary.is_empty() {
                self.transact(ordinary, look);
            }
            for command in exclusive {
                if let Command::Exclusive(exclusive) = command {
                    self.lend(exclusive);
                }
            }
        }
    }

    /// When to look for work though nobody asks.
    fn wake_at(&self) -> Option<Instant> {
        if self.turns.is_empty() && self.tasks.is_empty() {
            return None;
        }
        let due = self.due.peek().map(|Reverse(due)| {
            let left = u64::try_from(due - clock::now_us()).unwrap_or(0);
            Instant::now() + Duration::from_micros(left)
        });
        Some(due.map_or(self.next_recheck, |due| due.min(self.next_recheck)))
    }

    /// Whether it is time to look for work that nothing has announced: something became visible, or a lock may have
    /// run out.
    fn should_look(&mut self) -> bool {
        let now = clock::now_us();
        let mut look = false;
        while self.due.peek().is_some_and(|Reverse(due)| *due <= now) {
            self.due.pop();
            look = true;
        }
        if Instant::now() >= self.next_recheck {
            self.next_recheck = Instant::now() + self.surroundings.options.recheck_interval;
            look = true;
        }
        look
    }

    fn transact(&mut self, commands: Vec<Command>, look: bool) {
        let mut outcome = Outcome::default();
        let asked = commands.len() as u64;
        let mut result = self.store.execute("BEGIN IMMEDIATE");
        for command in commands {
            match &result {
                Ok(()) => result = self.carry_out(command, &mut outcome),
                Err(error) => self.refuse(command, error, &mut outcome),
            }
        }
        let result =
            result.and_then(|()| self.serve_waiting(look, &mut outcome)).and_then(|()| self.store.execute("COMMIT"));
        match &result {
            Ok(()) if asked > 0 || !outcome.served.is_empty() => {
                self.lane.counts.transactions.fetch_add(1, Ordering::Relaxed);
                self.lane.counts.operations.fetch_add(asked, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "a transaction failed and was undone");
                let _ = self.store.execute("ROLLBACK");
                outcome.effects = Effects::default();
            }
        }
        self.tell(outcome, result.as_ref().map(|()| ()));
    }

    /// Answers a command that a broken transaction did not come to. An operation's caller learns it from the loss of
    /// its channel.
    fn refuse(&mut self, command: Command, error: &rusqlite::Error, outcome: &mut Outcome) {
        match command {
            Command::Operation(operation) => drop(operation),
            Command::FetchTurn(fetch) if fetch.waits => self.turns.push_back(fetch),
            Command::FetchTask(fetch) if fetch.waits => self.tasks.push_back(fetch),
            Command::FetchTurn(TurnFetch { slot, .. }) if slot.claim() => {
                outcome.served.push(Served::Turn(slot, Err(crate::error::broken(error))));
            }
            Command::FetchTask(TaskFetch { slot, .. }) if slot.claim() => {
                outcome.served.push(Served::Task(slot, Err(crate::error::broken(error))));
            }
            Command::FetchTurn(_) | Command::FetchTask(_) => {}
            Command::Exclusive(_) => unreachable!("these are kept apart"),
        }
    }

    /// Runs `body` in a savepoint, which it leaves only if it returns true.
    fn in_savepoint<T>(
        &mut self,
        outcome: &mut Outcome,
        body: impl FnOnce(&mut Store) -> (bool, T),
    ) -> rusqlite::Result<T> {
        self.store.execute("SAVEPOINT operation")?;
        let (keep, value) = body(&mut self.store);
        let effects = std::mem::take(&mut self.store.effects);
        if keep {
            outcome.effects.merge(effects);
        } else {
            self.store.execute("ROLLBACK TO operation")?;
        }
        self.store.execute("RELEASE operation")?;
        Ok(value)
    }

    fn carry_out(&mut self, command: Command, outcome: &mut Outcome) -> rusqlite::Result<()> {
        match command {
            Command::Operation(operation) => {
                let reply = self.in_savepoint(outcome, operation)?;
                outcome.replies.push(reply);
            }
            Command::FetchTurn(fetch) => {
                if !self.offer_turn(&fetch, outcome)? && !fetch.slot.is_settled() {
                    if fetch.waits { self.turns.push_back(fetch) } else { outcome.replies.push(nothing(fetch.slot)) }
                }
            }
            Command::FetchTask(fetch) => {
                if !self.offer_task(&fetch, outcome)? && !fetch.slot.is_settled() {
                    if fetch.waits { self.tasks.push_back(fetch) } else { outcome.replies.push(nothing(fetch.slot)) }
                }
            }
            Command::Exclusive(_) => unreachable!("these are kept apart"),
        }
        Ok(())
    }

    /// Looks for a turn for `fetch`; true if it has its answer.
    fn offer_turn(&mut self, fetch: &TurnFetch, outcome: &mut Outcome) -> rusqlite::Result<bool> {
        let claimed = std::cell::Cell::new(false);
        let claim = || {
            claimed.set(fetch.slot.claim());
            claimed.get()
        };
        let answer = self.in_savepoint(outcome, |store| {
            let answer = store.fetch_turn(fetch.lock_for, fetch.versions, &claim);
            (answer.is_ok(), answer)
        })?;
        Ok(match answer {
            // An error is an answer too, for whom nobody else has one.
            Err(error) if claimed.get() || fetch.slot.claim() => {
                outcome.served.push(Served::Turn(Arc::clone(&fetch.slot), Err(error)));
                true
            }
            Ok(answer) if claimed.get() => {
                outcome.served.push(Served::Turn(Arc::clone(&fetch.slot), Ok(answer)));
                true
            }
            _ => false,
        })
    }

    /// Looks for an activity for `fetch`; true if it has its answer.
    fn offer_task(&mut self, fetch: &TaskFetch, outcome: &mut Outcome) -> rusqlite::Result<bool> {
        let claimed = std::cell::Cell::new(false);
        let claim = || {
            claimed.set(fetch.slot.claim());
            claimed.get()
        };
        let answer = self.in_savepoint(outcome, |store| {
            let answer = store.fetch_task(fetch.lock_for, &fetch.filter, &claim);
            (answer.is_ok(), answer)
        })?;
        Ok(match answer {
            Err(error) if claimed.get() || fetch.slot.claim() => {
                outcome.served.push(Served::Task(Arc::clone(&fetch.slot), Err(error)));
                true
            }
            Ok(answer) if claimed.get() => {
                outcome.served.push(Served::Task(Arc::clone(&fetch.slot), Ok(answer)));
                true
            }
            _ => false,
        })
    }

    /// Offers what has become available to those who wait, oldest first.
    fn serve_waiting(&mut self, look: bool, outcome: &mut Outcome) -> rusqlite::Result<()> {
        let mut result = Ok(());
        if look || outcome.effects.turns {
            // Who asks what another was refused is refused too.
            let mut refused = Vec::new();
            for fetch in std::mem::take(&mut self.turns) {
                if fetch.slot.is_settled() {
                    continue;
                }
                let answered = result.is_ok() && !refused.contains(&fetch.versions) && {
                    let answered = self.offer_turn(&fetch, outcome);
                    *answered.as_ref().unwrap_or(&false) || {
                        result = answered.map(drop);
                        false
                    }
                };
                if !answered {
                    refused.push(fetch.versions);
                    self.turns.push_back(fetch);
                }
            }
        }
        result?;
        let mut result = Ok(());
        if look || outcome.effects.tasks {
            let mut refused: Vec<TaskFilter> = Vec::new();
            let mut any_due = true;
            for fetch in std::mem::take(&mut self.tasks) {
                if fetch.slot.is_settled() {
                    continue;
                }
                let hopeless = result.is_err() || !any_due || refused.iter().any(|other| other.same(&fetch.filter));
                let answered = !hopeless && {
                    let answered = self.offer_task(&fetch, outcome);
                    any_due = self.store.saw_due_task();
                    *answered.as_ref().unwrap_or(&false) || {
                        result = answered.map(drop);
                        false
                    }
                };
                if !answered {
                    if !hopeless {
                        refused.push(fetch.filter.clone());
                    }
                    self.tasks.push_back(fetch);
                }
            }
        }
        result
    }

    /// Tells everybody what became of the batch.
    fn tell(&mut self, outcome: Outcome, committed: Committed<'_>) {
        for served in outcome.served {
            self.deliver(served, committed);
        }
        for reply in outcome.replies {
            reply(committed);
        }
        self.act_on(outcome.effects);
    }

    fn act_on(&mut self, effects: Effects) {
        if self.surroundings.options.long_poll {
            self.due.extend(effects.due.into_iter().map(Reverse));
        }
        if !effects.finished.is_empty() {
            self.surroundings.completions.announce(effects.finished);
        }
        self.send_relays(effects.relays);
    }

    fn deliver(&self, served: Served, committed: Committed<'_>) {
        self.lane.counts.fetches_served.fetch_add(1, Ordering::Relaxed);
        match served {
            Served::Turn(slot, answer) => self.hand_over(&slot, answer, committed),
            Served::Task(slot, answer) => self.hand_over(&slot, answer, committed),
        }
    }

    fn hand_over<T: Held>(&self, slot: &Slot<T>, answer: Answer<T>, committed: Committed<'_>) {
        let answer = match committed {
            Ok(()) => answer,
            Err(error) => Err(ProviderError::retryable(T::OPERATION, error.to_string())),
        };
        if let Err(Ok(Some(held))) = slot.answer(answer) {
            // Whoever wanted it has gone.
            let (release, _) = operation(T::OPERATION, move |store| held.release(store));
            let _ = self.lane.queue.push(release);
        }
    }

    /// Sends messages to the shards that they are for, and forgets each when its shard has it.
    fn send_relays(&self, relays: Vec<Relay>) {
        if relays.is_empty() {
            return;
        }
        let Some(lanes) = self.surroundings.lanes.upgrade() else { return };
        let mut by_shard: Vec<Vec<Relay>> = (0..lanes.len()).map(|_| Vec::new()).collect();
        for relay in relays {
            by_shard[relay.destination].push(relay);
        }
        let from = self.surroundings.shard;
        for (lane, relays) in lanes.iter().zip(by_shard) {
            if relays.is_empty() {
                continue;
            }
            let home = Arc::clone(&self.lane);
            let away = Arc::clone(lane);
            let run = move |store: &mut Store| {
                let received = store.receive(from, &relays);
                let keep = received.is_ok();
                let reply = move |committed: Committed<'_>| {
                    let delivered = match (&received, committed) {
                        (Ok(()), Ok(())) => true,
                        (Err(error), _) | (_, Err(error)) => {
                            tracing::warn!(%error, "messages to another shard must be sent again");
                            false
                        }
                    };
                    let _ = home.queue.push(Command::Operation(settle_relays(from, relays, delivered, away)));
                };
                (keep, Box::new(reply) as Reply)
            };
            let _ = lane.queue.push(Command::Operation(Box::new(run)));
        }
    }

    /// Lets somebody else say what a transaction does.
    fn lend(&mut self, exclusive: Exclusive) {
        let failed = |error: rusqlite::Error| ProviderError::retryable("exclusive", error.to_string());
        if let Err(error) = self.store.execute("BEGIN IMMEDIATE") {
            let _ = exclusive.begun.send(Err(failed(error)));
            return;
        }
        let _ = exclusive.begun.send(Ok(()));
        let result = loop {
            match exclusive.steps.recv() {
                Ok(Some(step)) => step(&mut self.store),
                Ok(None) => break self.store.execute("COMMIT").map_err(failed),
                Err(mpsc::RecvError) => break Err(ProviderError::retryable("exclusive", "given up")),
            }
        };
        let effects = std::mem::take(&mut self.store.effects);
        if result.is_ok() {
            self.act_on(effects);
        } else {
            let _ = self.store.execute("ROLLBACK");
        }
        let _ = exclusive.ended.send(result);
    }
}

/// What the shard that sent `relays` does when it hears of them: it forgets them, then has that forgotten where they
/// went; or it sends them again.
fn settle_relays(from: ShardNumber, relays: Vec<Relay>, delivered: bool, away: Arc<Lane>) -> Operation {
    Box::new(move |store: &mut Store| {
        let numbers: Vec<i64> = relays.iter().map(|relay| relay.number).collect();
        let settled = if delivered {
            store.forget(&numbers)
        } else {
            store.effects.relays = relays;
            Ok(())
        };
        let keep = settled.is_ok();
        let reply = move |committed: Committed<'_>| {
            if delivered && keep && committed.is_ok() {
                let (forget, _) = operation("forget_received", move |store| {
                    store.forget_received(from, &numbers).map_err(crate::error::sqlite("forget_received"))
                });
                let _ = away.queue.push(forget);
            }
        };
        (keep, Box::new(reply) as Reply)
    })
}

fn nothing<T: Send + 'static>(slot: Arc<Slot<T>>) -> Reply {
    Box::new(move |_| slot.nothing())
}
