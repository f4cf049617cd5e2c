//! Other storage engines behind [`DocumentStore`]: the peers that docdb is measured against.
//!
//! Each is used as its documentation advises for a write that must survive a loss of power before it is acknowledged: one
//! transaction for each write, synced. Settings that the engine can tell are read back.

mod fjall;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::{collections::BTreeMap, path::Path, sync::Mutex};

pub use self::{fjall::FjallStore, redb::RedbStore, sqlite::SqliteStore};
use docdb_engine::{DocumentStore, StoreError, StoreErrorKind};

#[cfg(feature = "rocksdb")]
pub use self::rocksdb::RocksStore;

/// Locks that ids are spread over, where an engine has no transaction that reads and then writes.
const ID_LOCKS: usize = 256;

/// A peer that is open: the store, and its settings in force.
pub type Opened = (Box<dyn DocumentStore>, BTreeMap<String, String>);

/// Opens a peer by its name: `sqlite`, `redb`, `fjall`, or `rocksdb` where it was built in.
///
/// # Errors
/// When the engine could not be opened, or is not known or not built in.
pub fn open(engine: &str, directory: &Path, databases: u16) -> Result<Opened, StoreError> {
    std::fs::create_dir_all(directory).map_err(|error| StoreError::io("making the directory", directory, &error))?;
    match engine {
        "sqlite" => SqliteStore::open(directory, databases).map(|(store, effective)| (Box::new(store) as _, effective)),
        "redb" => RedbStore::open(directory, databases).map(|(store, effective)| (Box::new(store) as _, effective)),
        "fjall" => FjallStore::open(directory, databases).map(|(store, effective)| (Box::new(store) as _, effective)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => RocksStore::open(directory, databases).map(|(store, effective)| (Box::new(store) as _, effective)),
        #[cfg(not(feature = "rocksdb"))]
        "rocksdb" => {
            let state = "RocksDB is not part of this build".to_owned();
            let remedy = "install libclang and build with `--features rocksdb`".to_owned();
            Err(StoreError::new("opening the engine `rocksdb`", StoreErrorKind::Unavailable { state, remedy }))
        }
        other => {
            let why = "it is not known; known are sqlite, redb, fjall and rocksdb".to_owned();
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
