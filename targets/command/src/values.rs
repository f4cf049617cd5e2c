//! Values that a program prints: found by a regular expression, a JSON pointer, or an extractor for a known tool.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, SettingsError, Unit};

use crate::extract::Extractor;

/// Where a value is found, and what it is. Exactly one of `regex`, `json` and `from` says where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueRule {
    /// A regular expression whose first group is the value; each match is one value.
    #[serde(default)]
    pub regex: Option<String>,
    /// A JSON pointer (RFC 6901) into what is printed, one document or one a line; `*` stands for every element.
    #[serde(default)]
    pub json: Option<String>,
    /// A tool that is known: "pgbench.tps", "fio.write_iops", "go-test.BenchmarkName", …
    #[serde(default)]
    pub from: Option<String>,
    /// The unit of the printed value: "ms", "op/s", "MiB", … With `from` it is known.
    #[serde(default)]
    pub unit: String,
    /// Which direction is better: "higher" or "lower". With `from` it is known.
    #[serde(default)]
    pub better: Option<ValueDirection>,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueDirection {
    /// More.
    Higher,
    /// Less.
    Lower,
}

impl From<ValueDirection> for Better {
    fn from(direction: ValueDirection) -> Self {
        match direction {
            ValueDirection::Higher => Self::Higher,
            ValueDirection::Lower => Self::Lower,
        }
    }
}

/// Units that may be written: name, unit of the record, and what one of them is in it.
const UNITS: [(&str, Unit, f64); 26] = [
    ("ns", Unit::Nanoseconds, 1.0),
    ("us", Unit::Nanoseconds, 1e3),
    ("µs", Unit::Nanoseconds, 1e3),
    ("ms", Unit::Nanoseconds, 1e6),
    ("s", Unit::Nanoseconds, 1e9),
    ("ns/op", Unit::NanosecondsPerOp, 1.0),
    ("op/s", Unit::OpsPerSecond, 1.0),
    ("1/s", Unit::CountPerSecond, 1.0),
    ("/s", Unit::CountPerSecond, 1.0),
    ("B", Unit::Bytes, 1.0),
    ("kB", Unit::Bytes, 1e3),
    ("MB", Unit::Bytes, 1e6),
    ("GB", Unit::Bytes, 1e9),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("GiB", Unit::Bytes, 1_073_741_824.0),
    ("B/s", Unit::BytesPerSecond, 1.0),
    ("kB/s", Unit::BytesPerSecond, 1e3),
    ("MB/s", Unit::BytesPerSecond, 1e6),
    ("KiB/s", Unit::BytesPerSecond, 1024.0),
    ("MiB/s", Unit::BytesPerSecond, 1_048_576.0),
    ("B/op", Unit::BytesPerOp, 1.0),
    ("1/op", Unit::CountPerOp, 1.0),
    ("1", Unit::Count, 1.0),
    ("ratio", Unit::Ratio, 1.0),
    ("%", Unit::Ratio, 0.01),
];

fn unit_of(name: &str) -> Option<(Unit, f64)> {
    UNITS.iter().find(|(known, ..)| *known == name).map(|&(_, unit, scale)| (unit, scale))
}

