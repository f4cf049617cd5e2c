//! The file that holds the documents.
//!
//! A record is `length u32 | crc32 u32 | document | verified u8`, little endian. The checksum covers database, id and the
//! record's offset, which are not written down, and the document: a whole record in the place of another does not have it.
//! The flag is written after the rest; a read returns a document only if length, flag and checksum are right.
//!
//! Compaction ([`super::compaction`]) puts another file in its place, with the next number.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use engine_disk::{Disk, DiskFile};
use uplift_instrument::stage::thread as span;

use super::{index::Location, settings::Locking};
use crate::{error::StoreError, stages};

/// The name of the first file in the directory of its database.
const FIRST_NAME: &str = "documents.dat";

const HEADER_BYTES: usize = 8;
const VERIFIED: u8 = 1;

/// The name of the file with a number: 0 is what a database begins with.
pub fn name(number: u32) -> String {
    if number == 0 { FIRST_NAME.to_owned() } else { format!("documents-{number}.dat") }
}

/// The number of the data file that is called `name`; `None` where it is none.
pub fn number_of(file_name: &str) -> Option<u32> {
    let number = match file_name {
        FIRST_NAME => 0,
        other => other.strip_prefix("documents-")?.strip_suffix(".dat")?.parse().ok()?,
    };
    (name(number) == file_name).then_some(number)
}

/// The bytes that a document of `length` bytes takes.
pub const fn record_bytes(length: u32) -> u64 {
    (HEADER_BYTES + length as usize + 1) as u64
}

/// Appends the record of `id` at `offset` to `record`, without its flag.
fn encode(database: u32, id: u64, offset: u64, document: &[u8], record: &mut Vec<u8>) {
    record.extend_from_slice(&(document.len() as u32).to_le_bytes());
    record.extend_from_slice(&checksum(database, id, offset, document).to_le_bytes());
    record.extend_from_slice(document);
}

/// As [`encode`], with the flag.
pub fn encode_verified(database: u32, id: u64, offset: u64, document: &[u8], record: &mut Vec<u8>) {
    encode(database, id, offset, document, record);
    record.push(VERIFIED);
}

fn checksum(database: u32, id: u64, offset: u64, document: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&database.to_le_bytes());
    hasher.update(&id.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(document);
    hasher.finalize()
}

/// One file.
#[derive(Debug)]
pub struct Current {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
}

impl Current {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed("writing", &error))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> StoreError {
        StoreError::io(&format!("{what} the data file"), &self.path, error)
    }
}

/// The file that holds the documents.
#[derive(Debug)]
pub struct DataFile {
    database: u32,
    fsyncs: u8,
    locking: Locking,
    /// The file, kept from readers and writers as `locking` says.
    current: RwLock<Arc<Current>>,
    /// Its number, changed when the index speaks of it too.
    number: AtomicU32,
    end: AtomicU64,
    written: AtomicU64,
    syncs: AtomicU64,
}

impl DataFile {
    /// Opens data file `number` of `database` in `directory` and cuts it to `length`, what a checkpoint vouches for.
    ///
    /// # Errors
    /// When it cannot be opened, or is shorter.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        database: u32,
        (number, length): (u32, u64),
        fsyncs: u8,
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let path = directory.join(name(number));
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
            database,
            fsyncs,
            locking,
            current: RwLock::new(Arc::new(Current { path: path.clone(), file })),
            number: AtomicU32::new(number),
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

    fn append_with(&self, id: u64, document: &[u8], fsyncs: u8) -> Result<Location, StoreError> {
        let length = HEADER_BYTES + document.len() + 1;
        let offset = self.end.fetch_add(length as u64, Ordering::Relaxed);
        let mut record = Vec::with_capacity(length);
        encode(self.database, id, offset, document, &mut record);
        let flag_offset = offset + record.len() as u64;
        match self.locking {
            Locking::ReadWrite => {
                self.alone().write(&record, offset)?;
                if fsyncs == 2 {
                    self.sync()?;
                }
                self.alone().write(&[VERIFIED], flag_offset)?;
                if fsyncs > 0 {
                    self.sync()?;
                }
            }
            Locking::Exclusive | Locking::Narrow => {
                let current = self.alone();
                current.write(&record, offset)?;
                if fsyncs == 2 {
                    self.sync_of(&current)?;
                }
                current.write(&[VERIFIED], flag_offset)?;
                if fsyncs > 0 {
                    self.sync_of(&current)?;
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
        let (current, result) = match self.locking {
            Locking::ReadWrite => {
                let current = {
                    let _lock = span::wait(stages::LOCK);
                    self.current.read().unwrap_or_else(PoisonError::into_inner)
                };
                (Arc::clone(&current), current.file.read_exact_at(document, location.offset))
            }
            Locking::Exclusive | Locking::Narrow => {
                let current = self.alone();
                (Arc::clone(&current), current.file.read_exact_at(document, location.offset))
            }
        };
        result.map_err(|error| current.failed("reading", &error))?;
        let number = |at: usize| document[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let (found, written) = (number(0), number(4));
        let wrong = if found != location.length {
            Some(format!("the document should have {length} bytes, the record says {found}"))
        } else if document[HEADER_BYTES + length] != VERIFIED {
            Some("the verification flag is not set".to_owned())
        } else if written
            != checksum(self.database, id, location.offset, &document[HEADER_BYTES..HEADER_BYTES + length])
        {
            Some(format!("what is there does not have the checksum of the document of id {id}"))
        } else {
            None
        };
        if let Some(what) = wrong {
            document.clear();
            return Err(StoreError::corrupt(&current.path, location.offset, what));
        }
        document.truncate(HEADER_BYTES + length);
        document.drain(..HEADER_BYTES);
        Ok(())
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Arc<Current>> {
        let _lock = span::wait(stages::LOCK);
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all that was written survive a loss of power.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), StoreError> {
        // Not held while it syncs: only a compaction changes the file, and that has the database alone.
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        self.sync_of(&current)
    }

    fn sync_of(&self, current: &Current) -> Result<(), StoreError> {
        let _sync = span::wait(stages::SYNC);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        current.file.sync_data().map_err(|error| current.failed("syncing", &error))
    }

    /// The database's number.
    pub const fn database(&self) -> u32 {
        self.database
    }

    /// The file's number. A location that the index gave before it changed is not one of this file.
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// The length in bytes, with all that is being written.
    pub fn length(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Puts `next`, `length` bytes long and synced, in the place of the file; `move_index` makes the index speak of it.
    /// For who has the database alone; readers go on.
    pub fn replace(&self, next: Current, length: u64, move_index: impl FnOnce()) {
        // Readers that have their location already wait here, and find another number afterwards.
        let mut current = self.alone();
        *current = Arc::new(next);
        self.end.store(length, Ordering::Relaxed);
        self.written.fetch_add(length, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        move_index();
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Bytes written and syncs made since the file was opened.
    pub fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }
}
