//! What callers, relays and the writer of one shard share: its queue, its counts, and what was handed out ahead.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    ahead::Prefetched,
    command::{Command, Operation, operation},
    fetch::Held,
    queue::Queue,
};

/// Counts of one shard's work.
#[derive(Default)]
pub struct Counts {
    pub transactions: AtomicU64,
    pub operations: AtomicU64,
    pub fetches_served: AtomicU64,
    pub fetches_given_back: AtomicU64,
}

/// What the writers of one file share.
pub struct ShardQueue {
    pub queue: Queue<Command>,
    pub counts: Counts,
    /// Activities that were handed out before anybody asked.
    pub ahead: Prefetched,
}

impl ShardQueue {
    pub fn new() -> Self {
        Self { queue: Queue::new(), counts: Counts::default(), ahead: Prefetched::default() }
    }

    /// Takes back work whose fetch was abandoned.
    pub fn take_back<T: Held>(&self, held: T) {
        self.counts.fetches_given_back.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.push(Command::Return(released(held)));
    }
}

/// Gives back what was handed out.
pub fn released<T: Held>(held: T) -> Operation {
    operation(T::OPERATION, move |store| held.release(store)).0
}
