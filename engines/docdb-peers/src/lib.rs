//! Other storage engines behind [`DocumentStore`]: the peers that docdb is measured against.
//!
//! Each is used as its documentation advises for a write that must survive a loss of power before it is acknowledged: one
//! transaction for each write, synced. A peer whose name ends in `-grouped` is the same engine, tuned, with a leader before it
//! that commits the writes of many threads at once, as `docdb`'s own `fast` does. Settings that the engine can tell are read back.
//!
//! This crate knows the trait of `docdb-engine` and the engines that others made, and nothing of benchmarks.

mod fjall;
mod grouped;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use self::grouped::{Batched, Grouped};
pub use self::{fjall::FjallStore, redb::RedbStore, sqlite::SqliteStore};
use docdb_engine::{DocumentStore, StoreError, StoreErrorKind};

#[cfg(feature = "rocksdb")]
pub use self::rocksdb::RocksStore;

/// Cache of a tuned peer for each database: the same for all.
const CACHE_BYTES: u64 = 64 << 20;
/// Locks that ids are spread over, where an engine has no transaction that reads and then writes.
const ID_LOCKS: usize = 256;

/// A peer that is open: the store, and its settings in force.
pub type Opened = (Box<dyn DocumentStore>, BTreeMap<String, String>);

/// Opens a peer by its name: `sqlite`, `redb`, `fjall`, or `rocksdb` where it was built in, and each with `-grouped`.
///
/// # Errors
/// When the engine could not be opened, or is not known or not built in.
pub fn open(engine: &str, directory: &Path, databases: u16) -> Result<Opened, StoreError> {
    std::fs::create_dir_all(directory).map_err(|error| StoreError::io("making the directory", directory, &error))?;
    fn opened<S: DocumentStore + 'static>((store, effective): (S, BTreeMap<String, String>)) -> Opened {
        (Box::new(store), effective)
    }
    fn grouped<S: Batched + 'static>((store, effective): (S, BTreeMap<String, String>)) -> Opened {
        (Box::new(Grouped::new(store)), effective)
    }
    match engine {
        "sqlite" => SqliteStore::open(directory, databases).map(opened),
        "redb" => RedbStore::open(directory, databases).map(opened),
        "fjall" => FjallStore::open(directory, databases).map(opened),
        "sqlite-grouped" => SqliteStore::open_tuned(directory, databases).map(grouped),
        "redb-grouped" => RedbStore::open_tuned(directory, databases).map(grouped),
        "fjall-grouped" => FjallStore::open_tuned(directory, databases).map(grouped),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => RocksStore::open(directory, databases).map(opened),
        #[cfg(feature = "rocksdb")]
        "rocksdb-grouped" => RocksStore::open_tuned(directory, databases).map(grouped),
        #[cfg(not(feature = "rocksdb"))]
        "rocksdb" | "rocksdb-grouped" => {
            let state = "RocksDB is not part of this build".to_owned();
            let remedy = "install libclang and build with `--features rocksdb`".to_owned();
            Err(StoreError::new(
                format!("opening the engine `{engine}`"),
                StoreErrorKind::Unavailable { state, remedy },
            ))
        }
        other => {
            let why = "it is not known; known are sqlite, redb, fjall and rocksdb, and each with `-grouped`".to_owned();
            Err(StoreError::new(format!("opening the engine `{other}`"), StoreErrorKind::Refused(why)))
        }
    }
}

/// The name of a database's file or table.
fn database_name(number: u16) -> String {
    format!("db{}", number + 1)
}

fn id_locks() -> Box<[Mutex<()>]> {
    (0..ID_LOCKS).map(|_| Mutex::new(())).collect()
}

/// The database `number` of `all`.
fn database<T>(all: &[T], number: u16) -> Result<&T, StoreError> {
    all.get(usize::from(number)).ok_or_else(|| {
        let why = format!("there is no database {number}; there are {}, numbered from 0", all.len());
        StoreError::new("carrying out a request", StoreErrorKind::Refused(why))
    })
}
