//! The two ways of putting rows into a table.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio_postgres::{CopyInSink, Statement};
use uplift_instrument::stage::StageClock;

use super::{
    names,
    session::{Database, Session, pg_error},
};
use crate::{
    copy_binary,
    destination::Writer,
    error::Result,
    stages,
    value::{Columns, Value},
};

/// The most parameters of one statement: their number is 16 bits wide in the protocol.
const PARAMETERS_MAX: usize = 65_535;

/// Ends the writer's session after so many rows.
pub type Killer = Option<(u64, Arc<Database>)>;

/// What both writers share: a session, and whether a transaction is open.
pub struct Transaction {
    session: Session,
    open: bool,
    rows: u64,
    /// The table that the first transaction begins with emptying.
    empties: Option<String>,
    killer: Killer,
}

impl Transaction {
    /// A session between two transactions. The first begins with emptying the table `empties`.
    pub const fn new(session: Session, empties: Option<String>, killer: Killer) -> Self {
        Self { session, open: false, rows: 0, empties, killer }
    }

    fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.session.batch("beginning a transaction", "BEGIN")?;
            self.open = true;
            if let Some(table) = self.empties.take() {
                self.session.batch("emptying the destination table", &format!("TRUNCATE {table}"))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<u32, u64>) -> Result<()> {
        self.begin()?;
        let values: Vec<String> =
            positions.iter().map(|(partition, position)| format!("({partition}, {position})")).collect();
        let record = if values.is_empty() {
            String::new()
        } else {
            format!(
                "INSERT INTO uplift_checkpoint VALUES {} \
                 ON CONFLICT (partition) DO UPDATE SET position = EXCLUDED.position; ",
                values.join(", ")
            )
        };
        self.session.batch("committing", &format!("{record}COMMIT"))?;
        self.open = false;
        Ok(())
    }

    /// Counts rows, and ends the session where that is the fault that was asked for.
    fn count(&mut self, rows: u64) -> Result<()> {
        self.rows += rows;
        if let Some((after_rows, database)) = &self.killer
            && self.rows >= *after_rows
        {
            database.terminate(self.session.process_id())?;
            self.killer = None;
        }
        Ok(())
    }
}

/// Binary COPY, one for each transaction.
pub struct CopyWriter {
    copy: Option<Pin<Box<CopyInSink<Bytes>>>>,
    transaction: Transaction,
    statement: String,
    bytes: BytesMut,
}

impl CopyWriter {
    /// A writer to `table`.
    pub fn new(transaction: Transaction, table: &str, schema: &Schema) -> Self {
        Self {
            copy: None,
            transaction,
            statement: format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names(schema)),
            bytes: BytesMut::new(),
        }
    }
}

impl Writer for CopyWriter {
    fn flush(&mut self, batches: &[RecordBatch], clock: &mut StageClock) -> Result<()> {
        let context = "sending COPY data";
        if self.copy.is_none() {
            clock.process(stages::FLUSH);
            self.transaction.begin()?;
            let session = &self.transaction.session;
            let copy = session
                .block_on(session.client().copy_in(&self.statement))
                .map_err(|error| pg_error("starting COPY", &error))?;
            self.copy = Some(Box::pin(copy));
            self.bytes.extend_from_slice(&copy_binary::HEADER);
        }
        clock.process(stages::ENCODE_ROWS);
        for batch in batches {
            copy_binary::encode(batch, &mut self.bytes);
        }
        clock.process(stages::FLUSH);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let bytes = self.bytes.split().freeze();
        let sent = match &mut self.copy {
            Some(copy) => self.transaction.session.block_on(copy.send(bytes)),
            None => Ok(()),
        };
        if let Err(error) = sent {
            return Err(self.reason(context, &error));
        }
        self.transaction.count(rows as u64)
    }

