//! Every call of the disk that fails, at every place; a full disk; and a process that is killed before the power goes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use docdb_engine::{DocumentStore, Operation, Recovery, Reply, Request, StoreError, StoreErrorKind};
use engine_disk::{Call, Disk, Fault, Loss, SimulatedDisk};

use crate::{
    history::{DATABASES, History, IDS},
    hooked::HookedDisk,
    setups::{self, Setup, Size, on_each},
};

const DIRECTORY: &str = "/store";
/// Small enough for checkpoints, new segments and compaction within a sequence.
const SIZE: Size = Size { databases: DATABASES, segment_bytes_max: [500, 300], interval: Duration::ZERO };
const WRITES: usize = 24;

fn setups() -> Vec<Setup> {
    setups::all(SIZE).into_iter().filter(Setup::is_durable).collect()
}

fn try_open(setup: &Setup, disk: &SimulatedDisk) -> Result<(Box<dyn DocumentStore>, Recovery), StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    setup.open(&disk, Path::new(DIRECTORY))
}

#[track_caller]
fn open(setup: &Setup, disk: &SimulatedDisk, place: &str) -> Box<dyn DocumentStore> {
    try_open(setup, disk).unwrap_or_else(|error| panic!("{place}: {error}")).0
}

/// Writes in parts, between which what happens in the background comes to its end.
fn work(store: &dyn DocumentStore, history: &mut History) {
    for part in 0..4 {
        history.write(store, WRITES / 4, part);
        // An error is one that a write has had or will have.
        let _ = store.settle();
    }
}

/// What is left is opened twice, with writes and a loss of power in between.
fn goes_on(setup: &Setup, disk: &SimulatedDisk, mut history: History, place: &str) {
    let store = open(setup, disk, place);
    history.check(&*store, place);
    let before = history.acknowledged;
    history.write(&*store, 6, 77);
    assert!(history.acknowledged > before, "{place}: a store that was opened again takes writes");
    let lost = disk.after_power_loss(disk.acts(), Loss::All);
    drop(store);
    let place = format!("{place}, 6 more writes, power lost");
    history.clone().check(&*open(setup, &lost, &place), &place);
    let place = format!("{place} or closed");
    history.check(&*open(setup, disk, &place), &place);
}

/// A call of each kind fails once, or it and all after it: whatever the store acknowledges before and after, it holds, after
/// a loss of power, after a kill that is followed by one, and after a close.
#[test]
fn every_call_that_fails() {
    on_each(&setups(), |setup| {
        let clean = SimulatedDisk::new();
        let store = open(setup, &clean, setup.name);
        work(&*store, &mut History::default());
        let compactions = store.statistics().counters.get("data_file_compactions").copied();
        assert!(setup.is_fast() || compactions > Some(0.0), "{}: no compaction is among what fails", setup.name);
        drop(store);
        let mut cases = 0;
        for call in Call::ALL {
            for first in 0..clean.calls(call) {
                for for_ever in [false, true] {
                    let disk = SimulatedDisk::new();
                    disk.fail(Fault { call, first, for_ever });
                    let place = format!("{}, {call:?} {first} fails, for ever: {for_ever}", setup.name);
                    let mut history = History::default();
                    if let Ok((store, _)) = try_open(setup, &disk) {
                        work(&*store, &mut history);
                        let (lost, killed) =
                            (disk.after_power_loss(disk.acts(), Loss::All), disk.after_kill(disk.acts()));
                        goes_on(setup, &lost, history.clone(), &format!("{place}, power lost"));
                        goes_on(setup, &killed, history.clone(), &format!("{place}, killed"));
                    }
                    disk.heal();
                    goes_on(setup, &disk, history, &format!("{place}, closed"));
                    cases += 3;
                }
            }
        }
        println!("{}: {cases} stores with a failing call, nothing lost", setup.name);
    });
}

/// A process is killed after any act, the store is opened and written to, and then the power goes: what the killed process
/// left unsynced must not take with it what was acknowledged since.
#[test]
fn a_kill_and_then_a_loss_of_power() {
    on_each(&setups(), |setup| {
        let disk = SimulatedDisk::new();
        let store = open(setup, &disk, setup.name);
        let mut history = History::default();
        let mut told = vec![(0, history.clone())];
        for _ in 0..WRITES {
            history.write(&*store, 1, history.acknowledged as u64);
            told.push((disk.acts(), history.clone()));
        }
        drop(store);
        for point in 0..=disk.acts() {
            for loss in [Loss::All, Loss::KeptNewest, Loss::Some(point as u64), Loss::Sectors(point as u64)] {
                let killed = disk.after_kill(point);
                let place = format!("{}, killed after {point} acts", setup.name);
                let store = open(setup, &killed, &place);
                // What it holds of the write that was under way is not what is asked about here.
                let mut history = told[told.partition_point(|(acts, _)| *acts <= point) - 1].1.clone();
                history.write_all(&*store, IDS);
                let lost = killed.after_power_loss(killed.acts(), loss);
                drop(store);
                let place = format!("{place}, written, {loss:?}");
                history.clone().check(&*open(setup, &lost, &place), &place);
                history.check(&*open(setup, &killed, &place), &place);
            }
        }
    });
}

