//! The form of a log record: one merged packet.
//!
//! Little endian: `magic u32 | table u8 | format u8 | zeros [u8; 2] | rows u32 | payload bytes u32 | sequence u64 |
//! crc32 u32 | payload`. The checksum covers everything before it and the payload. Sequence numbers begin at 1 and have no gaps.

use std::borrow::Cow;

use crc32fast::Hasher;

use super::json;
use crate::{
    row::{self, Table},
    settings::LogFormat,
};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 28;

/// The longest payload that is written, and that a reader believes a length of.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// "UPDR".
const MAGIC: u32 = u32::from_le_bytes(*b"UPDR");
const CRC_AT: usize = 24;

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The table of its rows.
    pub table: Table,
    /// How many rows.
    pub rows: u32,
    /// Its number.
    pub sequence: u64,
    /// How its rows are written.
    pub format: LogFormat,
    /// The rows as they are written.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The rows in the form of packets.
    pub fn rows_encoded(&self) -> Cow<'a, [u8]> {
        match self.format {
            LogFormat::Binary => Cow::Borrowed(self.payload),
            LogFormat::Json => Cow::Owned(json::decode(self.table, self.payload).unwrap_or_default()),
        }
    }

    /// Its length in the log, in bytes.
    pub const fn length(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The bytes end within the header.
    #[error("the header is cut short")]
    ShortHeader,
    /// It does not begin as a record does.
    #[error("it does not begin with a record's mark")]
    Mark,
    /// The length is one that is never written.
    #[error("the length cannot be")]
    Length,
    /// The bytes end within the payload.
    #[error("the payload is cut short")]
    ShortPayload,
    /// Header and payload are not those that were written.
    #[error("the checksum does not match")]
    Checksum,
    /// The checksum matches and the content cannot be.
    #[error("the rows are no rows of the table")]
    Rows,
    /// It is not the record that follows.
    #[error("the sequence number is not the next one")]
    Sequence,
}

/// Fills in the header of a record whose payload is `record[HEADER_BYTES..]`.
///
/// # Panics
/// Where the payload is longer than [`PAYLOAD_BYTES_MAX`] or there is no room for the header.
pub fn seal(record: &mut [u8], table: Table, format: LogFormat, rows: u32, sequence: u64) {
    let payload_bytes = record.len() - HEADER_BYTES;
    assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "a payload of {payload_bytes} bytes is never merged");
    record[..4].copy_from_slice(&MAGIC.to_le_bytes());
    record[4..8].copy_from_slice(&[table as u8, format.number(), 0, 0]);
    record[8..12].copy_from_slice(&rows.to_le_bytes());
    record[12..16].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    record[16..24].copy_from_slice(&sequence.to_le_bytes());
    let checksum = checksum(record);
    record[CRC_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(record: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&record[..CRC_AT]);
    hasher.update(&record[HEADER_BYTES..]);
    hasher.finalize()
}

/// The whole length of the record that begins with `header`, as the header says; not yet checked by the checksum.
///
/// # Errors
/// Bytes that cannot begin a record.
pub fn length(header: &[u8]) -> Result<usize, Flaw> {
    let header = header.get(..HEADER_BYTES).ok_or(Flaw::ShortHeader)?;
    if u32_at(header, 0) != MAGIC {
        return Err(Flaw::Mark);
    }
    let payload_bytes = u32_at(header, 12) as usize;
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Flaw::Length);
    }
    Ok(HEADER_BYTES + payload_bytes)
}

/// Reads the record at the beginning of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Record<'_>, Flaw> {
    let record = bytes.get(..length(bytes)?).ok_or(Flaw::ShortPayload)?;
    if checksum(record) != u32_at(record, CRC_AT) {
        return Err(Flaw::Checksum);
    }
    let (rows, payload) = (u32_at(record, 8), &record[HEADER_BYTES..]);
    let table = Table::from_number(record[4]).ok_or(Flaw::Rows)?;
    let format = LogFormat::from_number(record[5]).ok_or(Flaw::Rows)?;
    let fit = match format {
        LogFormat::Binary => row::rows_fit(table, payload, rows),
        LogFormat::Json => json::decode(table, payload).is_some_and(|payload| row::rows_fit(table, &payload, rows)),
    };
    if record[6..8] != [0; 2] || !fit {
        return Err(Flaw::Rows);
    }
    let sequence = u64::from_le_bytes(record[16..24].try_into().expect("the range has 8 bytes"));
    Ok(Record { table, rows, sequence, format, payload })
}

/// Whether a whole and sound record with a number above `sequence` begins anywhere in `bytes`: then what stands before
/// it is no torn end but damage in the middle.
pub fn holds_later_record(bytes: &[u8], sequence: u64) -> bool {
    let mark = MAGIC.to_le_bytes();
    (0..bytes.len().saturating_sub(HEADER_BYTES - 1))
        .any(|at| bytes[at..].starts_with(&mark) && parse(&bytes[at..]).is_ok_and(|record| record.sequence > sequence))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range has 4 bytes"))
}
