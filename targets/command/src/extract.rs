//! Extractors for tools that are known: what they print, and in which unit.

use regex::Regex;
use serde_json::Value;
use uplift_sdk::Better;

use crate::values::{documents, number};

/// One value of one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extractor {
    /// `pgbench`: transactions a second without the time to connect.
    PgbenchTps,
    /// `pgbench`: mean latency.
    PgbenchLatency,
    /// `fio --output-format=json`: a value of the jobs that read or write.
    Fio { direction: &'static str, value: FioValue },
    /// `go test -bench`: time of one operation of a benchmark.
    GoTest(String),
    /// `cargo bench` with criterion: the estimate of a benchmark's time.
    Criterion(String),
    /// `hyperfine --export-json`: the mean of a command, by its place.
    Hyperfine(usize),
}

/// What of a job of fio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FioValue {
    /// Operations a second.
    Iops,
    /// Bytes a second.
    Bandwidth,
    /// Mean completion latency.
    Latency,
}

/// What may be written.
const KNOWN: &str = "pgbench.tps, pgbench.latency, fio.read_iops, fio.read_bw, fio.read_latency, fio.write_iops, fio.write_bw, fio.write_latency, go-test.BenchmarkName, criterion.name, hyperfine.0";

impl Extractor {
    /// Of its name.
    ///
    /// # Errors
    /// What is known.
    pub fn parse(name: &str) -> Result<Self, String> {
        let unknown = || Err(format!("there is no extractor `{name}`; known: {KNOWN}"));
        let fio = |direction, value| Ok(Self::Fio { direction, value });
        match name.split_once('.') {
            Some(("pgbench", "tps")) => Ok(Self::PgbenchTps),
            Some(("pgbench", "latency")) => Ok(Self::PgbenchLatency),
            Some(("fio", "read_iops")) => fio("read", FioValue::Iops),
            Some(("fio", "read_bw")) => fio("read", FioValue::Bandwidth),
            Some(("fio", "read_latency")) => fio("read", FioValue::Latency),
            Some(("fio", "write_iops")) => fio("write", FioValue::Iops),
            Some(("fio", "write_bw")) => fio("write", FioValue::Bandwidth),
            Some(("fio", "write_latency")) => fio("write", FioValue::Latency),
            Some(("go-test", benchmark)) if !benchmark.is_empty() => Ok(Self::GoTest(benchmark.to_owned())),
            Some(("criterion", benchmark)) if !benchmark.is_empty() => Ok(Self::Criterion(benchmark.to_owned())),
            Some(("hyperfine", place)) => place.parse().map(Self::Hyperfine).or_else(|_| unknown()),
            _ => unknown(),
        }
    }

    /// The unit in which it is found, and the good direction.
    pub const fn unit(&self) -> (&'static str, Better) {
        match self {
            Self::PgbenchTps => ("1/s", Better::Higher),
            Self::PgbenchLatency => ("ms", Better::Lower),
            Self::Fio { value: FioValue::Iops, .. } => ("1/s", Better::Higher),
            Self::Fio { value: FioValue::Bandwidth, .. } => ("B/s", Better::Higher),
            Self::Fio { value: FioValue::Latency, .. } | Self::GoTest(_) | Self::Criterion(_) => ("ns", Better::Lower),
            Self::Hyperfine(_) => ("s", Better::Lower),
        }
    }

    /// The values in what was printed.
    ///
    /// # Errors
    /// Why there are none.
    pub fn find(&self, printed: &str) -> Result<Vec<f64>, String> {
        match self {
            // Before version 14 there are two lines, with and without the time to connect.
            Self::PgbenchTps => {
                let pattern = r"(?m)^tps = ([0-9.]+)(?: \((?:excluding|without)[^)]*\))?\s*$";
                matches(pattern, printed, "pgbench's line `tps = …`")
            }
            Self::PgbenchLatency => {
                matches(r"(?m)^latency average = ([0-9.]+) ms", printed, "pgbench's line `latency average = …`")
            }
            Self::Fio { direction, value } => fio(direction, *value, printed),
            Self::GoTest(name) => {
                // Behind the name stands the number of CPUs.
                let pattern = format!(r"(?m)^{}(?:-[0-9]+)?\s+[0-9]+\s+([0-9.]+) ns/op", regex::escape(name));
                matches(&pattern, printed, &format!("a line of `{name}`"))
            }
            Self::Criterion(name) => criterion(name, printed),
            Self::Hyperfine(place) => hyperfine(*place, printed),
        }
    }
}

fn matches(pattern: &str, printed: &str, what: &str) -> Result<Vec<f64>, String> {
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    let values: Vec<f64> = regex.captures_iter(printed).filter_map(|found| number(found.get(1)?.as_str())).collect();
    if values.is_empty() { Err(format!("{what} was not printed")) } else { Ok(values) }
}

