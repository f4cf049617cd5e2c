//! Workload and settings: how a service lives, what it is asked, and what it must answer.

use std::{collections::BTreeMap, time::Duration};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{Durability, SettingsError, Validated, model::Table, model::duration::HumanDuration, typed};

use crate::{
    counters::CounterRule, expect::Expect, known::Known, leaves::Leaves, parameters::Parameter, pgbench::Pgbench,
    standard_counters, ycsb::Ycsb,
};

pub use crate::{
    names::is_name,
    protocol::{HttpVersion, Protocol, QueryMode, Tls},
};

/// What all variants share.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// A service whose life is known: what is not written below is filled in.
    pub service: Option<Known>,
    /// What it speaks.
    pub protocol: Option<Protocol>,
    /// When it is ready.
    pub ready: Ready,
    /// How it is stopped.
    pub stop: Stop,
    /// Data that are loaded before anything is timed, in this order.
    pub load: Vec<LoadStep>,
    /// Whether loaded data are kept and copied for each trial of a run.
    pub snapshot: bool,
    /// What is asked, by name.
    pub operations: BTreeMap<String, Operation>,
    /// What the placeholders of operations stand for.
    pub parameters: BTreeMap<String, Parameter>,
    /// One of YCSB's workloads instead of `operations`.
    pub ycsb: Option<Ycsb>,
    /// Scripts of pgbench instead of `operations`.
    pub pgbench: Option<Pgbench>,
    /// How statements are sent to PostgreSQL.
    pub query_mode: QueryMode,
    /// The version of HTTP.
    pub http: HttpVersion,
    /// Whether connections are encrypted, and whom they trust.
    pub tls: Tls,
    /// The longest that one answer may take.
    pub timeout: HumanDuration,
    /// The client program of the protocol `helper`: words, in which placeholders are filled.
    pub helper: Option<String>,
    /// The service's own counters, by the name of the metric.
    pub counters: BTreeMap<String, CounterRule>,
    /// How often all counters are read under load, for the time line; "0s": only around a window.
    pub counters_every: HumanDuration,
    /// Whether the counters that Redis and PostgreSQL always have are read too.
    pub standard_counters: bool,
    /// Where settings in force are read, for services that are not known.
    pub settings_from: Option<SettingsFrom>,
    /// Asked once at the end; every answer must pass.
    pub checks: BTreeMap<String, CheckStep>,
    /// A folder in which the log of each trial is kept.
    pub logs: Option<String>,
    /// A command that the service's documentation prescribes where it does not start on what a crash has left: carried out
    /// once, and the service is started again. The report counts how often.
    pub repair: Option<String>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            service: None,
            protocol: None,
            ready: Ready::default(),
            stop: Stop::default(),
            load: Vec::new(),
            snapshot: false,
            operations: BTreeMap::new(),
            parameters: BTreeMap::new(),
            ycsb: None,
            pgbench: None,
            query_mode: QueryMode::default(),
            http: HttpVersion::default(),
            tls: Tls::default(),
            timeout: HumanDuration(Duration::from_secs(10)),
            helper: None,
            counters: BTreeMap::new(),
            counters_every: HumanDuration(Duration::from_secs(1)),
            standard_counters: true,
            settings_from: None,
            checks: BTreeMap::new(),
            logs: None,
            repair: None,
        }
    }
}

/// When a service is ready: everything that is written must hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ready {
    /// A path that must be answered with status 2xx, or with `status`.
    pub http: Option<String>,
    /// The status that `http` must have.
    pub status: Option<u16>,
    /// A statement that must succeed.
    pub sql: Option<String>,
    /// A regular expression that a line of the log must match (standard output and error together).
    pub line: Option<String>,
    /// The longest that it may take.
    pub timeout: HumanDuration,
}

impl Default for Ready {
    fn default() -> Self {
        Self { http: None, status: None, sql: None, line: None, timeout: HumanDuration(Duration::from_secs(30)) }
    }
}

