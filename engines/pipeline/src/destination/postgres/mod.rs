//! PostgreSQL as a destination: multi-row INSERT with bound parameters, or binary COPY.

mod parameter;
mod session;
mod writer;

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{FieldRef, Schema, SchemaRef};
use futures_util::StreamExt as _;
use uplift_instrument::stage::StageClock;
use uplift_model::{Durability, database_durability};
use uplift_postgres_service::Server;

pub use self::session::{Database, connect, start_server};
pub(crate) use self::session::{Session, pg_error};
use self::writer::{CopyWriter, InsertWriter, Transaction};
use super::{Counter, Store, Writer, WriterFault};
use crate::{
    checksum::Checksum,
    copy_binary,
    error::Result,
    profile::ColumnType,
    settings::{LoadMethod, Settings, TableLayout, Toast, WalLevel},
    stages,
};

/// Rows of a batch that is read back.
const READ_ROWS: usize = 1_000;
/// The table that rows go to.
pub const TABLE: &str = "destination";

/// A table in a schema of its own on a server.
pub struct PostgresStore {
    database: Arc<Database>,
    schema: SchemaRef,
    settings: Settings,
}

/// Column names for a statement.
pub fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| format!("\"{}\"", field.name())).collect::<Vec<_>>().join(", ")
}

/// Column definitions for a statement.
pub fn definitions(schema: &Schema) -> String {
    schema
        .fields()
        .iter()
        .map(|field| {
            let kind = match ColumnType::of(field) {
                ColumnType::Integer => "bigint",
                ColumnType::Float => "double precision",
                ColumnType::Boolean => "boolean",
                ColumnType::Timestamp => "timestamptz",
                ColumnType::Text => "text",
                ColumnType::Json => "jsonb",
            };
            format!("\"{}\" {kind}{}", field.name(), if field.is_nullable() { "" } else { " NOT NULL" })
        })
        .collect::<Vec<_>>()
        .join(", ")
}

impl PostgresStore {
    /// A table for rows of `schema` in `database`.
    pub fn new(database: Arc<Database>, schema: SchemaRef, settings: Settings) -> Self {
        Self { database, schema, settings }
    }

    /// The table that writer `index` puts its rows into.
    fn table_of(&self, index: u32) -> String {
        match self.settings.table_layout {
            TableLayout::Plain => TABLE.to_owned(),
            TableLayout::Partitioned => format!("{TABLE}_{index}"),
        }
    }

    /// Makes the part of a partitioned table that each writer fills: the rows of the partitions that it serves. Parts
    /// take over how texts are stored from the table that they are parts of.
    fn make_parts(&self) -> Result<()> {
        let (partitions, writers) = (self.settings.partitions, self.settings.writers());
        for index in 0..writers {
            let served: Vec<String> =
                (index..partitions).step_by(writers as usize).map(|partition| partition.to_string()).collect();
            self.database.admin().batch(
                "making the parts of the destination table",
                &format!(
                    "CREATE TABLE {} PARTITION OF {TABLE} FOR VALUES IN ({})",
                    self.table_of(index),
                    served.join(", ")
                ),
            )?;
        }
        Ok(())
    }

    /// Whether the first transaction that writes to `table` empties it, so that PostgreSQL need not log what it writes.
    /// Not where rows are in it: a run that is resumed goes on behind what it has committed.
    fn empties_first(&self, session: &Session, table: &str) -> Result<bool> {
        if self.settings.wal_level != WalLevel::Minimal {
            return Ok(false);
        }
        let found = session.query("looking into the destination table", &format!("SELECT FROM {table} LIMIT 1"))?;
        Ok(found.is_empty())
    }

    /// Says how long texts are stored. Every column is told, the default included: a server may have another one.
    fn choose_toast(&self) -> Result<()> {
        let choice = match self.settings.toast {
            Toast::Pglz => "SET COMPRESSION pglz",
            Toast::Lz4 => "SET COMPRESSION lz4",
            Toast::External => "SET STORAGE EXTERNAL",
        };
        let long = |field: &&FieldRef| matches!(ColumnType::of(field), ColumnType::Text | ColumnType::Json);
        let changes: Vec<String> = self
            .schema
            .fields()
            .iter()
            .filter(long)
            .map(|field| format!("ALTER COLUMN \"{}\" {choice}", field.name()))
            .collect();
        self.database
            .admin()
            .batch("choosing how long texts are stored", &format!("ALTER TABLE {TABLE} {}", changes.join(", ")))
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.database.server()
    }
}

impl Store for PostgresStore {
    /// The checkpoint writes everything of the last run to disk now, so that it does not fall into the next one.
    fn reset(&self) -> Result<()> {
        let partitioned = self.settings.table_layout == TableLayout::Partitioned;
        let key = match partitioned {
            true => format!("PARTITION BY LIST (mod(id, {}))", self.settings.partitions),
            false => String::new(),
        };
        self.database.admin().batch(
            "preparing the destination table",
            &format!(
                "DROP TABLE IF EXISTS {TABLE}; DROP TABLE IF EXISTS uplift_checkpoint;
                 CREATE TABLE {TABLE} ({}) {key};
                 CREATE TABLE uplift_checkpoint (partition bigint PRIMARY KEY, position bigint NOT NULL);",
                definitions(&self.schema)
            ),
        )?;
        self.choose_toast()?;
        if partitioned {
            self.make_parts()?;
        }
        self.database.checkpoint()
    }

