//! SQLite: the embedded destination.

mod statement;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use rusqlite::{Connection, ErrorCode, types::ValueRef};
use uplift_instrument::stage::StageClock;
use uplift_model::{Durability, database_durability};

use self::statement::Statement;
use super::{Store, Writer, WriterFault};
use crate::{
    checksum::Checksum,
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
    settings::{JournalMode, LoadMethod, Settings, Synchronous},
    stages,
    value::{Builder, Columns, Value},
};

/// The most parameters of one statement (`SQLITE_MAX_VARIABLE_NUMBER`).
const PARAMETERS_MAX: usize = 32_766;
/// Rows of a batch that is read back.
const READ_ROWS: usize = 1_000;

/// A database file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    schema: SchemaRef,
    settings: Settings,
}

fn failed(context: &'static str) -> impl Fn(rusqlite::Error) -> PipelineError {
    move |error| {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => ErrorKind::Constraint(error.to_string()),
            Some(ErrorCode::DiskFull) => ErrorKind::DiskFull(error.to_string()),
            _ => ErrorKind::Destination(error.to_string()),
        };
        PipelineError::new(context, kind)
    }
}

impl SqliteStore {
    /// A database in `directory`, which is made by [`Store::reset`], for rows of `schema`.
    pub fn new(directory: &Path, schema: SchemaRef, settings: Settings) -> Self {
        Self { path: directory.join("destination.db"), schema, settings }
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open(&self.path)?;
        // Only a database that is still empty takes a page size.
        connection.pragma_update(None, "page_size", self.settings.page_size)?;
        let journal_mode = match self.settings.journal_mode {
            JournalMode::Wal => "WAL",
            JournalMode::Delete => "DELETE",
        };
        // To its end: SQLite answers with the new mode first and commits it to the file afterwards; an error of that would
        // not be heard, and the mode read back while the file has the one before.
        let mut set = connection.prepare(&format!("PRAGMA journal_mode = {journal_mode}"))?;
        let mut rows = set.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        drop(set);
        let synchronous = match self.settings.synchronous {
            Synchronous::Off => "OFF",
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(connection)
    }

    fn columns(&self) -> String {
        names(&self.schema)
    }
}

fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| format!("\"{}\"", field.name())).collect::<Vec<_>>().join(", ")
}

impl Store for SqliteStore {
    fn reset(&self) -> Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(PipelineError::io("removing the database of the last run", &error));
                }
                _ => {}
            }
        }
        let columns: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let kind = match ColumnType::of(field) {
                    ColumnType::Integer | ColumnType::Timestamp | ColumnType::Boolean => "INTEGER",
                    ColumnType::Float => "REAL",
                    ColumnType::Text | ColumnType::Json => "TEXT",
                };
                format!("\"{}\" {kind}{}", field.name(), if field.is_nullable() { "" } else { " NOT NULL" })
            })
            .collect();
        let connection = self.connect().map_err(failed("opening the database"))?;
        connection
            .execute_batch(&format!(
                "CREATE TABLE destination ({}) STRICT;
                 CREATE TABLE uplift_checkpoint (partition INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;",
                columns.join(", ")
            ))
            .map_err(failed("creating the destination table"))?;
        connection.close().map_err(|(_, error)| failed("closing the database")(error))
    }

    fn positions(&self) -> Result<BTreeMap<u32, u64>> {
        let context = failed("reading checkpoints");
        let connection = self.connect().map_err(&context)?;
        let mut statement =
            connection.prepare("SELECT partition, position FROM uplift_checkpoint").map_err(&context)?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
            .map_err(&context)?
            .collect::<Result<_, _>>();
        rows.map_err(&context)
    }

    fn writer(&self, _: u32, fault: WriterFault, clock: &mut StageClock) -> Result<Box<dyn Writer>> {
        clock.process(stages::CONNECT);
        let connection = self.connect().map_err(failed("opening the database"))?;
        if let WriterFault::Full { bytes_max } = fault {
            let pages = (bytes_max / u64::from(self.settings.page_size)).max(1);
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(failed("limiting the database"))?;
        }
        let width = self.schema.fields().len();
        let rows_per_statement = match self.settings.load {
            LoadMethod::Insert => (self.settings.insert_rows as usize).min(PARAMETERS_MAX / width),
            _ => 1,
        };
        Ok(Box::new(SqliteWriter {
            statements: BTreeMap::new(),
            columns: self.columns(),
            width,
            rows_per_statement: rows_per_statement.max(1),
            in_transaction: false,
            connection: Rc::new(connection),
        }))
    }

    fn read_back(&self) -> Result<Checksum> {
        let context = failed("reading the destination back");
        let connection = self.connect().map_err(&context)?;
        let mut statement =
            connection.prepare(&format!("SELECT {} FROM destination", self.columns())).map_err(&context)?;
        let mut rows = statement.query([]).map_err(&context)?;
        let mut sum = Checksum::default();
        let mut batch = Builder::new(SchemaRef::clone(&self.schema));
        loop {
            let row = rows.next().map_err(&context)?;
            if let Some(row) = row {
                batch.append(|index, kind| value(kind, row.get_ref(index).map_err(&context)?))?;
            }
            if row.is_none() || batch.rows() == READ_ROWS {
                let ended = row.is_none();
                sum += Checksum::of(&batch.finish()?);
                if ended {
                    return Ok(sum);
                }
            }
        }
    }

    fn effective(&self) -> Result<BTreeMap<String, String>> {
        let context = failed("reading pragmas back");
        let connection = self.connect().map_err(&context)?;
        let journal_mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(&context)?;
        let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(&context)?;
        let synchronous: i64 =
            connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(&context)?;
        let synchronous = match synchronous {
            0 => "OFF".to_owned(),
            1 => "NORMAL".to_owned(),
            2 => "FULL".to_owned(),
            3 => "EXTRA".to_owned(),
            other => other.to_string(),
        };
        Ok([("journal_mode", journal_mode), ("page_size", page_size.to_string()), ("synchronous", synchronous)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect())
    }

    fn durability(&self) -> Durability {
        // Where it cannot be read back, nothing is promised that a setting might not keep.
        let in_force = self.effective().unwrap_or_default();
        let value = |name: &str| in_force.get(name).map_or("", String::as_str);
        database_durability::sqlite(value("journal_mode"), value("synchronous"))
    }
}

