//! A database of duroxide's own SQLite provider, taken over.
//!
//! The source is only read, and kept from its writers meanwhile. The new database is made beside its place and renamed when
//! it is whole and synced: whoever is interrupted finds none, and begins again. What somebody had in hand in the source can
//! be fetched, with its attempts counted; leases of sessions are not taken over.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use duroxide::providers::WorkItem;
use rusqlite::{Connection, OpenFlags, Row, Transaction, params, types::Value};

use crate::{
    clock, convert,
    options::{OpenError, Options},
    schema::{self, Found},
    shard::shard_of,
    store::pack,
};

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Instances, ended ones included.
    pub instances: u64,
    /// Events of their histories.
    pub events: u64,
    /// Messages that instances have yet to take in, timers included.
    pub messages: u64,
    /// Activities that are to be carried out.
    pub activities: u64,
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The new database could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is something in its place already.
    #[error("`{directory}` is not empty; import into a directory of its own")]
    Exists {
        /// The directory.
        directory: String,
    },
    /// The source could not be read.
    #[error(
        "source `{source_path}`, {doing}: {error}; it must be a database of duroxide 0.1.32's SQLite provider (opening it \
         with that once brings older ones up to date) that no process has open for writing"
    )]
    Source {
        /// The source.
        source_path: String,
        /// What was being read.
        doing: &'static str,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// A row of the source has a work item that this version of duroxide does not know.
    #[error("source `{source_path}`, row {row} of `{table}`: {why}")]
    Item {
        /// The source.
        source_path: String,
        /// The table.
        table: &'static str,
        /// The row's id.
        row: i64,
        /// What is wrong.
        why: String,
    },
}

/// A time of the source, milliseconds or SQLite's text, as microseconds.
const fn time(column: &str) -> Time<'_> {
    Time(column)
}

struct Time<'a>(&'a str);

impl std::fmt::Display for Time<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let column = self.0;
        write!(
            f,
            "CASE typeof({column}) WHEN 'integer' THEN {column} * 1000
             ELSE CAST(strftime('%s', {column}) AS INTEGER) * 1000000 END"
        )
    }
}

/// Makes a database in `directory` of the one in the file `source`, which duroxide's own SQLite provider has written.
///
/// What it holds goes on under [`GroupedProvider::open`](crate::GroupedProvider::open) with the same `options.shards`.
/// `directory` must be empty or missing. The source is not changed.
///
/// # Errors
/// See [`ImportError`]. There is no database in `directory` then.
pub fn import(
    source: impl AsRef<Path>,
    directory: impl AsRef<Path>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let (source, directory) = (source.as_ref(), directory.as_ref());
    options.validate()?;
    let io = |error| OpenError::Io { directory: directory.display().to_string(), error };
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(ImportError::Exists { directory: directory.display().to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error).into()),
    }
    let mut beside = OsString::from(directory);
    beside.push(".importing");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(io)?;
    }
    fs::create_dir_all(&beside).map_err(io)?;
    let imported = Import { source, directory: &beside, options }.run().inspect_err(|_| {
        // Nothing depends on it; the next import removes it too.
        let _ = fs::remove_dir_all(&beside);
    })?;
    let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
    sync(&beside).map_err(io)?;
    fs::rename(&beside, directory).map_err(io)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(parent).map_err(io)?;
    Ok(imported)
}

struct Import<'a> {
    source: &'a Path,
    directory: &'a Path,
    options: &'a Options,
}