    fn positions(&self) -> Result<BTreeMap<u32, u64>> {
        let rows =
            self.database.admin().query("reading checkpoints", "SELECT partition, position FROM uplift_checkpoint")?;
        Ok(rows.iter().map(|row| (row.get::<_, i64>(0) as u32, row.get::<_, i64>(1) as u64)).collect())
    }

    fn writer(&self, index: u32, fault: WriterFault, clock: &mut StageClock) -> Result<Box<dyn Writer>> {
        clock.process(stages::CONNECT);
        let session = self.database.session()?;
        let drop_after_rows = match fault {
            WriterFault::Drop { after_rows } => Some(after_rows),
            _ => None,
        };
        let killer = drop_after_rows.map(|rows| (rows, Arc::clone(&self.database)));
        let table = self.table_of(index);
        let empties = self.empties_first(&session, &table)?.then(|| table.clone());
        let transaction = Transaction::new(session, empties, killer);
        Ok(match self.settings.load {
            LoadMethod::Insert => {
                let rows = self.settings.insert_rows as usize;
                Box::new(InsertWriter::new(transaction, &table, &self.schema, rows))
            }
            _ => Box::new(CopyWriter::new(transaction, &table, &self.schema)),
        })
    }

    fn read_back(&self) -> Result<Checksum> {
        let session = self.database.session()?;
        let context = "reading the destination back";
        // A partitioned table as such cannot be copied out.
        let statement = format!("COPY (SELECT {} FROM {TABLE}) TO STDOUT (FORMAT binary)", names(&self.schema));
        let stream =
            session.block_on(session.client().copy_out(&statement)).map_err(|error| pg_error(context, &error))?;
        let mut stream = Box::pin(stream);
        let mut decoder = copy_binary::Decoder::new(Arc::clone(&self.schema));
        let mut sum = Checksum::default();
        while let Some(chunk) = session.block_on(stream.next()) {
            decoder.push(&chunk.map_err(|error| pg_error(context, &error))?);
            decoder.read(READ_ROWS)?;
            if decoder.rows() == READ_ROWS {
                sum += Checksum::of(&decoder.finish_batch()?);
            }
        }
        while !decoder.ended() {
            decoder.read(READ_ROWS)?;
            let rows = decoder.rows();
            sum += Checksum::of(&decoder.finish_batch()?);
            if rows == 0 && !decoder.ended() {
                return Err(crate::error::PipelineError::new(
                    context,
                    crate::error::ErrorKind::Corrupt("COPY data end in the middle".to_owned()),
                ));
            }
        }
        sum += Checksum::of(&decoder.finish_batch()?);
        Ok(sum)
    }

    fn effective(&self) -> Result<BTreeMap<String, String>> {
        let mut effective: BTreeMap<String, String> = BTreeMap::new();
        for name in ["server_version", "fsync", "synchronous_commit", "full_page_writes", "autovacuum"] {
            effective.insert(format!("postgres_{name}"), self.database.show(name)?);
        }
        effective.insert("wal_level".to_owned(), self.database.show("wal_level")?);
        let relations = format!(
            "(SELECT '{TABLE}'::regclass::oid UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = '{TABLE}'::regclass)"
        );
        let chosen = self.database.admin().query(
            "reading how long texts are stored",
            &format!(
                "SELECT DISTINCT CASE WHEN attstorage = 'e' THEN 'external' WHEN attcompression = 'l' THEN 'lz4'
                     WHEN attcompression = 'p' THEN 'pglz' ELSE current_setting('default_toast_compression') END
                 FROM pg_attribute WHERE attrelid IN {relations} AND attnum > 0 AND attstorage IN ('x', 'e')"
            ),
        )?;
        let chosen: Vec<String> = chosen.iter().map(|row| row.get(0)).collect();
        effective.insert("toast".to_owned(), chosen.join(" and "));
        let layout = self.database.admin().query(
            "reading how the destination table is laid out",
            &format!(
                "SELECT CASE relkind WHEN 'p' THEN 'partitioned' ELSE 'plain' END
                 FROM pg_class WHERE oid = '{TABLE}'::regclass"
            ),
        )?;
        effective.insert("table_layout".to_owned(), layout.iter().map(|row| row.get::<_, String>(0)).collect());
        effective.insert("postgres_origin".to_owned(), self.database.server().origin().to_owned());
        Ok(effective)
    }

    fn durability(&self) -> Durability {
        let value = |name: &str| self.database.show(name).unwrap_or_default();
        database_durability::postgres(&value("fsync"), &value("synchronous_commit"), &value("full_page_writes"))
    }

    fn quiesce(&self) -> Result<()> {
        self.database.wait_until_alone()
    }

    fn counters(&self) -> Vec<Counter> {
        self.database.counters()
    }
}
