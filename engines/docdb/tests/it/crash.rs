//! A process that is killed while it works, at random moments, again and again over the same store.
//!
//! The child writes down what it begins and what was acknowledged to it, in a file that outlives it. After each kill the
//! store is opened and checked against that. `UPLIFT_SOAK=1` kills hundreds of times instead of a few.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use docdb_engine::{DocumentStore, Operation, Reply, Request};
use engine_disk::{Disk, RealDisk};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::setups::{self, Setup, Size};

const VARIANT: &str = "DOCDB_CRASH_VARIANT";
const DIRECTORY: &str = "DOCDB_CRASH_DIRECTORY";
const CYCLE: &str = "DOCDB_CRASH_CYCLE";
const THREADS: u64 = 6;
const IDS_PER_THREAD: u64 = 20;
const ENTRY_BYTES: usize = 24;

/// Small segments: new ones, checkpoints and compaction happen between kills.
const SIZE: Size = Size { databases: 2, segment_bytes_max: [60_000, 40_000], interval: Duration::from_millis(1) };

fn open(variant: &str, directory: &Path) -> Box<dyn DocumentStore> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let setup = setups::all(SIZE).into_iter().find(|setup| setup.name == variant);
    setup.unwrap_or_else(|| panic!("no setup `{variant}`")).open(&disk, directory).unwrap().0
}

fn document(sequence: u64) -> Vec<u8> {
    format!("{{\"sequence\":{sequence},\"text\":\"{}\"}}", "t".repeat((sequence % 300) as usize)).into_bytes()
}

/// What an id holds: 0 for nothing, else the sequence number of its document.
fn read(store: &dyn DocumentStore, database: u16, id: u64) -> u64 {
    let mut found = Vec::new();
    let request = Request { operation: Operation::Read, database, id, document: b"" };
    match store.apply(request, &mut found).unwrap() {
        Reply::Done => {
            let text = String::from_utf8(found.clone()).unwrap();
            let sequence = text.strip_prefix("{\"sequence\":").unwrap().split(',').next().unwrap().parse().unwrap();
            assert_eq!(found, document(sequence), "a torn document of id {id}");
            sequence
        }
        _ => 0,
    }
}

const fn place(thread: u64, number: u64) -> (u16, u64) {
    ((thread % 2) as u16, thread + number * THREADS)
}

/// The child's work. As a test of its own it does nothing.
#[test]
fn child() {
    let (Ok(variant), Ok(directory), Ok(cycle)) =
        (std::env::var(VARIANT), std::env::var(DIRECTORY), std::env::var(CYCLE))
    else {
        return;
    };
    let directory = PathBuf::from(directory);
    let cycle: u64 = cycle.parse().unwrap();
    let store = open(&variant, &directory.join("store"));
    let journal = OpenOptions::new().append(true).create(true).open(directory.join("journal")).unwrap();
    let (store, journal) = (&*store, &journal);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || work(store, journal, thread, cycle));
        }
    });
}

/// Writes until it is killed. An entry is `acknowledged u64 | place u64 | sequence u64`.
fn work(store: &dyn DocumentStore, mut journal: &File, thread: u64, cycle: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(cycle * THREADS + thread);
    let mut held: Vec<u64> = (0..IDS_PER_THREAD)
        .map(|number| {
            let (database, id) = place(thread, number);
            read(store, database, id)
        })
        .collect();
    let mut none = Vec::new();
    for step in 1u64.. {
        let number = random.random_range(0..IDS_PER_THREAD);
        let (database, id) = place(thread, number);
        let sequence = cycle * 1_000_000_000 + step * THREADS + thread;
        let before = held[number as usize];
        let (operation, sequence) = match (before, random.random_range(0..4)) {
            (0, _) => (Operation::Create, sequence),
            (_, 0) => (Operation::Delete, 0),
            _ => (Operation::Update, sequence),
        };
        let text = if sequence > 0 { document(sequence) } else { Vec::new() };
        let mut note = |acknowledged: u64| {
            let mut entry = [0; ENTRY_BYTES];
            entry[..8].copy_from_slice(&acknowledged.to_le_bytes());
            entry[8..16].copy_from_slice(&(u64::from(database) << 32 | id).to_le_bytes());
            entry[16..].copy_from_slice(&sequence.to_le_bytes());
            journal.write_all(&entry).unwrap();
        };
        note(0);
        let reply = store.apply(Request { operation, database, id, document: &text }, &mut none).unwrap();
        assert_eq!(reply, Reply::Done);
        note(1);
        held[number as usize] = sequence;
    }
}

