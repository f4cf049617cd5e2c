//! Transforms by DataFusion: SQL over the batch, which is the table `input`.
//!
//! DataFusion brings an Arrow of its own, of another version than the pipeline's. Batches cross between the two by Arrow's
//! C data interface, whose structures are the same in every version: buffers change hands, nothing is copied. What that
//! costs is part of the transform.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array as _, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{Schema, SchemaRef};
use datafusion::{
    arrow::{array as there, compute::concat_batches, datatypes as there_types},
    catalog::streaming::StreamingTable,
    datasource::MemTable,
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, collect, stream::RecordBatchStreamAdapter, streaming::PartitionStream},
    prelude::{SessionConfig, SessionContext},
};
use datafusion_arrow_array::ffi as there_ffi;
use futures_util::stream;
use tokio::runtime::Runtime;
use uplift_instrument::stage::StageClock;

use super::{Transform, TransformKind, batch_of};
use crate::{
    error::{ErrorKind, PipelineError, Result},
    settings::SqlPlan,
    stages,
};

/// The table that a batch is.
const TABLE: &str = "input";

/// One worker's session with DataFusion.
pub struct Sql {
    runtime: Runtime,
    context: SessionContext,
    statement: String,
    /// Schema of the table. Every column may be NULL: a row with NULL where there must be none is for the destination to
    /// refuse, with the name of the column.
    input: there_types::SchemaRef,
    schema: SchemaRef,
    /// The plan and where it finds its batch; `None`: each batch is planned for.
    planned: Option<(Arc<dyn ExecutionPlan>, Arc<Slot>)>,
}

impl Sql {
    /// A session that carries out `kind` on batches of `input` of up to `batch_rows` rows.
    ///
    /// # Errors
    /// A statement that DataFusion refuses.
    pub fn new(
        kind: TransformKind,
        input: &SchemaRef,
        batch_rows: u32,
        plan: SqlPlan,
        clock: &mut StageClock,
    ) -> Result<Self> {
        clock.process(stages::PLAN);
        let context = "planning the transform";
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| PipelineError::io("starting the runtime of the transform", &error))?;
        // One partition: the pipeline's own are its parallelism, and a plan without exchanges can be carried out again.
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(batch_rows as usize);
        let mut sql = Self {
            runtime,
            context: SessionContext::new_with_config(config),
            statement: statement(kind, input),
            input: schema_there(input).map_err(refused(context))?,
            schema: kind.schema(input),
            planned: None,
        };
        if plan == SqlPlan::Once {
            let slot = Arc::new(Slot { schema: Arc::clone(&sql.input), batch: Mutex::default() });
            sql.planned = Some((sql.plan(&slot).map_err(refused(context))?, slot));
        }
        clock.leave();
        Ok(sql)
    }

    fn plan(&self, slot: &Arc<Slot>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let partition = Arc::clone(slot) as Arc<dyn PartitionStream>;
        let table = StreamingTable::try_new(Arc::clone(&self.input), vec![partition])?;
        self.context.register_table(TABLE, Arc::new(table))?;
        self.runtime.block_on(async { self.context.sql(&self.statement).await?.create_physical_plan().await })
    }

    fn execute(&self, batch: there::RecordBatch, clock: &mut StageClock) -> DataFusionResult<there::RecordBatch> {
        let plan = match &self.planned {
            Some((plan, slot)) => {
                *slot.batch.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch);
                Arc::clone(plan)
            }
            None => {
                clock.process(stages::PLAN);
                self.context.deregister_table(TABLE)?;
                let table = MemTable::try_new(Arc::clone(&self.input), vec![vec![batch]])?;
                self.context.register_table(TABLE, Arc::new(table))?;
                let planning = async { self.context.sql(&self.statement).await?.create_physical_plan().await };
                let plan = self.runtime.block_on(planning)?;
                clock.process(stages::TRANSFORM);
                plan
            }
        };
        let schema = plan.schema();
        let batches = self.runtime.block_on(collect(plan, self.context.task_ctx()))?;
        Ok(concat_batches(&schema, &batches)?)
    }
}

