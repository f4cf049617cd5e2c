//! PostgreSQL: its life, both protocols, scripts of pgbench beside pgbench itself.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use tempfile::TempDir;
use uplift_postgres_service::{Server, ServiceError};
use uplift_sdk::{
    Batch, Durability, OpenContext, OutcomeKind, Target, TargetErrorKind, model::Table, timeline::EventLog,
};
use uplift_service::FACTORY;

fn table(value: serde_json::Value) -> Table {
    value.as_object().unwrap().clone()
}

/// `None`: there is no PostgreSQL here, and `UPLIFT_REQUIRE` does not ask for it.
fn opened(folder: &Path, workload: serde_json::Value, settings: serde_json::Value) -> Option<Box<dyn Target>> {
    opened_in(&folder.join("trial"), workload, settings)
}

fn opened_in(data_dir: &Path, workload: serde_json::Value, settings: serde_json::Value) -> Option<Box<dyn Target>> {
    let data_dir = data_dir.to_owned();
    fs::create_dir_all(&data_dir).unwrap();
    let context = OpenContext {
        workload: table(workload),
        settings: table(settings),
        load: serde_json::from_value(json!({ "mode": "closed", "clients": 1 })).unwrap(),
        data_dir,
        seed: 7,
        events: EventLog::default(),
        ledger: None,
    };
    match FACTORY.open(context) {
        Ok(target) => Some(target),
        Err(error) if matches!(error.kind, TargetErrorKind::Unavailable { .. }) && !is_required() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn is_required() -> bool {
    std::env::var("UPLIFT_REQUIRE").unwrap_or_default().split(',').any(|word| word.trim() == "postgres")
}

#[test]
fn statements_run_in_every_mode_and_settings_are_read_back() {
    for mode in ["simple", "extended", "prepared"] {
        let folder = TempDir::new().unwrap();
        let workload = json!({
            "service": "postgres",
            "query_mode": mode,
            "load": [
                { "send": "CREATE TABLE kv (k bigint PRIMARY KEY, v text)" },
                { "send": "INSERT INTO kv VALUES ({n}::bigint, {value})", "count": 50 },
            ],
            "parameters": { "key": { "uniform": { "to": 49 } }, "value": { "bytes": 12 } },
            "operations": {
                "get": { "weight": 4, "send": "SELECT v FROM kv WHERE k = {key}::bigint", "expect": { "rows": 1 } },
                "put": { "weight": 4, "send": "UPDATE kv SET v = {value} WHERE k = {key}::bigint", "expect": { "rows": 1 } },
                "twice": { "send": "INSERT INTO kv VALUES (1, 'x')" },
            },
            "counters": { "wal": { "sql": "SELECT wal_bytes FROM pg_stat_wal", "bytes": true } },
            "checks": { "rows": { "send": "SELECT count(*) FROM kv", "expect": { "equals": "50" } } },
        });
        let settings = json!({ "synchronous_commit": "off", "shared_buffers": "32MB" });
        let Some(target) = opened(folder.path(), workload, settings) else { return };
        assert_eq!(target.effective()["synchronous_commit"], "off");
        assert_eq!(target.effective()["shared_buffers"], "32MB");
        assert_eq!(target.durability(), Durability::Buffered);
        assert_eq!(target.processes().len(), 1);
        let mut client = target.client(0, 3).unwrap();
        for _ in 0..200 {
            let outcome = client.operate(Batch { operations: 1 });
            let wanted = if outcome.kind == 2 { OutcomeKind::Failed(0) } else { OutcomeKind::Ok };
            assert_eq!(outcome.result, wanted, "{mode}: {outcome:?}: {:?}", target.drain());
        }
        client.operate(Batch { operations: 64 });
        drop(client);
        let mut samples = Default::default();
        target.sample(&mut samples);
        assert!(samples.counters()["wal"] > 0.0);
        target.quiesce().unwrap();
        assert!(target.drain().unwrap().detail.contains("duplicate key"));
        let check = target.check().unwrap();
        assert!(check.passed && check.checked == 2, "{}", check.detail);
    }
}

/// What checkpoints do is told by the server itself; data that took long to load are copied for the next trial.
#[test]
fn checkpoints_are_on_the_time_line_and_data_are_copied() {
    let folder = TempDir::new().unwrap();
    let workload = json!({
        "service": "postgres",
        "snapshot": true,
        "load": [
            { "send": "CREATE TABLE kv AS SELECT n AS k FROM generate_series(1, 1000) n" },
            { "send": "CREATE TABLE made AS SELECT clock_timestamp() AS at" },
        ],
        "operations": { "checkpoint": { "send": "CHECKPOINT" } },
        "checks": {
            "rows": { "send": "SELECT count(*) FROM kv", "expect": { "equals": "1000" } },
            "copied": { "send": "SELECT at < pg_postmaster_start_time() FROM made", "expect": { "equals": "t" } },
        },
    });
    let settings = json!({ "shared_buffers": "32MB" });
    for trial in ["one", "two"] {
        let Some(target) = opened_in(&folder.path().join(trial), workload.clone(), settings.clone()) else { return };
        target.resume();
        assert_eq!(target.client(0, 3).unwrap().operate(Batch { operations: 1 }).result, OutcomeKind::Ok);
        target.quiesce().unwrap();
        let mut samples = Default::default();
        // Statistics reach their views with a delay of up to a second.
        let counted = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            samples = Default::default();
            target.sample(&mut samples);
            samples.counters().get("checkpoints_req").is_some_and(|count| *count > 0.0)
        });
        assert!(counted, "{:?} {:?}", samples.counters(), samples.absences());
        assert!(samples.counters().contains_key("wal_bytes"), "{:?}", samples.absences());
        let check = target.check().unwrap();
        assert!(check.passed, "{}", check.detail);
    }
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = entries.filter(|name| name.to_string_lossy().starts_with("snapshot-")).count();
    // A container's data, or those of a server that was given, are loaded each time.
    assert!(kept == 2 || !is_required(), "a snapshot and its lock: {kept}");
}

