//! The service's own counters as metrics: `INFO` of Redis, a query, Prometheus text from a path.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Samples, SettingsError, Unit};

use crate::{
    driver::{self, Connection, Options, Request},
    names::{METRICS, is_name},
    protocol::Protocol,
    template::Values,
};

/// Where a number is, and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CounterRule {
    /// A field of Redis's `INFO`.
    pub info: Option<String>,
    /// A query of one number.
    pub sql: Option<String>,
    /// A sample of Prometheus text: `name` (all of that name are added up) or `name{label="value"}`.
    pub prometheus: Option<String>,
    /// Where that text is.
    pub path: Option<String>,
    /// What becomes of it.
    pub per: Per,
    /// Which direction is an improvement.
    pub better: Direction,
    /// Whether it counts bytes.
    pub bytes: bool,
}

/// What becomes of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Its growth for each operation.
    #[default]
    Operation,
    /// Its growth in a second.
    Second,
    /// Its growth.
    Total,
    /// Its value at the end: it goes up and down.
    Gauge,
}

/// Which direction is an improvement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It describes.
    #[default]
    Neither,
}

impl CounterRule {
    /// What is wrong with it.
    pub fn check(&self, name: &str, protocol: Protocol) -> Result<(), SettingsError> {
        let wrong = |message: String| {
            Err(SettingsError { table: "workload", keys: vec!["counters".to_owned(), name.to_owned()], message })
        };
        if !is_name(name) || METRICS.contains(&name) {
            return wrong(format!(
                "`{name}` cannot be a metric's name; write lower-case letters, digits and `_`, and none of {}",
                METRICS.join(", ")
            ));
        }
        match (&self.info, &self.sql, &self.prometheus, protocol) {
            (Some(_), None, None, Protocol::Redis) | (None, Some(_), None, Protocol::Postgres) => {}
            (None, None, Some(_), _) => {}
            (Some(_), None, None, _) => return wrong("`info` is for `protocol = \"redis\"`".to_owned()),
            (None, Some(_), None, _) => return wrong("`sql` is for `protocol = \"postgres\"`".to_owned()),
            _ => return wrong("write exactly one of `info`, `sql` and `prometheus`".to_owned()),
        }
        if self.path.is_some() && self.prometheus.is_none() {
            return wrong("`path` says where the text of `prometheus` is".to_owned());
        }
        Ok(())
    }

    /// The metric.
    pub fn metric(&self, name: &str) -> DerivedMetric {
        let unit = match (self.per, self.bytes) {
            (Per::Operation, false) => Unit::CountPerOp,
            (Per::Operation, true) => Unit::BytesPerOp,
            (Per::Second, false) => Unit::CountPerSecond,
            (Per::Second, true) => Unit::BytesPerSecond,
            (Per::Total | Per::Gauge, false) => Unit::Count,
            (Per::Total | Per::Gauge, true) => Unit::Bytes,
        };
        let better = match self.better {
            Direction::Higher => Better::Higher,
            Direction::Lower => Better::Lower,
            Direction::Neither => Better::Neither,
        };
        let class = if self.better == Direction::Neither { MetricClass::Info } else { MetricClass::Time };
        let derivation = match self.per {
            Per::Operation => Derivation::PerOperation,
            Per::Second => Derivation::PerSecond,
            Per::Total => Derivation::Total,
            Per::Gauge => Derivation::Gauge,
        };
        let name: Cow<'static, str> = name.to_owned().into();
        let about = "told by the service itself".into();
        DerivedMetric { spec: MetricSpec { name: name.clone(), unit, better, class, about }, source: name, derivation }
    }

    fn request(&self) -> (Protocol, String) {
        match (&self.sql, &self.prometheus) {
            (Some(sql), _) => (Protocol::Postgres, sql.clone()),
            (_, Some(_)) => (Protocol::Http, format!("GET {}", self.path.as_deref().unwrap_or("/metrics"))),
            _ => (Protocol::Redis, "INFO all".to_owned()),
        }
    }

    fn find(&self, text: &str) -> Result<f64, String> {
        match (&self.info, &self.prometheus) {
            (Some(field), _) => info(text, field),
            (_, Some(sample)) => prometheus(text, sample),
            _ => number(text).ok_or_else(|| format!("`{}` is no number", text.trim())),
        }
    }
}

/// The counters of one service, read over connections of their own.
pub struct Counters {
    rules: Vec<(String, CounterRule)>,
    /// What is asked, once for all rules that look at the same answer.
    sources: Vec<Source>,
}

