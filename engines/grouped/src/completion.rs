//! Who waits for which orchestration to end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// An orchestration that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The instance.
    pub instance: String,
    /// Whether it completed; otherwise it failed.
    pub completed: bool,
    /// Its output, or what the failure says.
    pub output: Option<String>,
}

/// Everybody who waits.
#[derive(Default)]
pub struct Completions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<String, Vec<oneshot::Sender<Finished>>>,
    /// Instances whose first start was committed since the database was opened and that have not ended: of these the
    /// end will be announced, so nobody needs to look whether it has come.
    live: HashSet<String>,
}

impl Completions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next end of `instance`. True if that is certainly still to come.
    pub fn wait(&self, instance: &str) -> (oneshot::Receiver<Finished>, bool) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.waiting.entry(instance.to_owned()).or_default().push(sender);
        (receiver, state.live.contains(instance))
    }

    /// Forgets those who no longer wait for `instance`.
    pub fn tidy(&self, instance: &str) {
        let mut state = self.state();
        if let Some(senders) = state.waiting.get_mut(instance) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                state.waiting.remove(instance);
            }
        }
    }

    /// Notes what a commit has brought: instances that started, were removed, ended.
    pub fn note(&self, started: Vec<String>, removed: &[String], finished: Vec<Finished>) {
        if started.is_empty() && removed.is_empty() && finished.is_empty() {
            return;
        }
        let mut state = self.state();
        state.live.extend(started);
        for instance in removed {
            state.live.remove(instance);
        }
        for finished in finished {
            state.live.remove(&finished.instance);
            for sender in state.waiting.remove(&finished.instance).unwrap_or_default() {
                let _ = sender.send(finished.clone());
            }
        }
    }
}
