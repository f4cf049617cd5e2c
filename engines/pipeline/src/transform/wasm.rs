//! Transforms by a WebAssembly module: SQL over the batch, in a sandbox that can be stopped.
//!
//! `module/connector.c` says how batches are exchanged: the host writes the columns into the module's memory, calls
//! `uplift_transform`, and reads the columns of the result. The module has no access to anything else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    cast::AsArray as _, types,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use uplift_instrument::{clock, stage::StageClock};
use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, Store, Trap, TypedFunc};

use super::{MODULE, Transform, batch_of, loading::Loading};
use crate::{
    error::{ErrorKind, PipelineError, Result},
    profile::ColumnType,
    stages,
};

/// How often the epoch advances while a run is under way.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of an input column's descriptor: four 32-bit numbers.
const INPUT_COLUMN_BYTES: usize = 16;
/// Bytes of a result column's descriptor: five 32-bit numbers.
const OUTPUT_COLUMN_BYTES: usize = 20;

/// Compiled code of the module, shared by the workers of a run.
pub struct Connector {
    engine: Engine,
    module: Module,
}

fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config).map_err(|error| failed("starting wasmtime", &error))
}

fn failed(context: &str, error: &wasmtime::Error) -> PipelineError {
    PipelineError::new(context, ErrorKind::Transform(format!("{error:#}")))
}

impl Connector {
    /// Compiles the module.
    ///
    /// # Errors
    /// What wasmtime says.
    pub fn compile(loading: &Loading, clock: &mut StageClock) -> Result<Self> {
        let engine = engine()?;
        clock.process(stages::COMPILE);
        let start_ns = clock::now_ns();
        let module =
            Module::from_binary(&engine, MODULE).map_err(|error| failed("compiling the transform's module", &error))?;
        loading.compile_ns.fetch_add(clock::now_ns() - start_ns, Ordering::Relaxed);
        loading.compiles.fetch_add(1, Ordering::Relaxed);
        clock.leave();
        Ok(Self { engine, module })
    }

    /// Compiles the module into the file `cache`, for [`Connector::load`].
    ///
    /// # Errors
    /// What wasmtime says, or the file system.
    pub fn precompile(cache: &Path) -> Result<PathBuf> {
        let code = engine()?
            .precompile_module(MODULE)
            .map_err(|error| failed("compiling the transform's module ahead of time", &error))?;
        fs::write(cache, code).map_err(|error| PipelineError::io("writing the cache of compiled modules", &error))?;
        Ok(cache.to_path_buf())
    }

    /// Maps compiled code from `cache`, which [`Connector::precompile`] made.
    ///
    /// # Errors
    /// A file of another version of wasmtime, or of another machine.
    pub fn load(cache: &Path, loading: &Loading, clock: &mut StageClock) -> Result<Self> {
        let engine = engine()?;
        clock.process(stages::DESERIALIZE);
        let start_ns = clock::now_ns();
        // SAFETY: the file was written by `precompile` of this very process into its own data directory.
        let module = unsafe { Module::deserialize_file(&engine, cache) }
            .map_err(|error| failed("loading the compiled module", &error))?;
        loading.deserialize_ns.fetch_add(clock::now_ns() - start_ns, Ordering::Relaxed);
        loading.deserializes.fetch_add(1, Ordering::Relaxed);
        clock.leave();
        Ok(Self { engine, module })
    }

    /// Advances the clock that limits batches until `ended` says so.
    pub fn tick_until(&self, ended: impl Fn(Duration) -> bool) {
        while !ended(TICK) {
            self.engine.increment_epoch();
        }
    }
}

/// An instance of the module that carries out one statement.
pub struct Wasm {
    store: Store<()>,
    memory: Memory,
    reserve: TypedFunc<u32, u32>,
    transform: TypedFunc<(u32, u32, u32), i32>,
    output: TypedFunc<(), u32>,
    error: TypedFunc<(), u32>,
    schema: SchemaRef,
    limit: Duration,
}

fn kind_of(kind: ColumnType) -> u32 {
    match kind {
        ColumnType::Integer | ColumnType::Timestamp => 0,
        ColumnType::Float => 1,
        ColumnType::Boolean => 2,
        ColumnType::Text | ColumnType::Json => 3,
    }
}

