//! What all shards count together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{row::Table, shard::inbox::Group, trend::Trend};

/// Counters that only grow. Only votes are counted; the articles of the set-up are not.
#[derive(Debug, Default)]
pub struct Counters {
    votes: AtomicU64,
    packets: AtomicU64,
    merged_packets: AtomicU64,
    /// Checkpoints that were carried out.
    pub checkpoints: AtomicU64,
    /// Checkpoints that could not copy every page, because somebody was in the way.
    pub checkpoints_partial: AtomicU64,
    /// Time in them, in nanoseconds.
    pub checkpoint_ns: AtomicU64,
    /// How long checkpoints took, over the life of the engine.
    pub checkpoint_trend: Trend,
    /// How long it took to make a merged packet of votes durable, over the life of the engine.
    pub persist_trend: Trend,
}

impl Counters {
    /// A merged packet was acknowledged, `took_ns` after the engine began to make it durable.
    pub fn merged(&self, group: &Group, took_ns: u64) {
        if group.table == Table::Vote {
            self.persist_trend.add(took_ns);
            self.votes.fetch_add(u64::from(group.rows), Ordering::Relaxed);
            self.packets.fetch_add(u64::from(group.packets), Ordering::Relaxed);
            self.merged_packets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A checkpoint took `took_ns`; `whole` where every page of the write-ahead log was copied.
    pub fn checkpoint(&self, took_ns: u64, whole: bool) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.checkpoint_ns.fetch_add(took_ns, Ordering::Relaxed);
        self.checkpoint_trend.add(took_ns);
        if !whole {
            self.checkpoints_partial.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of them, by name.
    pub fn all(&self) -> [(&'static str, u64); 6] {
        [
            ("votes", &self.votes),
            ("packets", &self.packets),
            ("merged_packets", &self.merged_packets),
            ("checkpoints", &self.checkpoints),
            ("checkpoints_partial", &self.checkpoints_partial),
            ("checkpoint_ns", &self.checkpoint_ns),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }

    /// Votes that were acknowledged.
    pub fn votes(&self) -> u64 {
        self.votes.load(Ordering::Relaxed)
    }
}
