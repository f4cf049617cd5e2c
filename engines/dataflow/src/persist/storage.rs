//! Where the files of an engine are: its own through a [`Disk`], SQLite's through one of SQLite's file layers.

use std::{path::Path, sync::Arc};

use engine_disk::{Disk, RealDisk};
use rusqlite::{Connection, OpenFlags};

/// A place for files. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Log, mark, names.
    pub disk: Arc<dyn Disk>,
    /// The registered name of the SQLite VFS; absent: SQLite's own one for this system. It must keep its files on `disk`.
    pub sqlite_vfs: Option<String>,
}

impl Storage {
    /// The machine's own file system.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), sqlite_vfs: None }
    }

    /// Opens the database `path`, or makes it.
    pub(super) fn connect(&self, path: &Path) -> rusqlite::Result<Connection> {
        match &self.sqlite_vfs {
            None => Connection::open(path),
            Some(vfs) => Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs),
        }
    }
}
