//! A service-level objective: `response_p99 < 50ms, success_rate > 99.9%`.
//!
//! Every term is an absolute bound of a metric, in a unit that fits it. Changes against a baseline are
//! [`Bound`](crate::scenario::Bound)s.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Unit, metric_names, scenario::Comparison};

/// What a service promises: all terms together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// As it was written.
    pub text: String,
    /// Its terms, in the order in which they were written.
    pub terms: Vec<Term>,
}

/// One bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// The metric.
    pub metric: String,
    /// How it stands to the limit.
    #[serde(serialize_with = "symbol", deserialize_with = "of_symbol")]
    pub comparison: Comparison,
    /// The limit, in the metric's unit.
    pub limit: f64,
    /// That unit.
    pub unit: Unit,
    /// The term as it was written.
    pub text: String,
}

/// Why a text is no objective.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// Nothing is written.
    #[error("an objective has at least one term, such as `response_p99 < 50ms`")]
    Empty,
    /// A term without a comparison.
    #[error("`{0}` has no comparison: write a metric, one of < <= > >=, and a limit, such as `response_p99 < 50ms`")]
    NoComparison(String),
    /// A comparison that bounds nothing.
    #[error("`{0}`: an objective is a bound; write <, <=, > or >=")]
    NotABound(String),
    /// A metric that the scenario does not have.
    #[error("the scenario has no metric `{0}`")]
    UnknownMetric(String),
    /// A limit of the wrong kind.
    #[error("`{term}`: {wanted}")]
    Limit {
        /// The term.
        term: String,
        /// What the metric's unit asks for.
        wanted: &'static str,
    },
    /// A share that no share can have.
    #[error("`{0}` cannot hold: a share lies between 0 % and 100 %")]
    NoShare(String),
    /// Two terms that say the same kind of thing about one metric.
    #[error("`{0}` and `{1}` bound the same metric from the same side: write one of them")]
    Twice(String, String),
    /// Two terms that exclude each other.
    #[error("`{0}` and `{1}` cannot hold together")]
    Contradiction(String, String),
}

impl Objective {
    /// Reads an objective; `unit_of` knows the metrics.
    ///
    /// # Errors
    /// The term that is wrong, and the rule.
    pub fn parse(text: &str, unit_of: &dyn Fn(&str) -> Option<Unit>) -> Result<Self, ObjectiveError> {
        let written: Vec<&str> = text.split(',').map(str::trim).collect();
        if written.iter().all(|term| term.is_empty()) {
            return Err(ObjectiveError::Empty);
        }
        let mut terms: Vec<Term> = Vec::new();
        for one in written {
            let term = Term::parse(one, unit_of)?;
            for other in terms.iter().filter(|other| other.metric == term.metric) {
                other.agrees_with(&term)?;
            }
            terms.push(term);
        }
        Ok(Self { text: terms.iter().map(|term| term.text.as_str()).collect::<Vec<_>>().join(", "), terms })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    /// Whether `value` is within the bound.
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.limit)
    }

    /// Whether it bounds from above.
    pub const fn is_upper(&self) -> bool {
        matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual)
    }

    fn parse(text: &str, unit_of: &dyn Fn(&str) -> Option<Unit>) -> Result<Self, ObjectiveError> {
        let no_comparison = || ObjectiveError::NoComparison(text.to_owned());
        let at = text.find(['<', '>', '=', '≤', '≥']).ok_or_else(no_comparison)?;
        let (metric, rest) = text.split_at(at);
        let metric = metric_names::current(metric.trim());
        if metric.is_empty() {
            return Err(no_comparison());
        }
        const SYMBOLS: [(&str, Comparison); 6] = [
            ("<=", Comparison::LessOrEqual),
            ("≤", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("≥", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let (comparison, limit) = SYMBOLS
            .into_iter()
            .find_map(|(symbol, comparison)| Some((comparison, rest.strip_prefix(symbol)?.trim())))
            .ok_or_else(|| ObjectiveError::NotABound(text.to_owned()))?;
        let unit = unit_of(metric).ok_or_else(|| ObjectiveError::UnknownMetric(metric.to_owned()))?;
        let value = limit_of(limit, unit).map_err(|wanted| ObjectiveError::Limit { term: text.to_owned(), wanted })?;
        let share = unit == Unit::Ratio;
        let term = Self {
            metric: metric.to_owned(),
            comparison,
            limit: value,
            unit,
            text: format!("{metric} {} {limit}", comparison.symbol()),
        };
        // No share is below 0 or above 1, whatever the rate.
        if share && (!(0.0..=1.0).contains(&value) || !(term.holds(0.0) || term.holds(1.0))) {
            return Err(ObjectiveError::NoShare(term.text));
        }
        Ok(term)
    }

    fn agrees_with(&self, other: &Self) -> Result<(), ObjectiveError> {
        let both = || (self.text.clone(), other.text.clone());
        if self.is_upper() == other.is_upper() {
            let (first, second) = both();
            return Err(ObjectiveError::Twice(first, second));
        }
        let (upper, lower) = if self.is_upper() { (self, other) } else { (other, self) };
        let touches = upper.limit == lower.limit && upper.holds(lower.limit) && lower.holds(upper.limit);
        if lower.limit < upper.limit || touches {
            return Ok(());
        }
        let (first, second) = both();
        Err(ObjectiveError::Contradiction(first, second))
    }
}

/// The limit in the metric's unit, or what is wanted.
fn limit_of(text: &str, unit: Unit) -> Result<f64, &'static str> {
    const TIMES: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9)];
    const SIZES: [(&str, f64); 4] = [("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("B", 1.0)];
    match unit {
        Unit::Nanoseconds | Unit::NanosecondsPerOp => {
            let wanted = "write a duration with its unit, such as `50ms`, `1.5ms` or `800us`";
            scaled(text.strip_suffix("/op").unwrap_or(text), &TIMES, wanted)
        }
        Unit::Seconds => scaled(text, &TIMES, "write a duration with its unit, such as `2s`").map(|ns| ns / 1e9),
        Unit::Bytes | Unit::BytesPerOp | Unit::BytesPerSecond => {
            let text = text.strip_suffix("/op").or_else(|| text.strip_suffix("/s")).unwrap_or(text);
            scaled(text, &SIZES, "write a size with its unit, such as `64MiB` or `200B`")
        }
        Unit::Ratio => {
            let wanted = "write a share, such as `99.9%` or `0.999`";
            match text.strip_suffix('%') {
                // 99.9 % is 0.999, and not the 0.9990000000000001 that a division makes of it.
                Some(number) => number_of(number, wanted).map(|number| (number * 1e10).round() / 1e12),
                None => match number_of(text, wanted)? {
                    share if share > 1.0 => Err(wanted),
                    share => Ok(share),
                },
            }
        }
        Unit::OpsPerSecond => {
            number_of(text.strip_suffix("op/s").unwrap_or(text), "write operations a second, such as `5000`")
        }
        Unit::CountPerSecond | Unit::CountPerOp | Unit::Count | Unit::Cores => {
            let text = [" cores", "/op", "/s"].iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text);
            number_of(text, "write a number without a unit")
        }
    }
}

