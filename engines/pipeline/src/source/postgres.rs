//! A source that reads a table of PostgreSQL by binary COPY.

use std::{pin::Pin, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_postgres::CopyOutStream;
use uplift_instrument::stage::StageClock;

use super::{Shard, Source};
use crate::{
    copy_binary,
    destination::{Session, pg_error, postgres_table},
    error::{ErrorKind, PipelineError, Result},
    generator::Generator,
    stages,
};

/// The table that is read.
const TABLE: &str = "source";

/// The table of a source, filled before anything is measured.
#[derive(Debug)]
pub struct SourceTable {
    columns: String,
    schema: SchemaRef,
}

impl SourceTable {
    /// Fills the table with the rows of `generator`.
    ///
    /// # Errors
    /// What the server says.
    pub fn fill(session: &Session, generator: &Generator, rows: u64, batch_rows: u32) -> Result<Self> {
        let context = "filling the source table";
        let schema = generator.schema();
        let columns = postgres_table::names(schema);
        session.batch(context, &format!("CREATE TABLE {TABLE} ({})", postgres_table::definitions(schema)))?;
        let failed = |error: tokio_postgres::Error| pg_error(context, &error);
        let statement = format!("COPY {TABLE} ({columns}) FROM STDIN (FORMAT binary)");
        let mut copy = Box::pin(session.block_on(session.client().copy_in(&statement)).map_err(failed)?);
        let mut bytes = bytes::BytesMut::from(&copy_binary::HEADER[..]);
        let mut first = 0;
        while first < rows {
            let count = u64::from(batch_rows).min(rows - first);
            copy_binary::encode(&generator.batch(first, 1, count, None)?, &mut bytes);
            session.block_on(copy.send(bytes.split().freeze())).map_err(failed)?;
            first += count;
        }
        session.block_on(copy.send(bytes::Bytes::from_static(&copy_binary::TRAILER))).map_err(failed)?;
        session.block_on(copy.as_mut().finish()).map_err(failed)?;
        session.batch(context, &format!("CREATE UNIQUE INDEX ON {TABLE} (id); ANALYZE {TABLE}"))?;
        Ok(Self { columns, schema: Arc::clone(schema) })
    }
}

/// Rows of one partition, read in the order of their ids.
pub struct PostgresSource {
    stream: Pin<Box<CopyOutStream>>,
    session: Session,
    decoder: copy_binary::Decoder,
    batch_rows: usize,
    stream_ended: bool,
    /// Rows after which it closes its end without a word.
    rows_max: Option<u64>,
}

impl PostgresSource {
    /// The rows of `shard` from number `position` on.
    ///
    /// # Errors
    /// What the server says.
    pub fn new(
        session: Session,
        table: &SourceTable,
        shard: Shard,
        position: u64,
        batch_rows: u32,
        clock: &mut StageClock,
    ) -> Result<Self> {
        clock.process(stages::QUERY);
        let statement = format!(
            "COPY (SELECT {} FROM {TABLE} WHERE mod(id, {}) = {} AND id >= {} ORDER BY id) TO STDOUT (FORMAT binary)",
            table.columns,
            shard.partitions,
            shard.partition,
            shard.id(position)
        );
        let stream = session
            .block_on(session.client().copy_out(&statement))
            .map_err(|error| pg_error("querying the source", &error))?;
        Ok(Self {
            stream: Box::pin(stream),
            session,
            decoder: copy_binary::Decoder::new(Arc::clone(&table.schema)),
            batch_rows: batch_rows as usize,
            stream_ended: false,
            rows_max: None,
        })
    }

    /// It ends after `rows` rows.
    #[must_use]
    pub fn ending_after(mut self, rows: Option<u64>) -> Self {
        self.rows_max = rows;
        self
    }
}

impl Source for PostgresSource {
    fn next(&mut self, clock: &mut StageClock) -> Result<Option<RecordBatch>> {
        let rows_max = self.rows_max.unwrap_or(u64::MAX).min(self.batch_rows as u64) as usize;
        loop {
            clock.process(stages::FETCH);
            self.decoder.read(rows_max)?;
            if self.decoder.rows() >= rows_max || self.decoder.ended() {
                break;
            }
            if self.stream_ended {
                let message = "COPY data end in the middle".to_owned();
                return Err(PipelineError::new("reading the source", ErrorKind::Source(message)));
            }
            clock.wait(stages::FETCH);
            match self.session.block_on(self.stream.next()) {
                Some(Ok(bytes)) => {
                    clock.process(stages::FETCH);
                    self.decoder.push(&bytes);
                }
                Some(Err(error)) => {
                    let error = pg_error("reading the source", &error);
                    return Err(PipelineError::new(error.context, ErrorKind::Source(error.kind.to_string())));
                }
                None => self.stream_ended = true,
            }
        }
        if self.decoder.rows() == 0 {
            return Ok(None);
        }
        if let Some(rows) = &mut self.rows_max {
            *rows -= self.decoder.rows() as u64;
        }
        self.decoder.finish_batch().map(Some)
    }
}
