//! SQLite: the embedded destination.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
    cast::AsArray as _,
    types,
};
use arrow_schema::{Schema, SchemaRef};
use rusqlite::{Connection, ErrorCode, Statement, types::ValueRef};
use uplift_target::{Durability, stage::StageClock};

use super::{Store, Writer, WriterFault};
use crate::{
    checksum::Checksum,
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
    settings::{JournalMode, LoadMethod, Settings, Synchronous},
    stages,
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
        connection.pragma_update_and_check(None, "journal_mode", journal_mode, |_| Ok(()))?;
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
            connection,
            full: insert(&self.columns(), width, rows_per_statement),
            columns: self.columns(),
            width,
            rows_per_statement,
            in_transaction: false,
        }))
    }

    fn read_back(&self) -> Result<Checksum> {
        let context = failed("reading the destination back");
        let connection = self.connect().map_err(&context)?;
        let mut statement =
            connection.prepare(&format!("SELECT {} FROM destination", self.columns())).map_err(&context)?;
        let mut rows = statement.query([]).map_err(&context)?;
        let mut sum = Checksum::default();
        let mut reader = RowReader::new(&self.schema);
        loop {
            let row = rows.next().map_err(&context)?;
            if let Some(row) = row {
                reader.append(row).map_err(&context)?;
            }
            if row.is_none() || reader.rows == READ_ROWS {
                let ended = row.is_none();
                sum += Checksum::of(&reader.finish(&self.schema)?);
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
            other => other.to_string(),
        };
        Ok([("journal_mode", journal_mode), ("page_size", page_size.to_string()), ("synchronous", synchronous)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect())
    }

    fn durability(&self) -> Durability {
        match self.settings.synchronous {
            Synchronous::Full => Durability::PowerLoss,
            Synchronous::Normal | Synchronous::Off => Durability::ProcessCrash,
        }
    }
}

struct SqliteWriter {
    connection: Connection,
    columns: String,
    /// The statement for a full group of rows.
    full: String,
    width: usize,
    rows_per_statement: usize,
    in_transaction: bool,
}

fn insert(columns: &str, width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(", "));
    format!("INSERT INTO destination ({columns}) VALUES {}", vec![row.as_str(); rows].join(", "))
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
        for group in rows.chunks(self.rows_per_statement.max(1)) {
            let mut statement = if group.len() == self.rows_per_statement {
                self.connection.prepare_cached(&self.full)
            } else {
                self.connection.prepare_cached(&insert(&self.columns, self.width, group.len()))
            }
            .map_err(&context)?;
            for (index, (batch, row)) in group.iter().enumerate() {
                columns[*batch].bind(&mut statement, *row, index * self.width).map_err(&context)?;
            }
            statement.raw_execute().map_err(&context)?;
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
        self.connection.flush_prepared_statement_cache();
        self.connection.close().map_err(|(_, error)| failed("closing the database")(error))
    }
}

/// The columns of a batch, each with its type known.
struct Columns<'a>(Vec<(ColumnType, &'a dyn Array)>);

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let types = batch.schema_ref().fields().iter().map(|field| ColumnType::of(field));
        Self(types.zip(batch.columns().iter().map(AsRef::as_ref)).collect())
    }

    /// Binds row `row` to the parameters from number `first` on.
    #[inline]
    fn bind(&self, statement: &mut Statement<'_>, row: usize, first: usize) -> rusqlite::Result<()> {
        for (index, (kind, array)) in self.0.iter().enumerate() {
            let parameter = first + index + 1;
            if array.is_null(row) {
                statement.raw_bind_parameter(parameter, rusqlite::types::Null)?;
                continue;
            }
            match kind {
                ColumnType::Integer => {
                    statement.raw_bind_parameter(parameter, array.as_primitive::<types::Int64Type>().value(row))
                }
                ColumnType::Timestamp => statement
                    .raw_bind_parameter(parameter, array.as_primitive::<types::TimestampMicrosecondType>().value(row)),
                ColumnType::Float => {
                    statement.raw_bind_parameter(parameter, array.as_primitive::<types::Float64Type>().value(row))
                }
                ColumnType::Boolean => statement.raw_bind_parameter(parameter, array.as_boolean().value(row)),
                ColumnType::Text | ColumnType::Json => {
                    statement.raw_bind_parameter(parameter, array.as_string::<i32>().value(row))
                }
            }?;
        }
        Ok(())
    }
}

enum Builder {
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

/// Puts rows of SQLite into batches.
struct RowReader {
    builders: Vec<Builder>,
    rows: usize,
}

impl RowReader {
    fn new(schema: &Schema) -> Self {
        let builders = ColumnType::all(schema)
            .into_iter()
            .map(|kind| match kind {
                ColumnType::Integer => Builder::Integer(Int64Builder::new()),
                ColumnType::Float => Builder::Float(Float64Builder::new()),
                ColumnType::Boolean => Builder::Boolean(BooleanBuilder::new()),
                ColumnType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
                ColumnType::Text | ColumnType::Json => Builder::Text(StringBuilder::new()),
            })
            .collect();
        Self { builders, rows: 0 }
    }

    fn append(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        for (index, builder) in self.builders.iter_mut().enumerate() {
            match builder {
                Builder::Integer(builder) => builder.append_option(row.get(index)?),
                Builder::Float(builder) => builder.append_option(row.get(index)?),
                Builder::Boolean(builder) => builder.append_option(row.get(index)?),
                Builder::Timestamp(builder) => builder.append_option(row.get(index)?),
                Builder::Text(builder) => match row.get_ref(index)? {
                    ValueRef::Null => builder.append_null(),
                    value => builder.append_value(value.as_str()?),
                },
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| match builder {
                Builder::Integer(builder) => Arc::new(builder.finish()) as ArrayRef,
                Builder::Float(builder) => Arc::new(builder.finish()),
                Builder::Boolean(builder) => Arc::new(builder.finish()),
                Builder::Timestamp(builder) => Arc::new(builder.finish()),
                Builder::Text(builder) => Arc::new(builder.finish()),
            })
            .collect();
        RecordBatch::try_new(Arc::clone(schema), columns)
            .map_err(|error| PipelineError::arrow("reading the destination back", &error))
    }
}