impl Import<'_> {
    fn run(&self) -> Result<Imported, ImportError> {
        let doing = |doing| move |error| self.unreadable(doing, error);
        let source =
            Connection::open_with_flags(self.source, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(doing("opening"))?;
        // One state of it, and nobody who adds to it behind our back.
        source.execute_batch("BEGIN IMMEDIATE").map_err(doing("keeping writers out"))?;
        let mut files = Vec::new();
        for number in 0..self.options.shards {
            let path = self.directory.join(format!("shard-{number}.db"));
            let mut connection = schema::open_writer(&path, self.options).map_err(|error| self.sqlite(error))?;
            match schema::prepare(&mut connection, number, self.options.shards).map_err(|error| self.sqlite(error))? {
                Found::Ready => files.push(connection),
                Found::Foreign(state) => {
                    return Err(OpenError::Foreign { directory: self.directory.display().to_string(), state }.into());
                }
            }
        }
        let mut transactions = Vec::new();
        for file in &mut files {
            transactions.push(file.transaction().map_err(|error| self.sqlite(error))?);
        }
        let imported = self.copy(&source, &transactions)?;
        for transaction in transactions {
            transaction.commit().map_err(|error| self.sqlite(error))?;
        }
        for file in files {
            schema::empty_log(&file).map_err(|error| self.sqlite(error))?;
            // As `empty_log` leaves it, whatever `synchronous` is.
            let path = file.path().map(PathBuf::from);
            file.close().map_err(|(_, error)| self.sqlite(error))?;
            if let Some(path) = path {
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .map_err(|error| OpenError::Io { directory: self.directory.display().to_string(), error })?;
            }
        }
        Ok(imported)
    }

    fn copy(&self, source: &Connection, files: &[Transaction<'_>]) -> Result<Imported, ImportError> {
        let instances = self.rows(
            source,
            files,
            "instances",
            &format!(
                "SELECT instance_id, orchestration_name, orchestration_version, current_execution_id, parent_instance_id,
                     custom_status, custom_status_version, {}, {} FROM instances",
                time("created_at"),
                time("updated_at")
            ),
            "INSERT INTO instances (instance, name, version, execution, parent, custom_status, custom_status_version,
                 created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, COALESCE(?8, 0), COALESCE(?9, 0))",
        )?;
        self.executions(source, files)?;
        let events = self.rows(
            source,
            files,
            "history",
            "SELECT instance_id, execution_id, event_id, event_data FROM history",
            "INSERT INTO history (instance, execution, event, data) VALUES (?1, ?2, ?3, ?4)",
        )?;
        self.rows(
            source,
            files,
            "kv_store",
            "SELECT instance_id, key, value, last_updated_at_ms FROM kv_store",
            "INSERT INTO kv_store (instance, key, value, updated_at_ms) VALUES (?1, ?2, ?3, ?4)",
        )?;
        self.rows(
            source,
            files,
            "kv_delta",
            "SELECT instance_id, key, value, last_updated_at_ms FROM kv_delta",
            "INSERT INTO kv_delta (instance, key, value, updated_at_ms) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let messages = self.messages(source, files)?;
        let activities = self.activities(source, files)?;
        Ok(Imported { instances, events, messages, activities })
    }

    /// Copies the rows of a table whose first column is the instance as they are.
    fn rows(
        &self,
        source: &Connection,
        files: &[Transaction<'_>],
        table: &'static str,
        select: &str,
        insert: &str,
    ) -> Result<u64, ImportError> {
        self.each(source, table, select, |row| {
            let columns = row.as_ref().column_count();
            let unreadable = |error| self.unreadable(table, error);
            let values: Vec<Value> =
                (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>().map_err(unreadable)?;
            let instance: String = row.get(0).map_err(unreadable)?;
            self.insert(files, &instance, insert, rusqlite::params_from_iter(values))
        })
    }

    fn executions(&self, source: &Connection, files: &[Transaction<'_>]) -> Result<u64, ImportError> {
        let select = format!(
            "SELECT instance_id, execution_id, status, output, {}, {}, duroxide_version_major, duroxide_version_minor,
                 duroxide_version_patch FROM executions",
            time("started_at"),
            time("completed_at")
        );
        let insert = "INSERT INTO executions (instance, execution, status, output, started_at, completed_at,
             pinned_version) VALUES (?1, ?2, ?3, ?4, COALESCE(?5, 0), ?6, ?7)";
        self.each(source, "executions", &select, |row| {
            let unreadable = |error| self.unreadable("executions", error);
            let part = |column| row.get::<_, Option<u64>>(column);
            let pinned = match (part(6), part(7), part(8)) {
                (Ok(Some(major)), Ok(Some(minor)), Ok(Some(patch))) => {
                    Some(pack(&semver::Version::new(major, minor, patch)))
                }
                (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => return Err(unreadable(error)),
                _ => None,
            };
            let value = |column| row.get::<_, Value>(column).map_err(unreadable);
            let instance: String = row.get(0).map_err(unreadable)?;
            let values = params![instance, value(1)?, value(2)?, value(3)?, value(4)?, value(5)?, pinned];
            self.insert(files, &instance, insert, values)
        })
    }

    /// Messages keep their order, and with it the instances that are to take them in.
    fn messages(&self, source: &Connection, files: &[Transaction<'_>]) -> Result<u64, ImportError> {
        const TABLE: &str = "orchestrator_queue";
        let select =
            format!("SELECT id, work_item, {}, attempt_count FROM orchestrator_queue ORDER BY id", time("visible_at"));
        let count = self.each(source, TABLE, &select, |row| {
            let (id, item) = self.item(row, TABLE)?;
            let message = convert::message("import", &item).map_err(|error| self.wrong(TABLE, id, &error))?;
            let message = message.ok_or_else(|| self.wrong(TABLE, id, "it is for a worker"))?;
            let unreadable = |error| self.unreadable(TABLE, error);
            let visible_at: Option<i64> = row.get(2).map_err(unreadable)?;
            let attempts: i64 = row.get(3).map_err(unreadable)?;
            let values =
                params![message.instance, id, message.kind, message.item, visible_at.unwrap_or_default(), attempts];
            let insert = "INSERT INTO inbox (instance, number, kind, item, visible_at, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            self.insert(files, &message.instance, insert, values)
        })?;
        for file in files {
            let turns =
                "INSERT INTO turns (instance, due_at) SELECT instance, MIN(visible_at) FROM inbox GROUP BY instance";
            file.execute(turns, []).map_err(|error| self.sqlite(error))?;
        }
        Ok(count)
    }

    fn activities(&self, source: &Connection, files: &[Transaction<'_>]) -> Result<u64, ImportError> {
        const TABLE: &str = "worker_queue";
        let now = clock::now_us();
        let newest: i64 = source
            .query_row("SELECT COALESCE(MAX(id), 0) FROM worker_queue", [], |row| row.get(0))
            .map_err(|error| self.unreadable(TABLE, error))?;
        let select = "SELECT id, work_item, visible_at, attempt_count FROM worker_queue ORDER BY id";
        self.each(source, TABLE, select, |row| {
            let (id, item) = self.item(row, TABLE)?;
            let task = convert::task("import", &item).map_err(|error| self.wrong(TABLE, id, &error))?;
            let unreadable = |error| self.unreadable(TABLE, error);
            let (visible_at_ms, attempts): (i64, i64) =
                (row.get(2).map_err(unreadable)?, row.get(3).map_err(unreadable)?);
            // Times give the order of arrival: those of the source's rows, all of them past.
            let number = now - newest + id - 1;
            let due_at = visible_at_ms.saturating_mul(1000).max(number);
            let values = params![
                task.instance,
                task.execution,
                task.activity,
                number,
                task.session,
                task.tag,
                task.item,
                due_at,
                attempts
            ];
            let insert =
                "INSERT INTO tasks (instance, execution, activity, number, session, tag, item, due_at, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            self.insert(files, &task.instance, insert, values)
        })
    }

    fn item(&self, row: &Row<'_>, table: &'static str) -> Result<(i64, WorkItem), ImportError> {
        let unreadable = |error| self.unreadable(table, error);
        let (id, item): (i64, String) = (row.get(0).map_err(unreadable)?, row.get(1).map_err(unreadable)?);
        let item = serde_json::from_str(&item).map_err(|error| self.wrong(table, id, &error))?;
        Ok((id, item))
    }

    fn each(
        &self,
        source: &Connection,
        table: &'static str,
        select: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<(), ImportError>,
    ) -> Result<u64, ImportError> {
        let unreadable = |error| self.unreadable(table, error);
        let mut statement = source.prepare(select).map_err(unreadable)?;
        let mut rows = statement.query([]).map_err(unreadable)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(unreadable)? {
            each(row)?;
            count += 1;
        }
        Ok(count)
    }

    fn insert(
        &self,
        files: &[Transaction<'_>],
        instance: &str,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<(), ImportError> {
        let file = &files[shard_of(instance, files.len())];
        let inserted = file.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        inserted.map(drop).map_err(|error| self.sqlite(error))
    }

    fn unreadable(&self, doing: &'static str, error: rusqlite::Error) -> ImportError {
        ImportError::Source { source_path: self.source.display().to_string(), doing, error }
    }

    fn wrong(&self, table: &'static str, row: i64, why: &(impl ToString + ?Sized)) -> ImportError {
        ImportError::Item { source_path: self.source.display().to_string(), table, row, why: why.to_string() }
    }

    fn sqlite(&self, error: rusqlite::Error) -> ImportError {
        OpenError::Sqlite { directory: self.directory.display().to_string(), error }.into()
    }
}
