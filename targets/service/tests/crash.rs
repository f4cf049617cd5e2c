//! Services that ended under load are started again on what they left, and each write is read back.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use uplift_sdk::{
    Audit, Batch, OpenContext, OutcomeKind,
    crash_ledger::{End, Ledger, LedgerWriter},
    seed::client_seed,
    timeline::EventLog,
};
use uplift_service::FACTORY;

const SEED: u64 = 7;

fn context(folder: &Path, workload: &Value, settings: &Value, clients: u32) -> OpenContext {
    let data_dir = folder.join("trial");
    fs::create_dir_all(&data_dir).unwrap();
    // PostgreSQL gives up root.
    for path in [folder, data_dir.as_path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    OpenContext {
        workload: workload.as_object().unwrap().clone(),
        settings: settings.as_object().unwrap().clone(),
        load: serde_json::from_value(json!({ "mode": "closed", "clients": clients })).unwrap(),
        data_dir,
        seed: SEED,
        events: EventLog::default(),
        ledger: Some(folder.join("ledger")),
    }
}

/// Has each client carry out `times` operations in turn, then ends the service; what was answered.
fn load(context: &OpenContext, clients: usize, times: u32) -> Vec<OutcomeKind> {
    let target = FACTORY.open(context.clone()).unwrap_or_else(|error| panic!("{error}"));
    let mut all: Vec<_> = (0..clients)
        .map(|index| target.client(index, client_seed(SEED, index)).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let mut outcomes = Vec::new();
    for _ in 0..times {
        outcomes.extend(all.iter_mut().map(|client| client.operate(Batch { operations: 1 }).result));
    }
    drop(all);
    target.close().unwrap();
    outcomes
}

fn audited(context: &OpenContext) -> Audit {
    let ledger = Ledger::read(context.ledger.as_ref().unwrap(), u64::MAX).unwrap();
    let again = OpenContext { ledger: None, ..context.clone() };
    FACTORY.reopen(again).unwrap_or_else(|error| panic!("{error}")).audit(&ledger).unwrap()
}

fn has(program: &str, word: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default().split(',').any(|one| one.trim() == word);
    assert!(there || !required, "UPLIFT_REQUIRE names {word}, and there is no `{program}`");
    if !there {
        eprintln!("skipped: there is no `{program}`");
    }
    there
}

/// The log that Redis appends to.
fn log_of_redis(context: &OpenContext) -> PathBuf {
    let folder = context.data_dir.join("service/appendonlydir");
    let mut files = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap()
}

fn key_value() -> Value {
    json!({
        "service": "redis",
        "load": [{ "send": "SET key:{n} {value}", "count": 50 }],
        "parameters": { "key": { "uniform": { "to": 49 } }, "value": { "bytes": 20 }, "by": { "uniform": { "to": 9 } } },
        "operations": {
            "set": { "send": "SET key:{key} {value}" },
            "get": { "send": "GET key:{key}" },
            "count": { "send": "INCRBY total {by}" },
        },
        "checks": { "keys": { "send": "EXISTS key:0", "expect": { "equals": "1" } } },
    })
}

#[test]
fn each_write_to_redis_is_read_back() {
    if !has("redis-server", "redis") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let context = context(folder.path(), &key_value(), &json!({ "appendonly": "yes", "appendfsync": "always" }), 3);
    FACTORY.can_reopen(&context.workload, &context.settings).unwrap();
    let outcomes = load(&context, 3, 100);
    assert!(outcomes.iter().all(|outcome| *outcome == OutcomeKind::Ok), "{outcomes:?}");
    let clean = audited(&context);
    assert!(clean.is_clean(), "{clean:?}");
    assert!(clean.acknowledged > 150 && clean.superseded < clean.acknowledged, "{clean:?}");
    // What a loss of power would take: the end of the log.
    let log = OpenOptions::new().write(true).open(log_of_redis(&context)).unwrap();
    let bytes = log.metadata().unwrap().len();
    log.set_len(bytes - bytes / 4).unwrap();
    let cut = audited(&context);
    assert!(cut.lost > 10 && cut.oldest_lost_ns.is_some() && cut.wrong == 0, "{cut:?}");
    assert!(cut.detail.is_some(), "{cut:?}");
    assert_eq!(cut.repaired, None, "a log that ends early is read as it is");
    // The size of a file may have reached the disk before what stands there.
    log.set_len(log.metadata().unwrap().len() + 300).unwrap();
    let mended = audited(&context);
    assert!(mended.repaired.is_some_and(|line| line.contains("redis-check-aof")), "{:?}", mended.detail);
    assert_eq!((mended.lost, mended.wrong), (cut.lost, 0), "{:?}", mended.detail);
    // Without the log what was loaded is gone too, which is no operation of anybody.
    log.set_len(0).unwrap();
    assert!(audited(&context).wrong > 0);
}

#[test]
fn inserts_of_ycsb_are_told_apart_by_their_sequence() {
    if !has("redis-server", "redis") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let workload = json!({ "service": "redis", "ycsb": { "workload": "d", "records": 40 } });
    let context = context(folder.path(), &workload, &json!({ "appendonly": "yes" }), 2);
    load(&context, 2, 200);
    let clean = audited(&context);
    assert!(clean.is_clean() && clean.acknowledged > 5 && clean.superseded == 0, "{clean:?}");
    // A write that was acknowledged and never arrived: the next number of the sequence, noted by a third client.
    let ledger = Ledger::read(context.ledger.as_ref().unwrap(), u64::MAX).unwrap();
    let last = *ledger.clients[0].last().unwrap();
    let folder = context.ledger.as_ref().unwrap();
    fs::remove_file(folder.join("client-00000.ledger")).unwrap();
    let mut writer = LedgerWriter::create(folder, 0).unwrap();
    writer.begin(last.kind, last.key, 99_999);
    writer.end(End::Acknowledged);
    let lost = audited(&context);
    assert_eq!((lost.lost, lost.wrong), (1, 0), "{lost:?}");
}

#[test]
fn what_is_written_to_any_server_is_read_back_as_the_scenario_says() {
    if !has("python3", "python3") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let server = folder.path().join("server.py");
    fs::write(&server, SERVER).unwrap();
    let settings = json!({ "start": format!("python3 {} {{port}} {{data}}/kept", server.display()) });
    let mut workload = json!({
        "protocol": "http",
        "ready": { "http": "/health" },
        "parameters": { "key": { "uniform": { "to": 9 } }, "value": { "bytes": 8 } },
        "operations": { "put": { "send": "PUT /{key}/{value}" }, "get": { "send": "GET /{key}" } },
    });
    let table = |value: &Value| value.as_object().unwrap().clone();
    let why = FACTORY.can_reopen(&table(&workload), &table(&settings)).unwrap_err();
    assert!(why.contains("`put`") && why.contains("leaves = [{ read"), "{why}");
    workload["operations"]["put"]["leaves"] = json!([{ "read": "GET /{key}", "value": "{value}" }]);
    let context = context(folder.path(), &workload, &settings, 1);
    FACTORY.can_reopen(&context.workload, &context.settings).unwrap();
    load(&context, 1, 40);
    let clean = audited(&context);
    assert!(clean.is_clean() && clean.acknowledged > 10, "{clean:?}");
    let kept = context.data_dir.join("service/kept");
    let text = fs::read_to_string(&kept).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&kept, lines[..lines.len() - 3].join("\n") + "\n").unwrap();
    let cut = audited(&context);
    assert!((1..=3).contains(&cut.lost) && cut.wrong == 0, "{cut:?}");
    workload["operations"]["put"]["leaves"] = json!([{ "read": "GET /{kye}", "value": "{value}" }]);
    let why = FACTORY.validate(&table(&workload), &table(&settings)).unwrap_err();
    assert!(why.to_string().contains("kye"), "{why}");
}

/// Keeps what is put in a file, a line each.
const SERVER: &str = r#"
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
kept = {}
try:
    for line in open(sys.argv[2]):
        key, value = line.split()
        kept[key] = value
except FileNotFoundError:
    pass
log = open(sys.argv[2], "a")
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self):
        key = self.path[1:]
        self.answer(200, "ok") if key == "health" else self.answer(200 if key in kept else 404, kept.get(key, ""))
    def do_PUT(self):
        _, key, value = self.path.split("/")
        kept[key] = value
        log.write(f"{key} {value}\n")
        log.flush()
        self.answer(200, "")
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

