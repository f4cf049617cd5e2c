//! Fetches: those that ask, and those that wait until there is something for them.

use std::{cell::Cell, collections::VecDeque, sync::Arc};

use duroxide::providers::ProviderError;

use super::{Outcome, Writer};
use crate::{
    fetch::{Answer, Held, Slot, TaskFetch, TurnFetch},
    store::{Store, TaskFilter},
};

impl Writer {
    /// Looks for a turn for `fetch`; true if it has its answer.
    pub(super) fn offer_turn(&mut self, fetch: &TurnFetch, outcome: &mut Outcome) -> rusqlite::Result<bool> {
        self.offer(&fetch.slot, outcome, |store, claim| store.fetch_turn(fetch.lock_for, fetch.versions, claim))
    }

    /// Looks for an activity for `fetch`; true if it has its answer.
    pub(super) fn offer_task(&mut self, fetch: &TaskFetch, outcome: &mut Outcome) -> rusqlite::Result<bool> {
        self.offer(&fetch.slot, outcome, |store, claim| store.fetch_task(fetch.lock_for, &fetch.filter, claim))
    }

    fn offer<T: Held>(
        &mut self,
        slot: &Arc<Slot<T>>,
        outcome: &mut Outcome,
        fetch: impl FnOnce(&mut Store, &dyn Fn() -> bool) -> Answer<T>,
    ) -> rusqlite::Result<bool> {
        let claimed = Cell::new(false);
        let claim = || {
            claimed.set(slot.claim());
            claimed.get()
        };
        let looked = self.in_savepoint(outcome, |store| {
            let answer = fetch(store, &claim);
            (answer.is_ok(), answer)
        });
        let (answer, whole) = match looked {
            Ok(Some(answer)) => (answer, Ok(())),
            Ok(None) => (Err(ProviderError::permanent(T::OPERATION, "looking for work panicked")), Ok(())),
            // Nobody else answers a slot that was claimed here.
            Err(error) => (Err(crate::error::broken(&error)), Err(error)),
        };
        // An error is an answer too, for whom nobody else has one.
        let answered = claimed.get() || (answer.is_err() && slot.claim());
        if answered {
            outcome.served.push(T::served(Arc::clone(slot), answer));
        }
        whole.map(|()| answered)
    }

    /// Offers what has become available to those who wait, oldest first.
    pub(super) fn serve_waiting(&mut self, look: bool, outcome: &mut Outcome) -> rusqlite::Result<()> {
        if look || outcome.effects.turns {
            self.serve_turns(outcome)?;
        }
        if look || outcome.effects.tasks {
            self.serve_tasks(outcome)?;
        }
        Ok(())
    }

    fn serve_turns(&mut self, outcome: &mut Outcome) -> rusqlite::Result<()> {
        // Who asks what another was refused is refused too.
        let mut refused = Vec::new();
        let mut unserved = VecDeque::new();
        let mut result = Ok(());
        for fetch in std::mem::take(&mut self.turns) {
            if fetch.slot.is_settled() {
                continue;
            }
            let offered = match &result {
                Ok(()) if !refused.contains(&fetch.versions) => self.offer_turn(&fetch, outcome),
                _ => Ok(false),
            };
            match offered {
                Ok(true) => {}
                Ok(false) => {
                    refused.push(fetch.versions);
                    unserved.push_back(fetch);
                }
                // It has been told.
                Err(error) => result = Err(error),
            }
        }
        self.turns = unserved;
        result
    }

    fn serve_tasks(&mut self, outcome: &mut Outcome) -> rusqlite::Result<()> {
        let mut refused: Vec<TaskFilter> = Vec::new();
        let mut unserved = VecDeque::new();
        let mut any_due = true;
        let mut result = Ok(());
        for fetch in std::mem::take(&mut self.tasks) {
            if fetch.slot.is_settled() {
                continue;
            }
            let is_hopeless = result.is_err() || !any_due || refused.iter().any(|other| other.same(&fetch.filter));
            let offered = if is_hopeless { Ok(false) } else { self.offer_task(&fetch, outcome) };
            any_due &= is_hopeless || self.store.saw_due_task();
            match offered {
                Ok(true) => {}
                Ok(false) => {
                    if !is_hopeless {
                        refused.push(fetch.filter.clone());
                    }
                    unserved.push_back(fetch);
                }
                Err(error) => result = Err(error),
            }
        }
        self.tasks = unserved;
        result
    }
}
