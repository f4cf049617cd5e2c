//! A thread that checkpoints a database beside its writer.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use uplift_instrument::{clock, timeline::EventLog};

use super::{PersistError, Place, database};
use crate::{counters::Counters, settings::CheckpointMode, shard::activity::Elsewhere};

/// How long a checkpoint waits for the writer before it gives up until it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub struct CheckpointThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: bool,
    running: bool,
    closed: bool,
    error: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct Checkpoints {
    shared: Arc<Shared>,
    connection: Connection,
    mode: CheckpointMode,
    counters: Arc<Counters>,
    events: EventLog,
    elsewhere: Elsewhere,
}

impl CheckpointThread {
    /// Opens a second connection to the database at `path` and starts the thread, which waits to be asked.
    ///
    /// # Errors
    /// What SQLite or the system says.
    pub fn start(place: &Place<'_>, path: &Path, mode: CheckpointMode) -> Result<Self, PersistError> {
        let connection =
            place.storage.connect(path).map_err(PersistError::sqlite("opening the checkpoint thread's connection"))?;
        connection.busy_timeout(PATIENCE).map_err(PersistError::sqlite("setting the busy timeout"))?;
        let shared = Arc::new(Shared::default());
        let checkpoints = Checkpoints {
            shared: Arc::clone(&shared),
            connection,
            mode,
            counters: Arc::clone(place.counters),
            events: place.events.clone(),
            elsewhere: place.elsewhere.clone(),
        };
        let thread = thread::Builder::new()
            .name(format!("checkpoint-{}", place.shard))
            .spawn(move || checkpoints.run())
            .map_err(PersistError::io("starting the checkpoint thread"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for a checkpoint; if one is under way, for another after it.
    ///
    /// # Errors
    /// What an earlier checkpoint met.
    pub fn ask(&self) -> Result<(), PersistError> {
        let mut state = self.shared.lock();
        state.asked = true;
        let error = state.error.clone();
        drop(state);
        self.shared.changed.notify_all();
        error.map_or(Ok(()), |error| Err(PersistError::Thread(error)))
    }

    /// Waits until no checkpoint is asked for or under way.
    ///
    /// # Errors
    /// What a checkpoint met.
    pub fn wait(&self) -> Result<(), PersistError> {
        let mut state = self.shared.lock();
        while (state.asked || state.running) && state.error.is_none() {
            state = self.shared.wait(state);
        }
        state.error.clone().map_or(Ok(()), |error| Err(PersistError::Thread(error)))
    }
}

impl Drop for CheckpointThread {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Checkpoints {
    fn run(self) {
        loop {
            let mut state = self.shared.lock();
            while !state.asked && !state.closed {
                state = self.shared.wait(state);
            }
            if state.closed {
                return;
            }
            (state.asked, state.running) = (false, true);
            drop(state);

            let start_ns = clock::now_ns();
            let outcome = database::checkpoint(&self.connection, self.mode);
            let end_ns = clock::now_ns();
            let mut state = self.shared.lock();
            state.running = false;
            match outcome {
                Ok(done) => {
                    self.counters.checkpoint(end_ns - start_ns, done.whole());
                    self.elsewhere.record(start_ns, end_ns);
                    let detail = format!("{}, in its own thread, {done}", self.mode.name());
                    self.events.record("checkpoint", start_ns, end_ns, detail);
                }
                Err(error) => state.error = Some(error.to_string()),
            }
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}
