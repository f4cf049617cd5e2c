//! Transactions whose steps come from elsewhere.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
};

use duroxide::providers::ProviderError;

use super::Writer;
use crate::command::Exclusive;

impl Writer {
    /// Lets somebody else say what a transaction does.
    pub(super) fn lend(&mut self, exclusive: Exclusive) {
        let failed = |error: rusqlite::Error| ProviderError::retryable("exclusive", error.to_string());
        if let Err(error) = self.begin(true, "BEGIN IMMEDIATE") {
            let _ = exclusive.begun.send(Err(failed(error)));
            return;
        }
        let _ = exclusive.begun.send(Ok(()));
        let result = loop {
            match exclusive.steps.recv() {
                // Whoever sent a step that panics learns it from the loss of its channel.
                Ok(Some(step)) => {
                    if catch_unwind(AssertUnwindSafe(|| step(&mut self.store))).is_err() {
                        break Err(ProviderError::permanent("exclusive", "a step panicked"));
                    }
                }
                Ok(None) => {
                    break self.store.execute("COMMIT").map_err(|error| {
                        self.undo(&error);
                        failed(error)
                    });
                }
                Err(mpsc::RecvError) => break Err(ProviderError::retryable("exclusive", "given up")),
            }
        };
        let mut effects = std::mem::take(&mut self.store.effects);
        if result.is_ok() {
            self.make_known(&mut effects);
            self.act_on(effects);
        } else {
            let _ = self.store.execute("ROLLBACK");
        }
        let _ = exclusive.ended.send(result);
    }
}