struct SqliteWriter {
    /// Statements by their number of rows: that of a full group, and of what is left of a flush or before a commit.
    statements: BTreeMap<usize, Statement>,
    columns: String,
    width: usize,
    rows_per_statement: usize,
    in_transaction: bool,
    connection: Rc<Connection>,
}

/// An INSERT of so many rows.
fn prepare(connection: &Rc<Connection>, columns: &str, width: usize, rows: usize) -> Result<Statement> {
    let row = format!("({})", vec!["?"; width].join(", "));
    let values = vec![row.as_str(); rows].join(", ");
    Statement::prepare(connection, &format!("INSERT INTO destination ({columns}) VALUES {values}"))
        .map_err(failed("preparing an INSERT"))
}

impl SqliteWriter {
    fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed("beginning a transaction"))?;
            self.in_transaction = true;
        }
        Ok(())
    }
}

impl Writer for SqliteWriter {
    fn flush(&mut self, batches: &[RecordBatch], clock: &mut StageClock) -> Result<()> {
        clock.process(stages::FLUSH);
        self.begin()?;
        let context = failed("inserting rows");
        let columns: Vec<Columns<'_>> = batches.iter().map(Columns::of).collect();
        let rows: Vec<(usize, usize)> = batches
            .iter()
            .enumerate()
            .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
            .collect();
        for group in rows.chunks(self.rows_per_statement) {
            let statement = match self.statements.entry(group.len()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(prepare(&self.connection, &self.columns, self.width, group.len())?),
            };
            let values = group.iter().flat_map(|(batch, row)| columns[*batch].row(*row));
            statement.execute(values).map_err(&context)?;
        }
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<u32, u64>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::COMMIT);
        self.begin()?;
        let context = failed("recording a checkpoint");
        for (partition, position) in positions {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO uplift_checkpoint VALUES (?, ?)")
                .and_then(|mut statement| statement.execute((partition, *position as i64)))
                .map_err(&context)?;
        }
        self.connection.execute_batch("COMMIT").map_err(failed("committing"))?;
        self.in_transaction = false;
        Ok(())
    }

    /// In WAL mode closing the last connection copies the log into the database, which is part of what it costs.
    fn close(self: Box<Self>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::CLOSE);
        drop(self.statements);
        // Statements are the only others that have a hold on the connection.
        let Some(connection) = Rc::into_inner(self.connection) else { return Ok(()) };
        connection.flush_prepared_statement_cache();
        connection.close().map_err(|(_, error)| failed("closing the database")(error))
    }
}

/// A value of SQLite as one of a column of type `kind`.
fn value(kind: ColumnType, value: ValueRef<'_>) -> Result<Value<'_>> {
    Ok(match (kind, value) {
        (_, ValueRef::Null) => Value::Null,
        (ColumnType::Integer, ValueRef::Integer(value)) => Value::Integer(value),
        (ColumnType::Timestamp, ValueRef::Integer(value)) => Value::Timestamp(value),
        (ColumnType::Boolean, ValueRef::Integer(value)) => Value::Boolean(value != 0),
        (ColumnType::Float, ValueRef::Real(value)) => Value::Float(value),
        (ColumnType::Text | ColumnType::Json, ValueRef::Text(text)) => {
            Value::Text(std::str::from_utf8(text).map_err(|_| {
                PipelineError::new("reading rows", ErrorKind::Corrupt("a text is not UTF-8".to_owned()))
            })?)
        }
        (kind, value) => {
            let message = format!("a column of type {kind:?} holds a value of type {}", value.data_type());
            return Err(PipelineError::new("reading rows", ErrorKind::Corrupt(message)));
        }
    })
}
