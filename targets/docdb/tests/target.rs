//! The target as the harness sees it: settings in force, metrics that something feeds, clients and the final check.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use uplift_docdb::FACTORY;
use uplift_sdk::sync_probe;
use uplift_sdk::{
    Batch, Derivation, Durability, OpenContext, OutcomeKind, Samples, Target, TargetErrorKind,
    model::{Table, scenario::Load},
    timeline::EventLog,
};

const CLIENTS: u32 = 3;

fn table(value: Value) -> Table {
    value.as_object().unwrap().clone()
}

fn context(settings: Value, directory: &Path) -> OpenContext {
    OpenContext {
        workload: table(json!({ "databases": 3, "ids": 60, "document_bytes": 128 })),
        settings: table(settings),
        load: Load::Closed { clients: CLIENTS, think: None, batch: 1, agents: 0 },
        data_dir: directory.to_owned(),
        seed: 5,
        events: EventLog::default(),
        ledger: None,
    }
}

/// Sync calls are counted for the whole process: one target at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Opens the target, lets each client do `operations`, and holds the store against what they were told.
fn worked(settings: Value, operations: usize, look: impl FnOnce(&dyn Target)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let target = FACTORY.open(context(settings.clone(), directory.path())).unwrap();
    for index in 0..CLIENTS as usize {
        let mut client = target.client(index, index as u64).unwrap();
        for _ in 0..operations {
            let outcome = client.operate(Batch { operations: 1 });
            assert!(!matches!(outcome.result, OutcomeKind::Failed(_)), "{settings}: {outcome:?}");
            assert_eq!(usize::from(outcome.group), index, "{settings}: a client belongs to one database");
        }
    }
    target.quiesce().unwrap();
    look(&*target);
    assert!(target.drain().unwrap().owed.is_none_or(|owed| owed == 0), "{settings}: settled, and something is owed");
    let check = target.check().unwrap();
    assert!(check.passed && check.checked == 180, "{settings}: {check:?}");
}

/// The issue of the original: four syncs for each write, then three; a batch takes one and the data file's.
#[test]
fn what_a_write_costs_in_syncs_is_read_back() {
    assert!(sync_probe::is_live());
    for (settings, syncs) in [
        (json!({ "fsync": "always", "datafile_fsyncs": 2 }), "4"),
        (json!({ "fsync": "always", "datafile_fsyncs": 1 }), "3"),
        (json!({ "fsync": "always", "datafile_fsyncs": 0 }), "2"),
        (json!({ "fsync": "group", "datafile_fsyncs": 1 }), "2"),
        (json!({ "fsync": "group", "datafile_fsyncs": 0 }), "1"),
        (json!({ "engine": "fast" }), "1"),
        (json!({ "engine": "fast", "logs": "per-database" }), "1"),
        (json!({ "engine": "sqlite" }), "1"),
    ] {
        worked(settings.clone(), 20, |target| {
            assert_eq!(target.effective()["syncs_of_a_write"], syncs, "{settings}");
            assert_eq!(target.durability(), Durability::PowerLoss, "{settings}");
        });
    }
    for settings in [json!({ "engine": "redb" }), json!({ "engine": "fjall" })] {
        worked(settings.clone(), 20, |target| {
            let syncs: u64 = target.effective()["syncs_of_a_write"].parse().unwrap();
            assert!(syncs >= 1, "{settings}: an acknowledged write is on the disk");
        });
    }
}

#[test]
fn weaker_promises_are_said() {
    for (settings, promise) in [
        (json!({ "fsync": "group", "ack": "buffered" }), Durability::Buffered),
        (json!({ "fsync": "interval" }), Durability::ProcessCrash),
        (json!({ "fsync": "none" }), Durability::ProcessCrash),
    ] {
        worked(settings.clone(), 50, |target| {
            assert_eq!(target.durability(), promise, "{settings}");
            assert!(!target.effective().contains_key("syncs_of_a_write"), "{settings}");
            let mut samples = Samples::default();
            target.sample(&mut samples);
            assert!(samples.counters()["at_risk_sum"] > 0.0, "{settings}: writes were at risk");
            assert!(samples.gauges()["at_risk_max"] >= 1.0, "{settings}");
        });
    }
}

