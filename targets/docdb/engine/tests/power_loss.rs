//! Every loss of power that a sequence of writes and syncs allows, at every point of it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use docdb_engine::{
    DocumentStore, Operation, Reply, Request, StoreError,
    classic::{self, Acknowledge, Fsync, Locking},
    fast,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_target::{
    disk::{Disk, Loss, SimulatedDisk},
    timeline::EventLog,
};

const DIRECTORY: &str = "/store";
const DATABASES: u16 = 2;
const IDS: u64 = 5;

/// Contents of a store: a document for each database and id.
type Contents = BTreeMap<(u16, u64), Vec<u8>>;

type Open = dyn Fn(&SimulatedDisk) -> Result<Box<dyn DocumentStore>, StoreError>;

fn classic_store(fsync: Fsync, data_file_fsyncs: u8, locking: Locking) -> Box<Open> {
    Box::new(move |disk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let settings = classic::Settings {
            databases: DATABASES,
            fsync,
            acknowledge: Acknowledge::Durable,
            data_file_fsyncs,
            locking,
            workers: 2,
            // Small enough for checkpoints within the sequence.
            segment_bytes_max: 900,
            ..classic::Settings::default()
        };
        classic::Store::open(&disk, Path::new(DIRECTORY), &settings, &EventLog::default())
            .map(|(store, _)| Box::new(store) as _)
    })
}

fn fast_store() -> Box<Open> {
    Box::new(|disk| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let settings = fast::Settings {
            databases: DATABASES,
            index_shards: 2,
            // Small enough for new segments and compaction within the sequence.
            segment_bytes_max: 400,
            ..fast::Settings::default()
        };
        fast::Store::open(&disk, Path::new(DIRECTORY), &settings, &EventLog::default())
            .map(|(store, _)| Box::new(store) as _)
    })
}

/// A state that was acknowledged, and when: after so many acts of the disk.
struct Moment {
    acts: usize,
    contents: Contents,
}

/// Carries out `count` random requests, one at a time; returns the disk and the state after each.
fn sequence(open: &Open, count: usize, seed: u64) -> (SimulatedDisk, Vec<Moment>) {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
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

const LOSSES: [Loss; 9] = [
    Loss::All,
    Loss::Nothing,
    Loss::TornNewest(0),
    Loss::TornNewest(300),
    Loss::TornNewest(999),
    Loss::KeptNewest,
    Loss::Some(1),
    Loss::Some(2),
    Loss::Some(3),
];

/// After a loss at any point, the store holds what was acknowledged by then, or that and the write that was under way.
#[track_caller]
fn every_loss_leaves_what_was_acknowledged(open: &Open, count: usize, seed: u64) {
    let (disk, moments) = sequence(open, count, seed);
    for point in 0..=disk.acts() {
        let acknowledged = moments.partition_point(|moment| moment.acts <= point) - 1;
        for loss in LOSSES {
            let after = disk.after_power_loss(point, loss);
            let store = open(&after).unwrap_or_else(|error| panic!("loss {loss:?} after {point} acts: {error}"));
            let found = contents_of(&*store);
            let allowed = &moments[acknowledged..(acknowledged + 2).min(moments.len())];
            assert!(
                allowed.iter().any(|moment| moment.contents == found),
                "loss {loss:?} after {point} acts: {found:?} is neither of {:?}",
                allowed.iter().map(|moment| &moment.contents).collect::<Vec<_>>()
            );
            drop(store);
            // What was recovered once is there the second time.
            assert_eq!(contents_of(&*open(&after).unwrap()), found, "loss {loss:?} after {point} acts, opened twice");
        }
    }
}

#[test]
fn fast() {
    every_loss_leaves_what_was_acknowledged(&*fast_store(), 60, 1);
}

#[test]
fn classic_always() {
    every_loss_leaves_what_was_acknowledged(&*classic_store(Fsync::Always, 2, Locking::Exclusive), 40, 2);
}

#[test]
fn classic_always_without_data_file_syncs() {
    every_loss_leaves_what_was_acknowledged(&*classic_store(Fsync::Always, 0, Locking::ReadWrite), 40, 3);
}

#[test]
fn classic_group() {
    let fsync = Fsync::Group { interval: Duration::ZERO, records_max: 100 };
    every_loss_leaves_what_was_acknowledged(&*classic_store(fsync, 1, Locking::Narrow), 40, 4);
}

/// What is acknowledged before it is synced may be lost, but only from the end: a database is as it once was.
#[test]
fn what_was_not_synced_is_lost_from_the_end_only() {
    let open = classic_store(Fsync::None, 0, Locking::Exclusive);
    let (disk, moments) = sequence(&*open, 40, 5);
    let of = |contents: &Contents, database: u16| -> Contents {
        contents.iter().filter(|((own, _), _)| *own == database).map(|(key, value)| (*key, value.clone())).collect()
    };
    let mut lost_something = false;
    for point in 0..=disk.acts() {
        let now = moments.partition_point(|moment| moment.acts <= point);
        for loss in [Loss::All, Loss::Nothing, Loss::TornNewest(500)] {
            let found = contents_of(&*open(&disk.after_power_loss(point, loss)).unwrap());
            for database in 0..DATABASES {
                let own = of(&found, database);
                assert!(
                    moments[..(now + 1).min(moments.len())].iter().any(|moment| of(&moment.contents, database) == own),
                    "loss {loss:?} after {point} acts left a state that never was: {own:?}"
                );
            }
            lost_something |= found != moments[now - 1].contents;
        }
    }
    assert!(lost_something, "a store that syncs nothing loses something");
}
