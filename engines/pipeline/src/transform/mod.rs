//! Transforms: what happens to a batch between source and destination.

mod loading;
mod native;
#[cfg(feature = "sql")]
mod sql;
#[cfg(not(feature = "wasm"))]
#[path = "no_wasm.rs"]
mod wasm;
#[cfg(feature = "wasm")]
mod wasm;

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_instrument::stage::StageClock;

#[cfg(feature = "sql")]
pub use self::sql::Sql;
#[cfg(not(feature = "wasm"))]
pub(crate) use self::wasm::missing;
pub use self::{
    loading::{Loading, MODULE},
    native::Native,
    wasm::{Connector, Wasm},
};
use crate::{error::Result, profile::timestamp_type, settings::Fault};

/// What happens to rows on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransformKind {
    /// Nothing.
    None,
    /// `id`, `created_at`, whether the id is even, and `created_at` in seconds.
    Project,
    /// All columns of every fifth row.
    Filter,
}

impl TransformKind {
    /// The schema of what comes out.
    pub fn schema(self, input: &SchemaRef) -> SchemaRef {
        match self {
            Self::None | Self::Filter => Arc::clone(input),
            Self::Project => Arc::new(Schema::new(vec![
                Field::new("id", DataType::Int64, false),
                Field::new("created_at", timestamp_type(), false),
                Field::new("parity", DataType::Utf8, false),
                Field::new("created_epoch", DataType::Float64, false),
            ])),
        }
    }

    /// The same as SQL of the module, over the table `input` in which moments are microseconds. A fault strikes at the row with `fault_id`.
    pub fn sql(self, input: &Schema, fault: Fault, fault_id: u64) -> String {
        let columns = match self {
            Self::None | Self::Filter => {
                input.fields().iter().map(|field| format!("\"{}\"", field.name())).collect::<Vec<_>>().join(", ")
            }
            Self::Project => "id, created_at, CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END, \
                              created_at / 1000000.0"
                .to_owned(),
        };
        let mut rules = Vec::new();
        match fault {
            Fault::TransformTrap => rules.push(format!("(id < {fault_id} OR trap())")),
            Fault::TransformLoop => rules.push(format!(
                "(id < {fault_id} OR (WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number) \
                 SELECT count(*) FROM number) > id)"
            )),
            _ => {}
        }
        if self == Self::Filter {
            rules.push("id % 5 = 0".to_owned());
        }
        let rule = if rules.is_empty() { String::new() } else { format!(" WHERE {}", rules.join(" AND ")) };
        format!("SELECT {columns} FROM input{rule}")
    }
}

/// A batch of `schema`. NULL in a column that has none is let through, for the destination to refuse with the name of the
/// column.
fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let refused = |(field, column): (&FieldRef, &ArrayRef)| !field.is_nullable() && column.null_count() > 0;
    let schema = if schema.fields().iter().zip(&columns).any(refused) {
        Arc::new(Schema::new(
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        ))
    } else {
        Arc::clone(schema)
    };
    RecordBatch::try_new(schema, columns)
}

/// One worker's transform.
pub trait Transform {
    /// The batch that comes of `batch`.
    ///
    /// # Errors
    /// A transform that refuses, traps, or takes too long.
    fn apply(&mut self, batch: &RecordBatch, clock: &mut StageClock) -> Result<RecordBatch>;
}
