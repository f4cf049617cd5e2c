//! Transforms by Arrow's arrays and kernels. Arithmetic and comparison are closures over an array: the crates that have
//! them as kernels take a minute and a half of CPU time to build, for two kernels.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray as _, types,
};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::{filter::filter_record_batch, zip::zip};
use uplift_instrument::stage::StageClock;

use super::{Transform, TransformKind, batch_of};
use crate::{
    error::{PipelineError, Result},
    stages,
};

/// Arrow's kernels.
#[derive(Debug)]
pub struct Native {
    kind: TransformKind,
    schema: SchemaRef,
}

impl Native {
    /// The transform `kind` on batches of `input`.
    pub fn new(kind: TransformKind, input: &SchemaRef) -> Self {
        Self { kind, schema: kind.schema(input) }
    }
}

impl Transform for Native {
    fn apply(&mut self, batch: &RecordBatch, clock: &mut StageClock) -> Result<RecordBatch> {
        clock.process(stages::TRANSFORM);
        self.transform(batch).map_err(|error| PipelineError::arrow("transforming a batch", &error))
    }
}

impl Native {
    /// The same without a clock.
    ///
    /// # Errors
    /// A batch without the columns `id` and `created_at`.
    pub fn transform(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        match self.kind {
            TransformKind::None => Ok(batch.clone()),
            TransformKind::Project => self.project(batch),
            TransformKind::Filter => filter_record_batch(batch, &divisible(&id(batch)?, 5)),
        }
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let id = id(batch)?;
        let even = divisible(&id, 2);
        let parity = zip(&even, &StringArray::new_scalar("even"), &StringArray::new_scalar("odd"))?;
        let created_at = column(batch, "created_at")?;
        let micros = created_at.as_primitive::<types::TimestampMicrosecondType>();
        let epoch: Float64Array = micros.unary(|micros| micros as f64 / 1e6);
        batch_of(&self.schema, vec![Arc::new(id), created_at, parity, Arc::new(epoch)])
    }
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    batch
        .column_by_name(name)
        .cloned()
        .ok_or_else(|| ArrowError::InvalidArgumentError(format!("the batch has no column `{name}`")))
}

fn id(batch: &RecordBatch) -> Result<Int64Array, ArrowError> {
    Ok(column(batch, "id")?.as_primitive::<types::Int64Type>().clone())
}

fn divisible(id: &Int64Array, divisor: i64) -> BooleanArray {
    BooleanArray::from_unary(id, |id| id % divisor == 0)
}