/// What the journal says of an id.
#[derive(Clone, Debug, Default)]
struct Told {
    /// All that it held, in order, the first from before.
    acknowledged: Vec<u64>,
    under_way: Option<u64>,
}

/// How much the journal must say before the child is killed: from nothing but a beginning to many groups.
fn random_entries(random: &mut ChaCha8Rng) -> u64 {
    random.random_range(1..=150)
}

fn kills() -> u64 {
    if std::env::var_os("UPLIFT_SOAK").is_some_and(|value| value == "1") { 250 } else { 10 }
}

/// Kills a process that works on `variant` again and again. Returns kills, acknowledged writes, and those that were lost.
fn killed_again_and_again(variant: &str, may_lose: bool) -> (u64, u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let mut held: BTreeMap<(u16, u64), u64> = BTreeMap::new();
    let mut random = ChaCha8Rng::seed_from_u64(99);
    let (mut acknowledged, mut lost) = (0, 0);
    for cycle in 1..=kills() {
        let journal = home.join("journal");
        let _ = fs::remove_file(&journal);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
            .env(VARIANT, variant)
            .env(DIRECTORY, home)
            .env(CYCLE, cycle.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // A random point of its work, on a slow machine and on a fast one.
        let entries = random_entries(&mut random);
        while fs::metadata(&journal).map_or(0, |metadata| metadata.len()) < entries * ENTRY_BYTES as u64 {
            assert!(child.try_wait().unwrap().is_none(), "{variant}: the child ended by itself in cycle {cycle}");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(random.random_range(0..5_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        let mut told: BTreeMap<(u16, u64), Told> = BTreeMap::new();
        for (&key, &value) in &held {
            told.entry(key).or_default().acknowledged.push(value);
        }
        let entries = fs::read(&journal).unwrap();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let number = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
            let key = ((number(8) >> 32) as u16, number(8) & u64::from(u32::MAX));
            let own = told.entry(key).or_insert_with(|| Told { acknowledged: vec![0], under_way: None });
            if number(0) == 1 {
                own.acknowledged.push(number(16));
                own.under_way = None;
                acknowledged += 1;
            } else {
                own.under_way = Some(number(16));
            }
        }
        let store = open(variant, &home.join("store"));
        for thread in 0..THREADS {
            for number in 0..IDS_PER_THREAD {
                let key = place(thread, number);
                let own = told.remove(&key).unwrap_or(Told { acknowledged: vec![0], under_way: None });
                let found = read(&*store, key.0, key.1);
                let newest = own.acknowledged.last().copied().unwrap();
                if found != newest && own.under_way != Some(found) {
                    // Older than what was acknowledged: how many writes of this id are gone.
                    let position = own.acknowledged.iter().rposition(|&value| value == found);
                    let gone = position.map(|position| own.acknowledged.len() - 1 - position);
                    assert!(
                        may_lose && gone.is_some(),
                        "{variant}, kill {cycle}: id {key:?} holds {found}, told {:?}",
                        own
                    );
                    lost += gone.unwrap() as u64;
                }
                held.insert(key, found);
            }
        }
        assert!(told.is_empty());
    }
    (kills(), acknowledged, lost)
}

/// A killed process leaves the page cache behind: what was written is there, synced or not. Only what was acknowledged in
/// memory may be lost, from the end, and is counted.
#[track_caller]
fn loses_nothing_but_what_was_buffered(of: impl Fn(&Setup) -> bool) {
    let setups: Vec<Setup> = setups::all(SIZE).into_iter().filter(of).collect();
    assert!(!setups.is_empty());
    for setup in setups {
        let buffered = setup.name == "buffered";
        let (kills, acknowledged, lost) = killed_again_and_again(setup.name, buffered);
        println!("{}: {kills} kills, {acknowledged} acknowledged writes, {lost} lost", setup.name);
        assert!(acknowledged > kills, "{}: {acknowledged} writes in {kills} lives are hardly work", setup.name);
        assert!(lost == 0 || buffered && lost < acknowledged, "{}: {lost} of {acknowledged}", setup.name);
    }
}

#[test]
fn the_fast_store_keeps_all() {
    loses_nothing_but_what_was_buffered(Setup::is_fast);
}

#[test]
fn synced_one_by_one_all_is_kept() {
    loses_nothing_but_what_was_buffered(|setup| setup.name.starts_with("always"));
}

#[test]
fn synced_in_batches_all_is_kept() {
    loses_nothing_but_what_was_buffered(|setup| setup.name.starts_with("group"));
}

#[test]
fn without_durability_what_was_written_is_kept() {
    loses_nothing_but_what_was_buffered(|setup| !setup.is_durable());
}
