//! The thread that owns a file: it alone writes, and one commit of its serves everybody who waits.
//!
//! A batch is one transaction that takes the write lock when it begins. Each operation runs in a savepoint of its own,
//! so that one that fails takes nothing with it. Before the commit, fetches that wait for work are offered what the batch
//! has brought: an acknowledgement and the fetch of what it enqueued share a commit. Nobody hears of anything until it is
//! committed.
//!
//! Nothing that an operation does ends the thread: one that panics is undone like one that fails. Should the thread end
//! nevertheless, its queue is closed, and everybody who waits, or asks later, is told so.

mod gather;
mod lend;
mod waiting;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use duroxide::providers::ProviderError;
use gather::GatherDelay;

use crate::{
    clock,
    command::{Command, Committed, Reply},
    completion::Completions,
    fetch::{Answer, Held, Served, Slot, TaskFetch, TurnFetch},
    options::{Options, Synchronous},
    relay, schema,
    shard::ShardNumber,
    shard_queue::{ShardQueue, released},
    store::{Effects, FetchedTask, Relay, Store},
    watch::{self, WriterPhase},
};

/// How long messages to another shard that could not be delivered wait for the next attempt.
const RESEND_INTERVAL: Duration = Duration::from_millis(100);

/// What a writer must know of its surroundings.
pub struct WriterContext {
    pub shard: ShardNumber,
    pub options: Options,
    /// All shards' lanes; gone when the provider is dropped.
    pub lanes: Weak<Vec<Arc<ShardQueue>>>,
    pub completions: Arc<Completions>,
}

/// A writer with those who wait for work.
pub struct Writer {
    store: Store,
    lane: Arc<ShardQueue>,
    surroundings: WriterContext,
    turns: VecDeque<TurnFetch>,
    tasks: VecDeque<TaskFetch>,
    /// When something becomes visible.
    due: BinaryHeap<Reverse<i64>>,
    next_recheck: Instant,
    /// Work that was handed out and has not come back. An estimate: a lock may run out.
    in_hand: usize,
    patience: GatherDelay,
    /// Messages to other shards that were not delivered, and when to try again.
    undelivered: Vec<Relay>,
    resend_at: Option<Instant>,
    /// The level of `PRAGMA synchronous` at the moment.
    level: Synchronous,
    /// A sync failed and could not be made up for: nothing that is written from now on could be relied on.
    broken: bool,
}

/// What a batch will say once it is committed.
#[derive(Default)]
struct Outcome {
    replies: Vec<Reply>,
    served: Vec<Served>,
    /// Fetches that do not wait and have found nothing.
    nothing: Vec<Reply>,
    effects: Effects,
}

impl Writer {
    pub fn new(store: Store, lane: Arc<ShardQueue>, surroundings: WriterContext) -> rusqlite::Result<Self> {
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
            patience: GatherDelay::default(),
            undelivered: Vec::new(),
            resend_at: None,
            level,
            broken: false,
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
        watch::now(WriterPhase::Waiting);
        while self.lane.queue.take(&mut batch, most, self.wake_at()) {
            self.note_returns(&batch);
            self.give_back(self.lane.ahead.expired(Instant::now()));
            self.resend();
            let look = self.should_look();
            self.let_grow(&mut batch, look);
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
            if self.broken {
                // Whoever waits, or asks later, is told that it is closed.
                return;
            }
            watch::now(WriterPhase::Waiting);
        }
        self.give_back(self.lane.ahead.drain());
    }

    /// Takes back what was handed out ahead and nobody wants.
    fn give_back(&mut self, tasks: Vec<FetchedTask>) {
        if tasks.is_empty() {
            return;
        }
        self.in_hand = self.in_hand.saturating_sub(tasks.len());
        let returns = tasks.into_iter().map(|task| Command::Return(released(task))).collect();
        self.transact(returns, false);
    }

    fn put_off(&mut self, relays: Vec<Relay>) {
        self.undelivered.extend(relays);
        self.resend_at.get_or_insert_with(|| Instant::now() + RESEND_INTERVAL);
    }

    fn resend(&mut self) {
        if self.resend_at.is_some_and(|at| at <= Instant::now()) {
            self.resend_at = None;
            let relays = std::mem::take(&mut self.undelivered);
            self.send(relays);
        }
    }

