//! Sources: where batches come from, one source for each partition.

mod generated;
mod postgres;

use arrow_array::RecordBatch;
use uplift_instrument::stage::StageClock;

pub use self::{
    generated::GeneratedSource,
    postgres::{PostgresSource, SourceTable},
};
use crate::error::Result;

/// The rows of one partition, in the order of their ids.
pub trait Source {
    /// The next batch; `None` after the last row.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn next(&mut self, clock: &mut StageClock) -> Result<Option<RecordBatch>>;
}

/// Which rows of the whole a partition has: those with `id % partitions == partition`.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// The partition.
    pub partition: u32,
    /// How many there are.
    pub partitions: u32,
    /// Rows of all partitions together.
    pub total_rows: u64,
}

impl Shard {
    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        let (partition, partitions) = (u64::from(self.partition), u64::from(self.partitions));
        (self.total_rows + partitions - 1 - partition) / partitions
    }

    /// The id of its row number `position`, from 0.
    pub fn id(&self, position: u64) -> u64 {
        u64::from(self.partition) + position * u64::from(self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row is in exactly one partition, for every small table and number of partitions.
    #[test]
    fn shards_cover_all_rows_once() {
        for total_rows in 0..40 {
            for partitions in 1..9 {
                let mut seen = vec![0; total_rows as usize];
                for partition in 0..partitions {
                    let shard = Shard { partition, partitions, total_rows };
                    for position in 0..shard.rows() {
                        seen[shard.id(position) as usize] += 1;
                    }
                }
                assert!(seen.iter().all(|times| *times == 1), "{total_rows} rows in {partitions} partitions");
            }
        }
    }
}
