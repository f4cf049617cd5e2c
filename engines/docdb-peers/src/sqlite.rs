//! SQLite: a file for each database, write-ahead log, `synchronous = FULL`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, Statistics, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{database, database_name};

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
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -64_000)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

impl SqliteStore {
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
        let id = request.id as i64;
        let changed = match request.operation {
            Operation::Read => return database.read(id, document),
            Operation::Create => lock(&database.writer)
                .prepare_cached("INSERT INTO documents (id, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                .and_then(|mut statement| statement.execute(params![id, request.document])),
            Operation::Update => lock(&database.writer)
                .prepare_cached("UPDATE documents SET body = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id, request.document])),
            Operation::Delete => lock(&database.writer)
                .prepare_cached("DELETE FROM documents WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id])),
        };
        Ok(match changed.map_err(failed)? {
            0 if request.operation == Operation::Create => Reply::Conflict,
            0 => Reply::NotFound,
            _ => Reply::Done,
        })
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

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn statistics(&self) -> Statistics {
        Statistics::default()
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