/// The device is full after any number of bytes: nothing that was acknowledged is lost, and with room again all goes on.
#[test]
fn a_full_disk_loses_nothing() {
    on_each(&setups(), |setup| {
        for space in (0..4_000).step_by(53) {
            let disk = SimulatedDisk::new();
            drop(open(setup, &disk, setup.name));
            disk.limit_space(Some(space));
            let place = format!("{}, {space} bytes", setup.name);
            let mut history = History::default();
            if let Ok((store, _)) = try_open(setup, &disk) {
                work(&*store, &mut history);
            }
            disk.limit_space(None);
            goes_on(setup, &disk.after_kill(disk.acts()), history.clone(), &format!("{place}, killed"));
            goes_on(setup, &disk, history, &place);
        }
    });
}

fn create(id: u64) -> Request<'static> {
    const DOCUMENT: &[u8] = &{
        let mut text = [b'1'; 1024];
        text[0] = b'[';
        text[1023] = b']';
        text
    };
    Request { operation: Operation::Create, database: 0, id, document: DOCUMENT }
}

/// The zeros of prepared files make room for documents before the store says that the device is full.
#[test]
fn prepared_zeros_do_not_keep_documents_out() {
    const SPACE: u64 = 3 << 20;
    let size = Size { databases: 1, segment_bytes_max: [1 << 20, 64 << 20], interval: Duration::ZERO };
    for setup in setups::all(size).iter().filter(|setup| setup.is_fast()) {
        let disk = SimulatedDisk::new();
        disk.limit_space(Some(SPACE));
        let store = open(setup, &disk, setup.name);
        let fitted = (0..).take_while(|&id| store.apply(create(id), &mut Vec::new()).is_ok()).count() as u64;
        drop(store);
        assert!(fitted * 1068 > SPACE * 95 / 100, "{}: {fitted} documents in {SPACE} bytes", setup.name);
        disk.limit_space(None);
        assert_eq!(open(setup, &disk, setup.name).documents().unwrap(), fitted, "{}", setup.name);
    }
}

#[test]
fn a_store_has_one_owner() {
    on_each(&setups::all(SIZE), |setup| {
        let disk = SimulatedDisk::new();
        let store = open(setup, &disk, setup.name);
        let refused = try_open(setup, &disk).err().expect("a second owner");
        assert!(matches!(refused.kind, StoreErrorKind::Refused(_)), "{}: {refused}", setup.name);
        drop(store);
        open(setup, &disk, setup.name);
    });
}

/// Whoever is in the lead panics: every other writer gets an error, and none hangs.
#[test]
fn a_panic_in_the_lead_wakes_everybody() {
    on_each(&setups(), |setup| {
        let opening = SimulatedDisk::new();
        drop(open(setup, &opening, setup.name));
        for panics_at in 1..12 {
            let disk = SimulatedDisk::new();
            let probe = disk.clone();
            let first = opening.calls(Call::Sync);
            let armed = Arc::new(AtomicBool::new(true));
            let arm = Arc::clone(&armed);
            let hook = move || {
                thread::yield_now();
                let syncs = probe.calls(Call::Sync);
                assert!(syncs != first + panics_at || !arm.load(Ordering::Relaxed), "as the test wants it");
            };
            let Ok((store, _)) = setup.open(&HookedDisk::shared(&disk, Arc::new(hook)), Path::new(DIRECTORY)) else {
                continue;
            };
            let acknowledged: Vec<u64> = thread::scope(|scope| {
                let writers: Vec<_> = (0..6u64)
                    .map(|writer| {
                        let store = &store;
                        scope.spawn(move || {
                            let id = |turn: u64| writer + 6 * turn;
                            (0..10).map(id).take_while(|&id| store.apply(create(id), &mut Vec::new()).is_ok()).collect()
                        })
                    })
                    .collect();
                let done = writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| Vec::new()));
                done.flatten().collect::<Vec<u64>>()
            });
            let lost = disk.after_power_loss(disk.acts(), Loss::All);
            armed.store(false, Ordering::Relaxed);
            let _ = store.settle();
            drop(store);
            let place = format!("{}, a panic before sync {panics_at}", setup.name);
            let store = open(setup, &lost, &place);
            for id in acknowledged {
                let read = Request { operation: Operation::Read, document: b"", ..create(id) };
                assert_eq!(store.apply(read, &mut Vec::new()).unwrap(), Reply::Done, "{place}: {id}");
            }
        }
    });
}

/// A store that was closed in order is never short without a word: any file cut anywhere, or gone.
#[test]
fn a_closed_log_that_is_cut_is_noticed() {
    on_each(&setups::all(SIZE), |setup| {
        let disk = SimulatedDisk::new();
        let store = open(setup, &disk, setup.name);
        let mut history = History::default();
        work(&*store, &mut history);
        drop(store);
        let (_, recovery) = try_open(setup, &disk.settled_copy()).unwrap();
        assert_eq!((recovery.unclosed_logs, recovery.dropped_bytes), (0, 0), "{}", setup.name);
        let (mut damages, mut noticed) = (0, 0);
        for (path, content) in disk.files() {
            let is_note = path.ends_with("closed");
            for length in (0..content.len()).map(Some).chain([None]) {
                let damaged = disk.settled_copy();
                match length {
                    Some(length) => damaged.open(&path, false).unwrap().set_length(length as u64).unwrap(),
                    None => damaged.remove(&path).unwrap(),
                }
                let place = format!("{}, `{}` cut to {length:?}", setup.name, path.display());
                damages += 1;
                match try_open(setup, &damaged) {
                    Ok((store, recovery)) => {
                        history.clone().check(&*store, &place);
                        assert!(!is_note || recovery.unclosed_logs == 1, "{place}");
                    }
                    Err(error) => {
                        assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{place}: {error}");
                        noticed += 1;
                    }
                }
            }
        }
        println!("{}: {noticed} of {damages} damages noticed, the others harmless", setup.name);
    });
}
