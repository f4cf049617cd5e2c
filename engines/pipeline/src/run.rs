//! One run: threads for sources, transforms and writers, and the bounded channels between them.
//!
//! A partition has a source thread and, where there is a transform, a transform thread; partitions fan in to the writers.
//! Whoever fails drops its ends of the channels, its neighbours notice and end, and the first error that is not about a
//! neighbour is the error of the run. Nothing that is not committed by then counts.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError},
    },
    thread,
};

use arrow_schema::SchemaRef;
use uplift_instrument::{
    clock,
    stage::{StageClock, StageTable},
};

use crate::{
    destination::{FlushSize, Loader, Policy, PostgresDatabase, Store, WriterFault, loader::Counts},
    error::{ErrorKind, PipelineError, Result},
    frame::{Decoder, Encoder, Message},
    generator::Generator,
    settings::{Fault, LoadMethod, Settings, SourceKind, TransformEngine, Workload},
    source::{GeneratedSource, PostgresSource, Shard, Source, SourceTable},
    stages,
    transform::{Connector, Loading, Native, Transform, TransformKind, Wasm},
};

/// Everything that runs of one trial share.
pub struct Job {
    /// What is copied.
    pub workload: Workload,
    /// How.
    pub settings: Settings,
    /// Makes the rows.
    pub generator: Generator,
    /// Where rows go.
    pub store: Box<dyn Store>,
    /// The server, where there is one.
    pub database: Option<Arc<PostgresDatabase>>,
    /// The table of a PostgreSQL source.
    pub source_table: Option<SourceTable>,
    /// Compiled code of the transform's module, where it is cached.
    pub module_cache: Option<PathBuf>,
    /// Schema of the rows at the destination.
    pub output_schema: SchemaRef,
    /// Mean bytes of values of a row at the destination.
    pub output_row_bytes: f64,
    /// Where the time goes.
    pub stages: StageTable,
    /// What loaders did.
    pub counts: Counts,
    /// How long modules took to become ready.
    pub loading: Loading,
    /// What travelled.
    pub traffic: Traffic,
}

/// What travelled through channels, summed over all of a trial.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Frames.
    pub frames: AtomicU64,
    /// Their bytes.
    pub frame_bytes: AtomicU64,
    /// How far apart the partitions ended: duration of the slowest source over the mean of all, less one, in thousandths,
    /// summed over runs.
    pub skew_thousandths: AtomicU64,
    /// Durations of the sources of the run that is under way.
    source_ns: Mutex<Vec<u64>>,
}

impl Traffic {
    /// Takes the durations of the run that has ended into account.
    fn add_skew(&self) {
        let durations = std::mem::take(&mut *self.source_ns.lock().unwrap_or_else(PoisonError::into_inner));
        let (sum, max) = (durations.iter().sum::<u64>(), durations.iter().max().copied().unwrap_or(0));
        if sum > 0 {
            let ratio = max as f64 * durations.len() as f64 / sum as f64;
            self.skew_thousandths.fetch_add(((ratio - 1.0) * 1e3).round() as u64, Ordering::Relaxed);
        }
    }
}

impl Job {
    /// Copies all rows that are not committed yet. Where `fault` is not [`Fault::None`], it happens.
    ///
    /// # Errors
    /// The first thing that went wrong; what was committed before stays.
    pub fn run(&self, fault: Fault) -> Result<()> {
        let mut clock = self.stages.clock("run");
        clock.process(stages::CONNECT);
        let positions = self.store.positions()?;
        let connector = self.connector(&mut clock)?;
        clock.wait(stages::OTHERS);
        let errors = thread::scope(|scope| {
            let mut workers = Vec::new();
            let inflight = self.settings.max_inflight_batches as usize;
            let (to_writers, from_partitions): (Vec<_>, Vec<_>) =
                (0..self.settings.writers()).map(|_| mpsc::sync_channel::<Message>(inflight)).unzip();
            for (index, from) in from_partitions.into_iter().enumerate() {
                let positions = &positions;
                workers.push(scope.spawn(move || {
                    self.work(&format!("writer {index}"), |clock| {
                        self.write(index as u32, from, positions, fault, clock)
                    })
                }));
            }
            for partition in 0..self.settings.partitions {
                let to_writer = to_writers[partition as usize % to_writers.len()].clone();
                let position = positions.get(&partition).copied().unwrap_or(0);
                let shard = self.shard(partition);
                let read = move |to| {
                    self.work(&format!("source {partition}"), |clock| self.read(shard, position, to, fault, clock))
                };
                if self.workload.transform == TransformKind::None {
                    workers.push(scope.spawn(move || read(to_writer)));
                    continue;
                }
                let (to_transform, from_source) = mpsc::sync_channel(inflight);
                workers.push(scope.spawn(move || read(to_transform)));
                let connector = connector.as_ref();
                workers.push(scope.spawn(move || {
                    self.work(&format!("transform {partition}"), |clock| {
                        self.transform(shard, connector, from_source, to_writer, fault, clock)
                    })
                }));
            }
            drop(to_writers);
            // A thread beats the epoch for the limit of a batch; it ends when the channel to it closes.
            let (running, ended) = mpsc::channel::<()>();
            if let Some(connector) = &connector {
                scope.spawn(move || {
                    connector.tick_until(|tick| ended.recv_timeout(tick) != Err(RecvTimeoutError::Timeout));
                });
            }
            // The clocks of workers that have ended run on until the last one has.
            let ended: Vec<(Result<()>, Option<StageClock>)> = workers
                .into_iter()
                .map(|worker| {
                    worker.join().unwrap_or_else(|_| {
                        let kind = ErrorKind::Destination("a worker panicked".to_owned());
                        (Err(PipelineError::new("running", kind)), None)
                    })
                })
                .collect();
            drop(running);
            ended.into_iter().filter_map(|(result, _)| result.err()).collect::<Vec<_>>()
        });
        clock.leave();
        self.traffic.add_skew();
        first_cause(errors)
    }

