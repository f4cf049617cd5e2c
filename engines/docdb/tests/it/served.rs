//! A store behind a socket: answers, rules, and clients that break them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use docdb_engine::{
    DocumentStore, Operation, Reply, Request, Statistics, StoreError, StoreErrorKind, classic, fast,
    wire::{Address, RemoteStore, Server, Transport, greeting},
};
use engine_disk::{Disk, SimulatedDisk};
use uplift_instrument::timeline::EventLog;

use crate::hooked::HookedDisk;

/// A fast store that a disk in memory has room for.
pub fn small() -> fast::Settings {
    fast::Settings { segment_bytes_max: 1 << 16, ..fast::Settings::default() }
}

fn store() -> Arc<dyn DocumentStore> {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let opened = fast::Store::open(&disk, Path::new("/s"), &small(), &EventLog::default()).unwrap();
    Arc::new(opened.0)
}

const fn request(operation: Operation, id: u64, document: &[u8]) -> Request<'_> {
    Request { operation, database: 1, id, document }
}

#[test]
fn requests_are_answered_over_both_transports() {
    let directory = tempfile::tempdir().unwrap();
    for transport in [Transport::Unix(directory.path().join("socket")), Transport::Tcp] {
        let server = Server::start(store(), &transport).unwrap();
        let client = RemoteStore::connect(server.address()).unwrap();
        let mut found = Vec::new();
        let mut call = |request| client.call(request, &mut found).map(|reply| (reply, found.clone()));
        assert_eq!(call(request(Operation::Read, 7, b"")).unwrap().0, Reply::NotFound);
        assert_eq!(call(request(Operation::Create, 7, b"{\"a\":1}")).unwrap().0, Reply::Done);
        assert_eq!(call(request(Operation::Create, 7, b"{}")).unwrap().0, Reply::Conflict);
        assert_eq!(call(request(Operation::Read, 7, b"")).unwrap(), (Reply::Done, b"{\"a\":1}".to_vec()));
        assert_eq!(call(request(Operation::Update, 8, b"{}")).unwrap().0, Reply::NotFound);
        assert_eq!(call(request(Operation::Delete, 7, b"")).unwrap().0, Reply::Done);
        let error = call(request(Operation::Create, 9, b"{no json")).unwrap_err();
        assert!(error.to_string().contains("not JSON"), "{error}");
        let error = call(Request { database: 99, ..request(Operation::Read, 9, b"") }).unwrap_err();
        assert!(error.to_string().contains("no database 99"), "{error}");
        // The connection is still good.
        assert_eq!(call(request(Operation::Read, 7, b"")).unwrap().0, Reply::NotFound);
    }
}

#[test]
fn who_breaks_the_rules_is_told_and_loses_only_its_own_connection() {
    let server = Server::start(store(), &Transport::Tcp).unwrap();
    let Address::Tcp(address) = server.address() else { panic!("a TCP server has a TCP address") };
    let told = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(told(b"GET / HTTP/1.0\r\n\r\n").contains("does not speak this protocol"));
    let greeted = |rest: &[u8]| [greeting().as_slice(), rest].concat();
    assert!(told(&greeted(&[1, 0, 0, 0, 9])).contains("at least 11 bytes"));
    assert!(told(&greeted(&[11, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])).contains("no operation 9"));
    assert!(told(&greeted(&[255, 255, 255, 255])).contains("at most"));
    let client = RemoteStore::connect(server.address()).unwrap();
    assert_eq!(client.call(request(Operation::Read, 1, b""), &mut Vec::new()).unwrap(), Reply::NotFound);
}

#[test]
fn a_server_that_ends_ends_its_connections() {
    let server = Server::start(store(), &Transport::Tcp).unwrap();
    let client = RemoteStore::connect(server.address()).unwrap();
    drop(server);
    client.call(request(Operation::Read, 1, b""), &mut Vec::new()).unwrap_err();
}

/// What syncs wait for until they are let through.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }
}

