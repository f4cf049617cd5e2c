//! Services of this machine, from tables as a scenario has them: started, asked, judged, gone.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

#[path = "inside/http2.rs"]
mod http2;

use serde_json::json;
use tempfile::TempDir;
use uplift_sdk::{
    Batch, Durability, OpenContext, Outcome, OutcomeKind, Target, TargetErrorKind, model::Table, timeline::EventLog,
};
use uplift_service::FACTORY;

/// A key-value server over HTTP in Python: `/usertable/<key>`, `/health`, `/config`, `/metrics`.
const HTTP_SERVER: &str = include_str!("kv_server.py");
/// The helper that docs/SERVICE.md shows.
const HELPER: &str = include_str!("helper.py");

fn table(value: serde_json::Value) -> Table {
    value.as_object().unwrap().clone()
}

fn context(folder: &Path, workload: serde_json::Value, settings: serde_json::Value) -> OpenContext {
    let data_dir = folder.join("trial");
    fs::create_dir_all(&data_dir).unwrap();
    OpenContext {
        workload: table(workload),
        settings: table(settings),
        load: serde_json::from_value(json!({ "mode": "closed", "clients": 1 })).unwrap(),
        data_dir,
        seed: 7,
        events: EventLog::default(),
        ledger: None,
    }
}

fn opened(folder: &Path, workload: serde_json::Value, settings: serde_json::Value) -> Box<dyn Target> {
    FACTORY.open(context(folder, workload, settings)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(folder: &Path, workload: serde_json::Value, settings: serde_json::Value) -> String {
    match FACTORY.open(context(folder, workload, settings)) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

/// Whether a program is there; where it is not, the test says so and passes, unless `UPLIFT_REQUIRE` names it.
fn has(program: &str, word: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = env::var("UPLIFT_REQUIRE").unwrap_or_default().split(',').any(|one| one.trim() == word);
    assert!(there || !required, "UPLIFT_REQUIRE names {word}, and there is no `{program}`");
    if !there {
        eprintln!("skipped: there is no `{program}`");
    }
    there
}

fn operate(target: &dyn Target, times: u32) -> Vec<Outcome> {
    let mut client = target.client(0, 3).unwrap_or_else(|error| panic!("{error}"));
    (0..times).map(|_| client.operate(Batch { operations: 1 })).collect()
}

/// Processes with `text` on their command line, which names a folder of this test.
fn processes(text: &str) -> Vec<u32> {
    let with = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).map(|path| path.display().to_string()).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text) || cwd.contains(text)
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&pid| pid != std::process::id() && with(pid)).collect()
}

fn http_server(folder: &Path) -> String {
    let file = folder.join("kv_server.py");
    fs::write(&file, HTTP_SERVER).unwrap();
    format!("python3 {} {{port}}", file.display())
}

#[test]
fn a_redis_lives_from_tables_alone() {
    if !has("redis-server", "redis") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "service": "redis",
        "load": [{ "send": "SET key:{n} {value}", "count": 250 }],
        "parameters": { "key": { "uniform": { "to": 249 } }, "value": { "bytes": 20 } },
        "operations": {
            "get": { "weight": 3, "send": "GET key:{key}", "expect": { "matches": "^[A-Za-z0-9_-]{20}$" } },
            "set": { "send": "SET key:{key} {value}" },
            "missing": { "send": "GET nowhere" },
            "wrong": { "send": "INCR key:{key}" },
        },
        "counters": { "commands": { "info": "total_commands_processed", "per": "total" } },
        "checks": { "keys": { "send": "DBSIZE", "expect": { "equals": "250" } } },
    });
    let settings = json!({ "appendonly": true, "appendfsync": "always", "maxmemory": "64mb" });
    let description = FACTORY.describe_workload(&table(workload.clone()));
    assert_eq!(description.operations, ["get", "missing", "set", "wrong"]);
    assert_eq!(description.write_kinds, ["set", "wrong"]);
    let target =
        opened(folder.path(), workload, json!({ "appendonly": "yes", "appendfsync": "always", "maxmemory": "64mb" }));
    drop(settings);
    let effective = target.effective();
    assert_eq!(effective["appendfsync"], "always");
    assert_eq!(effective["maxmemory"], "67108864");
    assert_eq!(target.durability(), Durability::PowerLoss);
    assert_eq!(target.processes().len(), 1);
    for outcome in operate(target.as_ref(), 300) {
        let wanted = match outcome.kind {
            1 => OutcomeKind::NoOp(0),
            3 => OutcomeKind::Failed(0),
            _ => OutcomeKind::Ok,
        };
        assert_eq!(outcome.result, wanted, "{outcome:?}");
    }
    // Several together, as a load with a batch asks.
    assert_eq!(target.client(1, 5).unwrap().operate(Batch { operations: 50 }).units, 50);
    let mut samples = Default::default();
    target.sample(&mut samples);
    assert!(samples.counters()["commands"] > 300.0 && samples.counters()["client_cpu_ns"] > 0.0);
    target.quiesce().unwrap();
    let drained = target.drain().unwrap();
    assert!(drained.detail.contains("not an integer"), "{}", drained.detail);
    let check = target.check().unwrap();
    assert!(check.passed && check.checked == 2, "{}", check.detail);
    drop(target);
    assert_eq!(processes(&folder.path().display().to_string()), Vec::<u32>::new());
}