#[test]
fn scripts_of_pgbench_run_as_they_are() {
    for mode in ["simple", "extended", "prepared"] {
        let folder = TempDir::new().unwrap();
        let script = "\\set aid random(1, 100000 * :scale)\n\\if :aid > 0\n\
            SELECT abalance AS balance, 'x' AS word FROM pgbench_accounts WHERE aid = :aid \\gset my_\n\\endif\n\
            SELECT :my_balance::int + :extra AS one, ':aid' AS two;\n";
        let workload = json!({
            "service": "postgres",
            "query_mode": mode,
            "pgbench": {
                "scripts": {
                    "tpcb": { "builtin": "tpcb-like", "weight": 2 },
                    "reads": { "text": script },
                },
                "variables": { "extra": "5" },
            },
        });
        let settings = json!({ "fsync": "off" });
        let Some(target) = opened(folder.path(), workload, settings) else { return };
        assert_eq!(target.durability(), Durability::ProcessCrash);
        let mut client = target.client(0, 3).unwrap();
        let mut kinds = [0, 0];
        for _ in 0..60 {
            let outcome = client.operate(Batch { operations: 1 });
            assert_eq!(outcome.result, OutcomeKind::Ok, "{mode}: {:?} {:?}", target.drain(), target.quiesce());
            kinds[usize::from(outcome.kind)] += 1;
        }
        assert!(kinds[0] > 5 && kinds[1] > 20, "{kinds:?}");
        drop(client);
        let check = target.check().unwrap();
        assert!(check.passed, "{}", check.detail);
    }
}

#[test]
fn balances_are_checked_and_pipelines_run() {
    let folder = TempDir::new().unwrap();
    let pipeline = "\\startpipeline\nSELECT 1;\nSELECT 2;\n\\syncpipeline\nSELECT 3;\n\\endpipeline\n";
    let workload = json!({
        "service": "postgres",
        "pgbench": { "scripts": { "tpcb": { "builtin": "tpcb-like" } } },
    });
    let Some(target) = opened(&folder.path().join("tpcb"), workload, json!({ "fsync": "off" })) else { return };
    let mut client = target.client(0, 3).unwrap();
    (0..20).for_each(|_| assert_eq!(client.operate(Batch { operations: 1 }).result, OutcomeKind::Ok));
    drop(client);
    let check = target.check().unwrap();
    assert!(check.passed && check.checked == 2, "{}", check.detail);
    let workload = json!({
        "service": "postgres",
        "pgbench": { "initialize": false, "scripts": { "pipe": { "text": pipeline } } },
    });
    let target = opened(&folder.path().join("pipe"), workload, json!({ "fsync": "off" })).unwrap();
    let mut client = target.client(0, 3).unwrap();
    (0..20).for_each(|_| {
        assert_eq!(client.operate(Batch { operations: 1 }).result, OutcomeKind::Ok, "{:?}", target.drain())
    });
}