/// Names that mean something else already.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl ValueRule {
    /// What is wrong with it.
    pub fn check(&self, name: &str) -> Result<(), SettingsError> {
        let wrong = |message: String| {
            Err(SettingsError { table: "workload", keys: vec!["metrics".to_owned(), name.to_owned()], message })
        };
        if !is_name(name) {
            return wrong(format!("`{name}` cannot be a metric's name; write lower-case letters, digits and `_`"));
        }
        if crate::own_metrics::METRICS.contains(&name) {
            return wrong(format!("every command has a metric `{name}` already; choose another name"));
        }
        match (&self.regex, &self.json, &self.from) {
            (Some(pattern), None, None) => match Regex::new(pattern) {
                Ok(regex) if regex.captures_len() < 2 => {
                    return wrong(format!("`{pattern}` has no group; put the value in parentheses: `tps = ([0-9.]+)`"));
                }
                Ok(_) => {}
                Err(error) => return wrong(format!("`regex` is no regular expression: {error}")),
            },
            (None, Some(pointer), None) if pointer.is_empty() || pointer.starts_with('/') => {}
            (None, Some(pointer), None) => {
                return wrong(format!("the JSON pointer `{pointer}` must begin with `/`, as in `/jobs/0/write/iops`"));
            }
            (None, None, Some(from)) => {
                return match Extractor::parse(from) {
                    Ok(_) if !self.unit.is_empty() || self.better.is_some() => {
                        wrong(format!("unit and direction of `{from}` are known; leave `unit` and `better` out"))
                    }
                    Ok(_) => Ok(()),
                    Err(message) => wrong(message),
                };
            }
            _ => return wrong("write exactly one of `regex`, `json` and `from`".to_owned()),
        }
        if unit_of(&self.unit).is_none() {
            let known: Vec<&str> = UNITS.iter().map(|(name, ..)| *name).collect();
            return wrong(format!("the unit `{}` is not known; write one of {}", self.unit, known.join(", ")));
        }
        if self.better.is_none() {
            return wrong("write `better = \"higher\"` or `better = \"lower\"`".to_owned());
        }
        Ok(())
    }

    fn known(&self) -> (Unit, f64, Better) {
        if let Some(extractor) = self.from.as_deref().and_then(|from| Extractor::parse(from).ok()) {
            let (unit, better) = extractor.unit();
            let (unit, scale) = unit_of(unit).unwrap_or((Unit::Count, 1.0));
            return (unit, scale, better);
        }
        let (unit, scale) = unit_of(&self.unit).unwrap_or((Unit::Count, 1.0));
        (unit, scale, self.better.map_or(Better::Neither, Better::from))
    }

    /// The metric: the mean of the values of a run, over runs.
    pub fn metric(&self, name: &str) -> DerivedMetric {
        let (unit, _, better) = self.known();
        let class = match unit {
            Unit::Count | Unit::CountPerOp | Unit::Bytes | Unit::BytesPerOp => MetricClass::Counter,
            _ => MetricClass::Time,
        };
        DerivedMetric {
            spec: MetricSpec {
                name: name.to_owned().into(),
                unit,
                better,
                class,
                about: "printed by the program; the mean where a run prints several".into(),
            },
            source: sum_of(name).into(),
            derivation: Derivation::Per(count_of(name).into()),
        }
    }

    /// Whether the values are times: they are then kept as a distribution too.
    pub fn is_time(&self) -> bool {
        self.known().0 == Unit::Nanoseconds
    }

    /// The values in what a run printed, in the unit of the record.
    ///
    /// # Errors
    /// Why there are none.
    pub fn find(&self, printed: &str) -> Result<Vec<f64>, String> {
        let (_, scale, _) = self.known();
        let found = match (&self.regex, &self.json, &self.from) {
            (Some(pattern), ..) => by_regex(pattern, printed)?,
            (_, Some(pointer), _) => by_pointer(pointer, printed)?,
            (.., Some(from)) => Extractor::parse(from)?.find(printed)?,
            _ => return Err("nothing says where the value is".to_owned()),
        };
        Ok(found.into_iter().map(|value| value * scale).collect())
    }
}

/// Name of the counter that adds the values up.
pub fn sum_of(name: &str) -> String {
    format!("printed:{name}")
}

/// Name of the counter that counts the values.
pub fn count_of(name: &str) -> String {
    format!("printed:{name}:values")
}

fn by_regex(pattern: &str, printed: &str) -> Result<Vec<f64>, String> {
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    let mut values = Vec::new();
    for found in regex.captures_iter(printed) {
        let Some(group) = found.get(1) else { continue };
        values.push(
            number(group.as_str())
                .ok_or_else(|| format!("`{}`, found by `{pattern}`, is no number", group.as_str()))?,
        );
    }
    if values.is_empty() { Err(format!("`{pattern}` was found nowhere")) } else { Ok(values) }
}

