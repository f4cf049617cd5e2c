//! The bytes of a log record.
//!
//! `total_length u64 | transaction u64 | database u32 | place u32 | kind u8 | id u64 | payload_length u32 | payload |
//! crc32`, little endian; the total length counts itself and the checksum, the checksum covers all before it. The place is
//! [`location_checksum::checksum`] of the segment's number and the record's offset: a whole record of another place is noticed, and yet
//! is evidence that something was written after it.

use crate::location_checksum;

/// Bytes of a record before its payload.
pub const HEADER_BYTES: usize = 37;
/// Bytes of a record without payload.
pub const RECORD_BYTES_MIN: usize = HEADER_BYTES + 4;
const PLACE_AT: usize = 20;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A document was created; the payload is the document.
    Create = 0,
    /// A document was replaced; the payload is the document.
    Update = 2,
    /// A document was removed.
    Delete = 3,
    /// The transaction is complete.
    Commit = 4,
    /// The segment up to byte `id` was synced when this was written.
    Synced = 5,
    /// The first record of a segment; `id` is its number.
    Begin = 6,
}

impl RecordKind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete, Self::Commit, Self::Synced, Self::Begin]
            .into_iter()
            .find(|&kind| kind as u8 == code)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The transaction it belongs to; they count up within a database.
    pub transaction: u64,
    /// The database's number.
    pub database: u32,
    /// What it says.
    pub kind: RecordKind,
    /// The document's id, or what the kind says.
    pub id: u64,
    /// The document.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Appends the record's bytes but for place and checksum, which [`seal`] fills in.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let total = RECORD_BYTES_MIN + self.payload.len();
        to.reserve(total);
        to.extend_from_slice(&(total as u64).to_le_bytes());
        to.extend_from_slice(&self.transaction.to_le_bytes());
        to.extend_from_slice(&self.database.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.push(self.kind as u8);
        to.extend_from_slice(&self.id.to_le_bytes());
        to.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        to.extend_from_slice(self.payload);
        to.extend_from_slice(&[0; 4]);
    }
}

/// Fills in place and checksum of each of `records`, the first of which will be at byte `offset` of segment `segment`.
pub fn seal(records: &mut [u8], segment: u64, offset: u64) {
    let mut start = 0;
    while let Some(total) = u64_at(records, start) {
        let end = start + total as usize;
        let place = location_checksum::checksum(segment, offset + start as u64);
        records[start + PLACE_AT..start + PLACE_AT + 4].copy_from_slice(&place.to_le_bytes());
        let checksum = crc32fast::hash(&records[start..end - 4]);
        records[end - 4..end].copy_from_slice(&checksum.to_le_bytes());
        start = end;
    }
}

/// Whether the record that `bytes` begin with was sealed for byte `offset` of segment `segment`.
pub fn is_in_place(bytes: &[u8], segment: u64, offset: u64) -> bool {
    u32_at(bytes, PLACE_AT) == Some(location_checksum::checksum(segment, offset))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// The record that `bytes` begin with, and its length; `None` where they begin with no whole, undamaged record.
pub fn decode(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let total = usize::try_from(u64_at(bytes, 0)?).ok()?;
    let payload_length = u32_at(bytes, 33)? as usize;
    if total != RECORD_BYTES_MIN.checked_add(payload_length)? || total > bytes.len() {
        return None;
    }
    if u32_at(bytes, total - 4)? != crc32fast::hash(&bytes[..total - 4]) {
        return None;
    }
    let record = Record {
        transaction: u64_at(bytes, 8)?,
        database: u32_at(bytes, 16)?,
        kind: RecordKind::from_code(bytes[24])?,
        id: u64_at(bytes, 25)?,
        payload: &bytes[HEADER_BYTES..HEADER_BYTES + payload_length],
    };
    Some((record, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        let record = Record { transaction: 7, database: 1, kind: RecordKind::Create, id: 9, payload: b"{\"a\":1}" };
        record.encode(&mut bytes);
        seal(&mut bytes, 3, 500);
        assert_eq!(decode(&bytes), Some((record, bytes.len())));
        assert!(is_in_place(&bytes, 3, 500));
        assert!(!is_in_place(&bytes, 3, 501) && !is_in_place(&bytes, 4, 500));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
        }
    }
}
