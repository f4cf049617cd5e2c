//! YCSB's core workloads A to F, as operations of this target.
//!
//! Records, names, distributions and mixes are YCSB's (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB",
//! 2010, and its core workload files). What a record is in each database is what YCSB's own bindings make of it: a hash
//! and an index in Redis, a row of `usertable` in PostgreSQL, a JSON object behind a path over HTTP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::SettingsError;

use crate::{
    driver::Request,
    leaves::Leaves,
    parameters::{Latest, Parameter, Range, Sequential, Zipf},
    plan::Plan,
    settings::{LoadStep, Operation, Protocol},
};

/// The most records of a scan in workload E.
const SCAN_RECORDS_MAX: u64 = 100;

/// Which workload, on how many records.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ycsb {
    /// The workload.
    pub workload: Letter,
    /// Records that are loaded (`recordcount`).
    pub records: u64,
    /// Fields of a record (`fieldcount`).
    pub fields: u32,
    /// Bytes of a field (`fieldlength`).
    pub field_bytes: usize,
    /// The path of the table of an HTTP service: `GET`, `PUT` and `POST` of `path/key`, scans as `GET path?from=key&count=n`.
    pub path: String,
}

impl Default for Ycsb {
    fn default() -> Self {
        Self { workload: Letter::A, records: 1_000, fields: 10, field_bytes: 100, path: "/usertable".to_owned() }
    }
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Letter {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads alone.
    C,
    /// 95 % reads of the newest, 5 % inserts.
    D,
    /// 95 % short scans, 5 % inserts.
    E,
    /// Half reads, half reads with an update of what was read.
    F,
}

impl Letter {
    /// Operations and their shares.
    fn mix(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::A => &[("read", 0.5), ("update", 0.5)],
            Self::B => &[("read", 0.95), ("update", 0.05)],
            Self::C => &[("read", 1.0)],
            Self::D => &[("read", 0.95), ("insert", 0.05)],
            Self::E => &[("scan", 0.95), ("insert", 0.05)],
            Self::F => &[("read", 0.5), ("read_modify_write", 0.5)],
        }
    }
}

/// Reads the records of a scan within the server: YCSB's binding asks for each of them by itself.
const REDIS_SCAN: &str = "EVAL \"local r = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'LIMIT', 0, ARGV[2]) for i, k in ipairs(r) do r[i] = redis.call('HGETALL', k) end return r\" 1 _indices {key} {scan_records}";

impl Ycsb {
    /// Adds parameters, data and operations to a plan.
    ///
    /// # Errors
    /// A number that cannot be, or a protocol that knows no records.
    pub fn add_to(&self, plan: &mut Plan) -> Result<(), SettingsError> {
        let wrong = |message: String| SettingsError::new("workload", "ycsb", message);
        if self.records == 0 || self.fields == 0 || self.fields > 100 || self.field_bytes == 0 {
            return Err(wrong("records, fields (at most 100) and field_bytes must be at least 1".to_owned()));
        }
        if !plan.parameters.is_empty() {
            return Err(wrong("YCSB has parameters of its own; leave `parameters` out".to_owned()));
        }
        if !self.path.starts_with('/') || self.path.ends_with('/') {
            return Err(wrong(format!("the path `{}` must begin with `/` and end without", self.path)));
        }
        plan.parameters = self.parameters();
        let binding = match plan.protocol {
            Protocol::Redis => self.redis(),
            Protocol::Postgres => self.postgres(),
            Protocol::Http => self.http(),
            Protocol::Lines | Protocol::Helper => {
                return Err(wrong(
                    "YCSB is known for redis, postgres and http; write `operations` for others".to_owned(),
                ));
            }
        };
        plan.load.extend(binding.load);
        for &(name, weight) in self.workload.mix() {
            let alternatives: Vec<Vec<Request>> = match name {
                "read" => vec![binding.read.clone()],
                "update" => binding.update.clone(),
                "insert" => vec![binding.insert.clone()],
                "scan" => vec![binding.scan.clone()],
                _ => binding.update.iter().map(|update| binding.read.iter().chain(update).cloned().collect()).collect(),
            };
            let operation = Operation {
                weight,
                send: String::new(),
                then: Vec::new(),
                body: None,
                headers: BTreeMap::new(),
                expect: Default::default(),
                writes: Some(!matches!(name, "read" | "scan")),
                leaves: Vec::new(),
            };
            plan.add(name, &operation, &alternatives)?;
        }
        Ok(())
    }

    fn parameters(&self) -> Vec<(String, Parameter)> {
        let sequence = |from| Parameter::Sequential(Sequential { from, hashed: true, pad: 0 });
        let key = match self.workload {
            Letter::D => Parameter::Latest(Latest { of: "new_key".to_owned(), theta: 0.99 }),
            _ => Parameter::Zipf(Zipf {
                from: 0,
                to: self.records - 1,
                theta: 0.99,
                scrambled: true,
                hashed: true,
                pad: 0,
            }),
        };
        let fields: Vec<String> = (0..self.fields).map(|field| format!("field{field}")).collect();
        let mut parameters = vec![
            ("loaded_key".to_owned(), sequence(0)),
            ("new_key".to_owned(), sequence(self.records)),
            ("key".to_owned(), key),
            ("scan_records".to_owned(), Parameter::Uniform(Range { from: 1, to: SCAN_RECORDS_MAX, pad: 0 })),
            ("field".to_owned(), Parameter::Choice(fields)),
            ("value".to_owned(), Parameter::Bytes(self.field_bytes)),
        ];
        parameters.extend((0..self.fields).map(|field| (format!("value{field}"), Parameter::Bytes(self.field_bytes))));
        parameters
    }

