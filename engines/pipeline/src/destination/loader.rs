//! The policy between batches that arrive and a writer: when to flush, when to commit.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow_array::RecordBatch;
use uplift_instrument::stage::StageClock;

use super::Writer;
use crate::{checksum::value_bytes, error::Result};

/// How much is handed over at once.
#[derive(Clone, Copy, Debug)]
pub enum FlushSize {
    /// So many bytes of values; 0: [`adaptive_flush_bytes`].
    Bytes(u64),
    /// So many rows.
    Rows(u64),
}

/// When to flush and when to commit.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When to flush.
    pub flush: FlushSize,
    /// Bytes between commits; 0: one commit at the end.
    pub checkpoint_interval_bytes: u64,
}

/// What loaders did, summed over all of a trial.
#[derive(Debug, Default)]
pub struct Counts {
    /// Flushes.
    pub flushes: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Bytes of values that were handed over.
    pub value_bytes: AtomicU64,
    /// Rows that were handed over.
    pub rows: AtomicU64,
}

/// The size of a flush for rows of this mean size: as upstream chooses it.
pub fn adaptive_flush_bytes(mean_row_bytes: u64) -> u64 {
    match mean_row_bytes {
        0..8_192 => 1 << 20,
        8_192..65_536 => 4 << 20,
        _ => 16 << 20,
    }
}

/// Collects batches for one writer.
pub struct Loader<'a> {
    writer: Box<dyn Writer>,
    policy: Policy,
    counts: &'a Counts,
    pending: Vec<RecordBatch>,
    pending_bytes: u64,
    pending_rows: u64,
    uncommitted_bytes: u64,
    seen_rows: u64,
    seen_bytes: u64,
    positions: BTreeMap<u32, u64>,
}

impl<'a> Loader<'a> {
    /// A loader in front of `writer`, whose partitions have come as far as `positions` says.
    pub fn new(writer: Box<dyn Writer>, policy: Policy, counts: &'a Counts, positions: BTreeMap<u32, u64>) -> Self {
        Self {
            writer,
            policy,
            counts,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_rows: 0,
            uncommitted_bytes: 0,
            seen_rows: 0,
            seen_bytes: 0,
            positions,
        }
    }

    /// How many source rows of `partition` have arrived.
    pub fn position(&self, partition: u32) -> u64 {
        self.positions.get(&partition).copied().unwrap_or(0)
    }

    /// Takes a batch of `partition`, with which `source_rows` rows of the source are done.
    ///
    /// # Errors
    /// What the writer says.
    pub fn push(
        &mut self,
        partition: u32,
        source_rows: u64,
        batch: &RecordBatch,
        clock: &mut StageClock,
    ) -> Result<()> {
        let bytes = value_bytes(batch);
        self.seen_rows += batch.num_rows() as u64;
        self.seen_bytes += bytes;
        let rows = batch.num_rows();
        let mean_bytes = (bytes / rows.max(1) as u64).max(1);
        let flush_bytes = match self.policy.flush {
            FlushSize::Bytes(0) => adaptive_flush_bytes(self.seen_bytes / self.seen_rows.max(1)),
            FlushSize::Bytes(bytes) => bytes,
            FlushSize::Rows(_) => u64::MAX,
        };
        let flush_rows = match self.policy.flush {
            FlushSize::Bytes(_) => u64::MAX,
            FlushSize::Rows(rows) => rows,
        };
        let mut at = 0;
        while at < rows {
            let room_bytes = flush_bytes.saturating_sub(self.pending_bytes).div_ceil(mean_bytes);
            let room = room_bytes.min(flush_rows - self.pending_rows).max(1);
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(rows - at);
            self.pending.push(if take == rows { batch.clone() } else { batch.slice(at, take) });
            self.pending_bytes += take as u64 * mean_bytes;
            self.pending_rows += take as u64;
            at += take;
            if self.pending_bytes >= flush_bytes || self.pending_rows >= flush_rows {
                self.flush(clock)?;
            }
        }
        *self.positions.entry(partition).or_insert(0) += source_rows;
        // Commits fall between batches: a position must say exactly which rows are in.
        let interval = self.policy.checkpoint_interval_bytes;
        if interval > 0 && self.uncommitted_bytes + self.pending_bytes >= interval {
            self.commit(clock)?;
        }
        Ok(())
    }

    fn flush(&mut self, clock: &mut StageClock) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.writer.flush(&self.pending, clock)?;
        self.counts.flushes.fetch_add(1, Ordering::Relaxed);
        self.counts.rows.fetch_add(self.pending_rows, Ordering::Relaxed);
        self.counts.value_bytes.fetch_add(self.pending_bytes, Ordering::Relaxed);
        self.uncommitted_bytes += self.pending_bytes;
        self.pending.clear();
        self.pending_bytes = 0;
        self.pending_rows = 0;
        Ok(())
    }

    fn commit(&mut self, clock: &mut StageClock) -> Result<()> {
        self.flush(clock)?;
        self.writer.commit(&self.positions, clock)?;
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.uncommitted_bytes = 0;
        Ok(())
    }

    /// Flushes and commits what is left, and closes the writer.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self, clock: &mut StageClock) -> Result<()> {
        self.commit(clock)?;
        self.writer.close(clock)
    }
}
