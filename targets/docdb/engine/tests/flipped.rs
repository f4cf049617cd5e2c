//! A flipped byte anywhere in any file is noticed or harmless, and never comes back as data.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use docdb_engine::{
    DocumentStore, Operation, Recovery, Reply, Request, StoreError, StoreErrorKind,
    classic::{self, Fsync},
    fast,
};
use uplift_target::{
    disk::{Disk, SimulatedDisk},
    timeline::EventLog,
};

const DIRECTORY: &str = "/store";
const IDS: u64 = 6;

type Open = dyn Fn(&SimulatedDisk) -> Result<(Box<dyn DocumentStore>, Recovery), StoreError>;

fn classic_store(fsync: Fsync) -> Box<Open> {
    Box::new(move |disk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let settings =
            classic::Settings { databases: 1, workers: 1, segment_bytes_max: 600, fsync, ..Default::default() };
        let (store, recovery) = classic::Store::open(&disk, Path::new(DIRECTORY), &settings, &EventLog::default())?;
        Ok((Box::new(store), recovery))
    })
}

fn fast_store() -> Box<Open> {
    Box::new(|disk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let settings = fast::Settings { databases: 1, segment_bytes_max: 600, ..Default::default() };
        let (store, recovery) = fast::Store::open(&disk, Path::new(DIRECTORY), &settings, &EventLog::default())?;
        Ok((Box::new(store), recovery))
    })
}

fn document(id: u64, version: u64) -> Vec<u8> {
    format!("{{\"id\":{id},\"version\":{version},\"text\":\"{}\"}}", "z".repeat(20)).into_bytes()
}

/// A store that was closed (or killed), and what it held.
fn written(open: &Open, killed: bool) -> (SimulatedDisk, BTreeMap<u64, Vec<u8>>) {
    let disk = SimulatedDisk::new();
    let (store, _) = open(&disk).unwrap();
    let mut held = BTreeMap::new();
    let mut none = Vec::new();
    for id in 0..IDS {
        for version in 0..3 {
            let operation = if version == 0 { Operation::Create } else { Operation::Update };
            let text = document(id, version);
            let request = Request { operation, database: 0, id, document: &text };
            assert_eq!(store.apply(request, &mut none).unwrap(), Reply::Done);
            held.insert(id, text);
        }
    }
    let request = Request { operation: Operation::Delete, database: 0, id: 2, document: b"" };
    assert_eq!(store.apply(request, &mut none).unwrap(), Reply::Done);
    held.remove(&2);
    let at_kill = disk.settled_copy();
    drop(store);
    (if killed { at_kill } else { disk }, held)
}

/// Flips each byte in turn. Returns how many flips went unnoticed because they were harmless.
fn every_flip_is_noticed_or_harmless(open: &Open, killed: bool) -> usize {
    let (disk, held) = written(open, killed);
    let mut harmless = 0;
    for (path, content) in disk.files() {
        for offset in 0..content.len() {
            let flipped = disk.settled_copy();
            flipped.flip(&path, offset);
            let place = format!("byte {offset} of {}", path.display());
            let (store, recovery) = match open(&flipped) {
                Ok(opened) => opened,
                Err(error) => {
                    assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{place}: {error}");
                    continue;
                }
            };
            let mut found = Vec::new();
            let mut noticed = recovery.dropped_bytes > 0;
            let mut missing = 0;
            for id in 0..IDS {
                let request = Request { operation: Operation::Read, database: 0, id, document: b"" };
                match store.apply(request, &mut found) {
                    Ok(Reply::Done) => {
                        // A dropped end may leave an older version, never anything that was not written.
                        let known = (0..3).any(|version| document(id, version) == found);
                        assert!(known, "{place}: id {id} came back as {}", String::from_utf8_lossy(&found));
                        missing += usize::from(held.get(&id) != Some(&found));
                    }
                    Ok(_) => missing += usize::from(held.contains_key(&id)),
                    Err(error) => {
                        assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{place}: {error}");
                        noticed = true;
                    }
                }
            }
            assert!(missing == 0 || noticed, "{place}: {missing} documents changed and nobody noticed");
            harmless += usize::from(!noticed);
        }
    }
    harmless
}

#[test]
fn fast_closed() {
    // The seal of a closed log and what is dead are all that may change unnoticed.
    let harmless = every_flip_is_noticed_or_harmless(&*fast_store(), false);
    assert_eq!(harmless, 0, "the log has no byte that nobody checks");
}

#[test]
fn fast_killed() {
    every_flip_is_noticed_or_harmless(&*fast_store(), true);
}

#[test]
fn classic_closed() {
    every_flip_is_noticed_or_harmless(&*classic_store(Fsync::Always), false);
}

#[test]
fn classic_killed() {
    every_flip_is_noticed_or_harmless(&*classic_store(Fsync::Always), true);
    every_flip_is_noticed_or_harmless(
        &*classic_store(Fsync::Group { interval: std::time::Duration::ZERO, records_max: 10 }),
        true,
    );
}
