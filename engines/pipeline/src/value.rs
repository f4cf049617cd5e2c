//! Values of Arrow columns, row by row and in both directions: every format that rows are written in or read from is a
//! match on [`Value`], so that no format knows of Arrow's types.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, RecordBatch, StringArray,
    builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
    cast::AsArray as _,
    types,
};
use arrow_buffer::NullBuffer;
use arrow_schema::SchemaRef;

use crate::{
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
};

/// One value, which borrows from where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL of any type.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating point number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// Microseconds since 1970.
    Timestamp(i64),
    /// Text.
    Text(&'a str),
    /// Text that is JSON.
    Json(&'a str),
}

/// The columns of a batch, each with its type known.
#[derive(Debug)]
pub struct Columns<'a>(Vec<Column<'a>>);

#[derive(Debug)]
struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Integer(&'a [i64]),
    Float(&'a [f64]),
    Boolean(&'a BooleanArray),
    Timestamp(&'a [i64]),
    Text(&'a StringArray),
    Json(&'a StringArray),
}

impl<'a> Columns<'a> {
    /// The columns of `batch`.
    pub fn of(batch: &'a RecordBatch) -> Self {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
            let values = match ColumnType::of(field) {
                ColumnType::Integer => Values::Integer(column.as_primitive::<types::Int64Type>().values()),
                ColumnType::Float => Values::Float(column.as_primitive::<types::Float64Type>().values()),
                ColumnType::Boolean => Values::Boolean(column.as_boolean()),
                ColumnType::Timestamp => {
                    Values::Timestamp(column.as_primitive::<types::TimestampMicrosecondType>().values())
                }
                ColumnType::Text => Values::Text(column.as_string()),
                ColumnType::Json => Values::Json(column.as_string()),
            };
            Column { nulls: column.nulls(), values }
        });
        Self(columns.collect())
    }

    /// How many there are.
    pub fn width(&self) -> usize {
        self.0.len()
    }

    /// The values of row `row`, column after column.
    ///
    /// # Panics
    /// Where the batch has no such row.
    #[inline]
    pub fn row(&self, row: usize) -> impl Iterator<Item = Value<'a>> {
        self.0.iter().map(move |column| column.get(row))
    }
}

impl<'a> Column<'a> {
    #[inline]
    fn get(&self, row: usize) -> Value<'a> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return Value::Null;
        }
        match self.values {
            Values::Integer(values) => Value::Integer(values[row]),
            Values::Float(values) => Value::Float(values[row]),
            Values::Boolean(values) => Value::Boolean(values.value(row)),
            Values::Timestamp(values) => Value::Timestamp(values[row]),
            Values::Text(values) => Value::Text(values.value(row)),
            Values::Json(values) => Value::Json(values.value(row)),
        }
    }
}

/// A batch that grows value by value.
#[derive(Debug)]
pub struct Builder {
    schema: SchemaRef,
    kinds: Vec<ColumnType>,
    columns: Vec<Growing>,
    rows: usize,
}

#[derive(Debug)]
enum Growing {
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

impl Builder {
    /// An empty batch of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        let kinds = ColumnType::all(&schema);
        let columns = kinds
            .iter()
            .map(|kind| match kind {
                ColumnType::Integer => Growing::Integer(Int64Builder::new()),
                ColumnType::Float => Growing::Float(Float64Builder::new()),
                ColumnType::Boolean => Growing::Boolean(BooleanBuilder::new()),
                ColumnType::Timestamp => Growing::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
                ColumnType::Text | ColumnType::Json => Growing::Text(StringBuilder::new()),
            })
            .collect();
        Self { schema, kinds, columns, rows: 0 }
    }

    /// Whole rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row, whose values `value` makes from the number and the type of each column.
    ///
    /// # Errors
    /// What `value` says, and a value that is not of its column's type.
    #[inline]
    pub fn append<'v>(&mut self, mut value: impl FnMut(usize, ColumnType) -> Result<Value<'v>>) -> Result<()> {
        for (index, (column, kind)) in self.columns.iter_mut().zip(&self.kinds).enumerate() {
            match (column, value(index, *kind)?) {
                (Growing::Integer(column), Value::Integer(value)) => column.append_value(value),
                (Growing::Integer(column), Value::Null) => column.append_null(),
                (Growing::Float(column), Value::Float(value)) => column.append_value(value),
                (Growing::Float(column), Value::Null) => column.append_null(),
                (Growing::Boolean(column), Value::Boolean(value)) => column.append_value(value),
                (Growing::Boolean(column), Value::Null) => column.append_null(),
                (Growing::Timestamp(column), Value::Timestamp(value)) => column.append_value(value),
                (Growing::Timestamp(column), Value::Null) => column.append_null(),
                (Growing::Text(column), Value::Text(text) | Value::Json(text)) => column.append_value(text),
                (Growing::Text(column), Value::Null) => column.append_null(),
                (_, other) => {
                    let name = self.schema.field(index).name();
                    let message = format!("column `{name}` is of type {kind:?}, its value is {other:?}");
                    return Err(PipelineError::new("reading rows", ErrorKind::Corrupt(message)));
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows so far as a batch; the next one begins.
    ///
    /// # Errors
    /// NULL in a column that has none.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|column| match column {
                Growing::Integer(column) => Arc::new(column.finish()) as ArrayRef,
                Growing::Float(column) => Arc::new(column.finish()),
                Growing::Boolean(column) => Arc::new(column.finish()),
                Growing::Timestamp(column) => Arc::new(column.finish()),
                Growing::Text(column) => Arc::new(column.finish()),
            })
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| PipelineError::arrow("reading rows", &error))
    }
}
