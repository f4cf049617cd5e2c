//! Group commit over an engine that has none: whoever finds nobody in the lead takes all writes that wait, carries them out
//! in one commit, answers them, and hands the lead to one of those that came meanwhile.
//!
//! It stands on the engine's public interface alone. What an engine gains by it is what it loses, under many threads, by
//! syncing each write for itself.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use docdb_engine::{DocumentStore, Operation, Reply, Request, Statistics, StoreError};

/// A store that can carry out many writes in one commit.
pub trait Batched: DocumentStore {
    /// How many logs it has: each has a leader of its own.
    fn logs(&self) -> usize;

    /// The log that writes to `database` go to.
    ///
    /// # Errors
    /// When there is no such database.
    fn log_of(&self, database: u16) -> Result<usize, StoreError>;

    /// Carries out writes of one log in their order and makes them durable together.
    ///
    /// # Errors
    /// When that failed; what became of the writes is then unknown.
    fn commit(&self, writes: &[Write]) -> Result<Vec<Reply>, StoreError>;
}

/// A write that waits.
pub struct Write {
    /// What to do.
    pub operation: Operation,
    /// In which database.
    pub database: u16,
    /// The document's id.
    pub id: u64,
    /// The document.
    pub document: Vec<u8>,
    answer: Arc<Answer>,
}

#[derive(Default)]
struct Answer {
    state: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default)]
enum Turn {
    #[default]
    Wait,
    /// Nobody leads any more: whoever gets this does.
    Lead,
    Done(Result<Reply, StoreError>),
}

#[derive(Default)]
struct Waiting {
    writes: Vec<Write>,
    led: bool,
    groups: u64,
    records: u64,
}

/// A store whose writes are committed in groups.
pub struct Grouped<S> {
    store: S,
    logs: Box<[Mutex<Waiting>]>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answer {
    fn give(&self, turn: Turn) {
        *lock(&self.state) = turn;
        self.changed.notify_one();
    }

    fn take(&self) -> Turn {
        let mut state = lock(&self.state);
        loop {
            match std::mem::take(&mut *state) {
                Turn::Wait => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                turn => return turn,
            }
        }
    }
}

/// The writes of a group that have no answer yet: where the leader panics, they are told so.
struct Group<'a> {
    log: &'a Mutex<Waiting>,
    writes: Vec<Write>,
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        let panicked = || Turn::Done(Err(StoreError::engine("committing a group", "the leader panicked")));
        self.writes.drain(..).for_each(|write| write.answer.give(panicked()));
        let mut waiting = lock(self.log);
        match waiting.writes.first() {
            Some(next) => next.answer.give(Turn::Lead),
            None => waiting.led = false,
        }
    }
}

impl<S: Batched> Grouped<S> {
    /// `store`, with its writes committed in groups.
    pub fn new(store: S) -> Self {
        let logs = (0..store.logs()).map(|_| Mutex::default()).collect();
        Self { store, logs }
    }

    fn write(&self, request: Request<'_>) -> Result<Reply, StoreError> {
        thread_local! {
            static ANSWER: Arc<Answer> = Arc::default();
        }
        docdb_engine::check(&request)?;
        let log = &self.logs[self.store.log_of(request.database)?];
        let Request { operation, database, id, document } = request;
        let answer = ANSWER.with(Arc::clone);
        let write = Write { operation, database, id, document: document.to_vec(), answer: Arc::clone(&answer) };
        let leads = {
            let mut waiting = lock(log);
            waiting.writes.push(write);
            !std::mem::replace(&mut waiting.led, true)
        };
        if leads {
            self.lead(log);
        }
        loop {
            match answer.take() {
                Turn::Lead => self.lead(log),
                Turn::Done(reply) => return reply,
                Turn::Wait => {}
            }
        }
    }

    /// Takes the group that waits to the disk; the leader's own write is in it.
    fn lead(&self, log: &Mutex<Waiting>) {
        let writes = {
            let mut waiting = lock(log);
            waiting.groups += 1;
            waiting.records += waiting.writes.len() as u64;
            std::mem::take(&mut waiting.writes)
        };
        let mut group = Group { log, writes };
        match self.store.commit(&group.writes) {
            Ok(replies) => {
                group.writes.drain(..).zip(replies).for_each(|(write, reply)| write.answer.give(Turn::Done(Ok(reply))));
            }
            Err(error) => {
                group.writes.drain(..).for_each(|write| write.answer.give(Turn::Done(Err(error.clone()))));
            }
        }
    }
}

impl<S: Batched> DocumentStore for Grouped<S> {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        if request.operation == Operation::Read {
            return self.store.apply(request, document);
        }
        document.clear();
        self.write(request)
    }

    fn load(&self, database: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        self.store.load(database, documents)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.store.settle()
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = self.store.statistics();
        let (mut groups, mut records) = (0, 0);
        for log in &self.logs {
            let waiting = lock(log);
            groups += waiting.groups;
            records += waiting.records;
        }
        statistics.counters.insert("batches", groups as f64);
        statistics.counters.insert("batch_records", records as f64);
        statistics
    }

    fn documents(&self) -> Result<u64, StoreError> {
        self.store.documents()
    }
}
