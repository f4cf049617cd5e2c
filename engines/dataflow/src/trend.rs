//! Whether something takes longer as the data grow.

use std::sync::{Mutex, PoisonError};

/// Durations are summed up in parts of so many, which bounds the memory of a long life.
const PER_PART: u32 = 8;
/// The fewest parts of which the first and the last quarter are compared.
const PARTS_MIN: usize = 8;

/// Durations in the order in which they ended.
#[derive(Debug, Default)]
pub struct Trend(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    /// Means of whole parts, in nanoseconds.
    means: Vec<f32>,
    sum_ns: u64,
    count: u32,
}

impl Trend {
    /// Something took `took_ns`.
    pub fn add(&self, took_ns: u64) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.sum_ns += took_ns;
        parts.count += 1;
        if parts.count == PER_PART {
            let mean = parts.sum_ns as f32 / PER_PART as f32;
            parts.means.push(mean);
            (parts.sum_ns, parts.count) = (0, 0);
        }
    }

    /// How many times as long the last quarter took as the first one did, on average. Absent where there are too few.
    pub fn growth(&self) -> Option<f64> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quarter = parts.means.len() / 4;
        if parts.means.len() < PARTS_MIN {
            return None;
        }
        let sum = |means: &[f32]| means.iter().map(|&mean| f64::from(mean)).sum::<f64>();
        let first = sum(&parts.means[..quarter]);
        (first > 0.0).then(|| sum(&parts.means[parts.means.len() - quarter..]) / first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_over_the_first() {
        let trend = Trend::default();
        (0..63).for_each(|_| trend.add(10));
        assert_eq!(trend.growth(), None, "too few");
        trend.add(10);
        assert_eq!(trend.growth(), Some(1.0));
        (0..64).for_each(|_| trend.add(50));
        assert_eq!(trend.growth(), Some(5.0));
    }
}
