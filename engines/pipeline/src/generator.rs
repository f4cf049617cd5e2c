//! Deterministic rows: row `id` of a seed is the same whoever makes it, in whichever batch.
//!
//! Texts are slices of one pool of random words, so that making a row costs little more than copying it.

use std::{fmt::Write as _, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
};
use arrow_schema::SchemaRef;
use uplift_model::seed::client_seed;

use crate::{
    error::{PipelineError, Result},
    profile::{Column, Content, Profile},
};

/// Bytes of the pool of words: large enough that a frame seldom holds the same slice twice.
const POOL_BYTES: usize = 8 << 20;
/// Microseconds from 1970 to 2025.
const YEAR_START_US: i64 = 1_735_689_600_000_000;
/// Microseconds of 2025.
const YEAR_US: u64 = 365 * 86_400 * 1_000_000;
/// The column of this number gets a NULL where it must not have one, when a row is poisoned.
pub const POISONED_COLUMN: usize = 1;
/// Bytes of a JSON document around its text, about.
const JSON_FRAME_BYTES: usize = 48;

/// Makes the rows of one seed.
#[derive(Debug)]
pub struct Generator {
    profile: Profile,
    schema: SchemaRef,
    poisoned_schema: SchemaRef,
    seed: u64,
    pool: String,
}

impl Generator {
    /// A generator for `profile`.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let schema = profile.schema();
        let poisoned_schema = Arc::new(arrow_schema::Schema::new(
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        ));
        Self { profile, schema, poisoned_schema, seed, pool: words(seed, POOL_BYTES) }
    }

    /// The schema of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows `first`, `first + step`, …, `rows` of them. Row `poisoned`, where it is among them, has NULL in the
    /// column [`POISONED_COLUMN`], which the destination refuses.
    ///
    /// # Errors
    /// Never with the profiles there are; Arrow checks the lengths of columns.
    pub fn batch(&self, first: u64, step: u64, rows: u64, poisoned: Option<u64>) -> Result<RecordBatch> {
        let ids = (0..rows).map(|row| first + row * step);
        let poisoned =
            poisoned.filter(|id| *id >= first && (id - first).is_multiple_of(step) && (id - first) / step < rows);
        let columns = self
            .profile
            .columns()
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let poisoned = poisoned.filter(|_| index == POISONED_COLUMN);
                self.column(column, index as u64, ids.clone(), rows as usize, poisoned)
            })
            .collect();
        let schema = if poisoned.is_some() { &self.poisoned_schema } else { &self.schema };
        RecordBatch::try_new(Arc::clone(schema), columns)
            .map_err(|error| PipelineError::arrow("generating a batch", &error))
    }

    fn column(
        &self,
        column: &Column,
        index: u64,
        ids: impl Iterator<Item = u64>,
        rows: usize,
        poisoned: Option<u64>,
    ) -> ArrayRef {
        // One number of each row and column; its lowest bits decide about NULL, the others about the value.
        let draws = ids.map(|id| {
            let draw = client_seed(self.seed ^ (index << 56), id as usize);
            let null = (column.nullable && draw & 15 == 0) || poisoned == Some(id);
            (id, (!null).then_some(draw >> 4))
        });
        match column.content {
            Content::Id | Content::Integer => {
                let mut builder = Int64Builder::with_capacity(rows);
                for (id, draw) in draws {
                    let own = column.content == Content::Id;
                    builder.append_option(draw.map(|draw| if own { id as i64 } else { (draw % 1_000_000) as i64 }));
                }
                Arc::new(builder.finish())
            }
            Content::Float => {
                let mut builder = Float64Builder::with_capacity(rows);
                for (_, draw) in draws {
                    builder.append_option(draw.map(|draw| (draw % 1_000_000) as f64 / 100.0));
                }
                Arc::new(builder.finish())
            }
            Content::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(rows);
                for (_, draw) in draws {
                    builder.append_option(draw.map(|draw| draw & 1 == 1));
                }
                Arc::new(builder.finish())
            }
            Content::Timestamp => {
                let mut builder = TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC");
                for (_, draw) in draws {
                    builder.append_option(draw.map(|draw| YEAR_START_US + (draw % YEAR_US) as i64));
                }
                Arc::new(builder.finish())
            }
            Content::Text(mean) => {
                let mut builder = StringBuilder::with_capacity(rows, rows * (mean + mean / 4));
                for (_, draw) in draws {
                    builder.append_option(draw.map(|draw| self.slice(draw, mean)));
                }
                Arc::new(builder.finish())
            }
            Content::Json(mean) => {
                let mut builder = StringBuilder::with_capacity(rows, rows * (mean + mean / 4 + JSON_FRAME_BYTES));
                for (id, draw) in draws {
                    match draw {
                        None => builder.append_null(),
                        Some(draw) => {
                            let text = self.slice(draw, mean - JSON_FRAME_BYTES);
                            // Keys in the order of jsonb: shorter first, then by bytes. Writing to memory cannot fail.
                            let _ = write!(builder, r#"{{"id": {id}, "kind": "event", "text": "{text}"}}"#);
                            builder.append_value("");
                        }
                    }
                }
                Arc::new(builder.finish())
            }
        }
    }

    /// A slice of the pool whose length lies within a quarter of `mean`.
    fn slice(&self, draw: u64, mean: usize) -> &str {
        let spread = mean / 2 + 1;
        let length = mean - mean / 4 + (draw as usize) % spread;
        let start = (draw >> 20) as usize % (self.pool.len() - length);
        &self.pool[start..start + length]
    }
}

/// `bytes` bytes of lower-case words, which are plain ASCII without quotes and backslashes.
fn words(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut number = 0;
    while text.len() < bytes {
        let mut draw = client_seed(seed ^ 0x776f_7264, number);
        number += 1;
        // Squaring makes the frequent letters much more frequent, as in a language.
        for _ in 0..2 + draw % 8 {
            draw = draw.rotate_left(9).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let uniform = (draw >> 40) as f64 / f64::from(1 << 24);
            text.push(char::from(b"etaoinshrdlucmfwypvbgkjqxz"[(uniform * uniform * 26.0) as usize]));
        }
        text.push(' ');
    }
    text
}