fn fio(direction: &str, value: FioValue, printed: &str) -> Result<Vec<f64>, String> {
    let mut values = Vec::new();
    for document in documents(printed).map_err(|error| format!("{error}; run fio with --output-format=json"))? {
        for job in document["jobs"].as_array().into_iter().flatten() {
            let part = &job[direction];
            // A job that does not go in this direction has all values, and they are 0.
            if part["total_ios"].as_f64().unwrap_or(0.0) == 0.0 {
                continue;
            }
            let found = match value {
                FioValue::Iops => part["iops"].as_f64(),
                FioValue::Bandwidth => part["bw_bytes"].as_f64(),
                FioValue::Latency => part["clat_ns"]["mean"].as_f64(),
            };
            values.extend(found);
        }
    }
    if values.is_empty() { Err(format!("no job of fio's document did a {direction}")) } else { Ok(values) }
}

/// Either the text that criterion prints (`name   time:   [low mid high]`) or the lines of
/// `cargo criterion --message-format=json`.
fn criterion(name: &str, printed: &str) -> Result<Vec<f64>, String> {
    let unit = |unit: &str| match unit {
        "ps" => Some(1e-3),
        "ns" => Some(1.0),
        "µs" | "us" => Some(1e3),
        "ms" => Some(1e6),
        "s" => Some(1e9),
        _ => None,
    };
    let documents = documents(printed).unwrap_or_default();
    let by_json = documents.iter().filter(|one| one["id"].as_str() == Some(name)).filter_map(|one| {
        let typical = &one["typical"];
        Some(typical["estimate"].as_f64()? * unit(typical["unit"].as_str()?)?)
    });
    let mut values: Vec<f64> = by_json.collect();
    if values.is_empty() {
        let pattern =
            format!(r"(?m)^{}\s+time:\s+\[[0-9.]+ \S+ ([0-9.]+) (ps|ns|µs|us|ms|s) [0-9.]+ \S+\]", regex::escape(name));
        let regex = Regex::new(&pattern).map_err(|error| error.to_string())?;
        values = regex
            .captures_iter(printed)
            .filter_map(|found| Some(number(found.get(1)?.as_str())? * unit(found.get(2)?.as_str())?))
            .collect();
    }
    if values.is_empty() { Err(format!("criterion's line of `{name}` was not printed")) } else { Ok(values) }
}

fn hyperfine(place: usize, printed: &str) -> Result<Vec<f64>, String> {
    let documents = documents(printed).map_err(|error| format!("{error}; run hyperfine with --export-json -"))?;
    let times = |one: &Value| -> Option<Vec<f64>> {
        one["results"][place]["times"].as_array()?.iter().map(Value::as_f64).collect()
    };
    documents
        .iter()
        .find_map(times)
        .ok_or_else(|| format!("hyperfine's document has no command number {place}, counted from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, printed: &str) -> Vec<f64> {
        Extractor::parse(name).unwrap().find(printed).unwrap()
    }

    #[test]
    fn known_tools_are_read() {
        let pgbench = "number of transactions actually processed: 100/100\nlatency average = 2.345 ms\ninitial connection time = 3.1 ms\ntps = 426.400000 (without initial connection time)\n";
        assert_eq!(found("pgbench.tps", pgbench), [426.4]);
        assert_eq!(found("pgbench.latency", pgbench), [2.345]);
        let old =
            "tps = 100.0 (including connections establishing)\ntps = 120.0 (excluding connections establishing)\n";
        assert_eq!(found("pgbench.tps", old), [120.0]);
        let fio = r#"fio: a warning
{"jobs":[{"read":{"total_ios":0,"iops":0.0,"bw_bytes":0,"clat_ns":{"mean":0.0}},"write":{"total_ios":512,"iops":1234.5,"bw_bytes":5056512,"clat_ns":{"mean":810000.25}}}]}"#;
        assert_eq!(found("fio.write_iops", fio), [1234.5]);
        assert_eq!(found("fio.write_bw", fio), [5056512.0]);
        assert_eq!(found("fio.write_latency", fio), [810000.25]);
        assert!(Extractor::parse("fio.read_iops").unwrap().find(fio).unwrap_err().contains("did a read"));
        let go = "goos: linux\nBenchmarkFold-2   \t  500\t  2391.5 ns/op\t 16 B/op\nBenchmarkFold-2   \t  500\t  2401 ns/op\nBenchmarkFoldAll-2 \t 1\t 9 ns/op\n";
        assert_eq!(found("go-test.BenchmarkFold", go), [2391.5, 2401.0]);
        let criterion = "fold/100                time:   [1.2000 µs 1.2345 µs 1.3000 µs]\n                        change: [-1% +0% +1%]\n";
        assert_eq!(found("criterion.fold/100", criterion), [1234.5]);
        let lines = "{\"reason\":\"benchmark-complete\",\"id\":\"fold/100\",\"typical\":{\"estimate\":1.5,\"unit\":\"ms\"}}\n{\"reason\":\"other\"}\n";
        assert_eq!(found("criterion.fold/100", lines), [1.5e6]);
        let hyperfine = r#"{"results":[{"command":"a","times":[0.1,0.2]},{"command":"b","times":[0.3]}]}"#;
        assert_eq!(found("hyperfine.0", hyperfine), [0.1, 0.2]);
        assert!(Extractor::parse("hyperfine.2").unwrap().find(hyperfine).is_err());
        assert!(Extractor::parse("pgbench.speed").unwrap_err().contains("known: pgbench.tps"));
    }
}
