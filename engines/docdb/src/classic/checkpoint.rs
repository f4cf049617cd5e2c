//! A checkpoint: the index of a database at the beginning of a log segment.
//!
//! `magic | database u32 | data file u32 | segment u64 | transaction u64 | data length u64 | count u64 | count × (id u64,
//! offset u64, length u32) | crc32`, little endian. The number of the data file is 0 until the first compaction: an engine
//! that knows of none reads both numbers as one of a database that there is not, and refuses the checkpoint. It takes its place by renaming: there is always a whole one or none. A database
//! that was ever opened has one, so its magic tells the version of data file and log as well.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;

use super::index::{Index, Location};
use crate::error::StoreError;

/// The file's name in the directory of its database.
pub const NAME: &str = "checkpoint";
const NEW_NAME: &str = "checkpoint.new";
const MAGIC: &[u8; 8] = b"UDOCCKP2";
/// Of the first version, whose records do not say whose they are.
const MAGIC_1: &[u8; 8] = b"UDOCCKP1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 20;
/// A segment's or transaction's number at most: those after it can be counted.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// What a checkpoint knows beside the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The database's number.
    pub database: u32,
    /// The number of the data file that the index is of.
    pub data_file: u32,
    /// The first segment whose records are not in the index.
    pub segment: u64,
    /// The next transaction's number.
    pub transaction: u64,
    /// The length of the data file that is synced.
    pub data_length: u64,
}

/// Writes a checkpoint in place of the one before.
///
/// # Errors
/// When it could not be written; the one before is then still there.
pub fn write(disk: &Arc<dyn Disk>, directory: &Path, checkpoint: Checkpoint, index: &Index) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + index.count() * ENTRY_BYTES + 4);
    bytes.extend_from_slice(MAGIC);
    let Checkpoint { database, data_file, segment, transaction, data_length } = checkpoint;
    for number in
        [u64::from(data_file) << 32 | u64::from(database), segment, transaction, data_length, index.count() as u64]
    {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    index.for_each(|id, location| {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&location.offset.to_le_bytes());
        bytes.extend_from_slice(&location.length.to_le_bytes());
    });
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());

    let (new, path) = (directory.join(NEW_NAME), directory.join(NAME));
    let failed = |error| StoreError::io("writing the checkpoint", &new, &error);
    let file = disk.open(&new, true).map_err(failed)?;
    file.set_length(0).map_err(failed)?;
    file.write_all_at(&bytes, 0).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    disk.rename(&new, &path).map_err(failed)?;
    disk.sync_directory(directory).map_err(failed)
}

/// Reads the checkpoint of `database` in `directory` into `index`; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    database: u32,
    index: &Index,
) -> Result<Option<Checkpoint>, StoreError> {
    let path = directory.join(NAME);
    let file = match disk.open(&path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("opening the checkpoint", &path, &error)),
    };
    let bytes = file.read_all().map_err(|error| StoreError::io("reading the checkpoint", &path, &error))?;
    match parse(&bytes, index) {
        Ok(found) if found.database == database => Ok(Some(found)),
        Ok(found) => {
            let what = format!("it is the checkpoint of database {}, not of {database}", found.database);
            Err(StoreError::corrupt(&path, 0, what))
        }
        Err(what) => Err(StoreError::corrupt(&path, 0, what)),
    }
}

/// Reads a checkpoint's bytes into `index`.
///
/// # Errors
/// What is wrong with them.
pub fn parse(bytes: &[u8], index: &Index) -> Result<Checkpoint, String> {
    let Some((body, checksum)) = bytes.split_last_chunk::<4>() else {
        return Err("the checkpoint is cut off".to_owned());
    };
    if body.starts_with(MAGIC_1) {
        return Err("the database was written in version 1 of its format, this engine reads version 2".to_owned());
    }
    if body.len() < HEADER_BYTES || &body[..8] != MAGIC {
        return Err("this is not a checkpoint of this format".to_owned());
    }
    if u32::from_le_bytes(*checksum) != crc32fast::hash(body) {
        return Err("the checkpoint does not have its checksum".to_owned());
    }
    let number = |at: usize| body[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let entries = &body[HEADER_BYTES..];
    if number(40).checked_mul(ENTRY_BYTES as u64) != Some(entries.len() as u64) {
        return Err(format!("the checkpoint says {} entries and holds {} bytes of them", number(40), entries.len()));
    }
    let (database, data_file) = (number(8) as u32, (number(8) >> 32) as u32);
    let [segment, transaction, data_length] = [number(16), number(24), number(32)];
    let checkpoint = Checkpoint { database, data_file, segment, transaction, data_length };
    if !(1..=NUMBER_MAX).contains(&checkpoint.segment) || checkpoint.transaction > NUMBER_MAX {
        return Err(format!("there is no segment {} or transaction {}", checkpoint.segment, checkpoint.transaction));
    }
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let number = |at: usize| entry[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let length = entry[16..20].try_into().map_or(0, u32::from_le_bytes);
        let location = Location { offset: number(8), length };
        if location.offset.checked_add(u64::from(length)).is_none_or(|end| end > checkpoint.data_length) {
            return Err(format!(
                "document {} is beyond the {} bytes of the data file",
                number(0),
                checkpoint.data_length
            ));
        }
        index.set(number(0), location);
    }
    Ok(checkpoint)
}