/// How a service is stopped.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The signal: "TERM", "INT", "QUIT", "HUP", "KILL".
    pub signal: String,
    /// How long it may take until it is killed.
    pub grace: HumanDuration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "TERM".to_owned(), grace: HumanDuration(Duration::from_secs(10)) }
    }
}

impl Stop {
    /// The signal's number.
    pub fn number(&self) -> Option<i32> {
        match self.signal.strip_prefix("SIG").unwrap_or(&self.signal) {
            "TERM" => Some(libc::SIGTERM),
            "INT" => Some(libc::SIGINT),
            "QUIT" => Some(libc::SIGQUIT),
            "HUP" => Some(libc::SIGHUP),
            "KILL" => Some(libc::SIGKILL),
            _ => None,
        }
    }
}

/// One kind of operation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// How often it is chosen, relative to the others.
    #[serde(default = "one")]
    pub weight: f64,
    /// The request: a command with its arguments, `GET /path`, a statement, a line. `{name}` is a parameter.
    pub send: String,
    /// Requests that follow one after the other and belong to the same operation.
    #[serde(default)]
    pub then: Vec<String>,
    /// The body of an HTTP request.
    #[serde(default)]
    pub body: Option<String>,
    /// Headers of an HTTP request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// When the answer is a success; absent: when the service did not say that it is none.
    #[serde(default)]
    pub expect: Expect,
    /// Whether it writes; absent: as its first word says.
    #[serde(default)]
    pub writes: Option<bool>,
    /// How what it writes is read back after a crash; absent: as its command says, where that is known.
    #[serde(default)]
    pub leaves: Vec<Leaves>,
}

/// Data that are loaded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadStep {
    /// The request; `{n}` counts from 0.
    pub send: String,
    /// The body of an HTTP request.
    #[serde(default)]
    pub body: Option<String>,
    /// Headers of an HTTP request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How often it is sent.
    #[serde(default = "once")]
    pub count: u64,
    /// How it is read back after a crash, as in an operation.
    #[serde(default)]
    pub leaves: Vec<Leaves>,
}

/// What is asked at the end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckStep {
    /// The request.
    pub send: String,
    /// What the answer must be.
    #[serde(default)]
    pub expect: Expect,
}

/// Where settings in force are read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum SettingsFrom {
    /// A path that is answered by a JSON object: name → value.
    Http(String),
    /// A command that prints `name=value` lines, or a JSON object.
    Command(String),
}

fn one() -> f64 {
    1.0
}

fn once() -> u64 {
    1
}

/// What a variant is: how its service is started, and the service's own settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The server and its arguments, in the foreground. `{port}`, `{socket}`, `{data}` and the service's own settings are
    /// filled in; `{settings}` stands for all of these.
    pub start: Option<String>,
    /// Run once on a fresh `{data}`, before the first start.
    pub init: Option<String>,
    /// Environment of `start` and `init`, beside that of uplift.
    pub env: BTreeMap<String, String>,
    /// The working folder. Absent: `{data}`.
    pub dir: Option<String>,
    /// Files that are written into `{data}`: name → text with placeholders.
    pub files: BTreeMap<String, String>,
    /// Files that are written into `{data}`: name → file whose text has placeholders.
    pub templates: BTreeMap<String, String>,
    /// A service that runs already, instead of `start`.
    pub url: Option<String>,
    /// What an acknowledged write survives, where it does not follow from the settings in force.
    pub durability: Option<Durability>,
}

/// The keys of [`Settings`]: every other key is a setting of the service.
pub const KEYS: [&str; 8] = ["start", "init", "env", "dir", "files", "templates", "url", "durability"];

/// A variant's table, divided.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// What is uplift's.
    pub settings: Settings,
    /// What is the service's: name → value as it is written to it.
    pub own: BTreeMap<String, String>,
}

