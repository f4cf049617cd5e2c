//! Reading the log from its beginning: the index is what it says.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;

use super::{
    format::{self, Kind},
    index::{Index, Location},
    segments::{Segment, Segments},
};
use crate::{error::StoreError, store::Recovery};

/// A segment's first group at most: what follows it can be counted.
const FIRST_GROUP_MAX: u64 = u64::MAX / 2;

impl End {
    /// As text, with the oldest segment of the log, for the note of a close.
    pub fn describe(self, segments: &Segments) -> String {
        let oldest = segments.oldest().map_or_else(|| "none".to_owned(), |oldest| oldest.to_string());
        format!("oldest segment {oldest}, next segment {}, next group {}", self.segment, self.group)
    }
}

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
pub fn read(disk: &Arc<dyn Disk>, directory: &Path, index: &Index, segments: &Segments) -> Result<Found, StoreError> {
    let names = disk.list(directory).map_err(|error| StoreError::io("listing", directory, &error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| format::segment_number(name)).collect();
    numbers.sort_unstable();
    let mut recovery = Recovery::default();
    let mut next_group = None;
    let mut take_over = TakeOver::default();
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
                let end = End { segment: number, group: next_group.unwrap_or(1) };
                return Ok(Found::new(end, recovery, index, take_over));
            }
            _ => return Err(StoreError::corrupt(&path, 0, "the segment's header is damaged or of another place")),
        };
        let segment = segments.add(number, Arc::clone(&file), 0);
        let mut group_number = first_group;
        let mut at = format::SEGMENT_HEADER_BYTES;
        let mut newest_at = 0;
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
            newest_at = at;
            at = group.end;
        }
        if at < bytes.len() {
            // Zeros were there before any group: what is more than that is what is left of one.
            let rest = bytes[at..].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if rest > 0 && (!is_last || format::has_later_group(&bytes[..at + rest], at, group_number)) {
                return Err(StoreError::corrupt(&path, at as u64, "a group is damaged, later ones are there"));
            }
            recovery.dropped_bytes += rest as u64;
            take_over.cuts.push((Arc::clone(&segment), at as u64));
        }
        recovery.log_bytes += at as u64;
        segment.length.store(at as u64, std::sync::atomic::Ordering::Relaxed);
        next_group = Some(group_number);
        take_over.newest = Some(Newest { segment, at: newest_at as u64, bytes: bytes[newest_at..at].to_vec() });
    }
    let segment = numbers.last().map_or(1, |last| last.saturating_add(1));
    Ok(Found::new(End { segment, group: next_group.unwrap_or(1) }, recovery, index, take_over))
}

/// What was found.
pub struct Found {
    /// Where the log goes on.
    pub end: End,
    /// For the report.
    pub recovery: Recovery,
    /// What is to be done before it goes on.
    pub take_over: TakeOver,
}

impl Found {
    fn new(end: End, recovery: Recovery, index: &Index, take_over: TakeOver) -> Self {
        Self { end, recovery: Recovery { documents: index.count() as u64, ..recovery }, take_over }
    }
}

/// The newest group that is taken over, or the header of a segment without one.
struct Newest {
    segment: Arc<Segment>,
    at: u64,
    bytes: Vec<u8>,
}

/// What makes the log that was found one's own.
#[derive(Default)]
pub struct TakeOver {
    newest: Option<Newest>,
    /// Segments, and where what is behind their last group is cut off.
    cuts: Vec<(Arc<Segment>, u64)>,
}

impl TakeOver {
    /// Cuts off what is no group, and makes durable what is taken over: whoever wrote the newest group may have been killed
    /// before its sync, or its sync may have failed, and then no other sync writes it unless it is written again. What is
    /// before it was synced before it was written. The directory is [`Home::begin`](crate::home::Home::begin)'s.
    ///
    /// # Errors
    /// What the system says.
    pub fn carry_out(self) -> Result<(), StoreError> {
        for (segment, length) in self.cuts {
            let failed = |error| StoreError::io("cutting off what is no group from", &segment.path, &error);
            segment.file.set_length(length).map_err(failed)?;
            segment.file.sync_data().map_err(failed)?;
        }
        if let Some(Newest { segment, at, bytes }) = self.newest {
            let failed = |error| StoreError::io("making durable what was found in", &segment.path, &error);
            segment.file.write_all_at(&bytes, at).map_err(failed)?;
            segment.file.sync_data().map_err(failed)?;
        }
        Ok(())
    }
}
