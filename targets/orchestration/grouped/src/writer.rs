//! The thread that owns a file: it alone writes, and one commit of its serves everybody who waits.
//!
//! A batch is one transaction that takes the write lock when it begins. Each operation runs in a savepoint of its own,
//! so that one that fails takes nothing with it. Before the commit, fetches that wait for work are offered what the batch
//! has brought: an acknowledgement and the fetch of what it enqueued share a commit. Nobody hears of anything until it is
//! committed.

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

use crate::{
    clock,
    command::{Command, Committed, Exclusive, Reply, operation},
    completion::Completions,
    fetch::{Answer, Held, Slot, TaskFetch, TurnFetch},
    options::{Options, Synchronous},
    queue::Queue,
    relay,
    shard::ShardNumber,
    store::{Effects, FetchedTask, FetchedTurn, Relay, Store, TaskFilter},
    watch::{self, Doing},
};

/// After so many vain waits in a row, one batch in 2^6 waits to see whether it has become worth it.
const VAIN_WAITS_MAX: u32 = 6;

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
    /// Work that was handed out and has not come back. An estimate: a lock may run out.
    in_hand: usize,
    /// Waits in a row that nothing came of.
    vain_waits: u32,
    /// How many batches are to go without a wait.
    without_wait: u32,
    /// The level of `PRAGMA synchronous` at the moment.
    level: Synchronous,
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
        let level = surroundings.options.synchronous;
        let (turns, tasks) = (VecDeque::new(), VecDeque::new());
        Ok(Self {
            store,
            lane,
            surroundings,
            turns,
            tasks,
            due,
            next_recheck,
            in_hand: 0,
            vain_waits: 0,
            without_wait: 0,
            level,
        })
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        match self.store.outbox() {
            Ok(relays) => self.send(relays),
            Err(error) => tracing::error!(%error, "the outbox cannot be read; its messages stay until the next start"),
        }
        let most = self.surroundings.options.max_batch;
        let mut batch = Vec::new();
        watch::now(Doing::Waiting);
        while self.lane.queue.take(&mut batch, most, self.wake_at()) {
            self.note_returns(&batch);
            let look = self.should_look();
            if self.syncs() {
                self.hand_out_first(&mut batch, look);
            } else {
                self.gather(&mut batch, most);
            }
            let (exclusive, ordinary): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|command| matches!(command, Command::Exclusive(_)));
            if look || !ordinary.is_empty() {
                self.transact(ordinary, look);
            }
            for command in exclusive {
                if let Command::Exclusive(exclusive) = command {
                    self.lend(exclusive);
                }
            }
            watch::now(Doing::Waiting);
        }
    }

    /// Whether a commit that somebody relies on waits for the disk.
    fn syncs(&self) -> bool {
        matches!(self.surroundings.options.synchronous, Synchronous::Full | Synchronous::Extra)
    }

    fn note_returns(&mut self, commands: &[Command]) {
        let returned = commands.iter().filter(|command| command.returns()).count();
        self.in_hand = self.in_hand.saturating_sub(returned);
    }

    /// Whether it is worth waiting for more before `batch` is committed: there is something to commit, and work is in
    /// somebody's hands that may come back and share it. What takes long is not worth it: after a wait for nothing,
    /// ever more batches go without one.
    fn is_worth_a_wait(&mut self, batch: &[Command]) -> bool {
        if self.surroundings.options.max_delay.is_zero() || self.in_hand == 0 || !batch.iter().any(Command::writes) {
            return false;
        }
        if self.without_wait > 0 {
            self.without_wait -= 1;
            return false;
        }
        true
    }

    fn note_wait(&mut self, was_vain: bool) {
        self.vain_waits = if was_vain { (self.vain_waits + 1).min(VAIN_WAITS_MAX) } else { 0 };
        self.without_wait = (1 << self.vain_waits) - 1;
    }

    /// Waits for work that is in somebody's hands.
    fn gather(&mut self, batch: &mut Vec<Command>, most: usize) {
        if !self.is_worth_a_wait(batch) {
            return;
        }
        let first = batch.len();
        watch::now(Doing::Gathering);
        let until = Instant::now() + self.surroundings.options.max_delay;
        while self.in_hand > 0 && batch.len() < most && Instant::now() < until {
            let came = batch.len();
            let wanted = self.in_hand.min(most - came);
            self.lane.queue.take_when(batch, most - came, wanted, Some(until));
            let new = batch.split_off(came);
            self.note_returns(&new);
            batch.extend(new);
        }
        self.note_wait(batch.len() == first);
    }

    /// Where a commit waits for the disk, gives work to those who ask before it, in a transaction that does not wait,
    /// so that they can work meanwhile; then waits for what comes back of it.
    fn hand_out_first(&mut self, batch: &mut Vec<Command>, look: bool) {
        let most = self.surroundings.options.max_batch;
        let mut until = None;
        let mut brought = false;
        loop {
            let (keep, fetches): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|command| command.writes() || matches!(command, Command::Exclusive(_)));
            *batch = keep;
            if !fetches.is_empty() {
                self.transact(fetches, look);
            }
            let until = match until {
                Some(until) => until,
                None if self.is_worth_a_wait(batch) => {
                    *until.insert(Instant::now() + self.surroundings.options.max_delay)
                }
                None => return,
            };
            if self.in_hand == 0 || batch.len() >= most || Instant::now() >= until {
                break;
            }
            let came = batch.len();
            watch::now(Doing::Gathering);
            self.lane.queue.take_when(batch, most - came, 1, Some(until));
            let new = batch.split_off(came);
            self.note_returns(&new);
            brought |= new.iter().any(Command::writes);
            batch.extend(new);
        }
        self.note_wait(!brought);
    }

    /// Lets the next transaction be synced only if it has something that anybody is told to rely on. To have been handed
    /// work is nothing of the kind: if that is forgotten in a power failure, the work is there to be fetched again.
    fn set_sync(&mut self, needed: bool) -> rusqlite::Result<()> {
        let asked = self.surroundings.options.synchronous;
        let level = match asked {
            Synchronous::Full | Synchronous::Extra if !needed => Synchronous::Normal,
            _ => asked,
        };
        if level != self.level {
            self.store.connection().pragma_update(None, "synchronous", level.word())?;
            self.level = level;
        }
        Ok(())
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
        watch::now(Doing::Transaction);
        let mut outcome = Outcome::default();
        let asked = commands.len() as u64;
        let needs_sync = commands.iter().any(Command::writes);
        let mut result = self.set_sync(needs_sync).and_then(|()| self.store.execute(self.surroundings.options.begin()));
        for command in commands {
            match &result {
                Ok(()) => result = self.carry_out(command, &mut outcome),
                Err(error) => self.refuse(command, error, &mut outcome),
            }
        }
        let result = result.and_then(|()| self.serve_waiting(look, &mut outcome)).and_then(|()| {
            watch::now(Doing::Committing);
            self.store.execute("COMMIT")
        });
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
        watch::now(Doing::Telling);
        self.tell(outcome, result.as_ref().copied());
    }

    /// Answers a command that a broken transaction did not come to. An operation's caller learns it from the loss of
    /// its channel.
    fn refuse(&mut self, command: Command, error: &rusqlite::Error, outcome: &mut Outcome) {
        match command {
            Command::Operation(operation) | Command::Return(operation) => drop(operation),
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

    /// Looks for work without a savepoint. What is handed out is checked before it is written down, so a fetch that fails
    /// has written nothing; should it have, the second value breaks the transaction.
    fn hand_out<T>(&mut self, fetch: impl FnOnce(&mut Store) -> Answer<T>) -> (Answer<T>, rusqlite::Result<()>) {
        let before = self.store.connection().total_changes();
        let answer = fetch(&mut self.store);
        let whole = match &answer {
            Err(error) if self.store.connection().total_changes() != before => {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
                Err(rusqlite::Error::SqliteFailure(code, Some(format!("a fetch failed half-way: {error}"))))
            }
            _ => Ok(()),
        };
        (answer, whole)
    }

    fn carry_out(&mut self, command: Command, outcome: &mut Outcome) -> rusqlite::Result<()> {
        match command {
            Command::Operation(operation) | Command::Return(operation) => {
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
        let (answer, whole) = self.hand_out(|store| store.fetch_turn(fetch.lock_for, fetch.versions, &claim));
        // An error is an answer too, for whom nobody else has one.
        let answered = claimed.get() || (answer.is_err() && fetch.slot.claim());
        if answered {
            outcome.served.push(Served::Turn(Arc::clone(&fetch.slot), answer));
        }
        whole.map(|()| answered)
    }

    /// Looks for an activity for `fetch`; true if it has its answer.
    fn offer_task(&mut self, fetch: &TaskFetch, outcome: &mut Outcome) -> rusqlite::Result<bool> {
        let claimed = std::cell::Cell::new(false);
        let claim = || {
            claimed.set(fetch.slot.claim());
            claimed.get()
        };
        let (answer, whole) = self.hand_out(|store| store.fetch_task(fetch.lock_for, &fetch.filter, &claim));
        let answered = claimed.get() || (answer.is_err() && fetch.slot.claim());
        if answered {
            outcome.served.push(Served::Task(Arc::clone(&fetch.slot), answer));
        }
        whole.map(|()| answered)
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
    fn tell(&mut self, mut outcome: Outcome, committed: Committed<'_>) {
        // First of all: whoever hears of the commit may read.
        self.store.keep_histories(std::mem::take(&mut outcome.effects.histories));
        for served in outcome.served {
            self.deliver(served, committed);
        }
        for reply in outcome.replies {
            reply(committed);
        }
        self.act_on(outcome.effects);
    }

    fn act_on(&mut self, effects: Effects) {
        self.store.keep_histories(effects.histories);
        if self.surroundings.options.long_poll {
            self.due.extend(effects.due.into_iter().map(Reverse));
        }
        self.surroundings.completions.note(effects.started, &effects.removed, effects.finished);
        self.send(effects.relays);
    }

    fn deliver(&mut self, served: Served, committed: Committed<'_>) {
        self.lane.counts.fetches_served.fetch_add(1, Ordering::Relaxed);
        self.in_hand += 1;
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
            let _ = self.lane.queue.push(Command::Return(release));
        }
    }

    fn send(&self, relays: Vec<Relay>) {
        if !relays.is_empty()
            && let Some(lanes) = self.surroundings.lanes.upgrade()
        {
            relay::send(self.surroundings.shard, &lanes, relays);
        }
    }

    /// Lets somebody else say what a transaction does.
    fn lend(&mut self, exclusive: Exclusive) {
        let failed = |error: rusqlite::Error| ProviderError::retryable("exclusive", error.to_string());
        if let Err(error) = self.set_sync(true).and_then(|()| self.store.execute("BEGIN IMMEDIATE")) {
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

fn nothing<T: Send + 'static>(slot: Arc<Slot<T>>) -> Reply {
    Box::new(move |_| slot.nothing())
}