impl Wasm {
    /// An instance that carries out `sql` on batches of `input` and yields batches of `schema`; each may take `limit`.
    ///
    /// # Errors
    /// A statement that SQLite refuses.
    pub fn new(
        connector: &Connector,
        sql: &str,
        input: &Schema,
        schema: SchemaRef,
        limit: Duration,
        loading: &Loading,
        clock: &mut StageClock,
    ) -> Result<Self> {
        clock.process(stages::INSTANTIATE);
        let start_ns = clock::now_ns();
        let context = "instantiating the transform's module";
        let refused = |error: wasmtime::Error| failed(context, &error);
        let mut store = Store::new(&connector.engine, ());
        store.set_epoch_deadline(ticks(limit));
        // What is left of the C library's imports belongs to functions that nobody calls.
        let mut linker = Linker::new(&connector.engine);
        linker.define_unknown_imports_as_traps(&connector.module).map_err(refused)?;
        let instance = linker.instantiate(&mut store, &connector.module).map_err(refused)?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            initialize.call(&mut store, ()).map_err(refused)?;
        }
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| PipelineError::new(context, ErrorKind::Transform("it exports no memory".to_owned())))?;
        let prepare = function::<(u32, u32, u32, u32), i32>(&instance, &mut store, "uplift_prepare")?;
        let mut wasm = Self {
            reserve: function(&instance, &mut store, "uplift_reserve")?,
            transform: function(&instance, &mut store, "uplift_transform")?,
            output: function(&instance, &mut store, "uplift_output")?,
            error: function(&instance, &mut store, "uplift_error")?,
            store,
            memory,
            schema,
            limit,
        };
        wasm.prepare(&prepare, sql, input)?;
        loading.instantiate_ns.fetch_add(clock::now_ns() - start_ns, Ordering::Relaxed);
        clock.leave();
        Ok(wasm)
    }

    fn prepare(&mut self, prepare: &TypedFunc<(u32, u32, u32, u32), i32>, sql: &str, input: &Schema) -> Result<()> {
        let columns: Vec<String> = input.fields().iter().map(|field| format!("\"{}\"", field.name())).collect();
        let declaration = format!("CREATE TABLE input ({})", columns.join(", "));
        let kinds: Vec<u8> = ColumnType::all(&self.schema).into_iter().map(|kind| kind_of(kind) as u8).collect();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(declaration.as_bytes());
        bytes.push(0);
        let sql_at = bytes.len() as u32;
        bytes.extend_from_slice(sql.as_bytes());
        bytes.push(0);
        let kinds_at = bytes.len() as u32;
        bytes.extend_from_slice(&kinds);
        let base = self.call_reserve(bytes.len())?;
        self.memory_mut(base, bytes.len())?.copy_from_slice(&bytes);
        let arguments = (base, base + sql_at, base + kinds_at, kinds.len() as u32);
        let code = prepare.call(&mut self.store, arguments).map_err(|error| self.ended(&error))?;
        if code == 0 { Ok(()) } else { Err(self.refusal()) }
    }

    fn call_reserve(&mut self, bytes: usize) -> Result<u32> {
        let bytes = u32::try_from(bytes).map_err(|_| {
            PipelineError::new(
                "transforming a batch",
                ErrorKind::Transform(format!("a batch of {bytes} bytes does not fit the module's memory")),
            )
        })?;
        self.reserve.call(&mut self.store, bytes).map_err(|error| self.ended(&error))
    }

    fn memory_mut(&mut self, at: u32, bytes: usize) -> Result<&mut [u8]> {
        self.memory
            .data_mut(&mut self.store)
            .get_mut(at as usize..at as usize + bytes)
            .ok_or_else(|| outside(at, bytes))
    }

    fn memory(&self, at: u32, bytes: usize) -> Result<&[u8]> {
        self.memory.data(&self.store).get(at as usize..at as usize + bytes).ok_or_else(|| outside(at, bytes))
    }

    fn number(&self, at: u32) -> Result<u32> {
        let bytes = self.memory(at, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Why a call did not return.
    fn ended(&self, error: &wasmtime::Error) -> PipelineError {
        let kind = match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => ErrorKind::TransformTimeout { limit_ms: self.limit.as_millis() as u64 },
            Some(trap) => ErrorKind::TransformTrap(trap.to_string()),
            None => ErrorKind::TransformTrap(format!("{error:#}")),
        };
        PipelineError::new("transforming a batch", kind)
    }

    /// What the module says about a call that returned an error.
    fn refusal(&mut self) -> PipelineError {
        let message = self.error.call(&mut self.store, ()).ok().and_then(|at| {
            let bytes = self.memory.data(&self.store).get(at as usize..)?;
            let end = bytes.iter().take(512).position(|byte| *byte == 0)?;
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        });
        let message = message.unwrap_or_else(|| "it does not say why".to_owned());
        PipelineError::new("transforming a batch", ErrorKind::Transform(message))
    }

    fn write_input(&mut self, batch: &RecordBatch) -> Result<u32> {
        let layouts: Vec<Layout> = batch
            .schema_ref()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| Layout::of(ColumnType::of(field), column.as_ref()))
            .collect();
        let descriptors = layouts.len() * INPUT_COLUMN_BYTES;
        let total = descriptors + layouts.iter().map(Layout::bytes).sum::<usize>();
        // The module grants 16 bytes more than it is asked for.
        let base = self.call_reserve(total)?.next_multiple_of(8);
        let memory = self.memory_mut(base, total)?;
        let (descriptors, mut data) = memory.split_at_mut(descriptors);
        let mut at = base + descriptors.len() as u32;
        for (layout, descriptor) in layouts.iter().zip(descriptors.chunks_exact_mut(INPUT_COLUMN_BYTES)) {
            let (own, rest) = data.split_at_mut(layout.bytes());
            data = rest;
            let numbers = layout.write(own, at);
            for (slot, number) in descriptor.chunks_exact_mut(4).zip(numbers) {
                slot.copy_from_slice(&number.to_le_bytes());
            }
            at += layout.bytes() as u32;
        }
        Ok(base)
    }

    fn read_output(&mut self, rows: usize) -> Result<RecordBatch> {
        let base = self.output.call(&mut self.store, ()).map_err(|error| self.ended(&error))?;
        let schema = Arc::clone(&self.schema);
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let at = base + (index * OUTPUT_COLUMN_BYTES) as u32;
            let (valid, offsets) = (self.number(at + 4)?, self.number(at + 8)?);
            let (values, value_bytes) = (self.number(at + 12)?, self.number(at + 16)? as usize);
            let valid = if rows == 0 { &[][..] } else { self.memory(valid, rows)? };
            let nulls =
                valid.contains(&0).then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| valid[row] != 0)));
            let bytes = if value_bytes == 0 { &[][..] } else { self.memory(values, value_bytes)? };
            let failed = |error: ArrowError| PipelineError::arrow("reading the transform's result", &error);
            columns.push(match ColumnType::of(field) {
                ColumnType::Integer => Arc::new(Int64Array::new(numbers(bytes), nulls)) as ArrayRef,
                ColumnType::Timestamp => {
                    Arc::new(TimestampMicrosecondArray::new(numbers(bytes), nulls).with_timezone("UTC"))
                }
                ColumnType::Float => Arc::new(Float64Array::new(numbers(bytes), nulls)),
                ColumnType::Boolean => {
                    Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| bytes[row] != 0), nulls))
                }
                ColumnType::Text | ColumnType::Json => {
                    let ends: ScalarBuffer<i32> = numbers(self.memory(offsets, (rows + 1) * 4)?);
                    if ends.first() != Some(&0) || ends.windows(2).any(|pair| pair[0] > pair[1]) {
                        let message = "the offsets of a text column go backwards".to_owned();
                        return Err(PipelineError::new(
                            "reading the transform's result",
                            ErrorKind::Transform(message),
                        ));
                    }
                    let text = Buffer::from_slice_ref(bytes);
                    Arc::new(StringArray::try_new(OffsetBuffer::new(ends), text, nulls).map_err(failed)?)
                }
            });
        }
        batch_of(&schema, columns).map_err(|error| PipelineError::arrow("reading the transform's result", &error))
    }
}

