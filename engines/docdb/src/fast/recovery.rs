//! Reading the log from its beginning: the index is what it says.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;

use super::{
    format::{self, Kind},
    index::{Index, Location},
    segments::Segments,
};
use crate::{error::StoreError, store::Recovery};

/// A segment's first group at most: what follows it can be counted.
const FIRST_GROUP_MAX: u64 = u64::MAX / 2;

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The number of the segment to make next.
    pub segment: u32,
    /// The number of the group to write next.
    pub group: u64,
}

/// Reads all segments in `directory` into `index` and `segments`.
///
/// # Errors
/// When a segment is missing, cannot be read, or holds bytes that are not what was written.
pub fn read(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    index: &Index,
    segments: &Segments,
) -> Result<(End, Recovery), StoreError> {
    let names = disk.list(directory).map_err(|error| StoreError::io("listing", directory, &error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| format::segment_number(name)).collect();
    numbers.sort_unstable();
    let mut recovery = Recovery::default();
    let mut next_group = None;
    for (position, &number) in numbers.iter().enumerate() {
        let path = directory.join(format::segment_name(number));
        if let Some(before) = position.checked_sub(1).map(|before| numbers[before])
            && number != before + 1
        {
            let missing = directory.join(format::segment_name(before + 1));
            return Err(StoreError::corrupt(&missing, 0, "the log segment is missing"));
        }
        let is_last = position + 1 == numbers.len();
        let failed = |error| StoreError::io("reading the log segment", &path, &error);
        let file = disk.open(&path, false).map_err(failed)?;
        let bytes = file.read_all().map_err(failed)?;
        if format::is_of_earlier_version(&bytes) {
            let what = "the log was written in version 1 of its format, this engine reads version 2";
            return Err(StoreError::corrupt(&path, 0, what));
        }
        let found = format::parse_segment_header(&bytes);
        let first_group = match found {
            Some((own, first))
                if own == u64::from(number)
                    && (1..=FIRST_GROUP_MAX).contains(&first)
                    && next_group.is_none_or(|next| next == first) =>
            {
                first
            }
            // A segment is synced with its header before anything follows.
            None if is_last && !format::has_later_group(&bytes, 0, 0) => {
                recovery.dropped_bytes += bytes.len() as u64;
                let group = next_group.unwrap_or(1);
                return Ok((End { segment: number, group }, finish(recovery, index)));
            }
            _ => return Err(StoreError::corrupt(&path, 0, "the segment's header is damaged or of another place")),
        };
        let segment = segments.add(number, Arc::clone(&file), 0);
        let mut group_number = first_group;
        let mut at = format::SEGMENT_HEADER_BYTES;
        while let Some(group) = format::read_group(&bytes, number, at).filter(|group| group.number == group_number) {
            for (record, start) in &group.records {
                if usize::from(record.database) >= index.databases() {
                    let what = format!("a record of database {}, which this store does not have", record.database);
                    return Err(StoreError::corrupt(&path, *start as u64, what));
                }
                let before = match record.kind {
                    Kind::Put => {
                        let length = format::RECORD_HEADER_BYTES + record.length as usize;
                        let Some(location) = Location::checked(number, *start, length) else {
                            let what = format!("a record of {length} bytes where none can be");
                            return Err(StoreError::corrupt(&path, *start as u64, what));
                        };
                        segments.note_live(number, location.bytes() as i64);
                        index.set(record.database, record.id, location)
                    }
                    Kind::Delete => index.remove(record.database, record.id),
                };
                if let Some(before) = before {
                    segments.note_live(before.segment(), -(before.bytes() as i64));
                }
            }
            recovery.records += group.records.len() as u64;
            group_number += 1;
            at = group.end;
        }
        if at < bytes.len() {
            // Zeros were there before any group: what is more than that is what is left of one.
            let rest = bytes[at..].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if rest > 0 && (!is_last || format::has_later_group(&bytes[..at + rest], at, group_number)) {
                return Err(StoreError::corrupt(&path, at as u64, "a group is damaged, later ones are there"));
            }
            recovery.dropped_bytes += rest as u64;
            file.set_length(at as u64).map_err(failed)?;
            file.sync_data().map_err(failed)?;
        }
        recovery.log_bytes += at as u64;
        segment.length.store(at as u64, std::sync::atomic::Ordering::Relaxed);
        next_group = Some(group_number);
    }
    let segment = numbers.last().map_or(1, |last| last + 1);
    Ok((End { segment, group: next_group.unwrap_or(1) }, finish(recovery, index)))
}

fn finish(recovery: Recovery, index: &Index) -> Recovery {
    Recovery { documents: index.count() as u64, ..recovery }
}
