//! Values of Arrow columns as parameters of statements, in PostgreSQL's binary form.

use std::error::Error;

use arrow_array::{Array, RecordBatch, cast::AsArray as _, types};
use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::profile::ColumnType;

/// Microseconds from 1970 to 2000.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A value that borrows from its batch.
#[derive(Debug)]
pub enum Parameter<'a> {
    /// NULL of any type.
    Null,
    /// `bigint`
    Integer(i64),
    /// `double precision`
    Float(f64),
    /// `boolean`
    Boolean(bool),
    /// `timestamptz`, from microseconds since 1970
    Timestamp(i64),
    /// `text`
    Text(&'a str),
    /// `jsonb`
    Json(&'a str),
}

impl<'a> Parameter<'a> {
    /// Appends all values of row `row`, column after column.
    pub fn append_row(batch: &'a RecordBatch, types: &[ColumnType], row: usize, out: &mut Vec<Self>) {
        for (kind, array) in types.iter().zip(batch.columns()) {
            if array.is_null(row) {
                out.push(Self::Null);
                continue;
            }
            out.push(match kind {
                ColumnType::Integer => Self::Integer(array.as_primitive::<types::Int64Type>().value(row)),
                ColumnType::Float => Self::Float(array.as_primitive::<types::Float64Type>().value(row)),
                ColumnType::Boolean => Self::Boolean(array.as_boolean().value(row)),
                ColumnType::Timestamp => {
                    Self::Timestamp(array.as_primitive::<types::TimestampMicrosecondType>().value(row))
                }
                ColumnType::Text => Self::Text(array.as_string::<i32>().value(row)),
                ColumnType::Json => Self::Json(array.as_string::<i32>().value(row)),
            });
        }
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Integer(value) => out.put_i64(*value),
            Self::Float(value) => out.put_f64(*value),
            Self::Boolean(value) => out.put_u8(u8::from(*value)),
            Self::Timestamp(micros) => out.put_i64(*micros - POSTGRES_EPOCH_US),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Json(text) => {
                out.put_u8(1);
                out.put_slice(text.as_bytes());
            }
        }
        Ok(IsNull::No)
    }

    /// The table's columns were made from the same types.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