#[test]
fn transactions_of_tpc_b_are_in_the_history() {
    if !has("initdb", "postgres") && !Path::new("/usr/lib/postgresql").exists() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "service": "postgres",
        "pgbench": { "scale": 1, "scripts": { "tpcb": { "builtin": "tpcb-like" }, "simple": { "builtin": "simple-update" },
            "look": { "builtin": "select-only" } } },
    });
    let context = context(folder.path(), &workload, &json!({ "shared_buffers": "16MB" }), 2);
    FACTORY.can_reopen(&context.workload, &context.settings).unwrap();
    let target = match FACTORY.open(context.clone()) {
        Ok(target) => target,
        Err(error) => {
            assert!(!std::env::var("UPLIFT_REQUIRE").unwrap_or_default().contains("postgres"), "{error}");
            println!("skipped: {error}");
            return;
        }
    };
    let mut client = target.client(0, client_seed(SEED, 0)).unwrap_or_else(|error| panic!("{error}"));
    (0..60).for_each(|_| assert_eq!(client.operate(Batch { operations: 1 }).result, OutcomeKind::Ok));
    drop(client);
    target.close().unwrap();
    let clean = audited(&context);
    assert!(clean.is_clean() && (20..60).contains(&clean.acknowledged), "{clean:?}");
    // The same transactions of another client, who never ran.
    fs::copy(
        context.ledger.as_ref().unwrap().join("client-00000.ledger"),
        context.ledger.as_ref().unwrap().join("client-00001.ledger"),
    )
    .unwrap();
    let lost = audited(&context);
    assert!(lost.lost > 20 && lost.wrong == 0 && lost.twice == 0, "{lost:?}");
}

#[test]
fn what_cannot_be_read_back_says_why() {
    let why = |workload: Value, settings: Value| {
        let table = |value: Value| value.as_object().unwrap().clone();
        FACTORY.can_reopen(&table(workload), &table(settings)).unwrap_err()
    };
    let only = |send: &str| json!({ "service": "redis", "operations": { "one": { "send": send } } });
    assert!(why(only("GET k"), json!({})).contains("writes anything"));
    assert!(why(only("LPUSH l 1"), json!({})).contains("`LPUSH l 1`"));
    let given = why(only("SET k v"), json!({ "url": "redis://127.0.0.1:1" }));
    assert!(given.contains("was not started here"), "{given}");
    let script = json!({ "service": "postgres", "pgbench": { "scripts": { "own": { "text": "SELECT 1;" } } } });
    assert!(why(script, json!({})).contains("script `own`"));
}
