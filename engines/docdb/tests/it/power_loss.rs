//! Every loss of power that a sequence of writes and syncs allows, at every point of it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use docdb_engine::{DocumentStore, Operation, Reply, Request};
use engine_disk::{Disk, Loss, SimulatedDisk};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    hooked::HookedDisk,
    setups::{self, Setup, Size, on_each},
};

const DIRECTORY: &str = "/store";
const DATABASES: u16 = 2;
const IDS: u64 = 5;

/// Small enough for checkpoints, new segments and compaction within a sequence.
const SIZE: Size = Size { databases: DATABASES, segment_bytes_max: [900, 400], interval: Duration::ZERO };

/// Contents of a store: a document for each database and id.
type Contents = BTreeMap<(u16, u64), Vec<u8>>;

fn setups(durable: bool) -> Vec<Setup> {
    setups::all(SIZE).into_iter().filter(|setup| setup.is_durable() == durable).collect()
}

fn open(setup: &Setup, disk: &SimulatedDisk) -> Box<dyn DocumentStore> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = setup.open(&disk, Path::new(DIRECTORY));
    opened.unwrap_or_else(|error| panic!("{}: {error}", setup.name)).0
}

/// A state that was acknowledged, and when: after so many acts of the disk.
struct Moment {
    acts: usize,
    contents: Contents,
}

/// Carries out `count` random requests, one at a time; returns the disk and the state after each.
fn sequence(setup: &Setup, count: usize, seed: u64) -> (SimulatedDisk, Vec<Moment>) {
    let disk = SimulatedDisk::new();
    let store = open(setup, &disk);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut contents = Contents::new();
    let mut moments = vec![Moment { acts: 0, contents: contents.clone() }];
    let mut none = Vec::new();
    for number in 0..count {
        let (database, id) = (random.random_range(0..DATABASES), random.random_range(0..IDS));
        let document = format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(random.random_range(0..40)));
        let operation = match random.random_range(0..10) {
            0..5 => Operation::Create,
            5..8 => Operation::Update,
            _ => Operation::Delete,
        };
        let text = if operation.has_document() { document.as_bytes() } else { b"" };
        let reply = store.apply(Request { operation, database, id, document: text }, &mut none).unwrap();
        let exists = contents.contains_key(&(database, id));
        match (operation, exists) {
            (Operation::Create, true) => assert_eq!(reply, Reply::Conflict),
            (Operation::Update | Operation::Delete, false) => assert_eq!(reply, Reply::NotFound),
            (Operation::Delete, true) => drop(contents.remove(&(database, id))),
            _ => drop(contents.insert((database, id), document.into_bytes())),
        }
        moments.push(Moment { acts: disk.acts(), contents: contents.clone() });
    }
    // The acts of closing are losses to survive as well.
    drop(store);
    (disk, moments)
}

fn contents_of(store: &dyn DocumentStore) -> Contents {
    let mut contents = Contents::new();
    let mut found = Vec::new();
    for database in 0..DATABASES {
        for id in 0..IDS {
            let request = Request { operation: Operation::Read, database, id, document: b"" };
            if store.apply(request, &mut found).unwrap() == Reply::Done {
                contents.insert((database, id), found.clone());
            }
        }
    }
    assert_eq!(store.documents().unwrap(), contents.len() as u64);
    contents
}

const LOSSES: [Loss; 10] = [
    Loss::All,
    Loss::Nothing,
    Loss::TornNewest(0),
    Loss::TornNewest(300),
    Loss::TornNewest(700),
    Loss::TornNewest(999),
    Loss::KeptNewest,
    Loss::Some(1),
    Loss::Some(2),
    Loss::Some(3),
];

/// After a loss at any point, the store holds what was acknowledged by then, or that and the write that was under way.
#[test]
fn every_loss_leaves_what_was_acknowledged() {
    on_each(&setups(true), |setup| {
        let (disk, moments) = sequence(setup, 30, 1);
        for point in 0..=disk.acts() {
            let acknowledged = moments.partition_point(|moment| moment.acts <= point) - 1;
            for loss in LOSSES {
                let after = disk.after_power_loss(point, loss);
                let store = open(setup, &after);
                let found = contents_of(&*store);
                let allowed = &moments[acknowledged..(acknowledged + 2).min(moments.len())];
                assert!(
                    allowed.iter().any(|moment| moment.contents == found),
                    "{}, loss {loss:?} after {point} acts: {found:?} is neither of {:?}",
                    setup.name,
                    allowed.iter().map(|moment| &moment.contents).collect::<Vec<_>>()
                );
                drop(store);
                // What was recovered once is there the second time.
                let again = contents_of(&*open(setup, &after));
                assert_eq!(again, found, "{}, loss {loss:?} after {point} acts, opened twice", setup.name);
            }
        }
    });
}

