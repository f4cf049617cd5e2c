//! The classic store's data file stays in proportion to what is in it, and nobody notices when it is replaced.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use docdb_engine::{DocumentStore, Operation, Reply, Request};
use engine_disk::{Disk, SimulatedDisk};

use crate::{
    hooked::HookedDisk,
    setups::{self, Setup, Size, on_each},
};

const DIRECTORY: &str = "/store";
const SEGMENT_BYTES: u64 = 4_000;
const SIZE: Size = Size { databases: 1, segment_bytes_max: [SEGMENT_BYTES, 1 << 20], interval: Duration::ZERO };
const IDS: u64 = 10;

fn classic() -> Vec<Setup> {
    setups::all(SIZE).into_iter().filter(|setup| !setup.is_fast()).collect()
}

fn open(setup: &Setup, disk: &SimulatedDisk) -> Box<dyn DocumentStore> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    setup.open(&disk, Path::new(DIRECTORY)).unwrap().0
}

fn document(id: u64, number: u64) -> String {
    format!("{{\"id\":{id},\"number\":{number}}}")
}

fn put(store: &dyn DocumentStore, id: u64, number: u64) {
    let text = document(id, number);
    let operation = if number == 0 { Operation::Create } else { Operation::Update };
    let request = Request { operation, database: 0, id, document: text.as_bytes() };
    assert_eq!(store.apply(request, &mut Vec::new()).unwrap(), Reply::Done);
}

fn get(store: &dyn DocumentStore, id: u64) -> Option<String> {
    let request = Request { operation: Operation::Read, database: 0, id, document: b"" };
    let mut found = Vec::new();
    let reply = store.apply(request, &mut found).unwrap();
    (reply == Reply::Done).then(|| String::from_utf8(found).unwrap())
}

/// The lengths of the data files.
fn data_files(disk: &SimulatedDisk) -> Vec<u64> {
    let is_data = |path: &Path| path.extension().is_some_and(|extension| extension == "dat");
    disk.files().iter().filter(|(path, _)| is_data(path)).map(|(_, content)| content.len() as u64).collect()
}

fn compactions(store: &dyn DocumentStore, name: &str) -> f64 {
    store.statistics().counters[name]
}

/// Thousands of updates of ten documents: the file is never longer than a few segments, and there is one; after as many
/// deletions nothing is left but what the log holds.
#[test]
fn the_data_file_stays_in_proportion() {
    on_each(&classic(), |setup| {
        let disk = SimulatedDisk::new();
        let store = open(setup, &disk);
        let mut longest = 0;
        for number in 0..200 {
            (0..IDS).for_each(|id| put(&*store, id, number));
            let files = data_files(&disk);
            assert_eq!(files.len(), 1, "{}", setup.name);
            longest = longest.max(files[0]);
        }
        assert!(longest < 3 * SEGMENT_BYTES, "{}: {longest} bytes for {IDS} documents", setup.name);
        assert!(compactions(&*store, "data_file_compactions") > 3.0, "{}", setup.name);
        let check = |store: &dyn DocumentStore| {
            (0..IDS).for_each(|id| assert_eq!(get(store, id), Some(document(id, 199)), "{}", setup.name));
        };
        check(&*store);
        drop(store);
        // What was replaced is found by its number, again and again.
        for _ in 0..3 {
            check(&*open(setup, &disk));
        }
        assert!(data_files(&disk)[0] < 3 * SEGMENT_BYTES, "{}", setup.name);
    });
}

/// Readers never find a document missing or damaged, whenever they come: between index and file too.
#[test]
fn readers_do_not_notice() {
    on_each(&classic(), |setup| {
        let disk = SimulatedDisk::new();
        let hooked = HookedDisk::shared(&disk, Arc::new(thread::yield_now));
        let (store, _) = setup.open(&hooked, Path::new(DIRECTORY)).unwrap();
        (0..IDS).for_each(|id| put(&*store, id, 0));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for reader in 0..3 {
                let (store, ended) = (&store, &ended);
                scope.spawn(move || {
                    for turn in reader.. {
                        let id = turn % IDS;
                        let found = get(&**store, id).expect("it is always there");
                        assert!(found.starts_with(&format!("{{\"id\":{id},")), "{id}: {found}");
                        if ended.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
            }
            for number in 1..200 {
                (0..IDS).for_each(|id| put(&*store, id, number));
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(compactions(&*store, "data_file_compactions") > 3.0, "{}", setup.name);
    });
}

/// A compaction that could not be made is said, and the store goes on with the file that is there: here a document is damaged.
#[test]
fn what_cannot_be_compacted_is_kept() {
    const DAMAGED: u64 = 99;
    on_each(&classic(), |setup| {
        let disk = SimulatedDisk::new();
        let store = open(setup, &disk);
        put(&*store, DAMAGED, 0);
        let text = document(DAMAGED, 0);
        let (path, offset) = disk
            .files()
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "dat"))
            .find_map(|(path, content)| {
                let found = content.windows(text.len()).position(|window| window == text.as_bytes());
                found.map(|offset| (path, offset))
            })
            .unwrap();
        disk.flip(&path, offset);
        (0..200).for_each(|number| (0..IDS).for_each(|id| put(&*store, id, number)));
        assert!(compactions(&*store, "data_file_compactions_failed") > 0.0, "{}", setup.name);
        assert_eq!(compactions(&*store, "data_file_compactions"), 0.0, "{}", setup.name);
        assert!(data_files(&disk)[0] > 8 * SEGMENT_BYTES, "{}", setup.name);
        put(&*store, DAMAGED, 1);
        (200..300).for_each(|number| (0..IDS).for_each(|id| put(&*store, id, number)));
        assert!(compactions(&*store, "data_file_compactions") > 0.0, "{}: the next one succeeds", setup.name);
        (0..IDS).for_each(|id| assert_eq!(get(&*store, id), Some(document(id, 299)), "{}", setup.name));
        assert_eq!(get(&*store, DAMAGED), Some(document(DAMAGED, 1)), "{}", setup.name);
        assert!(data_files(&disk).iter().sum::<u64>() < 3 * SEGMENT_BYTES, "{}", setup.name);
    });
}
