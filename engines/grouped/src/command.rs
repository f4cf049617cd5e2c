//! What a writer can be asked to do.

use std::sync::mpsc;

use duroxide::providers::ProviderError;
use tokio::sync::oneshot;

use crate::{
    fetch::{TaskFetch, TurnFetch},
    store::{Relay, Store},
};

/// What became of the transaction.
pub type Committed<'a> = Result<(), &'a rusqlite::Error>;
/// Tells a caller how its operation went.
pub type Reply = Box<dyn FnOnce(Committed<'_>) + Send>;
/// Carries out an operation; false if it is to be undone.
pub type Operation = Box<dyn FnOnce(&mut Store) -> (bool, Reply) + Send>;
/// A step of somebody who has the file for himself.
pub type Step = Box<dyn FnOnce(&mut Store) + Send>;

/// What a writer is asked to do.
pub enum Command {
    Operation(Operation),
    /// An operation that brings back work that was in somebody's hands.
    Return(Operation),
    FetchTurn(TurnFetch),
    FetchTask(TaskFetch),
    /// Messages to another shard that were not delivered, to be sent again.
    Undelivered(Vec<Relay>),
    /// A transaction whose steps come from elsewhere.
    Exclusive(Exclusive),
}

impl Command {
    /// Whether somebody is told to rely on it.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Operation(_) | Self::Return(_))
    }

    /// Whether it brings back what was in somebody's hands.
    pub fn returns(&self) -> bool {
        matches!(self, Self::Return(_))
    }
}

/// Hands a transaction to somebody.
pub struct Exclusive {
    /// Told when the transaction has begun.
    pub begun: oneshot::Sender<Result<(), ProviderError>>,
    /// Steps until `None` commits. If the other end goes away, everything is undone.
    pub steps: mpsc::Receiver<Option<Step>>,
    /// Told when it is over.
    pub ended: oneshot::Sender<Result<(), ProviderError>>,
}

/// An operation, with where its answer will come.
pub fn operation<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce(&mut Store) -> Result<T, ProviderError> + Send + 'static,
) -> (Operation, oneshot::Receiver<Result<T, ProviderError>>) {
    let (sender, receiver) = oneshot::channel();
    let operation = move |store: &mut Store| {
        let result = run(store);
        let keep = result.is_ok();
        let reply = move |committed: Committed<'_>| {
            let result = match committed {
                Err(error) if keep => Err(ProviderError::retryable(name, error.to_string())),
                _ => result,
            };
            let _ = sender.send(result);
        };
        (keep, Box::new(reply) as Reply)
    };
    (Box::new(operation), receiver)
}