/// A power loss while recovery itself writes leaves what the first one left.
#[test]
fn a_loss_during_recovery_leaves_what_was_there() {
    on_each(&setups(true), |setup| {
        let (disk, _) = sequence(setup, 15, 6);
        let points = disk.acts();
        for point in (0..=points).step_by(5) {
            let first = disk.after_power_loss(point, Loss::TornNewest(500));
            let there = contents_of(&*open(setup, &first.settled_copy()));
            let recovering = first.settled_copy();
            drop(open(setup, &recovering));
            for second in 0..=recovering.acts() {
                for loss in [Loss::All, Loss::TornNewest(500), Loss::Some(7)] {
                    let found = contents_of(&*open(setup, &recovering.after_power_loss(second, loss)));
                    let place = format!("{}, {point} acts, then {loss:?} after {second} of recovery", setup.name);
                    assert_eq!(found, there, "{place}");
                }
            }
        }
    });
}

/// What is acknowledged before it is synced may be lost, but only from the end: a database is as it once was.
#[test]
fn what_was_not_synced_is_lost_from_the_end_only() {
    on_each(&setups(false), |setup| {
        let (disk, moments) = sequence(setup, 40, 5);
        let of = |contents: &Contents, database: u16| -> Contents {
            contents.iter().filter(|((own, _), _)| *own == database).map(|(key, value)| (*key, value.clone())).collect()
        };
        let mut lost = 0;
        for point in 0..=disk.acts() {
            // A write in a buffer is acknowledged before it makes any act: all that may have been by then.
            let now = moments.partition_point(|moment| moment.acts <= point);
            for loss in [Loss::All, Loss::Nothing, Loss::TornNewest(500)] {
                let found = contents_of(&*open(setup, &disk.after_power_loss(point, loss)));
                for database in 0..DATABASES {
                    let own = of(&found, database);
                    assert!(
                        moments[..(now + 1).min(moments.len())]
                            .iter()
                            .any(|moment| of(&moment.contents, database) == own),
                        "{}, loss {loss:?} after {point} acts left a state that never was: {own:?}",
                        setup.name
                    );
                }
                lost += usize::from(found != moments[now - 1].contents);
            }
        }
        println!("{}: {lost} of {} losses took something that was acknowledged", setup.name, 3 * (disk.acts() + 1));
        assert!(setup.name != "none" || lost > 0, "a store that syncs nothing loses something");
    });
}

/// What happened to one id: each state, after how many acts its write began, and after how many it was acknowledged.
type History = Vec<(usize, usize, Option<Vec<u8>>)>;

/// Several writers at once, so that groups hold many records and are torn between and within them.
#[test]
fn groups_of_many_writers_are_whole_or_not_there() {
    const WRITERS: u64 = 6;
    const WRITES: u64 = 10;
    const IDS_EACH: u64 = 2;
    on_each(&setups(true), |setup| {
        let disk = SimulatedDisk::new();
        // While a sync "takes" a while the others join the next group.
        let slow = HookedDisk::shared(&disk, Arc::new(|| (0..20).for_each(|_| thread::yield_now())));
        let (store, _) = setup.open(&slow, Path::new(DIRECTORY)).unwrap();
        let histories: Mutex<BTreeMap<(u16, u64), History>> = Mutex::default();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, disk, histories) = (&store, &disk, &histories);
                scope.spawn(move || {
                    let database = (writer % u64::from(DATABASES)) as u16;
                    let mut none = Vec::new();
                    for number in 0..WRITES {
                        let id = writer * IDS_EACH + number % IDS_EACH;
                        let text = format!("{{\"writer\":{writer},\"number\":{number}}}").into_bytes();
                        let (operation, state) = match number / IDS_EACH {
                            0 => (Operation::Create, Some(text)),
                            turn if turn % 4 == 3 => (Operation::Delete, None),
                            turn if turn % 4 == 0 => (Operation::Create, Some(text)),
                            _ => (Operation::Update, Some(text)),
                        };
                        let began = disk.acts();
                        let request =
                            Request { operation, database, id, document: state.as_deref().unwrap_or_default() };
                        assert_eq!(store.apply(request, &mut none).unwrap(), Reply::Done);
                        let entry = (began, disk.acts(), state);
                        histories.lock().unwrap().entry((database, id)).or_default().push(entry);
                    }
                });
            }
        });
        if setup.is_fast() {
            let largest = store.statistics().distributions["batch_records"].max().unwrap();
            assert!(largest > 1, "{}: no group had two records", setup.name);
        }
        drop(store);
        let histories = histories.into_inner().unwrap();
        for point in 0..=disk.acts() {
            for loss in [Loss::All, Loss::TornNewest(600), Loss::Some(point as u64)] {
                let store = open(setup, &disk.after_power_loss(point, loss));
                let mut found = Vec::new();
                for (&(database, id), history) in &histories {
                    let request = Request { operation: Operation::Read, database, id, document: b"" };
                    let there = store.apply(request, &mut found).unwrap() == Reply::Done;
                    let found = there.then_some(&found);
                    let newest = history.iter().rposition(|(_, acknowledged, _)| *acknowledged <= point);
                    let candidates = &history[newest.unwrap_or(0)..];
                    let known = candidates.iter().any(|(began, _, state)| *began <= point && state.as_ref() == found);
                    let place = format!("{}, loss {loss:?} after {point} acts, id {id}", setup.name);
                    assert!(known || (newest.is_none() && found.is_none()), "{place}: {found:?} of {history:?}");
                }
            }
        }
    });
}
