//! redb: a file for each database, a transaction for each write, immediate durability.

use std::{collections::BTreeMap, path::Path};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreError};
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};

use crate::{
    CACHE_BYTES, database, database_name,
    grouped::{Batched, Write},
};

const DOCUMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("documents");

/// redb as a document store.
pub struct RedbStore {
    databases: Vec<Database>,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::engine("redb", error.into())
}

/// Carries out a write in `transaction`.
fn write(transaction: &WriteTransaction, operation: Operation, id: u64, document: &[u8]) -> Result<Reply, StoreError> {
    let mut table = transaction.open_table(DOCUMENTS).map_err(failed)?;
    let exists = table.get(id).map_err(failed)?.is_some();
    Ok(match (operation, exists) {
        (Operation::Create, true) => Reply::Conflict,
        (Operation::Update | Operation::Delete, false) => Reply::NotFound,
        (Operation::Delete, true) => {
            table.remove(id).map_err(failed)?;
            Reply::Done
        }
        _ => {
            table.insert(id, document).map_err(failed)?;
            Reply::Done
        }
    })
}

impl Batched for RedbStore {
    fn logs(&self) -> usize {
        self.databases.len()
    }

    fn log_of(&self, number: u16) -> Result<usize, StoreError> {
        database(&self.databases, number).map(|_| usize::from(number))
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Reply>, StoreError> {
        let Some(first) = writes.first() else { return Ok(Vec::new()) };
        let mut transaction = database(&self.databases, first.database)?.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        let replies = writes
            .iter()
            .map(|one| write(&transaction, one.operation, one.id, &one.document))
            .collect::<Result<_, _>>()?;
        transaction.commit().map_err(failed)?;
        Ok(replies)
    }
}

impl RedbStore {
    /// As [`Self::open`], with the cache that the other tuned peers have.
    ///
    /// # Errors
    /// What redb says.
    pub fn open_tuned(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES as usize);
        Self::open_with(&builder, directory, databases)
    }

    /// Opens `databases` files in `directory`.
    ///
    /// # Errors
    /// What redb says.
    pub fn open(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        Self::open_with(&Database::builder(), directory, databases)
    }

    fn open_with(
        builder: &Builder,
        directory: &Path,
        databases: u16,
    ) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let mut all = Vec::new();
        for number in 0..databases {
            let path = directory.join(format!("{}.redb", database_name(number)));
            let database = builder.create(path).map_err(failed)?;
            let transaction = database.begin_write().map_err(failed)?;
            transaction.open_table(DOCUMENTS).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            all.push(database);
        }
        // redb does not tell a transaction's durability, which is set on each: what a write costs in syncs is counted by
        // whoever opens the store.
        Ok((Self { databases: all }, BTreeMap::new()))
    }
}

impl DocumentStore for RedbStore {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        docdb_engine::check(&request)?;
        let database = database(&self.databases, request.database)?;
        if request.operation == Operation::Read {
            let transaction = database.begin_read().map_err(failed)?;
            let table = transaction.open_table(DOCUMENTS).map_err(failed)?;
            let Some(found) = table.get(request.id).map_err(failed)? else { return Ok(Reply::NotFound) };
            document.extend_from_slice(found.value());
            return Ok(Reply::Done);
        }
        let mut transaction = database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        let reply = write(&transaction, request.operation, request.id, request.document)?;
        if reply == Reply::Done {
            transaction.commit().map_err(failed)?;
        } else {
            transaction.abort().map_err(failed)?;
        }
        Ok(reply)
    }

    fn load(&self, number: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let transaction = database(&self.databases, number)?.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(DOCUMENTS).map_err(failed)?;
            for (id, document) in documents {
                table.insert(*id, document.as_slice()).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn documents(&self) -> Result<u64, StoreError> {
        let count = |database: &Database| {
            database.begin_read().map_err(failed)?.open_table(DOCUMENTS).map_err(failed)?.len().map_err(failed)
        };
        self.databases.iter().map(count).sum()
    }
}