impl Transform for Wasm {
    fn apply(&mut self, batch: &RecordBatch, clock: &mut StageClock) -> Result<RecordBatch> {
        clock.process(stages::TRANSFORM);
        self.store.set_epoch_deadline(ticks(self.limit));
        let base = self.write_input(batch)?;
        let arguments = (base, batch.num_columns() as u32, batch.num_rows() as u32);
        let rows = self.transform.call(&mut self.store, arguments).map_err(|error| self.ended(&error))?;
        match usize::try_from(rows) {
            Ok(rows) => self.read_output(rows),
            Err(_) => Err(self.refusal()),
        }
    }
}

/// A limit in ticks; one more, because the tick that is under way has begun already.
fn ticks(limit: Duration) -> u64 {
    limit.as_nanos().div_ceil(TICK.as_nanos()) as u64 + 1
}

fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &Instance,
    store: &mut Store<()>,
    name: &str,
) -> Result<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).map_err(|error| failed("instantiating the transform's module", &error))
}

fn outside(at: u32, bytes: usize) -> PipelineError {
    PipelineError::new(
        "transforming a batch",
        ErrorKind::Transform(format!("the module points to {bytes} bytes at {at}, outside of its memory")),
    )
}

fn numbers<T: arrow_buffer::ArrowNativeType>(bytes: &[u8]) -> ScalarBuffer<T> {
    // Copied, so the buffer has Arrow's own alignment whatever the module's was.
    ScalarBuffer::from(Buffer::from_slice_ref(bytes))
}

