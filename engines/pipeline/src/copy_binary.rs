//! PostgreSQL's binary COPY format, both ways, between Arrow batches and bytes.
//!
//! Format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format". A file starts with a signature, flags
//! and an extension length; a tuple is a field count (i16) and for each field its length (i32, −1 for NULL) and its
//! bytes in network order; −1 in place of a field count ends the file.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::{BufMut as _, BytesMut};

use crate::{
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
    value::{Builder, Columns, Value},
};

/// Signature, flags and extension length.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of a file.
pub const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// Microseconds from 1970, where Arrow counts from, to 2000, where PostgreSQL does.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// The version byte before the text of a `jsonb`.
const JSONB_VERSION: u8 = 1;

/// Appends the rows of `batch` as tuples.
pub fn encode(batch: &RecordBatch, out: &mut BytesMut) {
    let columns = Columns::of(batch);
    for row in 0..batch.num_rows() {
        out.put_i16(columns.width() as i16);
        for value in columns.row(row) {
            out.put_i32(field_bytes(value));
            put_field(value, out);
        }
    }
}

/// Bytes of a value as a field; −1 for NULL.
#[inline]
fn field_bytes(value: Value<'_>) -> i32 {
    match value {
        Value::Null => -1,
        Value::Integer(_) | Value::Float(_) | Value::Timestamp(_) => 8,
        Value::Boolean(_) => 1,
        Value::Text(text) => text.len() as i32,
        Value::Json(text) => text.len() as i32 + 1,
    }
}

/// Appends a value in PostgreSQL's binary form, without its length; nothing for NULL.
#[inline]
pub fn put_field(value: Value<'_>, out: &mut BytesMut) {
    match value {
        Value::Null => {}
        Value::Integer(value) => out.put_i64(value),
        Value::Float(value) => out.put_f64(value),
        Value::Boolean(value) => out.put_u8(u8::from(value)),
        Value::Timestamp(micros) => out.put_i64(micros - POSTGRES_EPOCH_US),
        Value::Text(text) => out.put_slice(text.as_bytes()),
        Value::Json(text) => {
            out.put_u8(JSONB_VERSION);
            out.put_slice(text.as_bytes());
        }
    }
}

/// Appends the rows of `batch` in COPY's text format: tabs, newlines, `\N` for NULL.
pub fn encode_text(batch: &RecordBatch, out: &mut String) {
    use std::fmt::Write as _;
    let columns = Columns::of(batch);
    // Writing to a string cannot fail.
    for row in 0..batch.num_rows() {
        for (index, value) in columns.row(row).enumerate() {
            if index > 0 {
                out.push('\t');
            }
            let _ = match value {
                Value::Null => write!(out, "\\N"),
                Value::Integer(value) => write!(out, "{value}"),
                Value::Float(value) => write!(out, "{value}"),
                Value::Boolean(value) => write!(out, "{}", if value { "t" } else { "f" }),
                Value::Timestamp(micros) => write_moment(micros, out),
                Value::Text(text) | Value::Json(text) => {
                    escape(text, out);
                    Ok(())
                }
            };
        }
        out.push('\n');
    }
}

