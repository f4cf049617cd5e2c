//! The bytes of the log: segments of groups of records, little endian.
//!
//! - segment: `magic 8 bytes | segment u64 | first group u64 | crc32 u32 | 0 u32`, then groups;
//! - group: `magic u32 | body bytes u32 | group u64 | records u32 | crc32 u32`, then its records;
//! - record: `document bytes u32 | id u64 | database u16 | kind u8 | 0 u8 | crc32 u32`, then the document.
//!
//! A header's checksum covers the header before it; a record's covers its header before it and the document, and is
//! written down mixed with [`location_checksum::checksum`] of the segment's number and the record's offset, so that a whole record in
//! the place of another does not have it. Groups are
//! numbered without gaps over all segments, and a group is written only when the one before is synced: whole groups
//! after a damaged one prove that it was once whole.

use std::ops::Range;

use crate::location_checksum;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 32;
/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 24;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 20;

const SEGMENT_MAGIC: &[u8; 8] = b"UDOCLOG2";
/// Of the first version, whose records do not say where they stand.
const SEGMENT_MAGIC_1: &[u8; 8] = b"UDOCLOG1";
const GROUP_MAGIC: u32 = 0x4752_5055;

/// What a record does to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The id now has this document.
    Put = 1,
    /// The id has none.
    Delete = 2,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the document.
    pub length: u32,
    /// The document's id.
    pub id: u64,
    /// The database's number.
    pub database: u16,
    /// What it does.
    pub kind: Kind,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// The name of segment `number`.
pub fn segment_name(number: u32) -> String {
    format!("log-{number:08}.seg")
}

/// The number of the segment with this name.
pub fn segment_number(name: &str) -> Option<u32> {
    name.strip_prefix("log-")?.strip_suffix(".seg")?.parse().ok()
}