    fn note_returns(&mut self, commands: &[Command]) {
        let returned = commands.iter().filter(|command| command.returns()).count();
        self.in_hand = self.in_hand.saturating_sub(returned);
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
            // A checkpoint syncs the log first, and SQLite says nothing of one that fails after a commit. Behind a commit that
            // was synced there is nothing that it could lose; behind another there is.
            let pages = if level == asked { self.surroundings.options.wal_autocheckpoint } else { 0 };
            schema::checkpoint_after(self.store.connection(), pages);
        }
        Ok(())
    }

    /// When to go on though nobody asks.
    fn wake_at(&self) -> Option<Instant> {
        let look = (!self.turns.is_empty() || !self.tasks.is_empty()).then(|| {
            let due = self.due.peek().map(|Reverse(due)| {
                let left = u64::try_from(due - clock::now_us()).unwrap_or(0);
                Instant::now() + Duration::from_micros(left)
            });
            due.map_or(self.next_recheck, |due| due.min(self.next_recheck))
        });
        [look, self.lane.ahead.until(), self.resend_at].into_iter().flatten().min()
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
        watch::now(WriterPhase::Transaction);
        let mut outcome = Outcome::default();
        let asked = commands.len() as u64;
        let needs_sync = self.surroundings.options.sync_fetches || commands.iter().any(Command::writes);
        self.store.workers_wait = self.tasks.iter().any(|fetch| !fetch.slot.is_settled());
        let mut result = self.begin(needs_sync, self.surroundings.options.begin());
        for command in commands {
            match &result {
                Ok(()) => result = self.execute(command, &mut outcome),
                Err(error) => self.refuse(command, error, &mut outcome),
            }
        }
        let result = result.and_then(|()| self.serve_waiting(look, &mut outcome)).and_then(|()| {
            watch::now(WriterPhase::Committing);
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
                self.undo(error);
                outcome.effects = Effects::default();
            }
        }
        watch::now(WriterPhase::Telling);
        self.tell(outcome, result.as_ref().copied());
    }

    /// Undoes a transaction that failed with `error`. Where that was a failing sync, frames of the log that were committed
    /// before without a sync may be lost: the system has dropped their pages, no later sync writes them, and SQLite, which
    /// has committed them, does not either. What stands behind such a hole is lost with it. So everything is brought into
    /// the database and the log is begun anew; where that fails too, the writer ends.
    pub(in crate::writer) fn undo(&mut self, error: &rusqlite::Error) {
        let _ = self.store.execute("ROLLBACK");
        if !schema::is_failed_sync(error) {
            return;
        }
        if let Err(error) = schema::empty_log(self.store.connection()) {
            tracing::error!(%error, "after a failed sync the log could not be emptied; the shard takes nothing more");
            self.broken = true;
            self.lane.queue.close();
        }
    }

    fn begin(&mut self, needs_sync: bool, statement: &str) -> rusqlite::Result<()> {
        if !self.store.connection().is_autocommit() {
            // The last one could neither be committed nor undone.
            self.store.execute("ROLLBACK")?;
        }
        self.set_sync(needs_sync)?;
        self.store.execute(statement)
    }

    /// Answers a command that a broken transaction did not come to. An operation's caller learns it from the loss of
    /// its channel.
    fn refuse(&mut self, command: Command, error: &rusqlite::Error, outcome: &mut Outcome) {
        match command {
            Command::Operation(operation) | Command::Return(operation) => drop(operation),
            Command::Undelivered(relays) => self.put_off(relays),
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

    /// Runs `body` in a savepoint, which is kept if it returns true. `None` if it panicked, in which case everything of it
    /// is undone too.
    fn in_savepoint<T>(
        &mut self,
        outcome: &mut Outcome,
        body: impl FnOnce(&mut Store) -> (bool, T),
    ) -> rusqlite::Result<Option<T>> {
        self.store.execute("SAVEPOINT operation")?;
        // What a body leaves behind is in the savepoint and in the effects, and both are dropped.
        let ran = catch_unwind(AssertUnwindSafe(|| body(&mut self.store)));
        let effects = std::mem::take(&mut self.store.effects);
        if matches!(ran, Ok((true, _))) {
            outcome.effects.merge(effects);
        } else {
            // Fails where the error that stopped the body has undone the whole transaction.
            self.store.execute("ROLLBACK TO operation")?;
        }
        self.store.execute("RELEASE operation")?;
        Ok(ran.ok().map(|(_, value)| value))
    }

    fn execute(&mut self, command: Command, outcome: &mut Outcome) -> rusqlite::Result<()> {
        match command {
            Command::Operation(operation) | Command::Return(operation) => {
                let reply = self.in_savepoint(outcome, operation)?;
                // The caller of one that panicked learns it from the loss of its channel.
                outcome.replies.extend(reply);
            }
            Command::Undelivered(relays) => self.put_off(relays),
            Command::FetchTurn(fetch) => {
                if !self.offer_turn(&fetch, outcome)? && !fetch.slot.is_settled() {
                    if fetch.waits { self.turns.push_back(fetch) } else { outcome.nothing.push(nothing(fetch.slot)) }
                }
            }
            Command::FetchTask(fetch) => {
                if !self.offer_task(&fetch, outcome)? && !fetch.slot.is_settled() {
                    if fetch.waits { self.tasks.push_back(fetch) } else { outcome.nothing.push(nothing(fetch.slot)) }
                }
            }
            Command::Exclusive(_) => unreachable!("these are kept apart"),
        }
        Ok(())
    }

    /// Tells everybody what became of the batch.
    fn tell(&mut self, mut outcome: Outcome, committed: Committed<'_>) {
        // First of all: whoever hears of the commit may read, and fetch.
        self.make_known(&mut outcome.effects);
        // Workers before dispatchers: the work is theirs, and a turn that begins takes their CPU.
        let (turns, tasks): (Vec<_>, Vec<_>) =
            outcome.served.into_iter().partition(|served| matches!(served, Served::Turn(..)));
        for served in tasks {
            self.deliver(served, committed);
        }
        for reply in outcome.replies {
            reply(committed);
        }
        for served in turns {
            self.deliver(served, committed);
        }
        // Who gets nothing because somebody else has it hears of it after him.
        for nothing in outcome.nothing {
            nothing(committed);
        }
        self.act_on(outcome.effects);
    }

    /// Lets others see what was committed.
    fn make_known(&mut self, effects: &mut Effects) {
        self.store.keep_histories(std::mem::take(&mut effects.histories));
        for (want, task) in effects.ahead.drain(..) {
            self.in_hand += 1;
            self.lane.ahead.put(want, task);
        }
        if !effects.cancelled.is_empty() || !effects.removed.is_empty() {
            let gone = self.lane.ahead.forget(|task| {
                let key = &task.token.key;
                effects.removed.contains(&key.instance)
                    || effects.cancelled.iter().any(|cancelled| {
                        cancelled.instance == key.instance
                            && cancelled.execution_id as i64 == key.execution
                            && cancelled.activity_id as i64 == key.activity
                    })
            });
            self.in_hand = self.in_hand.saturating_sub(gone);
        }
    }

    fn act_on(&mut self, effects: Effects) {
        if self.surroundings.options.long_poll {
            self.due.extend(effects.due.into_iter().map(Reverse));
        }
        self.surroundings.completions.note(effects.started, &effects.removed, effects.finished);
        self.send(effects.relays);
    }

    fn deliver(&mut self, served: Served, committed: Committed<'_>) {
        if committed.is_ok() {
            self.lane.counts.fetches_served.fetch_add(1, Ordering::Relaxed);
            self.in_hand += 1;
        }
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
            self.lane.take_back(held);
        }
    }

    fn send(&self, relays: Vec<Relay>) {
        if !relays.is_empty()
            && let Some(lanes) = self.surroundings.lanes.upgrade()
        {
            relay::send(self.surroundings.shard, &lanes, relays);
        }
    }
}

fn nothing<T: Send + 'static>(slot: Arc<Slot<T>>) -> Reply {
    Box::new(move |_| slot.nothing())
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Usually it is closed, and no caller waits. Otherwise the thread panicked.
        self.lane.queue.close();
        let mut left = Vec::new();
        self.lane.queue.take(&mut left, usize::MAX, Some(Instant::now()));
        let (turns, tasks) =
            (self.turns.drain(..).map(Command::FetchTurn), self.tasks.drain(..).map(Command::FetchTask));
        for command in left.into_iter().chain(turns).chain(tasks) {
            match command {
                Command::FetchTurn(fetch) => fetch.slot.give_up(),
                Command::FetchTask(fetch) => fetch.slot.give_up(),
                // Their callers learn it from the loss of their channels.
                Command::Operation(_) | Command::Return(_) | Command::Undelivered(_) | Command::Exclusive(_) => {}
            }
        }
    }
}
