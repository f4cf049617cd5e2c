//! Bytes a second, as people write them: "100MB/s".

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const UNITS: [(&str, u64); 7] = [
    ("GB/s", 1_000_000_000),
    ("MB/s", 1_000_000),
    ("kB/s", 1_000),
    ("GiB/s", 1 << 30),
    ("MiB/s", 1 << 20),
    ("KiB/s", 1 << 10),
    ("B/s", 1),
];

/// Bytes a second, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// The number.
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!(
                "`{text}` is no bandwidth; write a whole number above 0 with a unit, such as \"100MB/s\" or \"125MiB/s\""
            )
        };
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
        let number: u64 = text.trim_end_matches(unit).trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(factor).filter(|bytes| *bytes > 0).map(Self).ok_or_else(wrong)
    }
}

/// In the largest unit that it is a whole number of; decimal units first.
impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.unwrap_or(("B/s", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bandwidth> for String {
    fn from(bandwidth: Bandwidth) -> Self {
        bandwidth.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_bytes_and_back() {
        for (text, bytes) in [("100MB/s", 100_000_000), ("125 MiB/s", 131_072_000), ("1B/s", 1), ("3GiB/s", 3 << 30)] {
            let bandwidth: Bandwidth = text.parse().unwrap();
            assert_eq!(bandwidth.bytes_per_second(), bytes, "{text}");
            assert_eq!(bandwidth.to_string().parse(), Ok(bandwidth), "{text}");
        }
        for wrong in ["100", "MB/s", "0MB/s", "-1MB/s", "1.5MB/s", "99999999999999GB/s", "100MB"] {
            assert!(wrong.parse::<Bandwidth>().unwrap_err().contains("100MB/s"), "{wrong}");
        }
    }
}
