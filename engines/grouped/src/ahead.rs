//! Activities that were handed out ahead of the fetch that takes them.
//!
//! A worker that has acknowledged an activity asks for the next one at once. So the transaction that acknowledges locks
//! the next one too, and it waits here, committed, for that fetch, which then costs neither a transaction nor a wait for
//! the writer. Whoever asks for the same may take it; what nobody takes goes back to the queue as it was.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use duroxide::providers::TagFilter;

use crate::store::FetchedTask;

/// How long an activity waits here. Its lock is that much longer.
pub const WAIT_MAX: Duration = Duration::from_millis(20);
/// After so many in a row that nobody took, one acknowledgement in 2^6 tries again.
const VAIN_MAX: u32 = 6;
/// Different requests that are told apart. Workers of one runtime ask the same.
const WANTS_MAX: usize = 16;

/// What a worker asks for each time. Sessions do not matter: what has one is not handed out ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    pub tags: TagFilter,
    pub lock_for: Duration,
}

/// What workers have asked for, by numbers that fit into their tokens.
#[derive(Default)]
pub struct Wants(Mutex<Vec<FetchRequest>>);

impl Wants {
    fn wants(&self) -> MutexGuard<'_, Vec<FetchRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of `want`; `None` if there are too many others.
    pub fn number(&self, want: &FetchRequest) -> Option<usize> {
        let mut wants = self.wants();
        let found = wants.iter().position(|other| other == want);
        if found.is_none() && wants.len() < WANTS_MAX {
            wants.push(want.clone());
            return Some(wants.len() - 1);
        }
        found
    }

    /// What has this number.
    pub fn get(&self, number: usize) -> Option<FetchRequest> {
        self.wants().get(number).cloned()
    }
}

/// Activities of one shard that wait for a fetch.
#[derive(Default)]
pub struct Prefetched {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Activities in a row that nobody took.
    vain: u32,
    /// How many acknowledgements are to go without one.
    without: u32,
}

struct Waiting {
    want: FetchRequest,
    task: FetchedTask,
    until: Instant,
}

impl Prefetched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the acknowledgement that asks should hand out the next activity.
    pub fn is_worthwhile(&self) -> bool {
        let mut state = self.state();
        let now = state.without == 0;
        state.without = state.without.saturating_sub(1);
        now
    }

    /// Lets `task` wait for a fetch of `want`.
    pub fn put(&self, want: FetchRequest, task: FetchedTask) {
        self.state().waiting.push(Waiting { want, task, until: Instant::now() + WAIT_MAX });
    }

    /// The oldest activity that was handed out for such a fetch.
    pub fn take(&self, want: &FetchRequest) -> Option<FetchedTask> {
        let mut state = self.state();
        let found = state.waiting.iter().position(|waiting| waiting.want == *want)?;
        (state.vain, state.without) = (0, 0);
        Some(state.waiting.remove(found).task)
    }

    /// When the first of them has waited long enough.
    pub fn until(&self) -> Option<Instant> {
        self.state().waiting.first().map(|waiting| waiting.until)
    }

    /// Those that nobody took by `now`, to be given back.
    pub fn expired(&self, now: Instant) -> Vec<FetchedTask> {
        let mut state = self.state();
        let count = state.waiting.iter().take_while(|waiting| waiting.until <= now).count();
        if count > 0 {
            state.vain = (state.vain + 1).min(VAIN_MAX);
            state.without = (1 << state.vain) - 1;
        }
        state.waiting.drain(..count).map(|waiting| waiting.task).collect()
    }

    /// All of them, to be given back.
    pub fn drain(&self) -> Vec<FetchedTask> {
        self.state().waiting.drain(..).map(|waiting| waiting.task).collect()
    }

    /// Drops those that are `gone` from the file. Returns how many there were.
    pub fn forget(&self, gone: impl Fn(&FetchedTask) -> bool) -> usize {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| !gone(&waiting.task));
        before - state.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{TaskKey, TaskToken};

    fn want(millis: u64) -> FetchRequest {
        FetchRequest { tags: TagFilter::DefaultOnly, lock_for: Duration::from_millis(millis) }
    }

    fn task(number: i64) -> FetchedTask {
        let key = TaskKey { instance: "i".to_owned(), execution: 1, activity: number, number };
        FetchedTask { token: TaskToken { nonce: number, want: None, key }, item: String::new(), attempts: 1 }
    }

    #[test]
    fn only_the_same_request_takes_and_the_oldest_first() {
        let ahead = Prefetched::default();
        for number in 1..=3 {
            ahead.put(want(if number == 1 { 7 } else { 9 }), task(number));
        }
        let taken = |millis| ahead.take(&want(millis)).map(|task| task.token.nonce);
        assert_eq!([taken(8), taken(9), taken(9), taken(9), taken(7)], [None, Some(2), Some(3), None, Some(1)]);
        assert!(ahead.until().is_none());
    }

    #[test]
    fn what_nobody_takes_comes_ever_more_seldom() {
        let ahead = Prefetched::default();
        let mut tries = 0;
        for number in 0..200 {
            if ahead.is_worthwhile() {
                tries += 1;
                ahead.put(want(1), task(number));
                assert_eq!(ahead.expired(Instant::now() + WAIT_MAX).len(), 1);
            }
        }
        assert!((5..10).contains(&tries), "{tries}");
        ahead.put(want(1), task(1));
        assert!(ahead.take(&want(1)).is_some());
        assert!(ahead.is_worthwhile() && ahead.is_worthwhile(), "one that was taken makes up for all");
    }

    #[test]
    fn requests_are_told_apart_up_to_a_number() {
        let wants = Wants::default();
        for number in 0..WANTS_MAX {
            assert_eq!(wants.number(&want(number as u64)), Some(number));
        }
        assert_eq!(wants.number(&want(99)), None);
        assert_eq!(wants.number(&want(3)), Some(3));
        assert_eq!((wants.get(3), wants.get(WANTS_MAX)), (Some(want(3)), None));
    }
}
