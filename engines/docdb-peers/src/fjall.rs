//! fjall: a keyspace for each database, the journal synced after each write.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{
    CACHE_BYTES, ID_LOCKS, database, database_name,
    grouped::{Batched, Write},
    id_locks,
};

/// fjall as a document store.
pub struct FjallStore {
    database: Database,
    keyspaces: Vec<Keyspace>,
    ids: Box<[Mutex<()>]>,
}

fn failed(error: fjall::Error) -> StoreError {
    StoreError::engine("fjall", error)
}

/// Carries out a write, which is durable once the journal is synced.
fn write(keyspace: &Keyspace, operation: Operation, id: u64, document: &[u8]) -> Result<Reply, StoreError> {
    let key = id.to_be_bytes();
    match (operation, keyspace.contains_key(key).map_err(failed)?) {
        (Operation::Create, true) => return Ok(Reply::Conflict),
        (Operation::Update | Operation::Delete, false) => return Ok(Reply::NotFound),
        (Operation::Delete, true) => keyspace.remove(key).map_err(failed)?,
        _ => keyspace.insert(key, document).map_err(failed)?,
    }
    Ok(Reply::Done)
}

impl Batched for FjallStore {
    /// All keyspaces share one journal.
    fn logs(&self) -> usize {
        1
    }

    fn log_of(&self, number: u16) -> Result<usize, StoreError> {
        database(&self.keyspaces, number).map(|_| 0)
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Reply>, StoreError> {
        let carry_out =
            |one: &Write| write(database(&self.keyspaces, one.database)?, one.operation, one.id, &one.document);
        let replies = writes.iter().map(carry_out).collect::<Result<_, _>>()?;
        self.database.persist(PersistMode::SyncData).map_err(failed)?;
        Ok(replies)
    }
}

impl FjallStore {
    /// As [`Self::open`], with as much cache for each database as the other tuned peers have.
    ///
    /// # Errors
    /// What fjall says.
    pub fn open_tuned(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let cache_bytes = CACHE_BYTES * u64::from(databases);
        let database = Database::builder(directory.join("fjall")).cache_size(cache_bytes).open().map_err(failed)?;
        Self::over(database, databases)
    }

    /// Opens a database with `databases` keyspaces in `directory`.
    ///
    /// # Errors
    /// What fjall says.
    pub fn open(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        Self::over(Database::builder(directory.join("fjall")).open().map_err(failed)?, databases)
    }

    fn over(database: Database, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let keyspaces = (0..databases)
            .map(|number| database.keyspace(&database_name(number), KeyspaceCreateOptions::default).map_err(failed))
            .collect::<Result<_, _>>()?;
        // fjall has nothing to be asked: what a write costs in syncs is counted by whoever opens the store.
        Ok((Self { database, keyspaces, ids: id_locks() }, BTreeMap::new()))
    }
}

impl DocumentStore for FjallStore {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        docdb_engine::check(&request)?;
        let keyspace = database(&self.keyspaces, request.database)?;
        let key = request.id.to_be_bytes();
        if request.operation == Operation::Read {
            let Some(found) = keyspace.get(key).map_err(failed)? else { return Ok(Reply::NotFound) };
            document.extend_from_slice(&found);
            return Ok(Reply::Done);
        }
        let _alone = self.ids[(request.id % ID_LOCKS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let reply = write(keyspace, request.operation, request.id, request.document)?;
        if reply == Reply::Done {
            self.database.persist(PersistMode::SyncData).map_err(failed)?;
        }
        Ok(reply)
    }

    fn load(&self, number: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let keyspace = database(&self.keyspaces, number)?;
        for (id, document) in documents {
            keyspace.insert(id.to_be_bytes(), document.as_slice()).map_err(failed)?;
        }
        self.database.persist(PersistMode::SyncData).map_err(failed)
    }

    fn settle(&self) -> Result<(), StoreError> {
        // There is nothing to be told of the end of a compaction, only to be asked.
        while self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    fn documents(&self) -> Result<u64, StoreError> {
        self.keyspaces.iter().map(|keyspace| keyspace.len().map(|count| count as u64).map_err(failed)).sum()
    }
}