    fn redis(&self) -> Binding {
        let fields =
            |text: &mut String| (0..self.fields).for_each(|n| text.push_str(&format!(" field{n} {{value{n}}}")));
        let record = |key: &str| {
            let mut set = format!("HSET user{{{key}}}");
            fields(&mut set);
            [set, format!("ZADD _indices {{{key}}} user{{{key}}}")]
        };
        let loaded: Vec<Leaves> = (0..self.fields)
            .map(|n| Leaves::value(format!("HGET user{{loaded_key}} field{n}"), format!("{{value{n}}}")))
            .collect();
        Binding {
            load: record("loaded_key")
                .into_iter()
                .map(|send| LoadStep { leaves: loaded.clone(), ..step(send, self.records) })
                .collect(),
            read: vec![Request::plain("HGETALL user{key}")],
            update: vec![vec![Request::plain("HSET user{key} {field} {value}")]],
            insert: record("new_key").map(Request::plain).into(),
            scan: vec![Request::plain(REDIS_SCAN)],
        }
        .with_one_key_for_each_record()
    }

    fn postgres(&self) -> Binding {
        let list = |of: &dyn Fn(u32) -> String| (0..self.fields).map(of).collect::<Vec<_>>().join(", ");
        let columns = list(&|field| format!("field{field} text"));
        let insert = |key: &str| {
            let values = list(&|field| format!("{{value{field}}}"));
            // Parameters of names are texts, whatever stands around them.
            format!("INSERT INTO usertable VALUES ('user' || {{{key}}}::text, {values})")
        };
        let one = |field: u32, key: &str, value: String| {
            Leaves::value(
                format!("SELECT field{field} FROM usertable WHERE ycsb_key = 'user' || {{{key}}}::text"),
                value,
            )
        };
        let all = |key: &str| (0..self.fields).map(|n| one(n, key, format!("{{value{n}}}"))).collect();
        let update = |field| {
            let send =
                format!("UPDATE usertable SET field{field} = {{value}} WHERE ycsb_key = 'user' || {{key}}::text");
            vec![Request { leaves: vec![one(field, "key", "{value}".to_owned())], ..Request::plain(send) }]
        };
        Binding {
            load: vec![
                step("SET synchronous_commit = off".to_owned(), 1),
                step("DROP TABLE IF EXISTS usertable".to_owned(), 1),
                step(format!("CREATE TABLE usertable (ycsb_key varchar(255) PRIMARY KEY, {columns})"), 1),
                LoadStep { leaves: all("loaded_key"), ..step(insert("loaded_key"), self.records) },
                step("VACUUM ANALYZE usertable".to_owned(), 1),
                step("CHECKPOINT".to_owned(), 1),
            ],
            read: vec![Request::plain("SELECT * FROM usertable WHERE ycsb_key = 'user' || {key}::text")],
            update: (0..self.fields).map(update).collect(),
            insert: vec![Request { leaves: all("new_key"), ..Request::plain(insert("new_key")) }],
            scan: vec![Request::plain(
                "SELECT * FROM usertable WHERE ycsb_key >= 'user' || {key}::text ORDER BY ycsb_key LIMIT {scan_records}::bigint",
            )],
        }
    }

    fn http(&self) -> Binding {
        let path = &self.path;
        let fields: Vec<String> =
            (0..self.fields).map(|field| format!("\"field{field}\":\"{{value{field}}}\"")).collect();
        let json = || BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]);
        let whole = format!("{{{{{}}}", fields.join(","));
        let request = |send: String, body: Option<String>| Request { body, headers: json(), ..Request::plain(send) };
        Binding {
            load: vec![LoadStep {
                send: format!("POST {path}/user{{loaded_key}}"),
                body: Some(whole.clone()),
                headers: json(),
                count: self.records,
                leaves: Vec::new(),
            }],
            read: vec![Request::plain(format!("GET {path}/user{{key}}"))],
            update: vec![vec![request(
                format!("PUT {path}/user{{key}}"),
                Some("{{\"{field}\":\"{value}\"}".to_owned()),
            )]],
            insert: vec![request(format!("POST {path}/user{{new_key}}"), Some(whole))],
            scan: vec![Request::plain(format!("GET {path}?from=user{{key}}&count={{scan_records}}"))],
        }
    }
}

/// What each operation is in one protocol.
struct Binding {
    load: Vec<LoadStep>,
    read: Vec<Request>,
    /// Each field by itself, where its name cannot be a parameter.
    update: Vec<Vec<Request>>,
    insert: Vec<Request>,
    scan: Vec<Request>,
}

impl Binding {
    /// Steps are loaded one after the other, and each draws from the sequence: records and their index entries are then made
    /// by one script.
    fn with_one_key_for_each_record(mut self) -> Self {
        if let [record, index] = &self.load[..] {
            let fields = record.send.trim_start_matches("HSET ").to_owned();
            let (key, rest) = fields.split_once(' ').unwrap_or((&fields, ""));
            let score = index.send.split(' ').nth(2).unwrap_or_default();
            let send = format!(
                "EVAL \"redis.call('HSET', KEYS[1], unpack(ARGV, 2)) return redis.call('ZADD', '_indices', ARGV[1], KEYS[1])\" 1 {key} {score} {rest}"
            );
            self.load = vec![LoadStep { leaves: record.leaves.clone(), ..step(send, record.count) }];
        }
        self
    }
}

fn step(send: String, count: u64) -> LoadStep {
    LoadStep { send, body: None, headers: BTreeMap::new(), count, leaves: Vec::new() }
}