/// A number as programs print it: thousands may be divided by commas.
pub fn number(text: &str) -> Option<f64> {
    text.trim().replace(',', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

/// What is printed, as JSON: one document, or one a line.
pub fn documents(printed: &str) -> Result<Vec<serde_json::Value>, String> {
    let whole = printed.trim();
    // Some tools print a warning before the document.
    let begins = whole.find(['{', '[']).map_or(whole, |at| &whole[at..]);
    if let Ok(document) = serde_json::from_str(begins) {
        return Ok(vec![document]);
    }
    let lines: Vec<serde_json::Value> =
        whole.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
    if lines.is_empty() { Err("what was printed is not JSON".to_owned()) } else { Ok(lines) }
}

fn by_pointer(pointer: &str, printed: &str) -> Result<Vec<f64>, String> {
    let mut values = Vec::new();
    for document in documents(printed)? {
        let mut found = Vec::new();
        let keys: Vec<String> =
            pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
        walk(&document, &keys, &mut found);
        for value in found {
            values.push(
                value
                    .as_f64()
                    .or_else(|| value.as_str().and_then(number))
                    .ok_or_else(|| format!("`{pointer}` is `{value}`, which is no number"))?,
            );
        }
    }
    if values.is_empty() { Err(format!("`{pointer}` is not in what was printed")) } else { Ok(values) }
}

fn walk<'a>(value: &'a serde_json::Value, keys: &[String], found: &mut Vec<&'a serde_json::Value>) {
    let Some((key, rest)) = keys.split_first() else {
        found.push(value);
        return;
    };
    match value {
        serde_json::Value::Array(items) if key == "*" => items.iter().for_each(|item| walk(item, rest, found)),
        serde_json::Value::Object(items) if key == "*" => items.values().for_each(|item| walk(item, rest, found)),
        serde_json::Value::Array(items) => {
            if let Some(item) = key.parse::<usize>().ok().and_then(|index| items.get(index)) {
                walk(item, rest, found);
            }
        }
        serde_json::Value::Object(items) => {
            if let Some(item) = items.get(key) {
                walk(item, rest, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(regex: Option<&str>, json: Option<&str>, unit: &str) -> ValueRule {
        ValueRule {
            regex: regex.map(str::to_owned),
            json: json.map(str::to_owned),
            from: None,
            unit: unit.to_owned(),
            better: Some(ValueDirection::Lower),
        }
    }

    #[test]
    fn values_are_found_and_scaled() {
        let printed = "latency average = 1.5 ms\nlatency average = 2 ms\n";
        assert_eq!(rule(Some("average = ([0-9.]+)"), None, "ms").find(printed).unwrap(), [1.5e6, 2e6]);
        let json = "warning: something\n{\"jobs\": [{\"a/b\": 3}, {\"a/b\": \"4.5\"}]}";
        assert_eq!(rule(None, Some("/jobs/*/a~1b"), "1").find(json).unwrap(), [3.0, 4.5]);
        assert_eq!(rule(None, Some("/jobs/1/a~1b"), "1").find(json).unwrap(), [4.5]);
        assert_eq!(rule(None, Some("/x"), "1").find("{\"x\":1}\nnoise\n{\"x\":2}\n").unwrap(), [1.0, 2.0]);
        for (rule, printed, said) in [
            (rule(Some("x=(.*)"), None, "1"), "x=fast", "is no number"),
            (rule(Some("y=(.*)"), None, "1"), "x=1", "found nowhere"),
            (rule(None, Some("/x"), "1"), "no json", "not JSON"),
            (rule(None, Some("/x/y"), "1"), "{\"x\":1}", "is not in what was printed"),
            (rule(None, Some("/x"), "1"), "{\"x\":[]}", "is no number"),
        ] {
            assert!(rule.find(printed).unwrap_err().contains(said), "{printed}");
        }
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        for (name, rule, said) in [
            ("tps", rule(Some("tps = [0-9]+"), None, "1"), "has no group"),
            ("tps", rule(Some("("), None, "1"), "no regular expression"),
            ("tps", rule(None, Some("x"), "1"), "must begin with `/`"),
            ("tps", rule(Some("(x)"), Some("/x"), "1"), "exactly one of"),
            ("tps", rule(None, None, "1"), "exactly one of"),
            ("tps", rule(Some("(x)"), None, "furlongs"), "not known"),
            ("TPS", rule(Some("(x)"), None, "1"), "lower-case"),
            ("run_time", rule(Some("(x)"), None, "1"), "already"),
        ] {
            assert!(rule.check(name).unwrap_err().to_string().contains(said), "{said}");
        }
        assert!(rule(Some("(x)"), None, "ms").check("tps").is_ok());
    }
}
