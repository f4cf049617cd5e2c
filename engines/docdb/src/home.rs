//! A store's directory: who owns it, and where its log ended when it was closed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine_disk::{Disk, DiskLock, read_note, remove_note, write_note};

use crate::error::{StoreError, StoreErrorKind};

/// The name of the file that the owner has locked.
const LOCK: &str = "lock";
/// The name of the note of an orderly close.
const CLOSED: &str = "closed";

/// A directory that belongs to one store as long as this lives.
#[derive(Debug)]
pub struct Home {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    _lock: Box<dyn DiskLock>,
}

impl Home {
    /// Takes `directory`, made where it is missing.
    ///
    /// # Errors
    /// When somebody has it, or it could not be created.
    pub fn take(disk: &Arc<dyn Disk>, directory: &Path) -> Result<Self, StoreError> {
        disk.create_directory(directory).map_err(|error| StoreError::io("making the directory", directory, &error))?;
        let lock = disk.lock(&directory.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::new(
                format!("opening the store in `{}`", directory.display()),
                StoreErrorKind::Refused(
                    "it is open already, here or in another process, and has one owner at a time; close it there first"
                        .to_owned(),
                ),
            ),
            _ => StoreError::io("locking the directory", directory, &error),
        })?;
        Ok(Self { disk: Arc::clone(disk), directory: directory.to_owned(), _lock: lock })
    }

    fn note(&self) -> PathBuf {
        self.directory.join(CLOSED)
    }

    /// Holds `end`, where the log was found to end, against the note of the last close. Returns whether there was one.
    ///
    /// # Errors
    /// When the log was closed elsewhere: some of it is missing.
    pub fn check_end(&self, end: &str) -> Result<bool, StoreError> {
        let path = self.note();
        match read_note(&*self.disk, &path) {
            Ok(None) => Ok(false),
            Ok(Some(closed)) if closed == end => Ok(true),
            Ok(Some(closed)) => {
                let what =
                    format!("the log was closed with {closed} and now has {end}: a part of it is missing or damaged");
                Err(StoreError::corrupt(&path, 0, what))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StoreError::corrupt(&path, 0, error.to_string()))
            }
            Err(error) => Err(StoreError::io("reading", &path, &error)),
        }
    }

    /// Takes the note away and makes all names in the directory durable, also those that a process left that was killed
    /// before it could: the log is about to be written.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&self) -> Result<(), StoreError> {
        let path = self.note();
        remove_note(&*self.disk, &path).map_err(|error| StoreError::io("removing", &path, &error))
    }

    /// Notes that the log was closed and ends at `end`.
    ///
    /// # Errors
    /// What the system says. Nothing is lost by it but the check.
    pub fn close(&self, end: &str) -> Result<(), StoreError> {
        let path = self.note();
        write_note(&*self.disk, &path, end).map_err(|error| StoreError::io("writing", &path, &error))
    }
}
