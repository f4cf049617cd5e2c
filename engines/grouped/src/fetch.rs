//! A fetch that every shard may answer but only one does.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use duroxide::providers::ProviderError;
use tokio::sync::oneshot;

use crate::{
    error,
    store::{FetchedTask, FetchedTurn, Store, TaskFilter, VersionRange},
};

/// What a fetch comes to.
pub type Answer<T> = Result<Option<T>, ProviderError>;

/// Where the answer goes.
pub struct Slot<T> {
    claimed: AtomicBool,
    /// Shards that have not yet said that they have nothing; nobody counts where a fetch waits for work.
    undecided: AtomicUsize,
    reply: Mutex<Option<oneshot::Sender<Answer<T>>>>,
}

impl<T> Slot<T> {
    pub fn new(shards: usize) -> (Arc<Self>, oneshot::Receiver<Answer<T>>) {
        let (sender, receiver) = oneshot::channel();
        let slot = Self {
            claimed: AtomicBool::new(false),
            undecided: AtomicUsize::new(shards),
            reply: Mutex::new(Some(sender)),
        };
        (Arc::new(slot), receiver)
    }

    /// Whoever claims the slot answers it. True for one caller.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Whether there is no longer anything to do for it.
    pub fn is_settled(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// One shard has nothing. The last to say so answers.
    pub fn nothing(&self) {
        if self.undecided.fetch_sub(1, Ordering::AcqRel) == 1 && self.claim() {
            let _ = self.answer(Ok(None));
        }
    }

    /// Answers that nobody will look any more.
    pub fn give_up(&self)
    where
        T: Held,
    {
        if self.claim() {
            let _ = self.answer(Err(error::closed(T::OPERATION)));
        }
    }

    /// Sends the answer; gives it back if the fetch was abandoned.
    pub fn answer(&self, answer: Answer<T>) -> Result<(), Answer<T>> {
        match self.reply.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reply) => reply.send(answer),
            None => Err(answer),
        }
    }
}

/// A fetch that found something in the transaction that is under way.
pub enum Served {
    Turn(Arc<Slot<FetchedTurn>>, Answer<FetchedTurn>),
    Task(Arc<Slot<FetchedTask>>, Answer<FetchedTask>),
}

/// Work that can be given back as if it had not been fetched.
pub trait Held: Send + Sized + 'static {
    /// The duroxide call that fetches it.
    const OPERATION: &'static str;
    /// Whether it is a turn; otherwise it is an activity.
    const IS_TURN: bool;

    /// The instance that it belongs to.
    fn instance(&self) -> &str;

    /// The answer to a fetch of it, until that is committed.
    fn served(slot: Arc<Slot<Self>>, answer: Answer<Self>) -> Served;

    /// Gives it back.
    fn release(&self, store: &mut Store) -> Result<(), ProviderError>;
}

impl Held for FetchedTurn {
    const OPERATION: &'static str = "fetch_orchestration_item";
    const IS_TURN: bool = true;

    fn instance(&self) -> &str {
        &self.token.instance
    }

    fn served(slot: Arc<Slot<Self>>, answer: Answer<Self>) -> Served {
        Served::Turn(slot, answer)
    }

    fn release(&self, store: &mut Store) -> Result<(), ProviderError> {
        store.abandon_turn(&self.token, None, true)
    }
}

impl Held for FetchedTask {
    const OPERATION: &'static str = "fetch_work_item";
    const IS_TURN: bool = false;

    fn instance(&self) -> &str {
        &self.token.key.instance
    }

    fn served(slot: Arc<Slot<Self>>, answer: Answer<Self>) -> Served {
        Served::Task(slot, answer)
    }

    fn release(&self, store: &mut Store) -> Result<(), ProviderError> {
        store.abandon_task(&self.token, None, true)
    }
}

/// Somebody wants a turn.
#[derive(Clone)]
pub struct TurnFetch {
    pub slot: Arc<Slot<FetchedTurn>>,
    pub lock_for: Duration,
    pub versions: VersionRange,
    /// Whether it waits for work, or wants to know at once that there is none.
    pub waits: bool,
}

/// Somebody wants an activity.
#[derive(Clone)]
pub struct TaskFetch {
    pub slot: Arc<Slot<FetchedTask>>,
    pub lock_for: Duration,
    pub filter: TaskFilter,
    /// As for turns.
    pub waits: bool,
}
