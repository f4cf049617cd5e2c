//! A fetch from the caller's side, from asking the shards to having the answer.

use std::{sync::Arc, time::Duration};

use duroxide::providers::ProviderError;
use tokio::sync::oneshot;

use crate::{
    command::Command,
    database::Database,
    error,
    fetch::{Answer, Held, Slot},
    shard::ShardNumber,
    store::read,
};

/// A fetch under way. Dropped before its answer has been taken, it sees to it that no work is lost with it.
struct Pending<'a, T: Held> {
    database: &'a Database,
    slot: Arc<Slot<T>>,
    answer: oneshot::Receiver<Answer<T>>,
    taken: bool,
}

/// Fetches from whichever shard has work.
pub async fn fetch<T: Held>(
    database: &Database,
    wait: Option<Duration>,
    command: impl Fn(Arc<Slot<T>>) -> Command + Send + Sync,
) -> Answer<T> {
    let shards: Vec<ShardNumber> = (0..database.shards()).collect();
    if wait.is_some() || shards.len() == 1 {
        return Pending::start(database, &shards, command)?.finish(wait).await;
    }
    // Nobody waits, so the shards can be asked in the order of what they have had longest.
    let oldest = database.read_all(T::OPERATION, |connection| read::oldest_due(connection, T::IS_TURN)).await?;
    let mut shards: Vec<_> =
        oldest.into_iter().enumerate().filter_map(|(shard, due_at)| Some((due_at?, shard))).collect();
    shards.sort_unstable();
    for (_, shard) in shards {
        if let Some(held) = Pending::start(database, &[shard], &command)?.finish(None).await? {
            return Ok(Some(held));
        }
    }
    Ok(None)
}

impl<'a, T: Held> Pending<'a, T> {
    fn start(
        database: &'a Database,
        shards: &[ShardNumber],
        command: impl Fn(Arc<Slot<T>>) -> Command,
    ) -> Result<Self, ProviderError> {
        let (slot, answer) = Slot::new(shards.len());
        let pending = Self { database, slot, answer, taken: false };
        for shard in shards {
            database.push(*shard, T::OPERATION, command(Arc::clone(&pending.slot)))?;
        }
        Ok(pending)
    }

    async fn finish(mut self, wait: Option<Duration>) -> Answer<T> {
        if let Some(wait) = wait {
            match tokio::time::timeout(wait, &mut self.answer).await {
                Ok(answer) => return self.take(answer),
                // Nobody found anything, and now nobody will.
                Err(_) if self.slot.claim() => return self.take(Ok(Ok(None))),
                // It was claimed this moment: the answer comes with the commit that is under way.
                Err(_) => {}
            }
        }
        let answer = (&mut self.answer).await;
        self.take(answer)
    }

    fn take(&mut self, answer: Result<Answer<T>, oneshot::error::RecvError>) -> Answer<T> {
        self.taken = true;
        answer.unwrap_or_else(|_| Err(error::closed(T::OPERATION)))
    }
}

impl<T: Held> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        if self.taken || self.slot.claim() {
            return;
        }
        // Somebody has claimed it. From here on a writer finds nobody to give the answer to and takes it back itself.
        self.answer.close();
        if let Ok(Ok(Some(held))) = self.answer.try_recv() {
            self.database.take_back(held);
        }
    }
}
