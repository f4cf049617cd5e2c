//! The bytes of a log record.
//!
//! `total_length u64 | transaction u64 | database u64 | kind u8 | id u64 | payload_length u32 | payload | crc32`, little
//! endian; the total length counts itself and the checksum, the checksum covers all before it.

/// Bytes of a record before its payload.
pub const HEADER_BYTES: usize = 37;
/// Bytes of a record without payload.
pub const RECORD_BYTES_MIN: usize = HEADER_BYTES + 4;

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
    pub database: u64,
    /// What it says.
    pub kind: RecordKind,
    /// The document's id, or what the kind says.
    pub id: u64,
    /// The document.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Appends the record's bytes.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let start = to.len();
        let total = RECORD_BYTES_MIN + self.payload.len();
        to.reserve(total);
        to.extend_from_slice(&(total as u64).to_le_bytes());
        to.extend_from_slice(&self.transaction.to_le_bytes());
        to.extend_from_slice(&self.database.to_le_bytes());
        to.push(self.kind as u8);
        to.extend_from_slice(&self.id.to_le_bytes());
        to.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        to.extend_from_slice(self.payload);
        let checksum = crc32fast::hash(&to[start..]);
        to.extend_from_slice(&checksum.to_le_bytes());
    }
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
        database: u64_at(bytes, 16)?,
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
        assert_eq!(decode(&bytes), Some((record, bytes.len())));
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