#[test]
fn an_http_server_lives_from_tables_alone() {
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "protocol": "http",
        "ready": { "http": "/health", "line": "serving" },
        "load": [{ "send": "PUT /usertable/k{n}", "body": "{\"n\": {n}}", "count": 20 }],
        "parameters": { "key": { "zipf": { "to": 19 } } },
        "operations": {
            "get": { "weight": 5, "send": "GET /usertable/k{key}", "expect": { "contains": "\"n\"" } },
            "none": { "send": "GET /usertable/none" },
            "put": { "send": "PUT /usertable/k{key}", "body": "{{\"n\": \"{key}\"}", "headers": { "X-Key": "{key}" } },
        },
        "settings_from": { "http": "/config" },
        "counters": { "requests": { "prometheus": "requests_total", "per": "total" } },
        "stop": { "signal": "INT" },
    });
    let start = format!("{} --greeting {{greeting}}", http_server(folder.path()));
    let settings = json!({ "start": start, "greeting": "hello", "durability": "none" });
    let target = opened(folder.path(), workload, settings);
    assert_eq!(target.effective()["greeting"], "hello");
    for outcome in operate(target.as_ref(), 60) {
        let wanted = if outcome.kind == 1 { OutcomeKind::NoOp(0) } else { OutcomeKind::Ok };
        assert_eq!(outcome.result, wanted, "{outcome:?}");
    }
    let mut samples = Default::default();
    target.sample(&mut samples);
    assert!(samples.counters()["requests"] >= 80.0, "{samples:?}");
    assert!(target.check().unwrap().passed);
    drop(target);
    assert_eq!(processes(&folder.path().display().to_string()), Vec::<u32>::new());
}

#[test]
fn ycsb_runs_on_redis_and_over_http() {
    let folder = TempDir::new().unwrap();
    for letter in ["a", "d", "e", "f"] {
        let ycsb = json!({ "workload": letter, "records": 50 });
        let mut all =
            vec![("http", json!({ "protocol": "http", "ycsb": ycsb }), json!({ "start": http_server(folder.path()) }))];
        if has("redis-server", "redis") {
            all.push(("redis", json!({ "service": "redis", "ycsb": ycsb }), json!({ "appendonly": "no" })));
        }
        for (name, workload, settings) in all {
            let trial = folder.path().join(format!("{letter}-{name}"));
            let target = opened(&trial, workload, settings);
            for outcome in operate(target.as_ref(), 200) {
                assert_eq!(outcome.result, OutcomeKind::Ok, "workload {letter} on {name}: {outcome:?}");
            }
            assert!(target.check().unwrap().passed);
        }
    }
}

