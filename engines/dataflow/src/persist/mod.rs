//! Ways to be durable, each a type behind one trait.
//!
//! The writer thread of a shard calls [`Persist::persist`]; when that returns, the packet is acknowledged, and only
//! then. What a way does later ([`Persist::acknowledged`]) holds up no acknowledgement of this packet, but those of
//! the next ones.

mod checkpoint_thread;
mod database;
mod log_only;
mod log_sqlite;
mod none;
mod sqlite;
mod storage;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use uplift_instrument::timeline::EventLog;
use uplift_model::Durability;

pub use storage::Storage;

use crate::{
    counters::Counters,
    log::{LogError, Tail},
    row::{Table, Vote},
    settings::{Mode, Settings},
    shard::{
        activity::{Activity, Elsewhere},
        inbox::Group,
    },
};

/// A way to be durable, for one shard.
pub trait Persist: Send {
    /// Makes a merged packet as durable as the way promises.
    ///
    /// # Errors
    /// Nothing is known of the packet then, and nothing may be written any more.
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError>;

    /// Called when the packet is acknowledged and has run through the graph.
    ///
    /// # Errors
    /// As for [`Persist::persist`], but the packet stays acknowledged.
    fn acknowledged(&mut self, group: &Group, activity: &mut Activity) -> Result<(), PersistError> {
        let _ = (group, activity);
        Ok(())
    }

    /// Waits until nothing happens in the background.
    ///
    /// # Errors
    /// What the background work met.
    fn quiesce(&mut self) -> Result<(), PersistError> {
        Ok(())
    }

    /// Does what is still owed for acknowledged rows, and says for how many rows something was.
    ///
    /// # Errors
    /// What kept it from being done.
    fn settle(&mut self, activity: &mut Activity) -> Result<u64, PersistError> {
        let _ = activity;
        Ok(0)
    }

    /// Called last of all: leaves the files so that they open fast.
    ///
    /// # Errors
    /// What the system says. Acknowledged rows are durable all the same.
    fn close(&mut self, activity: &mut Activity) -> Result<(), PersistError> {
        self.settle(activity).map(drop)
    }

    /// The names of the places where it stores votes.
    fn places(&self) -> &'static [&'static str];

    /// Reads every vote back from each place where this way stores rows, with the place's name.
    ///
    /// # Errors
    /// What cannot be read.
    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError>;

    /// How large the files are.
    fn stored(&self) -> Stored;

    /// Settings in force, read back from SQLite where there is one.
    fn in_force(&self) -> BTreeMap<String, String>;

    /// What an acknowledged row survives.
    fn survives(&self) -> Durability;
}

/// Sizes of files, in bytes; absent where there is no such file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The log.
    pub log_bytes: Option<u64>,
    /// SQLite's database.
    pub database_bytes: Option<u64>,
    /// SQLite's write-ahead log.
    pub wal_bytes: Option<u64>,
}

/// The places where votes are stored.
mod place {
    pub const LOG: &str = "the log";
    pub const SQLITE: &str = "SQLite";
}

/// What was there when a shard was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Rows of both tables.
    pub rows: u64,
    /// The end of the log that was no record, where there was one.
    pub tail: Option<Tail>,
    /// Whether the log was closed in order, so that its end was known.
    pub closed: bool,
    /// Whether SQLite was filled anew from the log.
    pub rebuilt_index: bool,
}

/// Why rows could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// SQLite.
    #[error("sqlite, {doing}: {error}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: rusqlite::Error,
    },
    /// Another file.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// What the background thread met.
    #[error("the checkpoint thread: {0}")]
    Thread(String),
}

impl PersistError {
    fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |error| Self::Sqlite { doing, error }
    }

    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }
}

/// Where a shard lives, and whom it tells.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// Its number.
    pub shard: u16,
    /// The settings.
    pub settings: &'a Settings,
    /// Where files are.
    pub storage: &'a Storage,
    /// What is counted.
    pub counters: &'a Arc<Counters>,
    /// The timeline.
    pub events: &'a EventLog,
    /// Where checkpoints of other threads are noted.
    pub elsewhere: &'a Elsewhere,
}

impl Place<'_> {
    fn file(&self, extension: &str) -> std::path::PathBuf {
        self.directory.join(format!("{}.{extension}", shard_name(self.shard, self.settings.shards)))
    }
}

/// What the files of shard `shard` of `shards` are called, without extension.
pub fn shard_name(shard: u16, shards: u16) -> String {
    format!("shard-{shard}-of-{shards}")
}

/// Opens the way that the settings name, and gives every row that is there to `each`, table by table in packets.
///
/// # Errors
/// Files that cannot be read, belong to another shard, or are damaged within what was acknowledged.
pub fn open(
    place: &Place<'_>,
    each: &mut dyn FnMut(Table, &[u8]),
) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
    match place.settings.durability {
        Mode::Log => log_only::LogOnly::open(place, each),
        Mode::SqliteWal => sqlite::Sqlite::<sqlite::Automatic>::open(place, each),
        Mode::SqliteCheckpointAfterAck => sqlite::Sqlite::<sqlite::AfterAck>::open(place, each),
        Mode::SqliteCheckpointThread => sqlite::Sqlite::<sqlite::InThread>::open(place, each),
        Mode::LogSqliteNosync => log_sqlite::LogSqliteNosync::open(place, each),
        Mode::None => none::NotDurable::open(place, each),
    }
}
