//! A latency histogram: HdrHistogram with three significant digits from 1 ns to 1 h.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Deserializer as HdrReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// The largest value that is told apart, in nanoseconds (one hour); anything longer counts as this.
pub const HIGHEST_TRACKABLE_NS: u64 = 3_600_000_000_000;

/// Values in nanoseconds, to three significant digits. At the wire: HdrHistogram V2, deflated, base64.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(
            hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_TRACKABLE_NS, 3)
                .expect("the bounds are constants that the library accepts"),
        )
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `value_ns` `count` times.
    pub fn record_n(&mut self, value_ns: u64, count: u64) {
        self.0.saturating_record_n(value_ns, count);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at quantile `q` in `0..=1`, in nanoseconds; `None` where nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(q))
    }

    /// The largest value, in nanoseconds (to three digits).
    pub fn max(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    /// The smallest value, in nanoseconds (to three digits).
    pub fn min(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.min())
    }

    /// The mean, in nanoseconds.
    pub fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean())
    }

    /// The histogram of the library, for its iterators and encoders.
    pub fn as_hdr(&self) -> &hdrhistogram::Histogram<u64> {
        &self.0
    }

    /// The base64 text of the V2 deflated form, as other HdrHistogram libraries read it.
    pub fn to_base64(&self) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
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
        histogram.0.add(&read).map_err(|error| format!("a histogram holds a value above one hour: {error}"))?;
        Ok(histogram)
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64().map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_base64(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
