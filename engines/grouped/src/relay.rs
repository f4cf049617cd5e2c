//! Messages from one shard to another: out of the outbox of one file into the inbox of another, once.
//!
//! The sender's transaction puts a message into its outbox. The receiver's delivers it, with a note of its number. Then
//! the sender forgets the message, and at last the receiver the number. Whichever of these steps a crash prevents is
//! made up for when the database is opened.

use std::sync::Arc;

use crate::{
    command::{Command, Committed, Operation, Reply, operation},
    shard::ShardNumber,
    shard_queue::ShardQueue,
    store::{Relay, Store},
};

/// Sends messages to the shards that they are for, and forgets each when its shard has it.
pub fn send(from: ShardNumber, lanes: &[Arc<ShardQueue>], relays: Vec<Relay>) {
    let home = &lanes[from];
    let mut by_shard: Vec<Vec<Relay>> = (0..lanes.len()).map(|_| Vec::new()).collect();
    for relay in relays {
        by_shard[relay.destination].push(relay);
    }
    for (lane, relays) in lanes.iter().zip(by_shard) {
        if relays.is_empty() {
            continue;
        }
        let mut offer = Offer { home: Arc::clone(home), relays };
        let away = Arc::clone(lane);
        let run = move |store: &mut Store| {
            let received = store.receive(from, &offer.relays);
            let keep = received.is_ok();
            let reply = move |committed: Committed<'_>| match (&received, committed) {
                (Ok(()), Ok(())) => {
                    let relays = std::mem::take(&mut offer.relays);
                    let _ = offer.home.queue.push(Command::Operation(settle(from, relays, away)));
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "messages to another shard must be sent again");
                }
            };
            (keep, Box::new(reply) as Reply)
        };
        let _ = lane.queue.push(Command::Operation(Box::new(run)));
    }
}

/// Messages that are offered to another shard. Whatever becomes of the offer (it fails, it panics, its transaction breaks
/// before it, the shard is closed), they go back to where they came from unless they were delivered.
struct Offer {
    home: Arc<ShardQueue>,
    relays: Vec<Relay>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.relays.is_empty() {
            let _ = self.home.queue.push(Command::Undelivered(std::mem::take(&mut self.relays)));
        }
    }
}

/// What the shard that sent `relays` does when they are delivered: it forgets them, then has that forgotten where they
/// went. If either fails, opening the database makes up for it.
fn settle(from: ShardNumber, relays: Vec<Relay>, away: Arc<ShardQueue>) -> Operation {
    Box::new(move |store: &mut Store| {
        let numbers: Vec<i64> = relays.iter().map(|relay| relay.number).collect();
        let keep = store.forget(&numbers).is_ok();
        let reply = move |committed: Committed<'_>| {
            if keep && committed.is_ok() {
                let (forget, _) = operation("forget_received", move |store| {
                    store.forget_received(from, &numbers).map_err(crate::error::sqlite("forget_received"))
                });
                let _ = away.queue.push(Command::Operation(forget));
            }
        };
        (keep, Box::new(reply) as Reply)
    })
}
