//! RocksDB: a column family for each database, synced writes.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreError};
use rocksdb::{BlockBasedOptions, Cache, DB, Options, WaitForCompactOptions, WriteOptions};

use crate::{
    CACHE_BYTES, ID_LOCKS, database_name,
    grouped::{Batched, Write},
    id_locks,
};

/// What decides whether a synced write is on the disk, by its name in the file in which RocksDB writes down its options.
const OPTIONS: [&str; 3] = ["use_fsync", "manual_wal_flush", "wal_recovery_mode"];

/// RocksDB as a document store.
pub struct RocksStore {
    database: DB,
    names: Vec<String>,
    ids: Box<[Mutex<()>]>,
}

fn failed(error: rocksdb::Error) -> StoreError {
    StoreError::engine("RocksDB", error)
}

impl RocksStore {
    /// As [`Self::open`], with as much cache for each database as the other tuned peers have; all families share it.
    ///
    /// # Errors
    /// What RocksDB says.
    pub fn open_tuned(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES as usize * usize::from(databases)));
        let mut family = Options::default();
        family.set_block_based_table_factory(&blocks);
        Self::open_with(&family, directory, databases)
    }

    /// Opens a database with `databases` column families in `directory`.
    ///
    /// # Errors
    /// What RocksDB says.
    pub fn open(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        Self::open_with(&Options::default(), directory, databases)
    }

    fn open_with(
        family: &Options,
        directory: &Path,
        databases: u16,
    ) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let names: Vec<String> = (0..databases).map(database_name).collect();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let home = directory.join("rocksdb");
        let families = names.iter().map(|name| (name, family.clone()));
        let database = DB::open_cf_with_opts(&options, &home, families).map_err(failed)?;
        Ok((Self { database, names, ids: id_locks() }, options_in_force(&home)?))
    }

    fn family(&self, number: u16) -> Result<&rocksdb::ColumnFamily, StoreError> {
        let name = crate::database(&self.names, number)?;
        self.database.cf_handle(name).ok_or_else(|| StoreError::engine("RocksDB", format!("no family `{name}`")))
    }
}

impl RocksStore {
    fn write(
        &self,
        family: &rocksdb::ColumnFamily,
        operation: Operation,
        id: u64,
        document: &[u8],
        how: &WriteOptions,
    ) -> Result<Reply, StoreError> {
        let key = id.to_be_bytes();
        match (operation, self.database.get_pinned_cf(family, key).map_err(failed)?.is_some()) {
            (Operation::Create, true) => return Ok(Reply::Conflict),
            (Operation::Update | Operation::Delete, false) => return Ok(Reply::NotFound),
            (Operation::Delete, true) => self.database.delete_cf_opt(family, key, how).map_err(failed)?,
            _ => self.database.put_cf_opt(family, key, document, how).map_err(failed)?,
        }
        Ok(Reply::Done)
    }
}

impl Batched for RocksStore {
    /// All column families share one log.
    fn logs(&self) -> usize {
        1
    }

    fn log_of(&self, number: u16) -> Result<usize, StoreError> {
        self.family(number).map(|_| 0)
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Reply>, StoreError> {
        let how = WriteOptions::default();
        let carry_out =
            |one: &Write| self.write(self.family(one.database)?, one.operation, one.id, &one.document, &how);
        let replies = writes.iter().map(carry_out).collect::<Result<_, _>>()?;
        self.database.flush_wal(true).map_err(failed)?;
        Ok(replies)
    }
}

/// The [`OPTIONS`] as RocksDB itself wrote them down when it was opened.
fn options_in_force(home: &Path) -> Result<BTreeMap<String, String>, StoreError> {
    let failed = |error| StoreError::io("reading the options in", home, &error);
    let mut newest = None;
    for entry in fs::read_dir(home).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_options = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("OPTIONS-"));
        newest = newest.max(is_options.then_some(path));
    }
    let Some(path) = newest else { return Ok(BTreeMap::new()) };
    let text = fs::read_to_string(&path).map_err(failed)?;
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    Ok(pairs
        .filter(|(key, _)| OPTIONS.contains(key))
        .map(|(key, value)| (format!("rocksdb_{key}"), value.to_owned()))
        .collect())
}

impl DocumentStore for RocksStore {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        docdb_engine::check(&request)?;
        let family = self.family(request.database)?;
        let key = request.id.to_be_bytes();
        if request.operation == Operation::Read {
            let Some(found) = self.database.get_pinned_cf(family, key).map_err(failed)? else {
                return Ok(Reply::NotFound);
            };
            document.extend_from_slice(&found);
            return Ok(Reply::Done);
        }
        let _alone = self.ids[(request.id % ID_LOCKS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.write(family, request.operation, request.id, request.document, &synced)
    }

    fn load(&self, number: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let family = self.family(number)?;
        for (id, document) in documents {
            self.database.put_cf(family, id.to_be_bytes(), document).map_err(failed)?;
        }
        self.database.flush_wal(true).map_err(failed)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.database.wait_for_compact(&WaitForCompactOptions::default()).map_err(failed)
    }

    fn documents(&self) -> Result<u64, StoreError> {
        let mut count = 0;
        for number in 0..self.names.len() {
            count +=
                self.database.iterator_cf(self.family(number as u16)?, rocksdb::IteratorMode::Start).count() as u64;
        }
        Ok(count)
    }
}