#[test]
fn wrong_sql_is_said_with_its_line() {
    let folder = TempDir::new().unwrap();
    let script =
        "\\set x 1\n\nBEGIN;\nSELECT 1;\nUPDATE pgbench_branches\n   SET bbalance = 1\n WHERE nosuch = :x;\nEND;\n";
    let workload = json!({
        "service": "postgres",
        "pgbench": { "scripts": { "wrong": { "text": script } } },
    });
    let Some(target) = opened(folder.path(), workload, json!({ "fsync": "off" })) else { return };
    target.client(0, 3).unwrap().operate(Batch { operations: 1 });
    let said = target.quiesce().unwrap_err().to_string();
    assert!(said.contains("line 7 of `wrong`") && said.contains("nosuch"), "{said}");
}

/// Expressions have the values that pgbench itself gives them.
#[test]
fn expressions_are_those_of_pgbench() {
    let folder = TempDir::new().unwrap();
    let server = match Server::start(folder.path(), &[("fsync", "off")]) {
        Ok(server) => server,
        Err(error @ ServiceError::Unavailable { .. }) if !is_required() => {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    if Command::new("pgbench").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `pgbench`");
        return;
    }
    let expressions = [
        "1 + 2 * 3 - 4 / 3 % 2",
        "-7 / 2",
        "-7 % 3",
        "7 / 2.0",
        "1 = 1 IS TRUE",
        "NOT 1 = 2 AND 3 < 4 OR false",
        "1 | 2 # 3 & 1 << 2",
        "1 << 2 + 1",
        "~ 5 + 1",
        "int(5.5) + int(6.5) + int(-2.5)",
        "abs(-17.5)",
        "double(5432) / 7",
        "exp(1.0)",
        "greatest(5, 4, 3.5, 2)",
        "least(5, 4, 3, 2.1)",
        "hash_fnv1a(10, 5432)",
        "hash_fnv1a(-1, -5)",
        "hash_murmur2(10, 5432)",
        "hash(123456789, 0)",
        "ln(10)",
        "mod(54, 32)",
        "permute(0, 100, 5)",
        "permute(17, 1000003, -9)",
        "permute(123456789, 4611686018427387904, 42)",
        "pi() * 1e20",
        "pow(2.0, 0.5)",
        "power(-8, 3)",
        "sqrt(2.0)",
        "1.0 / 3e-7",
        "CASE WHEN 1 > 2 THEN 5 WHEN 2 > 1 THEN 6.5 ELSE 7 END",
        "NULL IS NULL",
        "NULL AND false",
        "9223372036854775807 - 1",
        "-9223372036854775808",
        "1e300 * 1e5",
        "123456789012345678",
        "1.5e-7",
    ];
    let text: String = expressions.iter().map(|expression| format!("\\set x debug({expression})\n")).collect();
    let file = folder.path().join("script.sql");
    fs::write(&file, &text).unwrap();
    let output =
        Command::new("pgbench").args(["-n", "-t", "1", "-f"]).arg(&file).arg(server.connection()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let theirs: Vec<&str> = said.lines().filter_map(|line| line.split_once("): ")).map(|(_, value)| value).collect();
    assert_eq!(theirs.len(), expressions.len(), "{said}");
    for (expression, theirs) in expressions.iter().zip(theirs) {
        let ours = uplift_service::pgbench_value(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        // `debug` writes the type before the value.
        let theirs = theirs.split_once(' ').map_or(theirs, |(_, value)| value);
        assert!(ours.eq_ignore_ascii_case(theirs), "{expression}: {ours} against pgbench's {theirs}");
    }
}
