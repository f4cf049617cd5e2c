//! Counting latencies without allocation: a flat array of an HdrHistogram's buckets.
//!
//! A [`LatencyCounts`] has the buckets of an HdrHistogram with three significant digits and the range of them that was
//! touched, so that emptying it at the end of a turn costs what was recorded and not what could have been. It becomes
//! a [`Histogram`] when it leaves the thread.

use uplift_model::{Histogram, histogram::HIGHEST_TRACKABLE_NS};

/// Values below this have a bucket each; above, every power of two has half as many.
const SUB_BUCKETS: u64 = 2048;
const SUB_BUCKET_HALF_BITS: u32 = 10;

/// The bucket of a value: the layout of HdrHistogram for three significant digits and a smallest value of 1.
#[inline]
pub const fn bucket_of(value_ns: u64) -> usize {
    let value = if value_ns > HIGHEST_TRACKABLE_NS { HIGHEST_TRACKABLE_NS } else { value_ns };
    if value < SUB_BUCKETS {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BUCKET_HALF_BITS;
    ((shift as usize) << SUB_BUCKET_HALF_BITS) + (value >> shift) as usize
}

/// The smallest value of a bucket.
pub const fn lowest_value_of(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS as usize {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BUCKET_HALF_BITS) - 1;
    ((bucket - (shift << SUB_BUCKET_HALF_BITS)) as u64) << shift
}

/// How many buckets there are.
pub const BUCKETS: usize = bucket_of(HIGHEST_TRACKABLE_NS) + 1;

/// Counts of latencies, in buckets. Not shared between threads.
#[derive(Clone, Debug)]
pub struct LatencyCounts {
    counts: Vec<u64>,
    /// Buckets `low..=high` may be touched; `low > high` where none is.
    low: usize,
    high: usize,
}

impl Default for LatencyCounts {
    fn default() -> Self {
        // Zeroed memory comes lazily from the system: only the buckets that are used cost memory.
        Self { counts: vec![0; BUCKETS], low: usize::MAX, high: 0 }
    }
}

impl LatencyCounts {
    /// Counts `value_ns` `n` times.
    #[inline]
    pub fn record_n(&mut self, value_ns: u64, n: u64) {
        let bucket = bucket_of(value_ns);
        self.counts[bucket] += n;
        if bucket < self.low {
            self.low = bucket;
        }
        if bucket > self.high {
            self.high = bucket;
        }
    }

    /// Adds another's counts and empties it.
    pub fn absorb(&mut self, other: &mut Self) {
        if other.low > other.high {
            return;
        }
        let range = other.low..=other.high;
        for (mine, theirs) in self.counts[range.clone()].iter_mut().zip(&mut other.counts[range]) {
            *mine += std::mem::take(theirs);
        }
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        (other.low, other.high) = (usize::MAX, 0);
    }

    /// The buckets that hold something, smallest first, and empties them.
    pub fn take(&mut self) -> SparseCounts {
        let mut sparse = SparseCounts::default();
        if self.low <= self.high {
            for bucket in self.low..=self.high {
                let count = std::mem::take(&mut self.counts[bucket]);
                if count > 0 {
                    sparse.0.push((bucket as u32, count));
                }
            }
        }
        (self.low, self.high) = (usize::MAX, 0);
        sparse
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if self.low <= self.high {
            self.counts[self.low..=self.high].fill(0);
        }
        (self.low, self.high) = (usize::MAX, 0);
    }
}

/// Counts of one turn, small enough to be kept for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseCounts(Vec<(u32, u64)>);

impl SparseCounts {
    /// Adds them to a histogram.
    pub fn add_to(&self, histogram: &mut Histogram) {
        for &(bucket, count) in &self.0 {
            histogram.record_n(lowest_value_of(bucket as usize), count);
        }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buckets are those of the library, so that nothing is rounded twice.
    #[test]
    fn buckets_agree_with_hdrhistogram() {
        let hdr = Histogram::new();
        let mut value = 1u64;
        while value < HIGHEST_TRACKABLE_NS {
            for near in [value - 1, value, value + 1, value + value / 3] {
                let low = lowest_value_of(bucket_of(near));
                let capped = near.min(HIGHEST_TRACKABLE_NS);
                assert_eq!(low, hdr.to_hdr().lowest_equivalent(capped), "{near}");
            }
            value = value * 17 / 16 + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn absorbing_and_taking_keep_every_count() {
        let (mut a, mut b) = (LatencyCounts::default(), LatencyCounts::default());
        a.record_n(5, 1);
        b.record_n(5_000_000, 2);
        b.record_n(u64::MAX, 1);
        a.absorb(&mut b);
        assert_eq!(b.take().count(), 0);
        let sparse = a.take();
        assert_eq!(sparse.count(), 4);
        let mut histogram = Histogram::new();
        sparse.add_to(&mut histogram);
        assert_eq!(histogram.count(), 4);
        assert_eq!(a.take().count(), 0);
    }
}