/// A request and the connection for it, or why there is none.
struct Source {
    protocol: Protocol,
    send: String,
    connection: Result<Box<dyn Connection>, String>,
}

impl Source {
    fn is(&self, protocol: Protocol, send: &str) -> bool {
        self.protocol == protocol && self.send == send
    }
}

impl Counters {
    /// Opens the connections; what cannot be opened is said with each sample.
    pub fn open(rules: impl Iterator<Item = (String, CounterRule)>, options: &Options) -> Self {
        let mut counters = Self { rules: rules.collect(), sources: Vec::new() };
        for (_, rule) in &counters.rules {
            let (protocol, send) = rule.request();
            if counters.sources.iter().any(|source| source.is(protocol, &send)) {
                continue;
            }
            let connection = driver::open(protocol, &[Request::plain(&send)], &[], options)
                .and_then(|driver| driver.connect(0).map_err(|fault| fault.to_string()));
            counters.sources.push(Source { protocol, send, connection });
        }
        counters
    }

    /// Writes down what the service tells now.
    pub fn sample(&mut self, samples: &mut Samples) {
        let answers: Vec<Result<String, String>> = self
            .sources
            .iter_mut()
            .map(|Source { send, connection, .. }| match connection {
                Err(why) => Err(why.clone()),
                Ok(open) => {
                    let answer =
                        open.ask(0, &Values::new()).map_err(|fault| format!("`{send}`: {fault}")).and_then(|answer| {
                            let text = String::from_utf8_lossy(answer.body).into_owned();
                            match answer.kind {
                                driver::AnswerKind::Ok | driver::AnswerKind::Status(200..300) => Ok(text),
                                _ => Err(format!("`{send}` was refused: {text}")),
                            }
                        });
                    answer.inspect_err(|why| *connection = Err(why.clone()))
                }
            })
            .collect();
        for (name, rule) in &self.rules {
            let (protocol, send) = rule.request();
            let source = self.sources.iter().position(|source| source.is(protocol, &send));
            let found = source.map_or_else(|| Err("nothing was asked".to_owned()), |at| answers[at].clone());
            match found.and_then(|text| rule.find(&text)) {
                Ok(value) if rule.per == Per::Gauge => samples.gauge(name.clone(), value),
                Ok(value) => samples.counter(name.clone(), value),
                Err(why) => samples.absent(name.clone(), why),
            }
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

fn info(text: &str, field: &str) -> Result<f64, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = line.ok_or_else(|| format!("INFO has no field `{field}`"))?;
    number(value).ok_or_else(|| format!("`{field}` is `{}`, which is no number", value.trim()))
}

/// The text format of Prometheus, version 0.0.4.
fn prometheus(text: &str, wanted: &str) -> Result<f64, String> {
    let mut sum = None;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap_or(line.len()), |at| at + 1);
        let (series, rest) = line.split_at(end);
        let name = series.split('{').next().unwrap_or_default();
        if series == wanted || name == wanted {
            let value = rest.split_whitespace().next().and_then(number);
            sum = Some(sum.unwrap_or(0.0) + value.ok_or_else(|| format!("`{line}` has no number"))?);
        }
    }
    sum.ok_or_else(|| format!("there is no sample `{wanted}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_services_tell_them() {
        let text = "# Stats\r\ntotal_commands_processed:12\r\nrole:master\r\n";
        assert_eq!(info(text, "total_commands_processed"), Ok(12.0));
        assert!(info(text, "role").unwrap_err().contains("no number"));
        assert!(info(text, "total").unwrap_err().contains("no field"));
        let text = "# TYPE x counter\nx{a=\"1\"} 2 1700000000\nx{a=\"b } c\"} 3\ny 1e3\n";
        assert_eq!(prometheus(text, "x"), Ok(5.0));
        assert_eq!(prometheus(text, "x{a=\"1\"}"), Ok(2.0));
        assert_eq!(prometheus(text, "y"), Ok(1000.0));
        assert!(prometheus(text, "z").is_err());
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let rule = CounterRule { info: Some("x".into()), ..CounterRule::default() };
        assert!(rule.check("ok", Protocol::Redis).is_ok());
        assert!(rule.check("ok", Protocol::Http).is_err());
        assert!(rule.check("Bad", Protocol::Redis).is_err());
        assert!(rule.check("client_cpu", Protocol::Redis).is_err());
        assert!(CounterRule::default().check("ok", Protocol::Redis).is_err());
    }
}
