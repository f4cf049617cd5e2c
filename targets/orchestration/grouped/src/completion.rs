//! Who waits for which orchestration to end.

use std::{
    collections::HashMap,
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
    waiting: Mutex<HashMap<String, Vec<oneshot::Sender<Finished>>>>,
}

impl Completions {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Vec<oneshot::Sender<Finished>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next end of `instance`.
    pub fn wait(&self, instance: &str) -> oneshot::Receiver<Finished> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().entry(instance.to_owned()).or_default().push(sender);
        receiver
    }

    /// Forgets those who no longer wait for `instance`.
    pub fn tidy(&self, instance: &str) {
        let mut waiting = self.waiting();
        if let Some(senders) = waiting.get_mut(instance) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(instance);
            }
        }
    }

    /// Tells those who wait.
    pub fn announce(&self, finished: Vec<Finished>) {
        for finished in finished {
            let senders = self.waiting().remove(&finished.instance).unwrap_or_default();
            for sender in senders {
                let _ = sender.send(finished.clone());
            }
        }
    }
}
