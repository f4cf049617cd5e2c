//! A flipped byte anywhere in any file is noticed or harmless, and never comes back as data.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use docdb_engine::{DocumentStore, Operation, Recovery, Reply, Request, StoreError, StoreErrorKind};
use uplift_target::disk::{Disk, SimulatedDisk};

use crate::setups::{self, Setup, Size, on_each};

const DIRECTORY: &str = "/store";
const DATABASES: u16 = 2;
const IDS: u64 = 6;
const VERSIONS: u64 = 3;
const SIZE: Size = Size { databases: DATABASES, segment_bytes_max: [600, 600], interval: Duration::ZERO };

/// What is done to a byte: its lowest bit, its highest, all of them.
const FLIPS: [u8; 3] = [0x01, 0x80, 0xff];

fn open(setup: &Setup, disk: &SimulatedDisk) -> Result<(Box<dyn DocumentStore>, Recovery), StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    setup.open(&disk, Path::new(DIRECTORY))
}

const fn database(id: u64) -> u16 {
    (id % DATABASES as u64) as u16
}

pub fn document(id: u64, version: u64) -> Vec<u8> {
    format!("{{\"id\":{id},\"version\":{version},\"text\":\"{}\"}}", "z".repeat(20)).into_bytes()
}

/// A store that was closed (or killed), and what it held.
pub fn written(setup: &Setup, killed: bool) -> (SimulatedDisk, BTreeMap<u64, Vec<u8>>) {
    let disk = SimulatedDisk::new();
    let (store, _) = open(setup, &disk).unwrap();
    let mut held = BTreeMap::new();
    let mut none = Vec::new();
    for id in 0..IDS {
        for version in 0..VERSIONS {
            let operation = if version == 0 { Operation::Create } else { Operation::Update };
            let text = document(id, version);
            let request = Request { operation, database: database(id), id, document: &text };
            assert_eq!(store.apply(request, &mut none).unwrap(), Reply::Done);
            held.insert(id, text);
        }
    }
    let request = Request { operation: Operation::Delete, database: database(2), id: 2, document: b"" };
    assert_eq!(store.apply(request, &mut none).unwrap(), Reply::Done);
    held.remove(&2);
    // What was acknowledged in memory alone is not what is asked about here.
    store.settle().unwrap();
    let at_kill = disk.settled_copy();
    drop(store);
    (if killed { at_kill } else { disk.settled_copy() }, held)
}

/// Whether `text` is a document that was ever written under `id`.
pub fn was_written(id: u64, text: &[u8]) -> bool {
    (0..VERSIONS).any(|version| document(id, version) == text)
}

/// Flips each byte in turn. Returns how many flips went unnoticed because they were harmless, and how many there were.
fn every_flip_is_noticed_or_harmless(setup: &Setup, killed: bool) -> (usize, usize) {
    let (disk, held) = written(setup, killed);
    let (mut harmless, mut flips) = (0, 0);
    for (path, content) in disk.files() {
        for (offset, byte) in content.iter().enumerate() {
            let flipped = disk.settled_copy();
            let flip = FLIPS[offset % FLIPS.len()];
            flipped.open(&path, false).unwrap().write_all_at(&[byte ^ flip], offset as u64).unwrap();
            flips += 1;
            let place = format!("{}, byte {offset} of {} ^ {flip:#x}", setup.name, path.display());
            let (store, recovery) = match open(setup, &flipped) {
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
                let request = Request { operation: Operation::Read, database: database(id), id, document: b"" };
                match store.apply(request, &mut found) {
                    Ok(Reply::Done) => {
                        // A dropped end may leave an older version, never anything that was not written.
                        let text = String::from_utf8_lossy(&found);
                        assert!(was_written(id, &found), "{place}: id {id} came back as {text}");
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
    (harmless, flips)
}

#[test]
fn closed() {
    on_each(&setups::all(SIZE), |setup| {
        let (harmless, flips) = every_flip_is_noticed_or_harmless(setup, false);
        println!("{}: {flips} flips, {harmless} of them harmless", setup.name);
        // The classic store keeps an old log segment and the records of replaced documents, which nobody reads.
        assert!(!setup.is_fast() || harmless == 0, "{}: {harmless} bytes that nobody checks", setup.name);
    });
}

#[test]
fn killed() {
    on_each(&setups::all(SIZE), |setup| {
        let (harmless, flips) = every_flip_is_noticed_or_harmless(setup, true);
        println!("{}: {flips} flips, {harmless} of them harmless", setup.name);
    });
}