#[test]
fn a_helper_in_python_answers() {
    let folder = TempDir::new().unwrap();
    let helper = folder.path().join("helper.py");
    fs::write(&helper, HELPER).unwrap();
    let workload = json!({
        "protocol": "helper",
        "helper": format!("python3 {} {{host}} {{port}}", helper.display()),
        "operations": {
            "get": { "send": "GET /usertable/none" },
            "health": { "send": "GET /health", "expect": { "contains": "ok" } },
        },
    });
    let target = opened(folder.path(), workload, json!({ "start": http_server(folder.path()) }));
    for outcome in operate(target.as_ref(), 20) {
        let wanted = if outcome.kind == 0 { OutcomeKind::NoOp(0) } else { OutcomeKind::Ok };
        assert_eq!(outcome.result, wanted, "{outcome:?}");
    }
}

#[test]
fn data_are_loaded_once_and_copied_for_each_trial() {
    if !has("redis-server", "redis") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "service": "redis",
        "snapshot": true,
        "load": [{ "send": "SET key:{n} {value}", "count": 100 }],
        "parameters": { "value": { "bytes": 10 } },
        "operations": { "get": { "send": "GET key:7" } },
    });
    let settings = json!({ "appendonly": "yes" });
    let mut seen = Vec::new();
    for trial in ["one", "two"] {
        // Trials of one run have folders beside each other.
        let mut context = context(&folder.path().join("run"), workload.clone(), settings.clone());
        context.data_dir = folder.path().join("run").join(trial);
        context.seed = seen.len() as u64;
        fs::create_dir_all(&context.data_dir).unwrap();
        let target = FACTORY.open(context).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(operate(target.as_ref(), 1)[0].result, OutcomeKind::Ok);
        drop(target);
        let log = fs::read_to_string(folder.path().join("run").join(trial).join("service.log")).unwrap();
        seen.push(log.matches("Ready to accept connections").count());
    }
    assert_eq!(seen, [2, 1], "the first trial made the data, stopped and started; the second found them");
}

/// Counters are read over a connection of their own while the load goes on, and at no other time.
#[test]
fn counters_are_read_over_time() {
    if !has("redis-server", "redis") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "service": "redis",
        "operations": { "set": { "send": "SET key:{key} x PX 20" } },
        "parameters": { "key": { "uniform": { "to": 99 } } },
        "counters": { "commands": { "info": "total_commands_processed" }, "nowhere": { "info": "no_such_field" } },
        "counters_every": "100ms",
    });
    let description = FACTORY.describe_workload(&table(workload.clone()));
    let names: Vec<&str> = description.metrics.iter().map(|metric| metric.spec.name.as_ref()).collect();
    assert!(names.contains(&"expired_keys") && names.contains(&"commands"), "{names:?}");
    let target = opened(folder.path(), workload, json!({}));
    let points = |name: &str| -> Vec<(u64, f64)> {
        let numbers = target.sampled().unwrap().numbers;
        numbers.into_iter().find(|number| number.name == name).map(|number| number.points).unwrap_or_default()
    };
    std::thread::sleep(Duration::from_millis(150));
    assert!(points("commands").is_empty(), "nothing is asked before the load");
    target.resume();
    for _ in 0..6 {
        operate(target.as_ref(), 50);
        std::thread::sleep(Duration::from_millis(110));
    }
    target.quiesce().unwrap();
    let commands = points("commands");
    assert!(commands.len() >= 4, "{commands:?}");
    assert!(commands.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{commands:?}");
    let expired = points("expired_keys");
    assert!(expired.last().unwrap().1 > 0.0, "{expired:?}");
    assert!(points("nowhere").is_empty(), "what is not told has no line of time");
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(points("commands").len(), commands.len(), "nothing is asked while it must be quiet");
    let sampled = target.sampled().unwrap();
    assert!(sampled.samples >= 4 && sampled.asking_max_ns > 0 && sampled.every_ns == 100_000_000);
    let expired = sampled.numbers.iter().find(|number| number.name == "expired_keys").unwrap();
    assert!(expired.grows && expired.means.as_deref() == Some("keys expired"));
    // The ends of a window are on the line of time too.
    target.sample(&mut Default::default());
    assert_eq!(points("commands").len(), commands.len() + 1);
    drop(target);
    assert_eq!(processes(&folder.path().display().to_string()), Vec::<u32>::new());
}

