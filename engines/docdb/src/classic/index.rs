//! Where each document is: a sharded map in memory.

use std::sync::{PoisonError, RwLock};

use hashbrown::HashMap;

/// Where a document is in the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Offset of its record.
    pub offset: u64,
    /// Bytes of the document.
    pub length: u32,
}

/// A map from id to location; a shard holds the ids with the same remainder.
#[derive(Debug)]
pub struct Index {
    shards: Box<[RwLock<HashMap<u64, Location>>]>,
}

impl Index {
    /// An empty index of `shards` shards, at least one.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| RwLock::default()).collect() }
    }

    fn shard(&self, id: u64) -> &RwLock<HashMap<u64, Location>> {
        &self.shards[(id % self.shards.len() as u64) as usize]
    }

    /// Where `id` is.
    pub fn get(&self, id: u64) -> Option<Location> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Notes where `id` is.
    pub fn set(&self, id: u64, location: Location) {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).insert(id, location);
    }

    /// Forgets `id`.
    pub fn remove(&self, id: u64) {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// How many documents there are.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Calls `visit` with every id and its location, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(u64, Location)) {
        for shard in &self.shards {
            for (&id, &location) in shard.read().unwrap_or_else(PoisonError::into_inner).iter() {
                visit(id, location);
            }
        }
    }
}
