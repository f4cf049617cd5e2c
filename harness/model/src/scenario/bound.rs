//! A rule for a metric: `">= 0.999"`, `"<= +10%"`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// How a value is checked against a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
}

impl Comparison {
    /// As it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
        }
    }

    /// Whether `value` stands so to `limit`.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::LessOrEqual => value <= limit,
            Self::Greater => value > limit,
            Self::GreaterOrEqual => value >= limit,
            Self::Equal => value == limit,
        }
    }
}

/// A rule: absolute (`">= 0.999"`) or relative to the baseline (`"<= +10%"`).
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// How.
    pub comparison: Comparison,
    /// The limit: a value of the metric, or a change as a ratio − 1.
    pub limit: f64,
    /// Whether the limit is a change against the baseline.
    pub relative: bool,
}

impl Bound {
    /// Whether `value` (a change, where the rule is relative) obeys the rule.
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.limit)
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let complain = || {
            format!(
                "`{text}` is not a rule: write a comparison (<, <=, >, >=, ==) and a number, such as \">= 0.999\", or a change against the baseline with its sign and a %, such as \"<= +10%\""
            )
        };
        let trimmed = text.trim();
        let (comparison, rest) = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find_map(|(symbol, comparison)| trimmed.strip_prefix(symbol).map(|rest| (comparison, rest.trim())))
        .ok_or_else(complain)?;
        let (number, relative) = match rest.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (rest, false),
        };
        let value: f64 = number.parse().map_err(|_| complain())?;
        if !value.is_finite() {
            return Err(complain());
        }
        Ok(Self { comparison, limit: if relative { value / 100.0 } else { value }, relative })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.relative {
            // 12 digits hide the binary error of "10 / 100 * 100" and keep all that anybody writes.
            let percent = (self.limit * 100.0 * 1e9).round() / 1e9;
            write!(f, "{} {percent:+}%", self.comparison.symbol())
        } else {
            write!(f, "{} {}", self.comparison.symbol(), self.limit)
        }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a rule such as \">= 0.999\" or \"<= +10%\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rules_and_writes_them_back() {
        for text in [">= 0.999", "<= +10%", ">= -3%", "== 1", "< +0%", "<= +2.5%"] {
            let bound: Bound = text.parse().unwrap();
            assert_eq!(bound.to_string().parse::<Bound>().unwrap(), bound, "{text}");
        }
        assert!(">= -3%".parse::<Bound>().unwrap().holds(-0.02));
        assert!(!"<= +10%".parse::<Bound>().unwrap().holds(0.11));
        for text in ["10%", ">=", ">= x", "=> 3", ">= inf", ""] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }
}
