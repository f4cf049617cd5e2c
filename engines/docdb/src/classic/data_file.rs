//! The file that holds the documents.
//!
//! A record is `length u32 | crc32 u32 | document | verified u8`, little endian. The checksum covers database, id and the
//! record's offset, which are not written down, and the document: a whole record in the place of another does not have it.
//! The flag is written after the rest; a read returns a document only if length, flag and checksum are right.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use engine_disk::{Disk, DiskFile};
use uplift_instrument::stage::thread as span;

use super::{index::Location, settings::Locking};
use crate::{error::StoreError, stages};

/// The file's name in the directory of its database.
pub const NAME: &str = "documents.dat";

const HEADER_BYTES: usize = 8;
const VERIFIED: u8 = 1;

/// The file that holds the documents.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    database: u32,
    file: Arc<dyn DiskFile>,
    fsyncs: u8,
    locking: Locking,
    /// Keeps readers and writers apart as `locking` says.
    guard: RwLock<()>,
    end: AtomicU64,
    written: AtomicU64,
    syncs: AtomicU64,
}

impl DataFile {
    /// Opens the data file of `database` in `directory` and cuts it to `length`, what a checkpoint vouches for.
    ///
    /// # Errors
    /// When it cannot be opened, or is shorter.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        database: u32,
        length: u64,
        fsyncs: u8,
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let path = directory.join(NAME);
        let failed = |error| StoreError::io("opening the data file", &path, &error);
        let file = disk.open(&path, true).map_err(failed)?;
        let found = file.length().map_err(failed)?;
        if found < length {
            let what = format!("the file ends here, the checkpoint knows {length} bytes");
            return Err(StoreError::corrupt(&path, found, what));
        }
        if found > length {
            file.set_length(length).map_err(failed)?;
        }
        Ok(Self {
            path: path.clone(),
            database,
            file,
            fsyncs,
            locking,
            guard: RwLock::new(()),
            end: AtomicU64::new(length),
            written: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        })
    }

    /// Appends the document of `id`, with the syncs that the settings say.
    ///
    /// # Errors
    /// When it could not be written or synced.
    pub fn append(&self, id: u64, document: &[u8]) -> Result<Location, StoreError> {
        self.append_with(id, document, self.fsyncs)
    }

    /// Appends the document of `id` without a sync, in recovery.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn append_unsynced(&self, id: u64, document: &[u8]) -> Result<Location, StoreError> {
        self.append_with(id, document, 0)
    }

    fn checksum(&self, id: u64, offset: u64, document: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.database.to_le_bytes());
        hasher.update(&id.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(document);
        hasher.finalize()
    }

    fn append_with(&self, id: u64, document: &[u8], fsyncs: u8) -> Result<Location, StoreError> {
        let length = HEADER_BYTES + document.len() + 1;
        let offset = self.end.fetch_add(length as u64, Ordering::Relaxed);
        let mut record = Vec::with_capacity(length);
        record.extend_from_slice(&(document.len() as u32).to_le_bytes());
        record.extend_from_slice(&self.checksum(id, offset, document).to_le_bytes());
        record.extend_from_slice(document);
        let flag_offset = offset + record.len() as u64;
        let write = |bytes: &[u8], at: u64| {
            let _alone = self.alone();
            self.file.write_all_at(bytes, at).map_err(|error| self.failed("writing", &error))
        };
        match self.locking {
            Locking::ReadWrite => {
                write(&record, offset)?;
                if fsyncs == 2 {
                    self.sync()?;
                }
                write(&[VERIFIED], flag_offset)?;
                if fsyncs > 0 {
                    self.sync()?;
                }
            }
            Locking::Exclusive | Locking::Narrow => {
                let _alone = self.alone();
                let failed = |error| self.failed("writing", &error);
                self.file.write_all_at(&record, offset).map_err(failed)?;
                if fsyncs == 2 {
                    self.sync()?;
                }
                self.file.write_all_at(&[VERIFIED], flag_offset).map_err(failed)?;
                if fsyncs > 0 {
                    self.sync()?;
                }
            }
        }
        self.written.fetch_add(length as u64, Ordering::Relaxed);
        Ok(Location { offset, length: document.len() as u32 })
    }

    /// Reads the document of `id` at `location` into `document`.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(&self, id: u64, location: Location, document: &mut Vec<u8>) -> Result<(), StoreError> {
        let length = location.length as usize;
        document.clear();
        document.resize(HEADER_BYTES + length + 1, 0);
        let result = match self.locking {
            Locking::ReadWrite => {
                let _shared = {
                    let _lock = span::wait(stages::LOCK);
                    self.guard.read().unwrap_or_else(PoisonError::into_inner)
                };
                self.file.read_exact_at(document, location.offset)
            }
            Locking::Exclusive | Locking::Narrow => {
                let _alone = self.alone();
                self.file.read_exact_at(document, location.offset)
            }
        };
        result.map_err(|error| self.failed("reading", &error))?;
        let number = |at: usize| document[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let (found, checksum) = (number(0), number(4));
        let wrong = if found != location.length {
            Some(format!("the document should have {length} bytes, the record says {found}"))
        } else if document[HEADER_BYTES + length] != VERIFIED {
            Some("the verification flag is not set".to_owned())
        } else if checksum != self.checksum(id, location.offset, &document[HEADER_BYTES..HEADER_BYTES + length]) {
            Some(format!("what is there does not have the checksum of the document of id {id}"))
        } else {
            None
        };
        if let Some(what) = wrong {
            document.clear();
            return Err(StoreError::corrupt(&self.path, location.offset, what));
        }
        document.truncate(HEADER_BYTES + length);
        document.drain(..HEADER_BYTES);
        Ok(())
    }

    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        let _lock = span::wait(stages::LOCK);
        self.guard.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all that was written survive a loss of power.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _sync = span::wait(stages::SYNC);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data().map_err(|error| self.failed("syncing", &error))
    }

    /// The length in bytes, with all that is being written.
    pub fn length(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Bytes written and syncs made since the file was opened.
    pub fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> StoreError {
        StoreError::io(&format!("{what} the data file"), &self.path, error)
    }
}