#[test]
fn settings_are_read_back_from_the_store() {
    let settings = json!({
        "fsync": "group", "interval": "3ms", "max_batch": 7, "datafile_fsyncs": 1, "locking": "rwlock",
        "index_shards": 512, "scheduler_workers": 5, "connections_per_db": 1, "transport": "tcp",
    });
    worked(settings.clone(), 20, |target| {
        let effective = target.effective();
        for (key, asked) in settings.as_object().unwrap() {
            let asked = asked.as_str().map_or_else(|| asked.to_string(), str::to_owned);
            assert_eq!(effective[key], asked, "{key}");
        }
    });
    for automatic in [json!("auto"), json!(0)] {
        worked(json!({ "scheduler_workers": automatic, "connections_per_db": automatic }), 1, |target| {
            assert!(target.effective()["connections_per_db"].ends_with(" (automatic)"));
            let cores = std::thread::available_parallelism().unwrap().get();
            assert_eq!(target.effective()["scheduler_workers"], format!("{} (automatic)", (2 * cores).clamp(6, 256)));
        });
    }
}

/// A metric that nothing feeds would be absent everywhere and nobody would know why.
#[test]
fn every_metric_has_a_source() {
    let mut sources = BTreeSet::new();
    for settings in [json!({ "fsync": "group" }), json!({ "fsync": "none" }), json!({ "engine": "fast" })] {
        worked(settings, 20, |target| {
            let mut samples = Samples::default();
            target.sample(&mut samples);
            sources.extend(samples.counters().keys().chain(samples.gauges().keys()).map(ToString::to_string));
        });
    }
    for metric in FACTORY.describe().metrics {
        assert!(sources.contains(&*metric.source), "`{}` reads `{}`", metric.spec.name, metric.source);
        if let Derivation::Per(other) = &metric.derivation {
            assert!(sources.contains(&**other), "`{}` divides by `{other}`", metric.spec.name);
        }
    }
}

/// The limit and the share of it are of the same writes: their product is what was written in the time.
#[test]
fn the_share_of_the_limit_is_a_share() {
    for settings in [json!({ "engine": "fast" }), json!({ "fsync": "group", "datafile_fsyncs": 0 })] {
        let start = std::time::Instant::now();
        worked(settings.clone(), 200, |target| {
            let mut samples = Samples::default();
            target.sample(&mut samples);
            let busy = samples.counters()["sync_busy_seconds"];
            assert!(busy > 0.0 && busy < start.elapsed().as_secs_f64(), "{settings}: {busy} s in sync calls");
            assert!(samples.counters()["batch_records"] >= samples.counters()["batches"], "{settings}");
        });
    }
}

#[test]
fn a_slowdown_is_in_force_only_where_it_is_asked_for() {
    worked(json!({ "fsync": "none", "slowdown_percent": 5 }), 20, |target| {
        assert_eq!(target.effective()["slowdown_percent"], "5");
    });
    worked(json!({ "fsync": "none" }), 1, |target| {
        assert!(!target.effective().contains_key("slowdown_percent"));
    });
    let error = FACTORY.validate(&Table::new(), &table(json!({ "slowdown_percent": -1 }))).unwrap_err();
    assert_eq!(error.keys, ["slowdown_percent"]);
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn rocksdb_is_unavailable_where_it_was_not_built_in() {
    let directory = tempfile::tempdir().unwrap();
    let error = FACTORY.open(context(json!({ "engine": "rocksdb" }), directory.path())).err().unwrap();
    assert!(
        matches!(&error.kind, TargetErrorKind::Unavailable { remedy, .. } if remedy.contains("--features rocksdb"))
    );
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_syncs_each_write() {
    worked(json!({ "engine": "rocksdb" }), 50, |target| {
        assert_eq!(target.effective()["syncs_of_a_write"], "1");
    });
}