fn gated() -> (Arc<dyn Disk>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    gate.set(true);
    let passed = Arc::clone(&gate);
    (HookedDisk::shared(&SimulatedDisk::new(), Arc::new(move || passed.pass())), gate)
}

/// One worker is kept in a sync; then a queue of two takes two requests and refuses the third.
#[test]
fn a_full_queue_says_so() {
    let (disk, gate) = gated();
    let settings = classic::Settings { databases: 1, workers: 1, queue_limit: 2, ..Default::default() };
    let (store, _) = classic::Store::open(&disk, Path::new("/s"), &settings, &EventLog::default()).unwrap();
    let store = &store;
    gate.set(false);
    std::thread::scope(|scope| {
        for id in 0..3 {
            scope.spawn(move || {
                let create = Request { operation: Operation::Create, database: 0, id, document: b"{}" };
                store.apply(create, &mut Vec::new()).unwrap()
            });
            // The first is with the worker, the others wait in the queue.
            let waiting = |statistics: &Statistics| {
                (statistics.counters["queued"], statistics.gauges["queue_depth"])
                    == (f64::from(id as u32 + 1), id as f64)
            };
            while !waiting(&store.statistics()) {
                std::thread::yield_now();
            }
        }
        let read = Request { operation: Operation::Read, database: 0, id: 0, document: b"" };
        let error: StoreError = store.apply(read, &mut Vec::new()).unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::QueueFull { limit: 2 }), "{error}");
        gate.set(true);
    });
    assert_eq!(store.documents().unwrap(), 3);
}

/// While a group of the fast store is in its sync, what was durable before is read, and what is in the group is not.
#[test]
fn readers_of_the_fast_store_wait_for_no_sync_and_see_only_what_is_durable() {
    let (disk, gate) = gated();
    let (store, _) = fast::Store::open(&disk, Path::new("/s"), &small(), &EventLog::default()).unwrap();
    let store = &store;
    let apply = |operation, document: &[u8]| {
        let mut found = Vec::new();
        let request = Request { operation, database: 0, id: 4, document };
        store.apply(request, &mut found).map(|reply| (reply, found))
    };
    apply(Operation::Create, b"[1]").unwrap();
    gate.set(false);
    std::thread::scope(|scope| {
        let update = scope.spawn(|| apply(Operation::Update, b"[2]").unwrap());
        // The sync cannot end, so these come back before it.
        for _ in 0..1000 {
            assert_eq!(apply(Operation::Read, b"").unwrap(), (Reply::Done, b"[1]".to_vec()));
        }
        gate.set(true);
        assert_eq!(update.join().unwrap().0, Reply::Done);
    });
    assert_eq!(apply(Operation::Read, b"").unwrap().1, b"[2]");
}

#[test]
fn a_full_disk_is_said_and_the_store_takes_no_more_writes() {
    let disk = SimulatedDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    // Over zeros that are there already a document takes no space.
    let unprepared = fast::Settings { prepare: false, ..small() };
    let (fast, _) = fast::Store::open(&shared, Path::new("/f"), &unprepared, &EventLog::default()).unwrap();
    let settings = classic::Settings { workers: 1, ..Default::default() };
    let (classic, _) = classic::Store::open(&shared, Path::new("/c"), &settings, &EventLog::default()).unwrap();
    for store in [&fast as &dyn DocumentStore, &classic] {
        let create = |id| {
            let request = Request { operation: Operation::Create, database: 0, id, document: b"{}" };
            store.apply(request, &mut Vec::new())
        };
        create(1).unwrap();
        disk.limit_space(Some(10));
        let error = create(2).unwrap_err();
        assert!(error.to_string().contains("No space left on device"), "{error}");
        disk.limit_space(None);
        let error = create(3).unwrap_err();
        assert!(error.to_string().contains("open it again"), "{error}");
        let read = Request { operation: Operation::Read, database: 0, id: 1, document: b"" };
        assert_eq!(store.apply(read, &mut Vec::new()).unwrap(), Reply::Done, "what is durable can still be read");
    }
}
