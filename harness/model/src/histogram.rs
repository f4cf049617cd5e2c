//! A latency histogram: HdrHistogram with three significant digits from 1 ns to 1 h.

use std::{fmt, mem};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Deserializer as HdrReader, Serializer as _, V2DeflateSerializer};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::Error as _,
};

/// The largest value that is told apart, in nanoseconds (one hour); anything longer counts as this.
pub const HIGHEST_TRACKABLE_NS: u64 = 3_600_000_000_000;

/// Buckets of one doubling of values, for three significant digits.
const HALF: u64 = 1024;
/// Doublings that the library makes room for, so that the highest value has a bucket.
const DOUBLINGS: u32 = 31;
/// The first value that has no bucket.
const CAPACITY: u64 = (2 * HALF) << DOUBLINGS;

/// Values in nanoseconds, to three significant digits. On the wire: HdrHistogram V2, deflated, base64.
///
/// In memory only buckets that counted something stand: the flat array of the library takes 270 KB, whatever it holds,
/// and a long run has a hundred thousand histograms. Every figure is what the library gives for the same counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Numbers of the buckets, ascending.
    buckets: Vec<u16>,
    /// What each counted; never 0.
    counts: Vec<u64>,
    total: u64,
}

/// The bucket of a value below [`CAPACITY`].
fn bucket_of(value: u64) -> u16 {
    let shift = (54 - value.leading_zeros().min(53)).saturating_sub(1);
    (u64::from(shift) * HALF + (value >> shift)) as u16
}

