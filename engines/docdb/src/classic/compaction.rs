//! Compaction: the documents that are still there, in a data file of their own.
//!
//! A document that was replaced or removed keeps its place in the data file. Where at least half of the file is such places, a
//! checkpoint first writes the others into a new file, which has the next number. The checkpoint says which file its index is
//! of, so both change with its renaming: a loss of power leaves the file before with its index, or the new one with its own.
//! Files that the checkpoint in force does not speak of are removed once it is safe, or when the database is next opened.
//!
//! Who could not compact (the device is full, a document cannot be read) goes on with the file that is there.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;

use super::{
    data_file::{Current, DataFile, encode_verified, name, record_bytes},
    index::{Index, Location},
};
use crate::error::StoreError;

/// Bytes that are written to the new file at once.
const WRITE_BYTES: usize = 1 << 20;

/// A new data file that nothing speaks of yet.
pub struct Compacted {
    /// Its number.
    pub number: u32,
    /// Its length, all of it synced.
    pub length: u64,
    /// Where the documents are in it.
    pub index: Index,
    file: Current,
}

/// Whether at least half of the data file is places of documents that are gone. Files shorter than `bytes_min` are left as
/// they are.
pub fn is_due(data: &DataFile, index: &Index, bytes_min: u64) -> bool {
    let length = data.length();
    if length < bytes_min || data.number() == u32::MAX {
        return false;
    }
    let mut live = 0;
    index.for_each(|_, location| live += record_bytes(location.length));
    live <= length / 2
}

/// Writes the documents of `index` into a new file. For who keeps writers out.
///
/// # Errors
/// When a document cannot be read, or the file not be written; what was made of it is removed.
pub fn compact(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    data: &DataFile,
    index: &Index,
) -> Result<Compacted, StoreError> {
    let number = data.number() + 1;
    let path = directory.join(name(number));
    write(disk, directory, data, index, number).inspect_err(|_| {
        // It is in nobody's way, but takes space; opening the database removes it too.
        let _ = disk.remove(&path);
    })
}

fn write(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    data: &DataFile,
    index: &Index,
    number: u32,
) -> Result<Compacted, StoreError> {
    let path = directory.join(name(number));
    let failed = |error| StoreError::io("compacting into", &path, &error);
    let file = disk.open(&path, true).map_err(failed)?;
    // Of a compaction that was cut off.
    file.set_length(0).map_err(failed)?;
    let mut documents: Vec<(u64, Location)> = Vec::with_capacity(index.count());
    index.for_each(|id, location| documents.push((id, location)));
    // Read from front to back.
    documents.sort_unstable_by_key(|(_, location)| location.offset);
    let moved = Index::new(1);
    let (mut records, mut written, mut document) = (Vec::new(), 0, Vec::new());
    for (id, location) in documents {
        data.read(id, location, &mut document)?;
        let offset = written + records.len() as u64;
        encode_verified(data.database(), id, offset, &document, &mut records);
        moved.set(id, Location { offset, ..location });
        if records.len() >= WRITE_BYTES {
            file.write_all_at(&records, written).map_err(failed)?;
            written += records.len() as u64;
            records.clear();
        }
    }
    file.write_all_at(&records, written).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    disk.sync_directory(directory).map_err(failed)?;
    let length = written + records.len() as u64;
    Ok(Compacted { number, length, index: moved, file: Current { path: path.clone(), file } })
}

impl Compacted {
    /// Puts the file in the place of the one before, once a checkpoint that speaks of it is safe.
    pub fn install(self, data: &DataFile, index: &Index) {
        data.replace(self.file, self.length, || self.index.for_each(|id, location| index.set(id, location)));
    }
}