impl Variant {
    /// Reads a variant; truth values become the words of its service.
    ///
    /// # Errors
    /// The key that does not fit.
    pub fn read(table: &Table, service: Option<Known>) -> Result<Self, SettingsError> {
        let (on, off) = if service == Some(Known::Redis) { ("yes", "no") } else { ("on", "off") };
        let (known, own): (Table, Table) = table.clone().into_iter().partition(|(key, _)| KEYS.contains(&key.as_str()));
        let settings: Settings = typed("settings", &known)?;
        let mut texts = BTreeMap::new();
        for (name, value) in own {
            let text = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(true) => on.to_owned(),
                serde_json::Value::Bool(false) => off.to_owned(),
                serde_json::Value::Number(number) => number.to_string(),
                _ => {
                    let message = "a setting of the service is a text, a number or a truth value";
                    return Err(SettingsError::new("settings", &name, message));
                }
            };
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
                let message = "letters, digits, `_`, `.` and `-` make the name of a setting";
                return Err(SettingsError::new("settings", &name, message));
            }
            texts.insert(name, text);
        }
        Ok(Self { settings, own: texts })
    }

    /// Every text in which placeholders are filled.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        let settings = &self.settings;
        [&settings.start, &settings.init, &settings.dir]
            .into_iter()
            .flatten()
            .chain(settings.env.values())
            .chain(settings.files.values())
    }
}

impl Workload {
    /// The workload with what is known of its service.
    pub fn completed(mut self) -> Self {
        if let Some(known) = self.service {
            self.protocol.get_or_insert(known.protocol());
        }
        if let (true, Some(protocol)) = (self.standard_counters, self.protocol) {
            for (name, rule) in standard_counters::of(protocol) {
                // What the scenario says of a name stands.
                self.counters.entry(name.to_owned()).or_insert(rule);
            }
        }
        self
    }

    /// What it speaks.
    ///
    /// # Errors
    /// It is not said.
    pub fn protocol(&self) -> Result<Protocol, SettingsError> {
        self.protocol.ok_or_else(|| {
            let message = "write `protocol = \"http\"` (or redis, postgres, lines, helper), or `service = \"redis\"`";
            SettingsError::new("workload", "protocol", message)
        })
    }

    /// Checks what concerns workload and variant together.
    ///
    /// # Errors
    /// The key that is wrong.
    pub fn check_with(&self, variant: &Variant) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: String| Err(SettingsError::new("settings", key, message));
        let settings = &variant.settings;
        let start = settings.start.as_deref().or(self.service.and_then(Known::start));
        let managed = self.service == Some(Known::Postgres) && settings.start.is_none();
        match (start, &settings.url) {
            (Some(_), Some(_)) if settings.start.is_some() => {
                return wrong("url", "a service is started or runs already; leave `start` or `url` out".to_owned());
            }
            (None, None) if !managed => {
                let message =
                    "a variant needs `start`, the server and its arguments, or `url` of one that runs already";
                return wrong("start", message.to_owned());
            }
            _ => {}
        }
        if let (Some(start), None) = (start, &settings.url) {
            uplift_command::words::split(start).map_err(|message| SettingsError::new("settings", "start", message))?;
            let takes_all = start.contains("{settings}")
                || variant.texts().any(|text| text.contains("{settings}"))
                || !settings.templates.is_empty();
            for name in variant.own.keys() {
                let place = format!("{{{name}}}");
                if !takes_all && !start.contains(&place) && !variant.texts().any(|text| text.contains(&place)) {
                    let message = format!(
                        "`{name}` is neither a key of a variant ({}) nor used as `{place}` in `start`, `init`, `env` or `files`",
                        KEYS.join(", ")
                    );
                    return wrong(name, message);
                }
            }
        }
        if self.snapshot && settings.url.is_some() {
            let message = "the data of a service that runs already cannot be copied; leave `snapshot` out";
            return Err(SettingsError::new("workload", "snapshot", message));
        }
        if let Some(init) = &settings.init {
            uplift_command::words::split(init).map_err(|message| SettingsError::new("settings", "init", message))?;
        }
        if let Some(name) = settings
            .files
            .keys()
            .chain(settings.templates.keys())
            .find(|name| name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == ".."))
        {
            return wrong("files", format!("`{name}` must be a name below the service's data folder"));
        }
        Ok(())
    }
}

