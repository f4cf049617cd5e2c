//! The service's own counters as metrics: `INFO` of Redis, a query, Prometheus text from a path.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Samples, SettingsError, Unit};

use crate::{
    driver::{self, Address, Connection, Options, Request},
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
    /// A query of one number, or of lines `name:value` with `field`.
    pub sql: Option<String>,
    /// Which line of the answer to `sql`.
    pub field: Option<String>,
    /// A sample of Prometheus text: `name` (all of that name are added up) or `name{label="value"}`.
    pub prometheus: Option<String>,
    /// Where that text is: a path of the service, or the whole URL of an exporter.
    pub path: Option<String>,
    /// What becomes of it.
    pub per: Per,
    /// Which direction is an improvement.
    pub better: Direction,
    /// Whether it counts bytes.
    pub bytes: bool,
    /// What goes on while it moves, as a clause: a stall is explained by it ("a checkpoint was writing").
    pub means: Option<String>,
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
        if self.field.is_some() && self.sql.is_none() {
            return wrong("`field` names a line of the answer to `sql`".to_owned());
        }
        if let Some(Err(why)) = self.path.as_deref().map(exporter) {
            return wrong(format!("`path`: {why}"));
        }
        Ok(())
    }

    /// The unit of its value, whatever becomes of it.
    pub const fn unit(&self) -> Unit {
        if self.bytes { Unit::Bytes } else { Unit::Count }
    }

    /// The metric.
    pub fn metric(&self, name: &str) -> DerivedMetric {
        let unit = match (self.per, self.bytes) {
            (Per::Operation, false) => Unit::CountPerOp,
            (Per::Operation, true) => Unit::BytesPerOp,
            (Per::Second, false) => Unit::CountPerSecond,
            (Per::Second, true) => Unit::BytesPerSecond,
            (Per::Total | Per::Gauge, _) => self.unit(),
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

    fn request(&self) -> Asked {
        match (&self.sql, &self.prometheus) {
            (Some(sql), _) => Asked { protocol: Protocol::Postgres, send: sql.clone(), at: None },
            (_, Some(_)) => {
                let path = self.path.as_deref().unwrap_or("/metrics");
                // Checked before: what is no address is a path.
                let (at, path) = exporter(path).ok().flatten().map_or((None, path), |(at, path)| (Some(at), path));
                Asked { protocol: Protocol::Http, send: format!("GET {path}"), at }
            }
            _ => Asked { protocol: Protocol::Redis, send: "INFO all".to_owned(), at: None },
        }
    }

    fn find(&self, text: &str) -> Result<f64, String> {
        match (&self.info, &self.prometheus) {
            (Some(field), _) => info(text, field),
            (_, Some(sample)) => prometheus(text, sample),
            _ if self.field.is_some() => info(text, self.field.as_deref().unwrap_or_default()),
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

/// What is asked, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    protocol: Protocol,
    send: String,
    /// Where, if not of the service itself.
    at: Option<Address>,
}

/// A request and the connection for it, or why there is none.
struct Source {
    asked: Asked,
    connection: Result<Box<dyn Connection>, String>,
}

/// The address and the path of a whole URL; `None`: it is a path of the service.
fn exporter(path: &str) -> Result<Option<(Address, &str)>, String> {
    let Some((scheme, rest)) = path.split_once("://") else { return Ok(None) };
    let place = scheme.len() + 3;
    let (url, path) = rest.find('/').map_or((path, "/metrics"), |at| path.split_at(place + at));
    Ok(Some((Address::parse(url, Protocol::Http)?, path)))
}

impl Counters {
    /// Opens the connections; what cannot be opened is said with each sample.
    pub fn open(rules: impl Iterator<Item = (String, CounterRule)>, options: &Options) -> Self {
        let mut counters = Self { rules: rules.collect(), sources: Vec::new() };
        for (_, rule) in &counters.rules {
            let asked = rule.request();
            if counters.sources.iter().any(|source| source.asked == asked) {
                continue;
            }
            let mut options = options.clone();
            if let Some(at) = &asked.at {
                options.address = at.clone();
            }
            let connection = driver::open(asked.protocol, &[Request::plain(&asked.send)], &[], &options)
                .and_then(|driver| driver.connect(0).map_err(|fault| fault.to_string()));
            counters.sources.push(Source { asked, connection });
        }
        counters
    }

    /// The rules, by the names of their metrics.
    pub fn rules(&self) -> &[(String, CounterRule)] {
        &self.rules
    }

    /// Writes down what the service tells now.
    pub fn sample(&mut self, samples: &mut Samples) {
        let answers: Vec<Result<String, String>> = self
            .sources
            .iter_mut()
            .map(|Source { asked, connection }| match connection {
                Err(why) => Err(why.clone()),
                Ok(open) => {
                    let send = &asked.send;
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
            let asked = rule.request();
            let source = self.sources.iter().position(|source| source.asked == asked);
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
    let value = line.ok_or_else(|| format!("the service does not tell `{field}`"))?;
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
        assert!(info(text, "total").unwrap_err().contains("does not tell"));
        let text = "# TYPE x counter\nx{a=\"1\"} 2 1700000000\nx{a=\"b } c\"} 3\ny 1e3\n";
        assert_eq!(prometheus(text, "x"), Ok(5.0));
        assert_eq!(prometheus(text, "x{a=\"1\"}"), Ok(2.0));
        assert_eq!(prometheus(text, "y"), Ok(1000.0));
        assert!(prometheus(text, "z").is_err());
    }

    #[test]
    fn an_exporter_may_be_elsewhere() {
        let rule = |path: &str| CounterRule {
            prometheus: Some("x".into()),
            path: Some(path.into()),
            ..CounterRule::default()
        };
        let asked = rule("http://127.0.0.1:9121/a/metrics").request();
        assert_eq!((asked.send.as_str(), asked.at.unwrap().to_string().as_str()), ("GET /a/metrics", "127.0.0.1:9121"));
        assert_eq!(rule("http://[::1]:9121").request().send, "GET /metrics");
        let asked = rule("/stats").request();
        assert_eq!((asked.send.as_str(), asked.at), ("GET /stats", None));
        let error = rule("ftp://host:1/x").check("ok", Protocol::Redis).unwrap_err().message;
        assert!(error.contains("`ftp://` is not for this protocol"), "{error}");
        assert!(CounterRule { field: Some("x".into()), ..rule("/stats") }.check("ok", Protocol::Redis).is_err());
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
