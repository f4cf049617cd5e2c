//! A flipped byte anywhere in any file is noticed or harmless, and never comes back as data.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use docdb_engine::{DocumentStore, Operation, Recovery, Reply, Request, StoreError, StoreErrorKind};
use engine_disk::{Disk, SimulatedDisk};

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

/// Where whole records with documents are in a file: from where to where.
fn records(path: &Path, content: &[u8]) -> Vec<(usize, usize)> {
    // Bytes before and after the document.
    let (before, after) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("dat") => (8, 1),
        Some("log") => (37, 4),
        Some("seg") => (20, 0),
        _ => return Vec::new(),
    };
    let documents: Vec<_> = (0..IDS).flat_map(|id| (0..VERSIONS).map(move |version| document(id, version))).collect();
    let length = documents[0].len();
    assert!(documents.iter().all(|document| document.len() == length));
    let starts = (0..(content.len() + 1).saturating_sub(length))
        .filter(|&at| documents.iter().any(|document| content[at..at + length] == document[..]));
    starts.map(|at| (at - before, at + length + after)).collect()
}

/// Reads everything; returns whether an error was the answer. What is not one must be what was last acknowledged, unless
/// the store said that it dropped something.
fn reads_are_right_or_errors(
    store: &dyn DocumentStore,
    held: &BTreeMap<u64, Vec<u8>>,
    dropped: bool,
    place: &str,
) -> bool {
    let (mut found, mut refused) = (Vec::new(), false);
    for id in 0..IDS {
        let request = Request { operation: Operation::Read, database: database(id), id, document: b"" };
        match store.apply(request, &mut found) {
            Ok(reply) => {
                let there = (reply == Reply::Done).then_some(&found);
                let text = there.map(|found| String::from_utf8_lossy(found));
                assert!(there == held.get(&id) || dropped, "{place}: id {id} came back as {text:?}");
                assert!(there.is_none_or(|found| was_written(id, found)), "{place}: id {id} came back as {text:?}");
            }
            Err(error) => {
                assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{place}: {error}");
                refused = true;
            }
        }
    }
    refused
}

/// A whole record in the place of another, its own older version included, is no more than damage: before the store is
/// opened, and while it is open.
#[test]
fn whole_records_in_the_place_of_others() {
    on_each(&setups::all(SIZE), |setup| {
        let (disk, held) = written(setup, true);
        let (mut moves, mut noticed, mut noticed_open) = (0, 0, 0);
        for (path, content) in disk.files() {
            let records = records(&path, &content);
            for &(from, from_end) in &records {
                for &(to, to_end) in records.iter().filter(|&&(to, _)| to != from) {
                    for swaps in [false, true] {
                        let moved = |disk: &SimulatedDisk| {
                            let file = disk.open(&path, false).unwrap();
                            file.write_all_at(&content[from..from_end], to as u64).unwrap();
                            if swaps {
                                file.write_all_at(&content[to..to_end], from as u64).unwrap();
                            }
                        };
                        let what = format!("{}, {}, {from} to {to}, swapped: {swaps}", setup.name, path.display());
                        moves += 1;
                        let before = disk.settled_copy();
                        moved(&before);
                        noticed += match open(setup, &before) {
                            Ok((store, recovery)) => {
                                let dropped = recovery.dropped_bytes > 0;
                                usize::from(reads_are_right_or_errors(&*store, &held, dropped, &what) || dropped)
                            }
                            Err(error) => {
                                assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{what}: {error}");
                                1
                            }
                        };
                    }
                }
            }
        }
        // Opening writes documents anew: what an open store reads is moved in what it left.
        let opened = disk.settled_copy();
        let (store, _) = open(setup, &opened).unwrap();
        for (path, content) in opened.files() {
            let records = records(&path, &content);
            let file = opened.open(&path, false).unwrap();
            for &(from, from_end) in &records {
                for &(to, to_end) in records.iter().filter(|&&(to, _)| to != from) {
                    file.write_all_at(&content[from..from_end], to as u64).unwrap();
                    let what = format!("{}, open, {}, {from} to {to}", setup.name, path.display());
                    noticed_open += usize::from(reads_are_right_or_errors(&*store, &held, false, &what));
                    file.write_all_at(&content[to..to_end], to as u64).unwrap();
                }
            }
        }
        assert!(!reads_are_right_or_errors(&*store, &held, false, setup.name), "{}: put back", setup.name);
        println!("{}: {noticed} of {moves} moves noticed, {noticed_open} while it was open", setup.name);
        assert!(noticed > 0 && noticed_open > 0, "{}", setup.name);
    });
}

/// A store of the version before is named as such, and left as it is.
#[test]
fn an_older_format_is_refused_by_its_name() {
    on_each(&setups::all(SIZE), |setup| {
        let (disk, _) = written(setup, false);
        for (path, content) in disk.files() {
            if content.starts_with(b"UDOCCKP2") || content.starts_with(b"UDOCLOG2") {
                disk.open(&path, false).unwrap().write_all_at(b"1", 7).unwrap();
            }
        }
        let before = disk.files();
        let error = open(setup, &disk).err().unwrap();
        assert!(error.to_string().contains("version 1 of its format"), "{}: {error}", setup.name);
        assert_eq!(disk.files(), before, "{}", setup.name);
    });
}
