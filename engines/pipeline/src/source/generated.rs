//! A source that makes its rows while they are read.

use arrow_array::RecordBatch;
use uplift_instrument::stage::StageClock;

use super::{Shard, Source};
use crate::{error::Result, generator::Generator, stages};

/// Rows of one partition, made from the seed.
#[derive(Debug)]
pub struct GeneratedSource<'a> {
    generator: &'a Generator,
    shard: Shard,
    position: u64,
    batch_rows: u64,
    /// The row after which it closes its end without a word.
    ends_at: Option<u64>,
    /// The row that has NULL where it must not.
    poisoned: Option<u64>,
}

impl<'a> GeneratedSource<'a> {
    /// The rows of `shard` from number `position` on, `batch_rows` at a time.
    pub fn new(generator: &'a Generator, shard: Shard, position: u64, batch_rows: u32) -> Self {
        Self { generator, shard, position, batch_rows: u64::from(batch_rows), ends_at: None, poisoned: None }
    }

    /// It ends after its row number `position`, or has NULL in that row.
    #[must_use]
    pub fn with_faults(mut self, ends_at: Option<u64>, poisoned: Option<u64>) -> Self {
        self.ends_at = ends_at;
        self.poisoned = poisoned.map(|position| self.shard.id(position));
        self
    }
}

impl Source for GeneratedSource<'_> {
    fn next(&mut self, clock: &mut StageClock) -> Result<Option<RecordBatch>> {
        let end = self.ends_at.unwrap_or(u64::MAX).min(self.shard.rows());
        let rows = end.saturating_sub(self.position).min(self.batch_rows);
        if rows == 0 {
            return Ok(None);
        }
        clock.process(stages::FETCH);
        let first = self.shard.id(self.position);
        self.position += rows;
        self.generator.batch(first, u64::from(self.shard.partitions), rows, self.poisoned).map(Some)
    }
}
