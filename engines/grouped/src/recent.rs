//! Histories of instances that are running, as they were last committed.
//!
//! duroxide reads the history of an instance for every turn and for every activity that it carries out. What a turn
//! adds passes through here anyway, so it is kept until the instance ends. Nobody else writes to the files, so what is
//! kept stays true: the writer takes an entry out before it changes the history and puts it back once that is
//! committed; in between the file has the answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use duroxide::Event;

/// The size of all histories of a shard as JSON, in bytes, from which on others have to go.
const BYTES_MAX: usize = 32 << 20;

/// The histories of one shard.
#[derive(Default)]
pub struct Recent {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    histories: HashMap<String, History>,
    bytes: usize,
}

/// The whole history of an instance's newest execution.
#[derive(Clone)]
pub struct History {
    pub execution: i64,
    pub events: Arc<Vec<Event>>,
    bytes: usize,
}

impl History {
    /// The history that `before` becomes when `new` is added to `execution`; `None` if that is not the whole of it.
    /// `bytes` is the size of `new` as JSON.
    pub fn extended(before: Option<Self>, execution: i64, new: Vec<Event>, bytes: usize) -> Option<Self> {
        let first = new.first().map(|event| event.event_id);
        match before {
            Some(before) if before.execution == execution => {
                let next = before.events.last().map_or(1, |event| event.event_id + 1);
                if first.is_some_and(|first| first != next) {
                    return None;
                }
                let mut history = before;
                Arc::make_mut(&mut history.events).extend(new);
                history.bytes += bytes;
                Some(history)
            }
            Some(before) if before.execution > execution => None,
            _ if first == Some(1) => Some(Self { execution, events: Arc::new(new), bytes }),
            _ => None,
        }
    }
}

impl Recent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, instance: &str) -> Option<History> {
        self.state().histories.get(instance).cloned()
    }

    pub fn take(&self, instance: &str) -> Option<History> {
        self.state().take(instance)
    }

    /// Keeps what a commit has made of some histories.
    pub fn keep(&self, histories: Vec<(String, History)>) {
        if histories.is_empty() {
            return;
        }
        let mut state = self.state();
        for (instance, history) in histories {
            state.take(&instance);
            state.bytes += history.bytes;
            state.histories.insert(instance, history);
        }
        while state.bytes > BYTES_MAX {
            let Some(any) = state.histories.keys().next().cloned() else { break };
            state.take(&any);
        }
    }

    pub fn clear(&self) {
        *self.state() = State::default();
    }
}

impl State {
    fn take(&mut self, instance: &str) -> Option<History> {
        let history = self.histories.remove(instance)?;
        self.bytes -= history.bytes;
        Some(history)
    }
}

#[cfg(test)]
mod tests {
    use duroxide::EventKind;

    use super::*;

    fn events(ids: std::ops::Range<u64>) -> Vec<Event> {
        ids.map(|id| Event::with_event_id(id, "i", 1, None, EventKind::KeyValuesCleared)).collect()
    }

    #[test]
    fn only_whole_histories_are_kept() {
        let start = |execution| History::extended(None, execution, events(1..4), 30);
        assert!(History::extended(None, 1, events(2..4), 20).is_none());
        let more = History::extended(start(1), 1, events(4..6), 20).unwrap();
        assert_eq!((more.events.len(), more.bytes), (5, 50));
        assert!(History::extended(start(1), 1, events(5..6), 10).is_none(), "one is missing");
        assert_eq!(History::extended(start(1), 1, vec![], 0).unwrap().events.len(), 3);
        assert_eq!(History::extended(start(1), 2, events(1..2), 10).unwrap().execution, 2);
        assert!(History::extended(start(2), 1, events(4..5), 10).is_none(), "an old execution");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::default();
        for number in 0..100 {
            let history = History::extended(None, 1, events(1..2), BYTES_MAX / 10).unwrap();
            recent.keep(vec![(number.to_string(), history)]);
        }
        assert!((1..=10).contains(&recent.state().histories.len()));
        assert!(recent.state().bytes <= BYTES_MAX);
        recent.clear();
        assert!(recent.get("99").is_none());
    }
}
