//! Durations as people write them: `"25ms"`, `"1s"`, `"5m"`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest duration that is accepted: nothing here takes a year, and sums of longer ones would not fit a clock.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration that is a string with a unit on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// Whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Whole seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// In nanoseconds, saturating at `u64::MAX` (584 years).
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl From<HumanDuration> for Duration {
    fn from(value: HumanDuration) -> Self {
        value.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = humantime::parse_duration(text).map_err(|error| {
            format!(
                "`{text}` is not a duration: {error}; write a number with a unit, such as \"25ms\", \"1s\" or \"5m\""
            )
        })?;
        if duration > DURATION_MAX {
            return Err(format!("`{text}` is longer than a year; write a shorter duration"));
        }
        Ok(Self(duration))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes with a unit, such as \"25ms\", \"1s\" or \"5m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a duration with a unit, such as \"25ms\", \"1s\" or \"5m\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["25ms", "1s", "1m 30s", "500us"] {
            let parsed: HumanDuration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<HumanDuration>().unwrap(), parsed);
        }
        for long in ["500000000000y", "366d"] {
            assert!(long.parse::<HumanDuration>().unwrap_err().contains("longer than a year"), "{long}");
        }
        assert!("25".parse::<HumanDuration>().unwrap_err().contains("with a unit"));
    }
}