/// How a column is laid out in the module's memory: a byte of validity for each row, offsets, values; each part starts at
/// a multiple of eight bytes.
struct Layout<'a> {
    kind: ColumnType,
    array: &'a dyn Array,
    valid_bytes: usize,
    offset_bytes: usize,
    value_bytes: usize,
}

impl<'a> Layout<'a> {
    fn of(kind: ColumnType, array: &'a dyn Array) -> Self {
        let rows = array.len();
        let (offset_bytes, value_bytes) = match kind {
            ColumnType::Integer | ColumnType::Timestamp | ColumnType::Float => (0, rows * 8),
            ColumnType::Boolean => (0, rows),
            ColumnType::Text | ColumnType::Json => {
                let ends = array.as_string::<i32>().value_offsets();
                ((rows + 1) * 4, (ends[rows] - ends[0]) as usize)
            }
        };
        let valid_bytes = if array.null_count() > 0 { rows } else { 0 };
        Self { kind, array, valid_bytes, offset_bytes, value_bytes }
    }

    fn bytes(&self) -> usize {
        [self.valid_bytes, self.offset_bytes, self.value_bytes].map(|bytes| bytes.next_multiple_of(8)).iter().sum()
    }

    /// Writes the column into `out`, which the module sees at `at`, and gives its descriptor.
    fn write(&self, out: &mut [u8], at: u32) -> [u32; 4] {
        let (valid, rest) = out.split_at_mut(self.valid_bytes.next_multiple_of(8));
        let (offsets, values) = rest.split_at_mut(self.offset_bytes.next_multiple_of(8));
        for (row, byte) in valid.iter_mut().take(self.valid_bytes).enumerate() {
            *byte = u8::from(self.array.is_valid(row));
        }
        match self.kind {
            ColumnType::Integer => put(self.array.as_primitive::<types::Int64Type>().values().inner(), values),
            ColumnType::Timestamp => {
                put(self.array.as_primitive::<types::TimestampMicrosecondType>().values().inner(), values);
            }
            ColumnType::Float => put(self.array.as_primitive::<types::Float64Type>().values().inner(), values),
            ColumnType::Boolean => {
                for (byte, value) in values.iter_mut().zip(self.array.as_boolean().values().iter()) {
                    *byte = u8::from(value);
                }
            }
            ColumnType::Text | ColumnType::Json => {
                let array = self.array.as_string::<i32>();
                let ends = array.value_offsets();
                for (slot, end) in offsets.chunks_exact_mut(4).zip(ends) {
                    slot.copy_from_slice(&(end - ends[0]).to_le_bytes());
                }
                let (first, last) = (ends[0] as usize, ends[ends.len() - 1] as usize);
                values[..self.value_bytes].copy_from_slice(&array.value_data()[first..last]);
            }
        }
        let offsets_at = at + valid.len() as u32;
        let values_at = offsets_at + offsets.len() as u32;
        [kind_of(self.kind), if self.valid_bytes > 0 { at } else { 0 }, offsets_at, values_at]
    }
}

fn put(from: &Buffer, to: &mut [u8]) {
    to[..from.len()].copy_from_slice(from.as_slice());
}