    fn commit(&mut self, positions: &BTreeMap<u32, u64>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::FLUSH);
        if let Some(copy) = &mut self.copy {
            let context = "ending COPY";
            let session = &self.transaction.session;
            let ended = session.block_on(async {
                copy.send(Bytes::from_static(&copy_binary::TRAILER)).await?;
                copy.as_mut().finish().await
            });
            if let Err(error) = ended {
                return Err(self.reason(context, &error));
            }
            self.copy = None;
        }
        clock.process(stages::COMMIT);
        self.transaction.commit(positions)
    }

    fn close(self: Box<Self>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::CLOSE);
        drop(self);
        Ok(())
    }
}

impl CopyWriter {
    /// Why COPY failed. The server's own words arrive with its answer to the whole COPY, not to the piece that could
    /// not be sent any more.
    fn reason(&mut self, context: &str, error: &tokio_postgres::Error) -> crate::error::PipelineError {
        if error.as_db_error().is_none()
            && let Some(copy) = &mut self.copy
            && let Err(answer) = self.transaction.session.block_on(copy.as_mut().finish())
            && answer.as_db_error().is_some()
        {
            return pg_error(context, &answer);
        }
        pg_error(context, error)
    }
}

/// INSERT statements of many rows with bound parameters.
pub struct InsertWriter {
    transaction: Transaction,
    table: String,
    columns: String,
    width: usize,
    rows_per_statement: usize,
    /// The statement for full groups; shorter groups are prepared when they come.
    full: Option<Statement>,
}

impl InsertWriter {
    /// A writer to `table` that inserts up to `rows` rows with a statement.
    pub fn new(transaction: Transaction, table: &str, schema: &Schema, rows: usize) -> Self {
        let width = schema.fields().len();
        Self {
            transaction,
            table: table.to_owned(),
            columns: names(schema),
            width,
            rows_per_statement: rows.min(PARAMETERS_MAX / width),
            full: None,
        }
    }

    fn prepare(&self, rows: usize) -> Result<Statement> {
        use std::fmt::Write as _;
        let mut text = format!("INSERT INTO {} ({}) VALUES ", self.table, self.columns);
        let width = self.width;
        for row in 0..rows {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}(", if row == 0 { "" } else { ", " });
            for column in 1..=width {
                let _ = write!(text, "{}${}", if column == 1 { "" } else { ", " }, row * width + column);
            }
            text.push(')');
        }
        let session = &self.transaction.session;
        session.block_on(session.client().prepare(&text)).map_err(|error| pg_error("preparing an INSERT", &error))
    }
}

impl Writer for InsertWriter {
    fn flush(&mut self, batches: &[RecordBatch], clock: &mut StageClock) -> Result<()> {
        let columns: Vec<Columns<'_>> = batches.iter().map(Columns::of).collect();
        let rows: Vec<(usize, usize)> = batches
            .iter()
            .enumerate()
            .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
            .collect();
        for group in rows.chunks(self.rows_per_statement) {
            clock.process(stages::FLUSH);
            self.transaction.begin()?;
            let statement = match &self.full {
                Some(full) if group.len() == self.rows_per_statement => full.clone(),
                _ => self.prepare(group.len())?,
            };
            if group.len() == self.rows_per_statement && self.full.is_none() {
                self.full = Some(statement.clone());
            }
            clock.process(stages::ENCODE_ROWS);
            let mut parameters: Vec<Value<'_>> = Vec::with_capacity(group.len() * self.width);
            parameters.extend(group.iter().flat_map(|(batch, row)| columns[*batch].row(*row)));
            clock.process(stages::FLUSH);
            let session = &self.transaction.session;
            session
                .block_on(session.client().execute_raw(&statement, &parameters))
                .map_err(|error| pg_error("inserting rows", &error))?;
            self.transaction.count(group.len() as u64)?;
        }
        Ok(())
    }

    fn commit(&mut self, positions: &BTreeMap<u32, u64>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::COMMIT);
        self.transaction.commit(positions)
    }

    fn close(self: Box<Self>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::CLOSE);
        drop(self);
        Ok(())
    }
}
