//! The tables of a database file.
//!
//! All times are microseconds since the Unix epoch. An instance's rows lie side by side, so that a turn touches few
//! pages. `turns.due_at` and `tasks.due_at` say when something may be fetched: when its message becomes visible, or,
//! while it is locked, when the lock runs out. One index entry therefore finds the next piece of work, whatever lies in
//! the future or in somebody's hands.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::options::{Options, Synchronous};

/// Marks a file as this crate's ("dxgr").
const APPLICATION_ID: i64 = 0x6478_6772;
/// The version of the tables.
const FORMAT: i64 = 1;
/// How long a connection waits for another process that looks at the file.
const BUSY_TIMEOUT_MS: i64 = 60_000;
/// Prepared statements that a connection keeps; there are fewer in the code.
const STATEMENTS: usize = 128;

/// `inbox.kind` of a message that starts an execution.
pub const KIND_START: i64 = 1;
/// `inbox.kind` of a queued event, which nobody can receive before the instance has started.
pub const KIND_QUEUED_EVENT: i64 = 2;
/// `inbox.kind` of the end of an activity, which may wait for others of its kind.
pub const KIND_COMPLETION: i64 = 3;
/// `inbox.kind` of everything else.
pub const KIND_OTHER: i64 = 0;

const TABLES: &str = "
CREATE TABLE shard (number INTEGER NOT NULL, of INTEGER NOT NULL);

CREATE TABLE instances (
    instance TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT, execution INTEGER NOT NULL, parent TEXT,
    custom_status TEXT, custom_status_version INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX instances_parent ON instances (parent) WHERE parent IS NOT NULL;

CREATE TABLE executions (
    instance TEXT, execution INTEGER, status TEXT NOT NULL, output TEXT, pinned_version INTEGER,
    started_at INTEGER NOT NULL, completed_at INTEGER,
    PRIMARY KEY (instance, execution)
) WITHOUT ROWID;

CREATE TABLE history (
    instance TEXT, execution INTEGER, event INTEGER, data TEXT NOT NULL,
    PRIMARY KEY (instance, execution, event)
) WITHOUT ROWID;

-- Messages to an instance, in the order of `number`. `token` marks those that the current turn has in hand.
CREATE TABLE inbox (
    instance TEXT, number INTEGER, kind INTEGER NOT NULL, item TEXT NOT NULL, visible_at INTEGER NOT NULL,
    token INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, number)
) WITHOUT ROWID;

-- One row for each instance that has messages. With a token, a dispatcher has it until `due_at`.
CREATE TABLE turns (instance TEXT PRIMARY KEY, due_at INTEGER NOT NULL, token INTEGER) WITHOUT ROWID;
CREATE INDEX turns_due ON turns (due_at);

-- Activities to carry out. With a token, a worker has it until `due_at`.
CREATE TABLE tasks (
    instance TEXT, execution INTEGER, activity INTEGER, number INTEGER, session TEXT, tag TEXT, item TEXT NOT NULL,
    due_at INTEGER NOT NULL, token INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, execution, activity, number)
) WITHOUT ROWID;
CREATE INDEX tasks_due ON tasks (due_at, tag, session);
CREATE INDEX tasks_session ON tasks (session) WHERE session IS NOT NULL;

-- Values as they were when the last execution ended, then what the current one changed (NULL: removed).
CREATE TABLE kv_store (
    instance TEXT, key TEXT, value TEXT NOT NULL, updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (instance, key)
) WITHOUT ROWID;
CREATE TABLE kv_delta (
    instance TEXT, key TEXT, value TEXT, updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (instance, key)
) WITHOUT ROWID;

-- Messages for instances of other shards until those have them. Numbers are never used twice.
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL, instance TEXT NOT NULL, kind INTEGER NOT NULL,
    item TEXT NOT NULL, visible_at INTEGER NOT NULL
);
-- Messages that came from other shards, until those have forgotten them.
CREATE TABLE received (shard INTEGER, number INTEGER, PRIMARY KEY (shard, number)) WITHOUT ROWID;
";

