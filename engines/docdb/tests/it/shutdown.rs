//! An orderly end: what was acknowledged is flushed, whatever the settings promise for a disorderly one.

use std::{path::Path, sync::Arc, thread, time::Duration};

use docdb_engine::{
    DocumentStore, Operation, Reply, Request,
    wire::{RemoteStore, Server, Transport},
};
use engine_disk::{Disk, Loss, SimulatedDisk};

use crate::setups::{self, Size, on_each};

const DIRECTORY: &str = "/store";
/// No timer fires within a test: what is on the disk is there because of the end.
const SIZE: Size = Size { databases: 1, segment_bytes_max: [1 << 20, 1 << 20], interval: Duration::from_secs(3600) };

const fn create(id: u64) -> Request<'static> {
    Request { operation: Operation::Create, database: 0, id, document: b"{}" }
}

/// Setups whose writers wait for a timer have nobody to end it here.
fn answers_at_once(name: &str) -> bool {
    !name.starts_with("group")
}

/// The documents that a loss of power right after the end leaves.
fn left(setup: &setups::Setup, disk: &SimulatedDisk) -> u64 {
    let after: Arc<dyn Disk> = Arc::new(disk.after_power_loss(disk.acts(), Loss::All));
    setup.open(&after, Path::new(DIRECTORY)).unwrap().0.documents().unwrap()
}

#[test]
fn closing_flushes_what_was_acknowledged() {
    let setups: Vec<_> = setups::all(SIZE).into_iter().filter(|setup| answers_at_once(setup.name)).collect();
    on_each(&setups, |setup| {
        let disk = SimulatedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (store, _) = setup.open(&shared, Path::new(DIRECTORY)).unwrap();
        for id in 0..50 {
            assert_eq!(store.apply(create(id), &mut Vec::new()).unwrap(), Reply::Done);
        }
        let before = left(setup, &disk);
        drop(store);
        assert_eq!(left(setup, &disk), 50, "{}", setup.name);
        // Otherwise the end had nothing to flush, and the test would say nothing.
        assert!(setup.is_durable() || before < 50, "{}: {before} were there before the end", setup.name);
    });
}

/// A server that ends while its clients work: whatever it acknowledged is there.
#[test]
fn a_server_that_ends_loses_nothing_that_it_acknowledged() {
    let size = Size { interval: Duration::from_millis(1), ..SIZE };
    on_each(&setups::all(size), |setup| {
        let disk = SimulatedDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store: Arc<dyn DocumentStore> = Arc::from(setup.open(&shared, Path::new(DIRECTORY)).unwrap().0);
        let server = Server::start(Arc::clone(&store), &Transport::Tcp).unwrap();
        let working: Vec<_> = (0..4u64)
            .map(|client| {
                let remote = RemoteStore::connect(server.address()).unwrap();
                thread::spawn(move || {
                    let mut done = 0;
                    while remote.call(create(client + 4 * done), &mut Vec::new()).is_ok() {
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        while store.documents().unwrap() < 20 {
            thread::yield_now();
        }
        drop(server);
        let acknowledged: u64 = working.into_iter().map(|client| client.join().unwrap()).sum();
        drop(store);
        let left = left(setup, &disk);
        // A request that was under way may have been carried out without an answer.
        assert!((acknowledged..=acknowledged + 4).contains(&left), "{}: {left} of {acknowledged}", setup.name);
    });
}
