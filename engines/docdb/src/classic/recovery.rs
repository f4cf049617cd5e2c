//! Reading a database's log from its checkpoint to its end.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;

use super::{
    record::{self, Record, RecordKind},
    wal::{self, Evidence},
};
use crate::error::StoreError;

/// A log that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The number of the newest segment that was found; 0 where there was none.
    pub newest_segment: u64,
    /// Where its whole records end; 0 where it was not read.
    pub newest_bytes: u64,
    /// The number after that of the newest transaction.
    pub next_transaction: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes at the end that were never completed.
    pub dropped_bytes: u64,
}

/// Reads all segments from `first` on and calls `apply` with each committed write, in order.
///
/// # Errors
/// When a segment is missing, cannot be read, or holds bytes that are not what was written; and what `apply` says.
pub fn replay(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    database: u32,
    first: u64,
    mut apply: impl FnMut(Record<'_>) -> Result<(), StoreError>,
) -> Result<Replay, StoreError> {
    let names = disk.list(directory).map_err(|error| StoreError::io("listing", directory, &error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| wal::segment_number(name)).collect();
    numbers.sort_unstable();
    let mut replay = Replay { newest_segment: numbers.last().copied().unwrap_or(0), ..Replay::default() };
    let numbers: Vec<u64> = numbers.into_iter().filter(|&number| number >= first).collect();
    for (position, &number) in numbers.iter().enumerate() {
        let expected = first.saturating_add(position as u64);
        if number != expected {
            let path = directory.join(wal::segment_name(expected));
            return Err(StoreError::corrupt(&path, 0, "the log segment is missing"));
        }
        let path = directory.join(wal::segment_name(number));
        let failed = |error| StoreError::io("reading the log segment", &path, &error);
        let bytes = disk.open(&path, false).and_then(|file| file.read_all()).map_err(failed)?;
        let is_last = position + 1 == numbers.len();
        let end = read_segment(&bytes, &path, database, number, is_last, &mut replay, &mut apply)?;
        replay.bytes += end as u64;
        replay.newest_bytes = end as u64;
        replay.dropped_bytes += (bytes.len() - end) as u64;
    }
    Ok(replay)
}

/// Reads one segment; returns where its whole records end.
fn read_segment(
    bytes: &[u8],
    path: &Path,
    database: u32,
    number: u64,
    is_last: bool,
    replay: &mut Replay,
    apply: &mut impl FnMut(Record<'_>) -> Result<(), StoreError>,
) -> Result<usize, StoreError> {
    let Some((begin, mut position)) = record::decode(bytes) else {
        // A segment is synced with its first record before anything follows it.
        return if is_last && next_record(bytes, 0).is_none() {
            Ok(0)
        } else {
            Err(StoreError::corrupt(path, 0, "the segment does not begin with its first record"))
        };
    };
    let evidence = begin.payload.first().and_then(|&code| Evidence::from_code(code));
    let (RecordKind::Begin, true, true, Some(evidence)) =
        (begin.kind, begin.id == number && record::is_in_place(bytes, number, 0), begin.database == database, evidence)
    else {
        return Err(StoreError::corrupt(path, 0, "the segment belongs to another log or place"));
    };
    let mut open: Option<(Record<'_>, usize)> = None;
    while let Some((found, length)) = record::decode(&bytes[position..]) {
        if found.database != database || !record::is_in_place(&bytes[position..], number, position as u64) {
            return Err(StoreError::corrupt(path, position as u64, "a record of another place"));
        }
        replay.records += 1;
        let next = position + length;
        match found.kind {
            RecordKind::Create | RecordKind::Update | RecordKind::Delete => open = Some((found, position)),
            RecordKind::Commit => {
                let Some((write, _)) = open.take().filter(|(write, _)| write.transaction == found.transaction) else {
                    return Err(StoreError::corrupt(path, position as u64, "a commit without its write"));
                };
                apply(write)?;
                replay.next_transaction = replay.next_transaction.max(found.transaction.saturating_add(1));
            }
            RecordKind::Synced => {}
            RecordKind::Begin => return Err(StoreError::corrupt(path, position as u64, "a second beginning")),
        }
        position = next;
    }
    if position < bytes.len() {
        let cut_off = match evidence {
            Evidence::EachRecord => next_record(bytes, position).is_none(),
            Evidence::Batches => !synced_beyond(bytes, position),
            Evidence::Nothing => true,
        };
        if !cut_off || !is_last {
            return Err(StoreError::corrupt(path, position as u64, "a record is damaged, later ones are there"));
        }
    } else if !is_last && open.is_some() {
        return Err(StoreError::corrupt(path, position as u64, "the segment ends before a commit"));
    }
    Ok(position)
}

/// The first whole record after byte `from`.
fn next_record(bytes: &[u8], from: usize) -> Option<(Record<'_>, usize)> {
    (from + 1..bytes.len()).find_map(|at| record::decode(&bytes[at..]).map(|(found, _)| (found, at)))
}

/// Whether a batch after byte `from` says that bytes beyond it were synced before it was written.
fn synced_beyond(bytes: &[u8], from: usize) -> bool {
    let mut at = from;
    while let Some((found, place)) = next_record(bytes, at) {
        if found.kind == RecordKind::Synced && found.id > from as u64 {
            return true;
        }
        at = place;
    }
    false
}
