//! The queue between the callers and a file's writer: many put in, the writer takes out in batches.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// A queue of `T`.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Takers that sleep. Nobody is woken who is not one of them.
    sleepers: usize,
    /// How many items make it worth waking a taker.
    wanted: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        let state = State { items: VecDeque::new(), sleepers: 0, wanted: 1, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in; gives it back if the queue is closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.state();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let wake = state.sleepers > 0 && state.items.len() >= state.wanted;
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// No more items go in; what is in can be taken out.
    pub fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_all();
    }

    /// Moves up to `most` items into `batch`. Waits for the first until `until`. False once the queue is closed and
    /// empty.
    pub fn take(&self, batch: &mut Vec<T>, most: usize, until: Option<Instant>) -> bool {
        self.take_when(batch, most, 1, until)
    }

    /// Waits until `wanted` items are there, or `until`, then moves up to `most` into `batch`.
    pub fn take_when(&self, batch: &mut Vec<T>, most: usize, wanted: usize, until: Option<Instant>) -> bool {
        let mut state = self.state();
        while state.items.len() < wanted && !state.closed {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state.sleepers += 1;
            state.wanted = wanted;
            state = match left {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.sleepers -= 1;
            state.wanted = 1;
        }
        let count = state.items.len().min(most);
        batch.extend(state.items.drain(..count));
        !(state.closed && state.items.is_empty() && count == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn batches_are_bounded_and_in_order() {
        let queue = Queue::new();
        for number in 0..5 {
            queue.push(number).unwrap();
        }
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 3, None));
        assert_eq!(batch, [0, 1, 2]);
        queue.close();
        assert_eq!(queue.push(9), Err(9));
        assert!(queue.take(&mut batch, 3, None));
        assert_eq!(batch, [0, 1, 2, 3, 4]);
        assert!(!queue.take(&mut batch, 3, None));
    }

    #[test]
    fn a_taker_that_wants_more_gets_what_is_there_when_its_time_is_over() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        let mut batch = Vec::new();
        assert!(queue.take_when(&mut batch, 10, 2, Some(Instant::now() + Duration::from_millis(5))));
        assert_eq!(batch, [1]);
    }
}
