//! PostgreSQL's binary COPY format, both ways, between Arrow batches and bytes.
//!
//! Format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format". A file starts with a signature, flags
//! and an extension length; a tuple is a field count (i16) and for each field its length (i32, −1 for NULL) and its
//! bytes in network order; −1 in place of a field count ends the file.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
    cast::AsArray as _,
    types,
};
use arrow_schema::SchemaRef;
use bytes::{BufMut as _, BytesMut};

use crate::{
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
};

/// Signature, flags and extension length.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of a file.
pub const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// Microseconds from 1970, where Arrow counts from, to 2000, where PostgreSQL does.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// The version byte before the text of a `jsonb`.
const JSONB_VERSION: u8 = 1;

/// A column whose type is known.
enum Values<'a> {
    Integer(&'a Int64Array),
    Float(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Text(&'a StringArray),
    Json(&'a StringArray),
}

impl<'a> Values<'a> {
    fn of(batch: &'a RecordBatch) -> Vec<Self> {
        batch
            .schema_ref()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| match ColumnType::of(field) {
                ColumnType::Integer => Self::Integer(column.as_primitive::<types::Int64Type>()),
                ColumnType::Float => Self::Float(column.as_primitive::<types::Float64Type>()),
                ColumnType::Boolean => Self::Boolean(column.as_boolean()),
                ColumnType::Timestamp => Self::Timestamp(column.as_primitive::<types::TimestampMicrosecondType>()),
                ColumnType::Text => Self::Text(column.as_string::<i32>()),
                ColumnType::Json => Self::Json(column.as_string::<i32>()),
            })
            .collect()
    }

    #[inline]
    fn put(&self, row: usize, out: &mut BytesMut) {
        let array: &dyn Array = match self {
            Self::Integer(array) => *array,
            Self::Float(array) => *array,
            Self::Boolean(array) => *array,
            Self::Timestamp(array) => *array,
            Self::Text(array) | Self::Json(array) => *array,
        };
        if array.is_null(row) {
            out.put_i32(-1);
            return;
        }
        match self {
            Self::Integer(array) => {
                out.put_i32(8);
                out.put_i64(array.value(row));
            }
            Self::Float(array) => {
                out.put_i32(8);
                out.put_f64(array.value(row));
            }
            Self::Boolean(array) => {
                out.put_i32(1);
                out.put_u8(u8::from(array.value(row)));
            }
            Self::Timestamp(array) => {
                out.put_i32(8);
                out.put_i64(array.value(row) - POSTGRES_EPOCH_US);
            }
            Self::Text(array) => {
                let text = array.value(row).as_bytes();
                out.put_i32(text.len() as i32);
                out.put_slice(text);
            }
            Self::Json(array) => {
                let text = array.value(row).as_bytes();
                out.put_i32(text.len() as i32 + 1);
                out.put_u8(JSONB_VERSION);
                out.put_slice(text);
            }
        }
    }
}

/// Appends the rows of `batch` as tuples.
pub fn encode(batch: &RecordBatch, out: &mut BytesMut) {
    let columns = Values::of(batch);
    for row in 0..batch.num_rows() {
        out.put_i16(columns.len() as i16);
        for column in &columns {
            column.put(row, out);
        }
    }
}

/// Appends the rows of `batch` in COPY's text format: tabs, newlines, `\N` for NULL.
pub fn encode_text(batch: &RecordBatch, out: &mut String) {
    use std::fmt::Write as _;
    let columns = Values::of(batch);
    // Writing to a string cannot fail.
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push('\t');
            }
            let _ = match column {
                Values::Integer(array) if array.is_valid(row) => write!(out, "{}", array.value(row)),
                Values::Float(array) if array.is_valid(row) => write!(out, "{}", array.value(row)),
                Values::Boolean(array) if array.is_valid(row) => {
                    write!(out, "{}", if array.value(row) { "t" } else { "f" })
                }
                Values::Timestamp(array) if array.is_valid(row) => write_moment(array.value(row), out),
                Values::Text(array) | Values::Json(array) if array.is_valid(row) => {
                    escape(array.value(row), out);
                    Ok(())
                }
                _ => write!(out, "\\N"),
            };
        }
        out.push('\n');
    }
}

/// `micros` since 1970 as a date and a time of UTC (days to date: Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
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

enum Column {
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Json(StringBuilder),
}

/// Reads tuples into batches. Bytes may come in pieces of any size.
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    rest: BytesMut,
    header_seen: bool,
    ended: bool,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("rows", &self.rows).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        let columns = ColumnType::all(&schema)
            .into_iter()
            .map(|kind| match kind {
                ColumnType::Integer => Column::Integer(Int64Builder::new()),
                ColumnType::Float => Column::Float(Float64Builder::new()),
                ColumnType::Boolean => Column::Boolean(BooleanBuilder::new()),
                ColumnType::Timestamp => Column::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
                ColumnType::Text => Column::Text(StringBuilder::new()),
                ColumnType::Json => Column::Json(StringBuilder::new()),
            })
            .collect();
        Self { schema, columns, rows: 0, rest: BytesMut::new(), header_seen: false, ended: false }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Rows that were read and not yet given out.
    pub fn rows(&self) -> usize {
        self.rows
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
        while self.rows < rows_max && !self.ended {
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
        if usize::try_from(count) != Ok(self.columns.len()) {
            return Err(malformed(&format!("a tuple has {count} fields, {} were expected", self.columns.len())));
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
        for column in &mut self.columns {
            let length = i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            at += 4;
            let value = usize::try_from(length).ok().map(|length| &bytes[at..at + length]);
            at += value.map_or(0, <[u8]>::len);
            column.append(value)?;
        }
        self.rows += 1;
        Ok(Some(end))
    }

    /// The rows so far as a batch.
    ///
    /// # Errors
    /// NULL in a column that has none.
    pub fn finish_batch(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|column| match column {
                Column::Integer(builder) => Arc::new(builder.finish()) as ArrayRef,
                Column::Float(builder) => Arc::new(builder.finish()),
                Column::Boolean(builder) => Arc::new(builder.finish()),
                Column::Timestamp(builder) => Arc::new(builder.finish()),
                Column::Text(builder) | Column::Json(builder) => Arc::new(builder.finish()),
            })
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| PipelineError::arrow("reading COPY data", &error))
    }
}

impl Column {
    #[inline]
    fn append(&mut self, value: Option<&[u8]>) -> Result<()> {
        let number = |value: &[u8]| value.try_into().map_err(|_| malformed("a number is not 8 bytes long"));
        match self {
            Self::Integer(builder) => builder.append_option(value.map(number).transpose()?.map(i64::from_be_bytes)),
            Self::Float(builder) => builder.append_option(value.map(number).transpose()?.map(f64::from_be_bytes)),
            Self::Timestamp(builder) => builder.append_option(
                value.map(number).transpose()?.map(|bytes| i64::from_be_bytes(bytes) + POSTGRES_EPOCH_US),
            ),
            Self::Boolean(builder) => builder.append_option(value.map(|bytes| bytes == [1])),
            Self::Text(builder) => builder.append_option(value.map(text).transpose()?),
            Self::Json(builder) => builder.append_option(match value {
                None => None,
                Some([JSONB_VERSION, json @ ..]) => Some(text(json)?),
                Some(_) => return Err(malformed("a jsonb value has an unknown version")),
            }),
        }
        Ok(())
    }
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