    /// Carries out a worker's work on a clock of its own, which is given back waiting for the others.
    fn work(&self, name: &str, work: impl FnOnce(&mut StageClock) -> Result<()>) -> (Result<()>, Option<StageClock>) {
        let mut clock = self.stages.clock(name);
        let result = work(&mut clock);
        clock.wait(stages::OTHERS);
        (result, Some(clock))
    }

    fn shard(&self, partition: u32) -> Shard {
        Shard { partition, partitions: self.settings.partitions, total_rows: self.workload.rows() }
    }

    fn connector(&self, clock: &mut StageClock) -> Result<Option<Connector>> {
        if self.workload.transform == TransformKind::None || self.settings.transform_engine != TransformEngine::Wasm {
            return Ok(None);
        }
        match &self.module_cache {
            Some(cache) => Connector::load(cache, &self.loading, clock),
            None => Connector::compile(&self.loading, clock),
        }
        .map(Some)
    }

    /// The source of a partition.
    fn read(
        &self,
        shard: Shard,
        position: u64,
        to: SyncSender<Message>,
        fault: Fault,
        clock: &mut StageClock,
    ) -> Result<()> {
        let start_ns = clock::now_ns();
        let mut source = self.source(shard, position, fault, clock)?;
        let mut encoder = Encoder::new(self.settings.compression, self.settings.row_checksum);
        let mut rows = position;
        while let Some(batch) = source.next(clock)? {
            rows += batch.num_rows() as u64;
            let frame = encoder.encode(shard.partition, batch.num_rows() as u64, &batch, clock)?;
            self.traffic.frames.fetch_add(1, Ordering::Relaxed);
            self.traffic.frame_bytes.fetch_add(frame.bytes() as u64, Ordering::Relaxed);
            send(&to, Message::Frame(frame), clock)?;
        }
        // A source that was cut off does not know that it was: it says nothing, and the writer misses its word.
        if fault == Fault::SourceEndsEarly && rows < shard.rows() {
            return Ok(());
        }
        if rows != shard.rows() {
            let kind = ErrorKind::SourceEndedEarly { partition: shard.partition, rows, expected: shard.rows() };
            return Err(PipelineError::new("reading the source", kind));
        }
        send(&to, Message::End { partition: shard.partition }, clock)?;
        let duration_ns = clock::now_ns() - start_ns;
        self.traffic.source_ns.lock().unwrap_or_else(PoisonError::into_inner).push(duration_ns);
        Ok(())
    }