/// `micros` since 1970 as a date and a time of UTC (days to date: Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`). Written out because PostgreSQL's range of years is wider than that of jiff or time.
fn write_moment(micros: i64, out: &mut String) -> std::fmt::Result {
    use std::fmt::Write as _;
    let (days, of_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    write!(
        out,
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{micros:06}+00",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn escape(text: &str, out: &mut String) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
}

/// Reads tuples into batches. Bytes may come in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    width: usize,
    batch: Builder,
    rest: BytesMut,
    header_seen: bool,
    ended: bool,
}

impl Decoder {
    /// A decoder for rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        let width = schema.fields().len();
        Self { width, batch: Builder::new(schema), rest: BytesMut::new(), header_seen: false, ended: false }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Rows that were read and not yet given out.
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }

    /// Whether the end of the file was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Reads whole tuples until there are `rows_max` rows or the bytes end.
    ///
    /// # Errors
    /// Bytes that are not of this format, or not of this schema.
    pub fn read(&mut self, rows_max: usize) -> Result<()> {
        let mut at = 0;
        if !self.header_seen {
            if self.rest.len() < HEADER.len() {
                return Ok(());
            }
            if self.rest[..11] != HEADER[..11] {
                return Err(malformed("the signature is missing"));
            }
            at = HEADER.len();
            self.header_seen = true;
        }
        while self.batch.rows() < rows_max && !self.ended {
            match self.tuple(at)? {
                Some(next) => at = next,
                None => break,
            }
        }
        let _ = self.rest.split_to(at);
        Ok(())
    }

    /// Reads the tuple at byte `start`; `None` where it is not complete yet.
    fn tuple(&mut self, start: usize) -> Result<Option<usize>> {
        let bytes = &self.rest[..];
        let Some(count) = bytes.get(start..start + 2) else { return Ok(None) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == -1 {
            self.ended = true;
            return Ok(Some(start + 2));
        }
        if usize::try_from(count) != Ok(self.width) {
            return Err(malformed(&format!("a tuple has {count} fields, {} were expected", self.width)));
        }
        // Whether the whole tuple is there comes first: a column must not get a value twice.
        let mut end = start + 2;
        for _ in 0..count {
            let Some(length) = bytes.get(end..end + 4) else { return Ok(None) };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            end += 4 + usize::try_from(length).unwrap_or(0);
        }
        if bytes.len() < end {
            return Ok(None);
        }
        let mut at = start + 2;
        self.batch.append(|_, kind| {
            let length = i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            at += 4;
            let Ok(length) = usize::try_from(length) else { return Ok(Value::Null) };
            let field = &bytes[at..at + length];
            at += length;
            value(kind, field)
        })?;
        Ok(Some(end))
    }

    /// The rows so far as a batch.
    ///
    /// # Errors
    /// NULL in a column that has none.
    pub fn finish_batch(&mut self) -> Result<RecordBatch> {
        self.batch.finish()
    }
}

/// The value of a field of a column of type `kind`.
#[inline]
fn value(kind: ColumnType, field: &[u8]) -> Result<Value<'_>> {
    let number = || field.try_into().map_err(|_| malformed("a number is not 8 bytes long"));
    Ok(match kind {
        ColumnType::Integer => Value::Integer(i64::from_be_bytes(number()?)),
        ColumnType::Float => Value::Float(f64::from_be_bytes(number()?)),
        ColumnType::Timestamp => Value::Timestamp(i64::from_be_bytes(number()?) + POSTGRES_EPOCH_US),
        ColumnType::Boolean => Value::Boolean(field == [1]),
        ColumnType::Text => Value::Text(text(field)?),
        ColumnType::Json => match field {
            [JSONB_VERSION, json @ ..] => Value::Json(text(json)?),
            _ => return Err(malformed("a jsonb value has an unknown version")),
        },
    })
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))
}

fn malformed(what: &str) -> PipelineError {
    PipelineError::new("reading COPY data", ErrorKind::Corrupt(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generator::Generator, profile::Profile};

    /// Every row of every profile comes back, whatever the pieces in which the bytes arrive.
    #[test]
    fn rows_come_back_from_pieces_of_any_size() {
        for profile in [Profile::Small, Profile::Medium, Profile::Large] {
            let generator = Generator::new(profile, 5);
            let batch = generator.batch(3, 2, 40, None).unwrap();
            let mut bytes = BytesMut::new();
            bytes.put_slice(&HEADER);
            encode(&batch, &mut bytes);
            bytes.put_slice(&TRAILER);
            for piece in [7, 1_000, usize::MAX] {
                let mut decoder = Decoder::new(profile.schema());
                for chunk in bytes.chunks(piece.min(bytes.len())) {
                    decoder.push(chunk);
                    decoder.read(usize::MAX).unwrap();
                }
                assert!(decoder.ended());
                assert_eq!(decoder.finish_batch().unwrap(), batch);
            }
        }
    }

    #[test]
    fn moments_are_written_as_dates() {
        let mut out = String::new();
        write_moment(1_735_689_600_000_000, &mut out).unwrap();
        write_moment(951_827_696_000_007, &mut out).unwrap();
        assert_eq!(out, "2025-01-01 00:00:00.000000+002000-02-29 12:34:56.000007+00");
    }
}