/// What a file turned out to be.
pub enum Found {
    /// Ready for use.
    Ready,
    /// Not what was expected, in words.
    Foreign(String),
}

/// Opens a connection that writes, with all pragmas set.
pub fn open_writer(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    set_to_the_end(&connection, "journal_mode", "WAL")?;
    // SQLite answers a change of it that failed with the one that stays in force, and that one promises something else.
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        let why = format!("journal_mode = WAL cannot be set, `{mode}` stays in force; is the disk in order?");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(why),
        ));
    }
    connection.pragma_update(None, "synchronous", options.synchronous.word())?;
    connection.pragma_update(None, "wal_autocheckpoint", options.wal_autocheckpoint)?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_size_kib))?;
    // A savepoint keeps the pages it changes until it is released; they must not go through a temporary file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Sets a pragma, and takes its statement to its end. SQLite answers with the new journal mode first and commits it to the
/// file afterwards: who stops at the answer does not hear that the commit failed, and reads the new mode back while the file
/// has the one before, which promises something else.
fn set_to_the_end(connection: &Connection, pragma: &str, value: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma} = {value}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Opens a connection that only reads.
pub fn open_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_size_kib))?;
    Ok(connection)
}

/// Makes the tables where there are none, and sees to it that the file is shard `number` of `of`.
pub fn prepare(connection: &mut Connection, number: usize, of: usize) -> rusqlite::Result<Found> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let objects: i64 = transaction.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if objects == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO shard (number, of) VALUES (?1, ?2)", [number as i64, of as i64])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION_ID {
        return Ok(Found::Foreign("was not made by this provider".to_owned()));
    }
    let format = pragma("user_version")?;
    if format != FORMAT {
        return Ok(Found::Foreign(format!("has tables of version {format}; this provider knows version {FORMAT}")));
    }
    let (is, has): (i64, i64) =
        transaction.query_row("SELECT number, of FROM shard", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if (is, has) != (number as i64, of as i64) {
        return Ok(Found::Foreign(format!("has {has} shards; open it with that number instead of {of}")));
    }
    release_all(&transaction)?;
    transaction.commit()?;
    // A sync may have failed before the last owner ended: what it left in the log is not relied on.
    empty_log(connection)?;
    Ok(Found::Ready)
}

/// Releases what the last owner of the file had in hand: it is gone, or the file could not have been opened. Attempts
/// stay counted, so that work that ends its process is given up some day.
fn release_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "UPDATE inbox SET token = NULL WHERE token IS NOT NULL;
         UPDATE turns SET token = NULL, due_at = COALESCE(
             (SELECT MIN(visible_at) FROM inbox WHERE inbox.instance = turns.instance), 9223372036854775807)
         WHERE token IS NOT NULL;
         UPDATE tasks SET token = NULL, due_at = number WHERE token IS NOT NULL;",
    )
}

/// Lets SQLite checkpoint after a commit that leaves `pages` pages in the log; never where that is 0.
pub fn checkpoint_after(connection: &Connection, pages: u32) {
    // SAFETY: the handle is open as long as the connection, and used by this thread alone. The call takes numbers only.
    unsafe { rusqlite::ffi::sqlite3_wal_autocheckpoint(connection.handle(), pages as std::ffi::c_int) };
}

/// Whether a sync failed: then the system may have dropped what was written before, and forgets that it had to write it.
pub fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Brings all that is in the log into the database, syncs that, and begins the log anew.
pub fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 {
        return Ok(());
    }
    let why = "somebody reads the log and does not end".to_owned();
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), Some(why)))
}

/// The pragmas in force on a connection: `synchronous`, `journal_mode`, `wal_autocheckpoint`, `cache_size`.
pub fn read_back(connection: &Connection) -> rusqlite::Result<(Synchronous, String, i64, i64)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let synchronous = Synchronous::from_number(number("synchronous")?).ok_or(rusqlite::Error::InvalidQuery)?;
    let journal_mode = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok((synchronous, journal_mode, number("wal_autocheckpoint")?, -number("cache_size")?))
}
