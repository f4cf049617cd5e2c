//! Every provider carries out orchestrations through the target as the harness drives it, and says what is in force.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uplift_orchestration::FACTORY;
use uplift_sdk::{
    Batch, Durability, OpenContext, OutcomeKind, Samples, Target, TargetError, TargetErrorKind,
    model::{Table, scenario::Load},
    timeline::EventLog,
};

const OPERATIONS: usize = 5;

fn table(json: serde_json::Value) -> Table {
    serde_json::from_value(json).unwrap()
}

fn open(settings: serde_json::Value, data_dir: &Path) -> Result<Box<dyn Target>, TargetError> {
    let workload = table(serde_json::json!({ "activities": 3, "activity_delay": "1ms" }));
    let settings = table(settings);
    FACTORY.validate(&workload, &settings).unwrap();
    let load: Load = serde_json::from_value(serde_json::json!({ "mode": "closed", "clients": 2 })).unwrap();
    let (data_dir, events) = (data_dir.to_owned(), EventLog::default());
    FACTORY.open(OpenContext { workload, settings, load, data_dir, seed: 1, events, ledger: None })
}

/// Retries are counted for the whole process: tests that open a target take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs some orchestrations and returns what grew meanwhile.
fn exercise(target: &dyn Target) -> BTreeMap<String, f64> {
    let sample = || {
        let mut samples = Samples::default();
        target.sample(&mut samples);
        samples.counters().iter().map(|(name, value)| (name.to_string(), *value)).collect::<BTreeMap<_, _>>()
    };
    let before = sample();
    let mut client = target.client(0, 1).unwrap();
    for _ in 0..OPERATIONS {
        let outcome = client.operate(Batch { operations: 1 });
        assert!(outcome.result == OutcomeKind::Ok, "{outcome:?}");
    }
    drop(client);
    target.drain().unwrap();
    let check = target.check().unwrap();
    assert!(check.passed && check.checked == OPERATIONS as u64, "{check:?}");
    let mut growth = sample();
    for (name, value) in &mut growth {
        *value -= before.get(name).copied().unwrap_or_default();
    }
    growth
}

fn refused(settings: serde_json::Value) -> String {
    FACTORY.validate(&Table::new(), &table(settings)).unwrap_err().to_string()
}

#[test]
fn the_bundled_provider() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let target = open(serde_json::json!({ "synchronous": "WAL" }), directory.path()).unwrap();
    let effective = target.effective();
    assert_eq!((effective["provider"].as_str(), effective["synchronous"].as_str()), ("sqlite", "NORMAL"));
    assert_eq!((target.durability(), target.unobservable_work()), (Durability::ProcessCrash, None));
    let growth = exercise(&*target);
    assert_eq!(growth["activities"], 3.0 * OPERATIONS as f64);
    assert!(growth["write_transactions"] > 0.0, "{growth:?}");
}

#[test]
fn the_grouped_provider() {
    let _turn = turn();
    for immediate in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let settings = serde_json::json!({
            "provider": "grouped", "synchronous": "FULL", "completion": "notify", "shards": 2, "immediate": immediate,
        });
        let target = open(settings, directory.path()).unwrap();
        assert_eq!(target.effective()["immediate"], immediate.to_string());
        assert_eq!(target.durability(), Durability::PowerLoss);
        let growth = exercise(&*target);
        assert!(growth["group_operations"] >= growth["group_transactions"], "{growth:?}");
        assert_eq!(growth["retries"], 0.0);
    }
}

#[test]
fn settings_that_a_provider_does_not_have_are_refused() {
    let postgres = |key: &str, value: serde_json::Value| {
        let mut settings = table(serde_json::json!({ "provider": "postgres", "synchronous": "FULL" }));
        settings.insert(key.to_owned(), value);
        refused(settings.into_iter().collect())
    };
    for (message, wanted) in [
        (postgres("storage", "memory".into()), "PostgreSQL keeps its state in files"),
        (postgres("synchronous", "NORMAL".into()), "write FULL"),
        (postgres("connections", 3.into()), "DUROXIDE_PG_POOL_MAX"),
        (postgres("completion", "notify".into()), "the provider on PostgreSQL has no such thing"),
        (postgres("shards", 2.into()), "the provider on PostgreSQL has no such thing"),
        (refused(serde_json::json!({ "immediate": true })), "the bundled provider has no such thing"),
        (refused(serde_json::json!({ "provider": "grouped", "connections": 1 })), "has no pool"),
    ] {
        assert!(message.contains(wanted), "{message}");
    }
}

/// Skipped with the fix where PostgreSQL is not available, or the binary was built without the provider.
#[test]
fn the_provider_on_postgres() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let opened = open(serde_json::json!({ "provider": "postgres", "synchronous": "FULL" }), directory.path());
    let target = match opened {
        Ok(target) => target,
        Err(TargetError { kind: TargetErrorKind::Unavailable { state, remedy }, .. }) => {
            let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default().contains("postgres");
            assert!(!required || !cfg!(feature = "duroxide-pg"), "{state}; {remedy}");
            assert!(!remedy.is_empty());
            println!("skipped: {state}; {remedy}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let effective = target.effective();
    assert_eq!((effective["provider"].as_str(), effective["synchronous"].as_str()), ("postgres", "FULL"));
    assert_eq!(target.durability(), Durability::PowerLoss);
    // Either the server is watched, or it is said that it is not.
    assert_eq!(target.unobservable_work().is_some(), target.processes().is_empty());
    let growth = exercise(&*target);
    if effective["postgres_origin"] == "own cluster" {
        assert_eq!(target.processes().len(), 1);
        // Each orchestration is started, has at least two turns, and three activities that are fetched and ended.
        let at_least = OPERATIONS as f64 * 11.0;
        assert!(growth["write_transactions"] >= at_least && growth["wal_syncs"] > 0.0, "{growth:?}");
    }
    drop(target);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left of the cluster");

    let settings = serde_json::json!({ "provider": "postgres", "synchronous": "OFF" });
    let target = open(settings, directory.path()).unwrap();
    assert_eq!((target.effective()["synchronous"].as_str(), target.durability()), ("OFF", Durability::Buffered));
}