impl Validated for Workload {
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: String| Err(SettingsError::new("workload", key, message));
        let this = self.clone().completed();
        let protocol = this.protocol()?;
        if self.stop.number().is_none() {
            return wrong(
                "stop",
                format!("`{}` is no signal that is known; write TERM, INT, QUIT, HUP or KILL", self.stop.signal),
            );
        }
        if self.timeout.0.is_zero() || self.ready.timeout.0.is_zero() {
            return wrong(
                "timeout",
                "a timeout of 0 lets nothing succeed; write a duration such as \"10s\"".to_owned(),
            );
        }
        if let Some(line) = &self.ready.line
            && let Err(error) = Regex::new(line)
        {
            return wrong("ready", format!("`line` is no regular expression: {error}"));
        }
        let kinds = [!self.operations.is_empty(), self.ycsb.is_some(), self.pgbench.is_some()];
        if kinds.iter().filter(|&&there| there).count() != 1 {
            return wrong("operations", "write exactly one of `operations`, `ycsb` and `pgbench`".to_owned());
        }
        if self.http == HttpVersion::Two && protocol != Protocol::Http {
            return wrong("http", "`http = \"2\"` is for `protocol = \"http\"`; leave it out".to_owned());
        }
        if self.pgbench.is_some() && protocol != Protocol::Postgres {
            return wrong("pgbench", "scripts of pgbench are for `protocol = \"postgres\"`".to_owned());
        }
        if (protocol == Protocol::Helper) != self.helper.is_some() {
            return wrong("helper", "`protocol = \"helper\"` and `helper`, its command, belong together".to_owned());
        }
        if let Some(helper) = &self.helper {
            uplift_command::words::split(helper)
                .map_err(|message| SettingsError::new("workload", "helper", message))?;
        }
        if let Some(repair) = &self.repair {
            uplift_command::words::split(repair)
                .map_err(|message| SettingsError::new("workload", "repair", message))?;
        }
        for (name, operation) in &self.operations {
            let at = |message: String| {
                Err(SettingsError { table: "workload", keys: vec!["operations".into(), name.clone()], message })
            };
            if !is_name(name) {
                return at("lower-case letters, digits and `_` make the name of an operation".to_owned());
            }
            if !(operation.weight.is_finite() && operation.weight > 0.0) {
                return at(format!("weight must be above 0, got {}", operation.weight));
            }
            operation.expect.check().or_else(at)?;
        }
        if let Some(wrong_name) = self.parameters.keys().find(|name| !is_name(name)) {
            return wrong(
                "parameters",
                format!("`{wrong_name}`: lower-case letters, digits and `_` make a parameter's name"),
            );
        }
        for (name, parameter) in &self.parameters {
            parameter.check().map_err(|message| SettingsError {
                table: "workload",
                keys: vec!["parameters".into(), name.clone()],
                message,
            })?;
        }
        for (name, rule) in &self.counters {
            rule.check(name, protocol)?;
        }
        let every = self.counters_every.0;
        if !every.is_zero() && !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&every) {
            let message = format!("must be between 100ms and 1m, or 0s for never, got {}", self.counters_every);
            return wrong("counters_every", message);
        }
        for (name, check) in &self.checks {
            check.expect.check().map_err(|message| SettingsError {
                table: "workload",
                keys: vec!["checks".into(), name.clone()],
                message,
            })?;
        }
        Ok(())
    }
}