#[test]
fn what_goes_wrong_is_said_with_the_end_of_the_log() {
    let folder = TempDir::new().unwrap();
    let lines = json!({ "protocol": "lines", "operations": { "a": { "send": "a" } }, "ready": { "timeout": "300ms" } });
    let said = |settings: serde_json::Value| refused(folder.path(), lines.clone(), settings);
    let died = said(json!({ "start": "sh -c 'echo no such option >&2; exit 3'" }));
    assert!(died.contains("exit status 3") && died.contains("no such option"), "{died}");
    let never = said(json!({ "start": "sh -c 'echo waiting; exec sleep 600'" }));
    assert!(never.contains("not ready after 300ms") && never.contains("waiting"), "{never}");
    let background = said(json!({ "start": "sh -c 'sleep 600 & exit 0'" }));
    assert!(background.contains("foreground"), "{background}");
    let init = said(json!({ "start": "true", "init": "sh -c 'echo no space >&2; exit 1'" }));
    assert!(init.contains("no space") && init.contains("exit status 1"), "{init}");
    let missing =
        FACTORY.open(context(folder.path(), lines.clone(), json!({ "start": "surely-not-installed {port}" })));
    assert!(matches!(missing.err().unwrap().kind, TargetErrorKind::Unavailable { .. }));
    assert!(said(json!({ "url": "tcp://127.0.0.1:1" })).contains("could not connect"));
    assert_eq!(processes(&folder.path().display().to_string()), Vec::<u32>::new());
}

#[test]
fn a_service_that_dies_under_load_or_answers_garbage_ends_the_trial() {
    let folder = TempDir::new().unwrap();
    let http = json!({ "protocol": "http", "operations": { "die": { "send": "POST /die" } } });
    let target = opened(&folder.path().join("dies"), http, json!({ "start": http_server(folder.path()) }));
    operate(target.as_ref(), 3);
    let said = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        target.quiesce().err()
    });
    let said = said.unwrap().to_string();
    assert!(said.contains("exit status 9") && said.contains("told to die"), "{said}");
    drop(target);
    // An HTTP server is asked in the protocol of Redis.
    let lines =
        json!({ "protocol": "redis", "ready": { "http": "/health" }, "operations": { "get": { "send": "GET a" } } });
    let target = opened(&folder.path().join("garbage"), lines, json!({ "start": http_server(folder.path()) }));
    operate(target.as_ref(), 1);
    assert!(target.quiesce().unwrap_err().to_string().contains("not of the protocol"));
}

#[test]
fn a_service_that_does_not_stop_is_killed_and_said() {
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "protocol": "http",
        "stop": { "grace": "200ms" },
        "operations": { "get": { "send": "GET /health" } },
    });
    let start = format!("{} --deaf", http_server(folder.path()));
    let target = opened(folder.path(), workload, json!({ "start": start }));
    let said = target.close().unwrap_err().to_string();
    assert!(said.contains("did not end within 200ms of SIGTERM") && said.contains("serving"), "{said}");
    assert_eq!(processes(&folder.path().display().to_string()), Vec::<u32>::new());
}

