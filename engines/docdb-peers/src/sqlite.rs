//! SQLite: a file for each database, write-ahead log, `synchronous = FULL`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    CACHE_BYTES, database, database_name,
    grouped::{Batched, Write},
};

/// Pages in the log after which the tuned store is checkpointed.
const CHECKPOINT_PAGES: i64 = 16_000;

/// SQLite as a document store.
pub struct SqliteStore {
    databases: Vec<Database>,
}

struct Database {
    /// SQLite has one writer at a time; who waits for a mutex is woken at once, who waits for SQLite's lock sleeps.
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::engine("SQLite", error)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // To its end: SQLite answers with the new mode first and commits it to the file afterwards; an error of that would not
    // be heard, and the mode read back while the file has the one before.
    let mut set = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = set.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    drop(set);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -((CACHE_BYTES >> 10) as i64))?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

/// Carries out a write, in the transaction that is under way or in one of its own.
fn write(connection: &Connection, operation: Operation, id: u64, document: &[u8]) -> Result<Reply, StoreError> {
    let (statement, conflict) = match operation {
        Operation::Create => {
            ("INSERT INTO documents (id, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING", Reply::Conflict)
        }
        Operation::Update => ("UPDATE documents SET body = ?2 WHERE id = ?1", Reply::NotFound),
        Operation::Delete | Operation::Read => ("DELETE FROM documents WHERE id = ?1", Reply::NotFound),
    };
    let mut statement = connection.prepare_cached(statement).map_err(failed)?;
    let changed = if operation.has_document() {
        statement.execute(params![id as i64, document])
    } else {
        statement.execute(params![id as i64])
    };
    Ok(if changed.map_err(failed)? == 0 { conflict } else { Reply::Done })
}

impl Batched for SqliteStore {
    fn logs(&self) -> usize {
        self.databases.len()
    }

    fn log_of(&self, number: u16) -> Result<usize, StoreError> {
        database(&self.databases, number).map(|_| usize::from(number))
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Reply>, StoreError> {
        let Some(first) = writes.first() else { return Ok(Vec::new()) };
        let mut connection = lock(&database(&self.databases, first.database)?.writer);
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        let replies = writes
            .iter()
            .map(|one| write(&transaction, one.operation, one.id, &one.document))
            .collect::<Result<_, _>>()?;
        transaction.commit().map_err(failed)?;
        Ok(replies)
    }
}

impl SqliteStore {
    /// As [`Self::open`], with a checkpoint every 16,000 pages instead of every 1000: where a commit carries many writes,
    /// a checkpoint is what is left to be saved.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_tuned(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let (store, mut effective) = Self::open(directory, databases)?;
        for database in &store.databases {
            let connection = lock(&database.writer);
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
            let pages: i64 =
                connection.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).map_err(failed)?;
            effective.insert("sqlite_wal_autocheckpoint".to_owned(), pages.to_string());
        }
        Ok((store, effective))
    }

    /// Opens `databases` files in `directory`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(directory: &Path, databases: u16) -> Result<(Self, BTreeMap<String, String>), StoreError> {
        let mut all = Vec::new();
        for number in 0..databases {
            let path = directory.join(format!("{}.sqlite", database_name(number)));
            let writer = connect(&path).map_err(failed)?;
            writer
                .execute_batch("CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
                .map_err(failed)?;
            all.push(Database { writer: Mutex::new(writer), readers: Mutex::default(), path });
        }
        let mut effective = BTreeMap::new();
        if let Some(first) = all.first() {
            let connection = lock(&first.writer);
            let journal: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
            let synchronous: i64 =
                connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(failed)?;
            let level = ["OFF", "NORMAL", "FULL", "EXTRA"].get(synchronous as usize).copied().unwrap_or("unknown");
            effective.insert("sqlite_journal_mode".to_owned(), journal);
            effective.insert("sqlite_synchronous".to_owned(), level.to_owned());
        }
        Ok((Self { databases: all }, effective))
    }
}

impl DocumentStore for SqliteStore {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        document.clear();
        docdb_engine::check(&request)?;
        let database = database(&self.databases, request.database)?;
        if request.operation == Operation::Read {
            return database.read(request.id as i64, document);
        }
        write(&lock(&database.writer), request.operation, request.id, request.document)
    }

    fn load(&self, number: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut connection = lock(&database(&self.databases, number)?.writer);
        let transaction = connection.transaction().map_err(failed)?;
        {
            let mut statement =
                transaction.prepare("INSERT INTO documents (id, body) VALUES (?1, ?2)").map_err(failed)?;
            for (id, document) in documents {
                statement.execute(params![*id as i64, document]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn documents(&self) -> Result<u64, StoreError> {
        let count = |database: &Database| {
            lock(&database.writer)
                .query_row("SELECT COUNT(*) FROM documents", [], |row| row.get::<_, i64>(0))
                .map(|count| count as u64)
                .map_err(failed)
        };
        self.databases.iter().map(count).sum()
    }
}

impl Database {
    fn read(&self, id: i64, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        let reader = lock(&self.readers).pop();
        let reader = match reader {
            Some(reader) => reader,
            None => connect(&self.path).map_err(failed)?,
        };
        let found = reader
            .prepare_cached("SELECT body FROM documents WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row(params![id], |row| {
                        document.extend_from_slice(row.get_ref(0)?.as_blob().unwrap_or_default());
                        Ok(())
                    })
                    .optional()
            })
            .map_err(failed)?;
        lock(&self.readers).push(reader);
        Ok(if found.is_some() { Reply::Done } else { Reply::NotFound })
    }
}