impl Transform for Sql {
    fn apply(&mut self, batch: &RecordBatch, clock: &mut StageClock) -> Result<RecordBatch> {
        clock.process(stages::TRANSFORM);
        let context = "transforming a batch";
        let batch = batch_there(batch, &self.input).map_err(refused(context))?;
        let result = self.execute(batch, clock).map_err(refused(context))?;
        let columns = columns_here(result).map_err(refused(context))?;
        batch_of(&self.schema, columns).map_err(|error| PipelineError::arrow("reading the transform's result", &error))
    }
}

fn refused(context: &'static str) -> impl Fn(DataFusionError) -> PipelineError {
    move |error| PipelineError::new(context, ErrorKind::Transform(error.to_string()))
}

/// The transform in SQL as DataFusion has it.
fn statement(kind: TransformKind, input: &Schema) -> String {
    let all = || input.fields().iter().map(|field| format!("\"{}\"", field.name())).collect::<Vec<_>>().join(", ");
    match kind {
        TransformKind::None => format!("SELECT {} FROM {TABLE}", all()),
        TransformKind::Project => format!(
            "SELECT id, created_at, CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END AS parity, \
             EXTRACT(EPOCH FROM created_at) AS created_epoch FROM {TABLE}"
        ),
        TransformKind::Filter => format!("SELECT {} FROM {TABLE} WHERE id % 5 = 0", all()),
    }
}

/// Holds the batch that the next execution of a plan reads.
#[derive(Debug)]
struct Slot {
    schema: there_types::SchemaRef,
    batch: Mutex<Option<there::RecordBatch>>,
}

impl PartitionStream for Slot {
    fn schema(&self) -> &there_types::SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batch.map(Ok))))
    }
}

fn crossing(error: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Execution(format!("a batch did not cross between the versions of Arrow: {error}"))
}

/// A schema of ours as DataFusion's, with every column nullable.
fn schema_there(schema: &Schema) -> DataFusionResult<there_types::SchemaRef> {
    let mut exported = arrow_array::ffi::FFI_ArrowSchema::try_from(schema).map_err(crossing)?;
    // SAFETY: the C data interface fixes the layout of the structure, which is thus the same in both versions; `from_raw`
    // takes what it owns and leaves an empty one.
    let imported = unsafe { there_ffi::FFI_ArrowSchema::from_raw((&raw mut exported).cast()) };
    let schema = there_types::Schema::try_from(&imported)?;
    Ok(Arc::new(there_types::Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    )))
}

/// A batch of ours as DataFusion's, of `schema`.
fn batch_there(batch: &RecordBatch, schema: &there_types::SchemaRef) -> DataFusionResult<there::RecordBatch> {
    let columns = StructArray::from(batch.clone()).to_data();
    let (mut array, mut kind) = arrow_array::ffi::to_ffi(&columns).map_err(crossing)?;
    // SAFETY: as in `schema_there`; both structures describe the same array, whose buffers live until its release.
    let imported = unsafe {
        let array = there_ffi::FFI_ArrowArray::from_raw((&raw mut array).cast());
        let kind = there_ffi::FFI_ArrowSchema::from_raw((&raw mut kind).cast());
        there_ffi::from_ffi(array, &kind)?
    };
    let (_, columns, _) = there::StructArray::from(imported).into_parts();
    Ok(there::RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The columns of a batch of DataFusion's as ours.
fn columns_here(batch: there::RecordBatch) -> DataFusionResult<Vec<ArrayRef>> {
    use there::Array as _;
    let columns = there::StructArray::from(batch).to_data();
    let (mut array, mut kind) = there_ffi::to_ffi(&columns)?;
    // SAFETY: as in `batch_there`, the other way round.
    let imported = unsafe {
        let array = arrow_array::ffi::FFI_ArrowArray::from_raw((&raw mut array).cast());
        let kind = arrow_array::ffi::FFI_ArrowSchema::from_raw((&raw mut kind).cast());
        arrow_array::ffi::from_ffi(array, &kind).map_err(crossing)?
    };
    let (_, columns, _) = StructArray::from(imported).into_parts();
    Ok(columns)
}