#[test]
fn settings_that_fit_nowhere_are_refused() {
    let redis = json!({ "service": "redis", "operations": { "get": { "send": "GET {key}" } } });
    let valid = json!({ "protocol": "http", "operations": { "get": { "send": "GET /" } } });
    for (workload, settings, said) in [
        (redis, json!({}), "`{key}`"),
        (valid.clone(), json!({}), "needs `start`"),
        (valid.clone(), json!({ "start": "server {port}", "strat": "x" }), "`strat` is neither a key"),
        (valid.clone(), json!({ "start": "server | tee", }), "for a shell"),
        (valid.clone(), json!({ "start": "server", "url": "http://a" }), "leave `start` or `url` out"),
        (valid, json!({ "start": "server", "files": { "../x": "" } }), "below the service's data folder"),
        (json!({ "protocol": "http" }), json!({}), "exactly one of"),
        (json!({ "operations": { "get": { "send": "GET /" } } }), json!({}), "write `protocol"),
        (json!({ "service": "redis", "pgbench": {} }), json!({}), "scripts of pgbench are for"),
        (
            json!({ "service": "postgres", "pgbench": { "scripts": { "a": { "text": "SELECT 1;\n\\set x 1 +" } } } }),
            json!({}),
            "line 2 of `a`",
        ),
    ] {
        let error = FACTORY.validate(&table(workload), &table(settings)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// A key and a certificate for 127.0.0.1, where there is an `openssl` to make them.
fn certificate(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext"])
        .arg("subjectAltName=IP:127.0.0.1")
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no `openssl`");
        return None;
    }
    Some((key, certificate))
}

#[test]
fn certificates_must_be_trusted() {
    let folder = TempDir::new().unwrap();
    let Some((_, certificate)) = certificate(folder.path()) else { return };
    let start = format!("{} --certificate {}", http_server(folder.path()), certificate.display());
    let workload = |tls: serde_json::Value| json!({ "protocol": "http", "tls": tls, "operations": { "get": { "send": "GET /health" } } });
    let said = refused(&folder.path().join("untrusted"), workload(json!({ "on": true })), json!({ "start": start }));
    assert!(said.contains("the certificate is not trusted") && said.contains("tls.ca"), "{said}");
    let ca = certificate.display().to_string();
    let misnamed = workload(json!({ "on": true, "ca": ca, "name": "other.example" }));
    let said = refused(&folder.path().join("misnamed"), misnamed, json!({ "start": start }));
    assert!(said.contains("not trusted for `other.example`"), "{said}");
    for (name, tls) in [("ca", json!({ "on": true, "ca": ca })), ("insecure", json!({ "on": true, "insecure": true }))]
    {
        let target = opened(&folder.path().join(name), workload(tls), json!({ "start": start }));
        assert!(operate(target.as_ref(), 20).iter().all(|outcome| outcome.result == OutcomeKind::Ok), "{name}");
    }
}

/// The helper in the guide is the one that is tested.
#[test]
fn the_guide_shows_the_helper() {
    assert!(include_str!("../../../docs/SERVICE.md").contains(HELPER));
}

/// The part of an agent in the test below: it opens a service, says so, and waits to be killed.
#[test]
fn agent_that_is_killed() {
    let Ok(folder) = env::var("SERVICE_TEST_FOLDER") else { return };
    let workload = json!({
        "protocol": "http",
        "operations": { "get": { "send": "GET /{socket_is_unused}" } },
        "parameters": { "socket_is_unused": { "uniform": { "to": 1 } } },
    });
    let start = format!("sh -c 'sleep 600 & exec {} --socket {{socket}}'", http_server(Path::new(&folder)));
    let target = opened(Path::new(&folder), workload, json!({ "start": start }));
    println!("\nopened");
    std::thread::sleep(Duration::from_secs(600));
    drop(target);
}

#[test]
fn nothing_is_left_when_the_agent_is_killed() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().display().to_string();
    // Its parent, which stands for the harness, is killed with it.
    let script = format!(
        "'{}' --exact agent_that_is_killed --nocapture & echo \"agent $!\"; wait",
        env::current_exe().unwrap().display()
    );
    let mut harness = Command::new("sh")
        .args(["-c", &script])
        .env("SERVICE_TEST_FOLDER", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(harness.stdout.take().unwrap()).lines().map_while(Result::ok);
    let agent: libc::pid_t = lines.find_map(|line| line.strip_prefix("agent ")?.parse().ok()).unwrap();
    assert!(lines.any(|line| line == "opened"), "the agent did not open its service");
    assert!(processes(&name).len() >= 2 && folder.path().join("trial").exists());
    let sockets = || {
        fs::read_dir(env::temp_dir())
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(&format!("uplift-svc-{agent}-")))
    };
    assert!(sockets());
    harness.kill().unwrap();
    harness.wait().unwrap();
    // SAFETY: the process was started by this test and sleeps.
    unsafe { libc::kill(agent, libc::SIGKILL) };
    let gone = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        processes(&name).is_empty() && !folder.path().join("trial").exists() && !sockets()
    });
    assert!(gone, "left: {:?}, folder: {}", processes(&name), folder.path().join("trial").exists());
}