/// The smallest value of a bucket, and how many values it has.
fn range_of(bucket: u16) -> (u64, u64) {
    let bucket = u64::from(bucket);
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) << shift, 1 << shift)
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `value_ns` `count` times.
    pub fn record_n(&mut self, value_ns: u64, count: u64) {
        if count > 0 {
            let value = if value_ns < CAPACITY { value_ns } else { HIGHEST_TRACKABLE_NS };
            self.add(bucket_of(value), count);
        }
    }

    fn add(&mut self, bucket: u16, count: u64) {
        self.total = self.total.saturating_add(count);
        // Most come in order.
        if self.buckets.last().is_none_or(|last| *last < bucket) {
            self.buckets.push(bucket);
            self.counts.push(count);
            return;
        }
        match self.buckets.binary_search(&bucket) {
            Ok(at) => self.counts[at] = self.counts[at].saturating_add(count),
            Err(at) => {
                self.buckets.insert(at, bucket);
                self.counts.insert(at, count);
            }
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        let own = mem::take(self);
        let (mut left, mut right) = (own.pairs().peekable(), other.pairs().peekable());
        while let Some((bucket, count)) = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a.0 <= b.0 => left.next(),
            (Some(_), None) => left.next(),
            _ => right.next(),
        } {
            self.add(bucket, count);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (u16, u64)> {
        self.buckets.iter().copied().zip(self.counts.iter().copied())
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The value at quantile `q` in `0..=1`, in nanoseconds; `None` where nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let wanted = ((q.min(1.0) * self.total as f64).ceil() as u64).max(1);
        let mut so_far = 0u64;
        let found = self.pairs().find(|(_, count)| {
            so_far = so_far.saturating_add(*count);
            so_far >= wanted
        });
        let (low, width) = range_of(found.map(|(bucket, _)| bucket).or_else(|| self.buckets.last().copied())?);
        Some(if q == 0.0 { low } else { low + width - 1 })
    }

    /// The largest value, in nanoseconds (to three digits).
    pub fn max(&self) -> Option<u64> {
        self.buckets.last().map(|bucket| range_of(*bucket)).map(|(low, width)| low + width - 1)
    }

    /// The smallest value, in nanoseconds (to three digits).
    pub fn min(&self) -> Option<u64> {
        self.buckets.first().map(|bucket| range_of(*bucket).0)
    }

    /// The mean, in nanoseconds.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| {
            self.pairs().fold(0.0, |sum, (bucket, count)| {
                let (low, width) = range_of(bucket);
                sum + (low + width / 2) as f64 * count as f64 / self.total as f64
            })
        })
    }

    /// As the library's own histogram, for its iterators and encoders.
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_TRACKABLE_NS, 3)
            .expect("the bounds are constants that the library accepts");
        for (bucket, count) in self.pairs() {
            hdr.saturating_record_n(range_of(bucket).0, count);
        }
        hdr
    }

    /// The base64 text of the V2 deflated form, as other HdrHistogram libraries read it.
    pub fn to_base64(&self) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.to_hdr(), &mut bytes)
            .map_err(|error| format!("could not encode a histogram: {error}"))?;
        Ok(STANDARD.encode(bytes))
    }

    /// Reads what [`Histogram::to_base64`] wrote, or another library with three digits.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram is not base64: {error}"))?;
        let read: hdrhistogram::Histogram<u64> = HdrReader::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("could not decode a histogram: {error}"))?;
        let mut histogram = Self::default();
        for step in read.iter_recorded() {
            let value = read.lowest_equivalent(step.value_iterated_to());
            if value >= CAPACITY {
                return Err(format!("a histogram holds a value above one hour: {value} ns"));
            }
            histogram.record_n(value, step.count_at_value());
        }
        // Trials are kept by the thousand.
        histogram.buckets.shrink_to_fit();
        histogram.counts.shrink_to_fit();
        Ok(histogram)
    }

    /// Bytes that it takes in memory beside itself.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<u16>() + self.counts.capacity() * size_of::<u64>()
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64().map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// A histogram as it stands on the wire: the text, or pairs of nanoseconds and how often, in any order, for agents in
/// languages that have no HdrHistogram.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Histogram;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a histogram: base64 of HdrHistogram V2, or a list of [nanoseconds, count]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Histogram, E> {
        Histogram::from_base64(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Histogram, A::Error> {
        let mut histogram = Histogram::new();
        while let Some((value_ns, count)) = pairs.next_element::<(u64, u64)>()? {
            histogram.record_n(value_ns, count);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_well() {
        let read: Histogram = serde_json::from_str("[[2000, 3], [1000, 1], [2000, 1]]").unwrap();
        assert_eq!((read.count(), read.min(), read.quantile(0.5)), (5, Some(1000), Some(2000)));
        assert!(serde_json::from_str::<Histogram>("[[-1, 3]]").is_err());
        assert!(serde_json::from_str::<Histogram>("7").unwrap_err().to_string().contains("[nanoseconds, count]"));
    }

    #[test]
    fn survives_the_wire_and_merges() {
        let mut a = Histogram::new();
        a.record_n(1_234_567, 3);
        a.record_n(HIGHEST_TRACKABLE_NS * 2, 1);
        let json = serde_json::to_string(&a).unwrap();
        let mut b: Histogram = serde_json::from_str(&json).unwrap();
        assert_eq!(a, b);
        b.merge(&a);
        assert_eq!(b.count(), 8);
        assert_eq!(Histogram::new().quantile(0.5), None);
        assert!(serde_json::from_str::<Histogram>("\"@@\"").is_err());
    }

    /// Every bucket is the library's, to the last one that it has.
    #[test]
    fn buckets_are_those_of_the_library() {
        let hdr = Histogram::new().to_hdr();
        for near in (0..42).map(|power| 1u64 << power).chain([HIGHEST_TRACKABLE_NS, CAPACITY - 1, 2047, 2048, 2049]) {
            for value in [near.saturating_sub(1), near, (near + 1).min(CAPACITY - 1)] {
                let (low, width) = range_of(bucket_of(value));
                assert_eq!((low, width), (hdr.lowest_equivalent(value), hdr.equivalent_range(value)), "{value}");
            }
        }
        for bucket in 0..=bucket_of(CAPACITY - 1) {
            assert_eq!(bucket_of(range_of(bucket).0), bucket);
        }
    }

    #[test]
    fn figures_are_those_of_the_library() {
        let mut hdr = Histogram::new().to_hdr();
        let (mut first, mut second) = (Histogram::new(), Histogram::new());
        let mut value = 1u64;
        for step in 0..4_000u64 {
            // Any mixture of small and large, in no order.
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (ns, count) = (value >> (20 + step % 44), 1 + step % 3);
            hdr.saturating_record_n(ns, count);
            if step % 2 == 0 { first.record_n(ns, count) } else { second.record_n(ns, count) }
        }
        first.merge(&second);
        assert_eq!(first.count(), hdr.len());
        assert_eq!((first.min(), first.max()), (Some(hdr.min()), Some(hdr.max())));
        assert_eq!(first.mean(), Some(hdr.mean()));
        for q in [0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(first.quantile(q), Some(hdr.value_at_quantile(q)), "{q}");
        }
        assert_eq!(Histogram::from_base64(&first.to_base64().unwrap()).unwrap(), first);
    }

    /// What it takes follows from what it holds, not from what it might hold.
    #[test]
    fn a_histogram_of_little_is_small() {
        let mut histogram = Histogram::new();
        for value in 0..200 {
            histogram.record_n(1_000_000 + value * 10_000, 5);
        }
        let read = Histogram::from_base64(&histogram.to_base64().unwrap()).unwrap();
        assert!(read.heap_bytes() <= 200 * 10, "{} bytes", read.heap_bytes());
    }
}
