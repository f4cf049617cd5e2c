//! The log's files, and how much of each is still alive.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use engine_disk::{Disk, DiskFile};

use super::{format, prepared::Preparer};
use crate::error::StoreError;

/// One file of the log.
#[derive(Debug)]
pub struct Segment {
    /// Its number.
    pub number: u32,
    /// Its path.
    pub path: PathBuf,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// Bytes that were there before anything was written, as zeros; 0 where there were none.
    pub prepared_bytes: u64,
    /// Bytes written.
    pub length: AtomicU64,
    /// Bytes of records that the index points to, rounded up to units.
    pub live: AtomicI64,
}

impl Segment {
    /// Cuts off the zeros that no group was written over.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&self) -> Result<(), StoreError> {
        self.file
            .set_length(self.length.load(Ordering::Relaxed))
            .map_err(|error| StoreError::io("cutting the zeros off", &self.path, &error))
    }
}

/// All files of the log.
#[derive(Debug)]
pub struct Segments {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    all: RwLock<BTreeMap<u32, Arc<Segment>>>,
    /// How many were ever made, to be asked often.
    made: AtomicU64,
    /// Where the next one comes from.
    pub preparer: Preparer,
}

impl Segments {
    /// No files yet; each new one will have up to `prepared_bytes_max` of zeros, which are written before it is needed.
    pub fn new(disk: &Arc<dyn Disk>, directory: &Path, prepared_bytes_max: u64) -> Self {
        Self {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            all: RwLock::default(),
            made: AtomicU64::new(0),
            preparer: Preparer::new(disk, directory, prepared_bytes_max),
        }
    }

    /// The segment `number`, if it is still there.
    pub fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Adds a segment that recovery found.
    pub fn add(&self, number: u32, file: Arc<dyn DiskFile>, length: u64) -> Arc<Segment> {
        self.insert(number, file, length, 0)
    }

    fn insert(&self, number: u32, file: Arc<dyn DiskFile>, length: u64, prepared_bytes: u64) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            number,
            path: self.directory.join(format::segment_name(number)),
            file,
            prepared_bytes,
            length: AtomicU64::new(length),
            live: AtomicI64::new(0),
        });
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&segment));
        self.made.fetch_add(1, Ordering::Relaxed);
        segment
    }

    /// Makes segment `number`, whose first group is `first_group`, durable and empty. With `patience` it waits for a
    /// prepared file; without, it makes do without one.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self, number: u32, first_group: u64, patience: bool) -> Result<Arc<Segment>, StoreError> {
        let path = self.directory.join(format::segment_name(number));
        let failed = |error| StoreError::io("creating the log segment", &path, &error);
        let prepared = self.preparer.take(patience);
        let is_prepared = prepared.is_some();
        let (file, prepared_bytes) = match prepared {
            Some(prepared) => (prepared.file, prepared.bytes),
            None => {
                let file = self.disk.open(&path, true).map_err(failed)?;
                file.set_length(0).map_err(failed)?;
                (file, 0)
            }
        };
        self.write(&*file, &format::segment_header(number, first_group), 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        if is_prepared {
            self.disk.rename(&self.preparer.path(), &path).map_err(failed)?;
        }
        self.disk.sync_directory(&self.directory).map_err(failed)?;
        // One is wanted again; where one is still being made, that one.
        if is_prepared {
            self.preparer.want();
        }
        Ok(self.insert(number, file, format::SEGMENT_HEADER_BYTES as u64, prepared_bytes))
    }

    /// Writes `bytes` to a file of the log. Where the device is full, the zeros of the prepared file make room for them.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        match file.write_all_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.preparer.give_up() => {
                file.write_all_at(bytes, offset)
            }
            written => written,
        }
    }

    /// Removes segment `number`, and forgets it once it is gone for good: the next oldest must not be removed before. May
    /// be called again where it failed. Readers that hold it may finish.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, number: u32) -> Result<(), StoreError> {
        let path = self.directory.join(format::segment_name(number));
        match self.disk.remove(&path) {
            // Removed before, and the sync of the directory failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|error| StoreError::io("removing the log segment", &path, &error))?,
        }
        self.disk
            .sync_directory(&self.directory)
            .map_err(|error| StoreError::io("syncing the directory of", &path, &error))?;
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        Ok(())
    }

    /// The number of the oldest segment, if there is any.
    pub fn oldest(&self) -> Option<u32> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).keys().next().copied()
    }

    /// Notes that `bytes` in segment `number` came alive, or died where negative.
    pub fn note_live(&self, number: u32, bytes: i64) {
        if let Some(segment) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            segment.live.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The oldest segment, if it is worth rewriting: at least `least` segments are full and of full size, and half of the
    /// bytes of all that are full are dead.
    pub fn worth_rewriting(&self, least: usize) -> Option<Arc<Segment>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let full = all.len().saturating_sub(1);
        let is_of_full_size = |segment: &&Arc<Segment>| {
            segment.prepared_bytes == 0 || segment.prepared_bytes == self.preparer.bytes_max()
        };
        if all.values().take(full).filter(is_of_full_size).count() < least {
            return None;
        }
        let (mut bytes, mut live) = (0, 0);
        for segment in all.values().take(full) {
            bytes += segment.length.load(Ordering::Relaxed) as i64;
            live += segment.live.load(Ordering::Relaxed);
        }
        if 2 * live < bytes { all.values().next().cloned() } else { None }
    }

    /// How many segments were ever added.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// How many segments there are, and their bytes in all.
    pub fn size(&self) -> (usize, u64) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        (all.len(), all.values().map(|segment| segment.length.load(Ordering::Relaxed)).sum())
    }
}
