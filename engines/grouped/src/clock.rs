//! The time of day in the unit of the tables: microseconds since the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

/// A duration in microseconds, at most as much as can be added to any time of this age.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
}

/// A time in milliseconds since the epoch, in microseconds.
pub fn from_millis(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// A time in microseconds, in whole milliseconds.
pub fn to_millis(micros: i64) -> u64 {
    u64::try_from(micros / 1000).unwrap_or(0)
}