fn scaled(text: &str, units: &[(&str, f64)], wanted: &'static str) -> Result<f64, &'static str> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).ok_or(wanted)?;
    Ok(number_of(number, wanted)? * factor)
}

fn number_of(text: &str, wanted: &'static str) -> Result<f64, &'static str> {
    match text.trim().replace('_', "").parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(wanted),
    }
}

fn symbol<S: Serializer>(comparison: &Comparison, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(comparison.symbol())
}

fn of_symbol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Comparison, D::Error> {
    let text = String::deserialize(deserializer)?;
    [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual]
        .into_iter()
        .find(|comparison| comparison.symbol() == text)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no comparison of an objective")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn parse(text: &str) -> Result<Objective, ObjectiveError> {
        Objective::parse(text, &|name| registry::find(name).map(|entry| entry.unit))
    }

    #[test]
    fn terms_are_read_in_the_units_of_their_metrics() {
        let objective = parse("response_p99 < 50ms, success_rate > 99.9%").unwrap();
        assert_eq!(objective.terms[0].limit, 50e6);
        assert_eq!(objective.terms[1].limit, 0.999);
        assert!(objective.terms[0].holds(49.9e6) && !objective.terms[0].holds(50e6));
        assert!(objective.terms[1].holds(0.9991) && !objective.terms[1].holds(0.999));
        for (text, limit) in [
            ("response_p50<=1.5ms", 1.5e6),
            ("response_p50 ≤ 800 µs", 800e3),
            ("cpu_per_op < 20us/op", 20e3),
            ("throughput >= 5_000 op/s", 5000.0),
            ("success_rate >= 0.5", 0.5),
            ("success_rate >= 1", 1.0),
            ("storage_written_per_op < 4KiB/op", 4096.0),
            ("syncs_per_write <= 1", 1.0),
            ("fsyncs_per_write <= 2 /op", 2.0),
        ] {
            assert_eq!(parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).terms[0].limit, limit, "{text}");
        }
        assert_eq!(parse("fsyncs_per_write < 1").unwrap().terms[0].metric, "syncs_per_write", "the old name");
        assert!(parse("throughput > 10, throughput < 20").is_ok(), "from both sides");
        assert!(parse("no_op_rate >= 0, no_op_rate <= 0").is_ok(), "a single value is left");
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let objective = parse("response_p99 < 50ms, success_rate >= 99.9%").unwrap();
        let text = serde_json::to_string(&objective).unwrap();
        assert_eq!(serde_json::from_str::<Objective>(&text).unwrap(), objective);
        assert!(text.contains(r#""comparison":"<""#), "{text}");
        assert!(serde_json::from_str::<Objective>(&text.replace(r#""<""#, r#""~""#)).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_term() {
        for (text, wanted) in [
            ("", "at least one term"),
            (" , ", "at least one term"),
            ("response_p99", "`response_p99` has no comparison"),
            ("response_p99 < 5ms,", "`` has no comparison"),
            ("< 5ms", "`< 5ms` has no comparison"),
            ("response_p99 = 5ms", "an objective is a bound"),
            ("response_p99 == 5ms", "an objective is a bound"),
            ("respond_p99 < 5ms", "no metric `respond_p99`"),
            ("response_p99 < 50", "write a duration with its unit"),
            ("response_p99 < fast", "write a duration with its unit"),
            ("response_p99 < -5ms", "write a duration with its unit"),
            ("response_p99 < infs", "write a duration with its unit"),
            ("success_rate > 99.9", "write a share"),
            ("success_rate > 101%", "cannot hold"),
            ("success_rate > 100%", "cannot hold"),
            ("success_rate < 0", "cannot hold"),
            ("throughput > 5ms", "write operations a second"),
            ("rss_peak < 5", "write a size"),
            ("response_p99 < 5ms, response_p99 <= 6ms", "from the same side"),
            ("throughput > 10, throughput < 5", "cannot hold together"),
            ("throughput > 10, throughput <= 10", "cannot hold together"),
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("`{text}` was accepted")).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
