//! Destinations: a [`Store`] is where rows end up, a [`Writer`] is one worker's way of putting them there.
//!
//! All destinations have the same semantics. Rows are handed over in flushes, become visible and durable with a commit,
//! and each commit records in the same transaction how far each partition has come. A writer that is dropped leaves
//! nothing behind but what it committed.

mod file;
pub mod loader;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use uplift_instrument::stage::StageClock;
use uplift_model::Durability;

pub(crate) use self::postgres::{Session, pg_error};
pub use self::{
    file::FileStore,
    loader::{FlushSize, Loader, Policy},
    postgres::{Database as PostgresDatabase, PostgresStore, connect as connect_postgres, start_server},
    sqlite::SqliteStore,
};
pub(crate) mod postgres_table {
    //! Names and definitions of columns, for whoever makes a table of them.
    pub(crate) use super::postgres::{TABLE, definitions, names};
}
use crate::{checksum::Checksum, error::Result};

/// Where rows end up.
pub trait Store: Send + Sync {
    /// Empties it for the next run. Not timed.
    ///
    /// # Errors
    /// When the destination refuses.
    fn reset(&self) -> Result<()>;

    /// How many rows of each partition of the source are committed, by partition; a partition that has none is missing.
    ///
    /// # Errors
    /// When it cannot be read.
    fn positions(&self) -> Result<BTreeMap<u32, u64>>;

    /// Whether a run that was cut goes on from [`Store::positions`]; else it starts again, after [`Store::reset`].
    fn goes_on(&self) -> bool {
        true
    }

    /// Connects writer number `index`.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn writer(&self, index: u32, fault: WriterFault, clock: &mut StageClock) -> Result<Box<dyn Writer>>;

    /// Reads every row and sums up. Not timed.
    ///
    /// # Errors
    /// When rows cannot be read, or are not of the schema that was written.
    fn read_back(&self) -> Result<Checksum>;

    /// Settings in force, read back from the system.
    ///
    /// # Errors
    /// When it does not answer.
    fn effective(&self) -> Result<BTreeMap<String, String>>;

    /// What a committed row survives.
    fn durability(&self) -> Durability;

    /// Returns when nothing is going on any more.
    ///
    /// # Errors
    /// When the destination does not answer.
    fn quiesce(&self) -> Result<()> {
        Ok(())
    }

    /// Counters that only the destination has; one that is not available comes with the reason.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }
}

/// A counter of the destination, by name, since it was set up; or why there is none.
pub type Counter = (&'static str, Result<f64, String>);

/// What goes wrong with a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterFault {
    /// Nothing.
    #[default]
    None,
    /// The destination may not hold more than so many bytes.
    Full {
        /// The limit.
        bytes_max: u64,
    },
    /// The destination ends the session after so many rows.
    Drop {
        /// The rows.
        after_rows: u64,
    },
}

/// One worker's way into a store.
pub trait Writer {
    /// Hands rows over.
    ///
    /// # Errors
    /// What the destination says; the transaction is lost.
    fn flush(&mut self, batches: &[RecordBatch], clock: &mut StageClock) -> Result<()>;

    /// Commits everything that was handed over, together with the number of source rows that are done with in each
    /// partition of this writer.
    ///
    /// # Errors
    /// What the destination says.
    fn commit(&mut self, positions: &BTreeMap<u32, u64>, clock: &mut StageClock) -> Result<()>;

    /// Closes an idle writer.
    ///
    /// # Errors
    /// What the destination says.
    fn close(self: Box<Self>, clock: &mut StageClock) -> Result<()>;
}
