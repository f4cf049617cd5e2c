//! An order-free checksum of rows: the sum of a hash of each row.
//!
//! Equal multisets of rows have equal checksums; a lost, doubled or changed row changes the sum but for one chance in
//! 2^64. Partitions may be added up in any order, which is why it is a sum.

use std::ops::AddAssign;

use arrow_array::{Array, RecordBatch, cast::AsArray as _, types};
use xxhash_rust::xxh3::xxh3_64;

use crate::profile::ColumnType;

/// What stands in for NULL.
const NULL: u64 = 0x9ae1_6a3b_2f90_404f;

/// A number of rows, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Rows.
    pub rows: u64,
    /// Sum of their hashes, modulo 2^64.
    pub sum: u64,
}

impl AddAssign for Checksum {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Mixes the hash of a row's next column into that of its columns so far. Not commutative, so that swapped columns show
/// (the multiply-and-fold step of wyhash).
#[inline]
fn mix(row: u64, value: u64) -> u64 {
    let product = u128::from(row ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(value ^ 0x8bb8_4b93_962e_acc9);
    (product as u64) ^ ((product >> 64) as u64) ^ row.rotate_left(23)
}

impl Checksum {
    /// The checksum of the rows of `batch`.
    pub fn of(batch: &RecordBatch) -> Self {
        let rows = batch.num_rows();
        let mut hashes = vec![0u64; rows];
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            match ColumnType::of(field) {
                ColumnType::Integer => {
                    let values = column.as_primitive::<types::Int64Type>().values();
                    fold(&mut hashes, column.as_ref(), |row| values[row] as u64);
                }
                ColumnType::Timestamp => {
                    let values = column.as_primitive::<types::TimestampMicrosecondType>().values();
                    fold(&mut hashes, column.as_ref(), |row| values[row] as u64);
                }
                ColumnType::Float => {
                    let values = column.as_primitive::<types::Float64Type>().values();
                    fold(&mut hashes, column.as_ref(), |row| values[row].to_bits());
                }
                ColumnType::Boolean => {
                    let values = column.as_boolean().values();
                    fold(&mut hashes, column.as_ref(), |row| u64::from(values.value(row)));
                }
                ColumnType::Text | ColumnType::Json => {
                    let values = column.as_string::<i32>();
                    fold(&mut hashes, column.as_ref(), |row| xxh3_64(values.value(row).as_bytes()));
                }
            }
        }
        Self { rows: rows as u64, sum: hashes.into_iter().fold(0, u64::wrapping_add) }
    }
}

#[inline]
fn fold(hashes: &mut [u64], column: &dyn Array, hash: impl Fn(usize) -> u64) {
    match column.nulls() {
        None => {
            for (row, so_far) in hashes.iter_mut().enumerate() {
                *so_far = mix(*so_far, hash(row));
            }
        }
        Some(nulls) => {
            for (row, so_far) in hashes.iter_mut().enumerate() {
                *so_far = mix(*so_far, if nulls.is_valid(row) { hash(row) } else { NULL });
            }
        }
    }
}

/// Bytes of the values of `batch`: 8 for a number or moment, 1 for a boolean, the text's length for texts, 0 for NULL.
pub fn value_bytes(batch: &RecordBatch) -> u64 {
    batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| match ColumnType::of(field) {
            ColumnType::Integer | ColumnType::Float | ColumnType::Timestamp => {
                8 * (column.len() - column.null_count()) as u64
            }
            ColumnType::Boolean => (column.len() - column.null_count()) as u64,
            ColumnType::Text | ColumnType::Json => {
                let offsets = column.as_string::<i32>().value_offsets();
                (offsets[offsets.len() - 1] - offsets[0]) as u64
            }
        })
        .sum()
}
