//! fjall: a keyspace for each database, the journal synced after each write.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, Statistics, StoreError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{ID_LOCKS, database, database_name, id_locks};

/// fjall as a document store.
pub struct FjallStore {
    database: Database,
    keyspaces: Vec<Keyspace>,
    ids: Box<[Mutex<()>]>,
}

fn failed(error: fjall::Error) -> StoreError {
    StoreError::engine("fjall", error)
}

impl FjallStore {
    /// Opens a database with `databases` keyspaces in `directory`.
    ///
    /// # Errors
    /// What fjall says.
    pub fn open(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let database = Database::builder(directory.join("fjall")).open().map_err(failed)?;
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
        match (request.operation, keyspace.contains_key(key).map_err(failed)?) {
            (Operation::Create, true) => return Ok(Reply::Conflict),
            (Operation::Update | Operation::Delete, false) => return Ok(Reply::NotFound),
            (Operation::Delete, true) => keyspace.remove(key).map_err(failed)?,
            _ => keyspace.insert(key, request.document).map_err(failed)?,
        }
        self.database.persist(PersistMode::SyncData).map_err(failed)?;
        Ok(Reply::Done)
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

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    fn documents(&self) -> Result<u64, StoreError> {
        self.keyspaces.iter().map(|keyspace| keyspace.len().map(|count| count as u64).map_err(failed)).sum()
    }
}
