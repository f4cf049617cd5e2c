//! Every peer answers as a document store must, keeps what it acknowledged, and says what is wrong.

use std::thread;

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreErrorKind};

/// The peers of this build.
const PEERS: &[&str] = &[
    "sqlite",
    "redb",
    "fjall",
    "sqlite-grouped",
    "redb-grouped",
    "fjall-grouped",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    #[cfg(feature = "rocksdb")]
    "rocksdb-grouped",
];

fn apply(store: &dyn DocumentStore, operation: Operation, database: u16, id: u64, document: &[u8]) -> (Reply, Vec<u8>) {
    let mut found = b"what was here before".to_vec();
    let reply = store.apply(Request { operation, database, id, document }, &mut found).unwrap();
    (reply, found)
}

#[test]
fn requests_are_answered_and_databases_are_apart() {
    use Operation::{Create, Delete, Read, Update};
    for peer in PEERS {
        let directory = tempfile::tempdir().unwrap();
        let (opened, _) = docdb_peers::open(peer, directory.path(), 2).unwrap();
        let store = &*opened;
        let nothing = |reply| (reply, Vec::new());
        assert_eq!(apply(store, Read, 0, 7, b""), nothing(Reply::NotFound), "{peer}");
        assert_eq!(apply(store, Update, 0, 7, b"{}"), nothing(Reply::NotFound), "{peer}");
        assert_eq!(apply(store, Delete, 0, 7, b""), nothing(Reply::NotFound), "{peer}");
        assert_eq!(apply(store, Create, 0, 7, b"{\"a\":1}"), nothing(Reply::Done), "{peer}");
        assert_eq!(apply(store, Create, 0, 7, b"{}"), nothing(Reply::Conflict), "{peer}");
        assert_eq!(apply(store, Read, 0, 7, b""), (Reply::Done, b"{\"a\":1}".to_vec()), "{peer}");
        assert_eq!(apply(store, Read, 1, 7, b""), nothing(Reply::NotFound), "{peer}");
        assert_eq!(apply(store, Update, 0, 7, b"[2]"), nothing(Reply::Done), "{peer}");
        assert_eq!(apply(store, Read, 0, 7, b""), (Reply::Done, b"[2]".to_vec()), "{peer}");
        store.load(1, &[(1, b"{}".to_vec()), (2, b"[]".to_vec())]).unwrap();
        assert_eq!(store.documents().unwrap(), 3, "{peer}");
        assert_eq!(apply(store, Delete, 1, 2, b""), nothing(Reply::Done), "{peer}");
        store.settle().unwrap();
        assert_eq!(store.documents().unwrap(), 2, "{peer}");
    }
}

#[test]
fn what_breaks_a_rule_is_refused() {
    for peer in PEERS {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = docdb_peers::open(peer, directory.path(), 1).unwrap();
        for (database, document, why) in [(0, b"{no json".as_slice(), "not JSON"), (9, b"{}", "no database 9")] {
            let request = Request { operation: Operation::Create, database, id: 1, document };
            let error = store.apply(request, &mut Vec::new()).unwrap_err();
            assert!(matches!(error.kind, StoreErrorKind::Refused(_)), "{peer}: {error}");
            assert!(error.to_string().contains(why), "{peer}: {error}");
        }
        assert_eq!(store.documents().unwrap(), 0, "{peer}");
    }
}

/// Of several creates of one id one succeeds, and what was acknowledged is there when the store is opened again.
#[test]
fn one_of_many_creates_wins_and_is_kept() {
    const THREADS: u64 = 6;
    const IDS: u64 = 8;
    for peer in PEERS {
        let directory = tempfile::tempdir().unwrap();
        let (opened, _) = docdb_peers::open(peer, directory.path(), 2).unwrap();
        let store = &*opened;
        let won: Vec<(u64, u64)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let document = format!("{{\"thread\":{thread}}}");
                        let create = |id: &u64| {
                            let database = (id % 2) as u16;
                            apply(store, Operation::Create, database, *id, document.as_bytes()).0 == Reply::Done
                        };
                        (0..IDS).filter(create).map(|id| (id, thread)).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.len() as u64, IDS, "{peer}");
        let counters = store.statistics().counters;
        if peer.ends_with("-grouped") {
            assert_eq!(counters["batch_records"], (THREADS * IDS) as f64, "{peer}: each write was in one group");
            assert!(counters["batches"] <= counters["batch_records"], "{peer}");
        }
        drop(opened);
        let (store, _) = docdb_peers::open(peer, directory.path(), 2).unwrap();
        for (id, thread) in won {
            let (reply, found) = apply(&*store, Operation::Read, (id % 2) as u16, id, b"");
            assert_eq!((reply, found), (Reply::Done, format!("{{\"thread\":{thread}}}").into_bytes()), "{peer}");
        }
    }
}

#[test]
fn sqlite_and_rocksdb_tell_what_is_in_force() {
    for peer in PEERS {
        let directory = tempfile::tempdir().unwrap();
        let (_store, effective) = docdb_peers::open(peer, directory.path(), 1).unwrap();
        match *peer {
            "sqlite" => {
                assert_eq!(effective["sqlite_journal_mode"], "wal");
                assert_eq!(effective["sqlite_synchronous"], "FULL");
            }
            "sqlite-grouped" => {
                assert_eq!(effective["sqlite_synchronous"], "FULL");
                assert_eq!(effective["sqlite_wal_autocheckpoint"], "16000");
            }
            "rocksdb" | "rocksdb-grouped" => {
                assert_eq!(effective["rocksdb_manual_wal_flush"], "false");
                assert!(effective.contains_key("rocksdb_use_fsync"), "{effective:?}");
            }
            _ => assert!(effective.is_empty(), "{peer} tells {effective:?}"),
        }
    }
}

#[test]
fn a_peer_that_is_not_there_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    #[cfg(not(feature = "rocksdb"))]
    {
        let error = docdb_peers::open("rocksdb", directory.path(), 1).err().unwrap();
        assert!(matches!(error.kind, StoreErrorKind::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("--features rocksdb"), "{error}");
    }
    let error = docdb_peers::open("leveldb", directory.path(), 1).err().unwrap();
    assert!(error.to_string().contains("known are sqlite"), "{error}");
}