/// A segment's header.
pub fn segment_header(number: u32, first_group: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(SEGMENT_MAGIC);
    bytes[8..16].copy_from_slice(&u64::from(number).to_le_bytes());
    bytes[16..24].copy_from_slice(&first_group.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Number and first group of the segment that begins with `bytes`.
pub fn parse_segment_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let whole = &header[..8] == SEGMENT_MAGIC && u32_at(header, 24) == crc32fast::hash(&header[..24]);
    (whole && u32_at(header, 28) == 0).then(|| (u64_at(header, 8), u64_at(header, 16)))
}

/// Whether `bytes` begin a segment of an earlier version of the format.
pub fn is_of_earlier_version(bytes: &[u8]) -> bool {
    bytes.starts_with(SEGMENT_MAGIC_1)
}

/// Writes a group's header into the first bytes of `group`, whose body follows.
pub fn seal_group(group: &mut [u8], number: u64, records: u32) {
    let body = (group.len() - GROUP_HEADER_BYTES) as u32;
    group[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
    group[4..8].copy_from_slice(&body.to_le_bytes());
    group[8..16].copy_from_slice(&number.to_le_bytes());
    group[16..20].copy_from_slice(&records.to_le_bytes());
    let checksum = crc32fast::hash(&group[..20]);
    group[20..24].copy_from_slice(&checksum.to_le_bytes());
}

/// Number, records and body bytes of the group whose header `bytes` begin with.
pub fn parse_group_header(bytes: &[u8]) -> Option<(u64, u32, usize)> {
    let header = bytes.get(..GROUP_HEADER_BYTES)?;
    let whole = u32_at(header, 0) == GROUP_MAGIC && u32_at(header, 20) == crc32fast::hash(&header[..20]);
    whole.then(|| (u64_at(header, 8), u32_at(header, 16), u32_at(header, 4) as usize))
}

/// A record's header with its checksum, which [`set_place`] must be called for before it is written.
pub fn record_header(record: RecordHeader, document: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
    let mut bytes = [0; RECORD_HEADER_BYTES];
    bytes[..4].copy_from_slice(&record.length.to_le_bytes());
    bytes[4..12].copy_from_slice(&record.id.to_le_bytes());
    bytes[12..14].copy_from_slice(&record.database.to_le_bytes());
    bytes[14] = record.kind as u8;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..16]);
    hasher.update(document);
    bytes[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

/// Mixes the checksum of the record that `bytes` begin with with its place, byte `offset` of segment `segment`.
pub fn set_place(bytes: &mut [u8], segment: u32, offset: u64) {
    let checksum = u32_at(bytes, 16) ^ location_checksum::checksum(u64::from(segment), offset);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// The record that `bytes`, from byte `offset` of segment `segment`, begin with, and where in them its document is; `None`
/// where they begin with no whole record of this place.
pub fn parse_record(bytes: &[u8], segment: u32, offset: u64) -> Option<(RecordHeader, Range<usize>)> {
    let header = bytes.get(..RECORD_HEADER_BYTES)?;
    let length = u32_at(header, 0);
    let document = RECORD_HEADER_BYTES..RECORD_HEADER_BYTES.checked_add(length as usize)?;
    let text = bytes.get(document.clone())?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(text);
    if hasher.finalize() ^ location_checksum::checksum(u64::from(segment), offset) != u32_at(header, 16) {
        return None;
    }
    let kind = match header[14] {
        1 => Kind::Put,
        2 => Kind::Delete,
        _ => return None,
    };
    let database = u16::from_le_bytes([header[12], header[13]]);
    Some((RecordHeader { length, id: u64_at(header, 4), database, kind }, document))
}

/// A whole group: where its records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub number: u64,
    /// Each record's header and where it begins.
    pub records: Vec<(RecordHeader, usize)>,
    /// Where the group ends.
    pub end: usize,
}

/// Reads the group at byte `at` of segment `segment`; `None` where no whole group begins there.
pub fn read_group(bytes: &[u8], segment: u32, at: usize) -> Option<Group> {
    let (number, count, body) = parse_group_header(bytes.get(at..)?)?;
    let (mut position, end) = (at + GROUP_HEADER_BYTES, (at + GROUP_HEADER_BYTES).checked_add(body)?);
    let bytes = bytes.get(..end)?;
    let mut records = Vec::with_capacity((count as usize).min(body / RECORD_HEADER_BYTES));
    while position < end {
        let (record, document) = parse_record(&bytes[position..], segment, position as u64)?;
        records.push((record, position));
        position += document.end;
    }
    (records.len() == count as usize).then_some(Group { number, records, end })
}

/// Whether a whole header of a group later than `number` is somewhere after byte `from`.
pub fn has_later_group(bytes: &[u8], from: usize, number: u64) -> bool {
    (from..bytes.len().saturating_sub(GROUP_HEADER_BYTES - 1))
        .any(|at| parse_group_header(&bytes[at..]).is_some_and(|(found, ..)| found > number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Vec<u8> {
        let mut bytes = vec![0; GROUP_HEADER_BYTES];
        for (id, document) in [(1u64, b"{}".as_slice()), (2, b"[1,2]")] {
            let record = RecordHeader { length: document.len() as u32, id, database: 3, kind: Kind::Put };
            let start = bytes.len();
            bytes.extend_from_slice(&record_header(record, document));
            bytes.extend_from_slice(document);
            set_place(&mut bytes[start..], 5, start as u64);
        }
        seal_group(&mut bytes, 9, 2);
        bytes
    }

    #[test]
    fn every_flipped_bit_of_a_group_is_noticed() {
        let bytes = group();
        let found = read_group(&bytes, 5, 0).unwrap();
        assert_eq!(read_group(&bytes, 6, 0), None);
        assert_eq!(read_group(&[&[0], bytes.as_slice()].concat(), 5, 1), None);
        assert_eq!((found.number, found.records.len(), found.end), (9, 2, bytes.len()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_group(&flipped, 5, 0), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(read_group(&bytes[..length], 5, 0), None);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let bytes = segment_header(7, 40);
        assert_eq!(parse_segment_header(&bytes), Some((7, 40)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_segment_header(&flipped), None, "bit {bit}");
        }
    }
}