    fn source(
        &self,
        shard: Shard,
        position: u64,
        fault: Fault,
        clock: &mut StageClock,
    ) -> Result<Box<dyn Source + '_>> {
        let ends_at = (fault == Fault::SourceEndsEarly).then_some(self.settings.fault_at_row);
        match (self.settings.source, &self.source_table, &self.database) {
            (SourceKind::Postgres, Some(table), Some(database)) => {
                clock.process(stages::CONNECT);
                let session = database.session()?;
                let rows_max = ends_at.map(|end| end.saturating_sub(position));
                let batch_rows = self.settings.batch_rows;
                let source = PostgresSource::new(session, table, shard, position, batch_rows, clock)?;
                Ok(Box::new(source.ending_after(rows_max)))
            }
            _ => {
                let poisoned = (fault == Fault::NotNull).then_some(self.settings.fault_at_row);
                let source = GeneratedSource::new(&self.generator, shard, position, self.settings.batch_rows);
                Ok(Box::new(source.with_faults(ends_at, poisoned)))
            }
        }
    }

    /// The transform of a partition.
    fn transform(
        &self,
        shard: Shard,
        connector: Option<&Connector>,
        from: Receiver<Message>,
        to: SyncSender<Message>,
        fault: Fault,
        clock: &mut StageClock,
    ) -> Result<()> {
        let input = self.generator.schema();
        let kind = self.workload.transform;
        let mut transform: Box<dyn Transform> = match connector {
            #[cfg(feature = "sql")]
            None if self.settings.transform_engine == TransformEngine::Sql => {
                let (batch_rows, plan) = (self.settings.batch_rows, self.settings.sql_plan);
                Box::new(crate::transform::Sql::new(kind, input, batch_rows, plan, clock)?)
            }
            None => Box::new(Native::new(kind, input)),
            Some(connector) => {
                let sql = kind.sql(input, fault, shard.id(self.settings.fault_at_row));
                let schema = Arc::clone(&self.output_schema);
                let limit = self.settings.transform_timeout.0;
                Box::new(Wasm::new(connector, &sql, input, schema, limit, &self.loading, clock)?)
            }
        };
        let mut decoder = Decoder::new(Arc::clone(input));
        let mut encoder = Encoder::new(self.settings.compression, self.settings.row_checksum);
        while let Some(message) = receive(&from, clock) {
            match message {
                Message::Frame(frame) => {
                    let source_rows = frame.source_rows;
                    let batch = decoder.decode(frame, clock)?;
                    let batch = transform.apply(&batch, clock)?;
                    let frame = encoder.encode(shard.partition, source_rows, &batch, clock)?;
                    send(&to, Message::Frame(frame), clock)?;
                }
                end @ Message::End { .. } => send(&to, end, clock)?,
            }
        }
        Ok(())
    }

    /// One writer of the destination.
    fn write(
        &self,
        index: u32,
        from: Receiver<Message>,
        positions: &BTreeMap<u32, u64>,
        fault: Fault,
        clock: &mut StageClock,
    ) -> Result<()> {
        let writers = self.settings.writers();
        let partitions: Vec<u32> =
            (0..self.settings.partitions).filter(|partition| partition % writers == index).collect();
        let own = partitions.iter().filter_map(|partition| Some((*partition, *positions.get(partition)?))).collect();
        let policy = Policy {
            flush: match self.settings.load {
                LoadMethod::Insert => FlushSize::Rows(u64::from(self.settings.insert_rows)),
                _ => FlushSize::Bytes(self.settings.copy_flush_bytes),
            },
            checkpoint_interval_bytes: self.settings.checkpoint_interval_bytes,
        };
        let writer = self.store.writer(index, self.writer_fault(fault), clock)?;
        let mut loader = Loader::new(writer, policy, &self.counts, own);
        let mut decoder = Decoder::new(Arc::clone(&self.output_schema));
        let mut missing = partitions;
        while let Some(message) = receive(&from, clock) {
            match message {
                Message::Frame(frame) => {
                    let (partition, source_rows) = (frame.partition, frame.source_rows);
                    let batch = decoder.decode(frame, clock)?;
                    loader.push(partition, source_rows, &batch, clock)?;
                }
                Message::End { partition } => missing.retain(|open| *open != partition),
            }
        }
        if let Some(partition) = missing.first() {
            let kind = ErrorKind::SourceEndedEarly {
                partition: *partition,
                rows: loader.position(*partition),
                expected: self.shard(*partition).rows(),
            };
            return Err(PipelineError::new("waiting for rows", kind));
        }
        loader.finish(clock)
    }

    fn writer_fault(&self, fault: Fault) -> WriterFault {
        match fault {
            Fault::DiskFull => WriterFault::Full {
                bytes_max: (self.settings.fault_at_row as f64
                    * self.output_row_bytes
                    * f64::from(self.settings.partitions)) as u64,
            },
            Fault::DropMidCopy => WriterFault::Drop { after_rows: self.settings.fault_at_row },
            _ => WriterFault::None,
        }
    }
}

/// The error that made the others happen.
fn first_cause(errors: Vec<PipelineError>) -> Result<()> {
    let rank = |error: &PipelineError| match error.kind {
        // A writer that finds its source ended early often only saw the consequence of another failure.
        ErrorKind::NeighbourEnded => 2,
        ErrorKind::SourceEndedEarly { .. } => 1,
        _ => 0,
    };
    match errors.into_iter().min_by_key(rank) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Time in which the channel was full is waiting, the rest of the call is work.
fn send(to: &SyncSender<Message>, message: Message, clock: &mut StageClock) -> Result<()> {
    clock.process(stages::SEND);
    let sent = match to.try_send(message) {
        Err(TrySendError::Full(message)) => {
            clock.wait(stages::SEND);
            to.send(message).is_ok()
        }
        sent => sent.is_ok(),
    };
    if sent { Ok(()) } else { Err(PipelineError::new("sending a frame", ErrorKind::NeighbourEnded)) }
}

/// The next message; `None` when all senders are gone. Time in which the channel was empty is waiting.
fn receive(from: &Receiver<Message>, clock: &mut StageClock) -> Option<Message> {
    clock.process(stages::RECEIVE);
    match from.try_recv() {
        Err(TryRecvError::Empty) => {
            clock.wait(stages::RECEIVE);
            from.recv().ok()
        }
        received => received.ok(),
    }
}
