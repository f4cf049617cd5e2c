//! The thread that reads a file, so that reading never waits for a commit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use duroxide::providers::ProviderError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::Queue;

/// Something to read.
pub type Reading = Box<dyn FnOnce(&Connection) + Send>;

/// Readings taken out of the queue at once.
const BATCH: usize = 64;

/// Reads until the queue is closed and empty.
pub fn run(connection: Connection, queue: &Queue<Reading>) {
    let mut batch = Vec::new();
    while queue.take(&mut batch, BATCH, None) {
        for reading in batch.drain(..) {
            // One that panics drops the channel to its caller, who learns it from that.
            let _ = catch_unwind(AssertUnwindSafe(|| reading(&connection)));
        }
    }
}

/// A reading with where its answer will come.
pub fn reading<T: Send + 'static>(
    read: impl FnOnce(&Connection) -> Result<T, ProviderError> + Send + 'static,
) -> (Reading, oneshot::Receiver<Result<T, ProviderError>>) {
    let (sender, receiver) = oneshot::channel();
    let reading = move |connection: &Connection| {
        let _ = sender.send(read(connection));
    };
    (Box::new(reading), receiver)
}
