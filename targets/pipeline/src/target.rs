//! The target as the harness sees it: sets a job up, runs it, compares what arrived.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use uplift_postgres_service::Server;
use uplift_sdk::{
    Batch, Check, Client, Description, Drain, Durability, OpenContext, Outcome, Samples, SettingsError, Target,
    TargetError, TargetFactory, clock,
    model::{Table, setting_value::AUTOMATIC},
    stage::StageTable,
};

use crate::{
    checksum::{Checksum, value_bytes},
    destination::{FileStore, PostgresStore, SqliteStore, Store, connect_postgres, start_server},
    error::{CATEGORIES, ErrorKind, PipelineError, Result},
    generator::Generator,
    metrics,
    psql::Psql,
    run::Job,
    settings::{DestinationKind, Fault, LoadMethod, Settings, SourceKind, TransformEngine, Workload},
    source::SourceTable,
    stages,
    transform::{Connector, Native, TransformKind},
};

/// The pipeline target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

fn read(workload: &Table, settings: &Table) -> Result<(Workload, Settings), SettingsError> {
    let (workload, settings) = uplift_sdk::settings::read::<Workload, Settings>(workload, settings)?;
    settings.suits(&workload)?;
    Ok((workload, settings))
}

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn about(&self) -> &'static str {
        "source, transform, destination: Arrow IPC frames, WebAssembly, SQLite or PostgreSQL"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "row".into(),
            operations: vec!["copy".into()],
            write_kinds: vec!["copy".into()],
            no_op_reasons: Vec::new(),
            failure_categories: CATEGORIES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            workload_schema: schemars::schema_for!(Workload).to_value(),
            settings_schema: schemars::schema_for!(Settings).to_value(),
        }
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        read(workload, settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let (workload, settings) = read(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        if context.load.clients() != 1 {
            let message = "a pipeline has one client: its own threads are its parallelism; write `clients = 1`";
            return Err(TargetError::new("reading the load", SettingsError::new("load", "clients", message)));
        }
        Ok(Box::new(Pipeline::open(workload, settings, &context.data_dir, context.seed)?))
    }
}

/// Sets up everything that the runs of one trial share. What the destination holds already is left alone, so that a run
/// can go on where another process was stopped; a new one wants [`Store::reset`] first. Where `server` is given, tables of
/// PostgreSQL are made there, else on a server that is started.
///
/// # Errors
/// A server that is missing, a module that does not compile, a full disk.
pub fn job(
    workload: Workload,
    settings: Settings,
    data_dir: &Path,
    seed: u64,
    server: Option<Arc<Server>>,
) -> Result<Job> {
    let transforms = workload.transform != TransformKind::None;
    if transforms && settings.transform_engine == TransformEngine::Sql && !cfg!(feature = "sql") {
        let (state, remedy) = (
            "transform_engine = \"sql\": DataFusion is not in this build",
            "build it in with `cargo run --features sql -- …`, which takes minutes the first time",
        );
        let kind = ErrorKind::Unavailable { state: state.to_owned(), remedy: remedy.to_owned() };
        return Err(PipelineError::new("preparing the transform", kind));
    }
    let generator = Generator::new(workload.profile, seed);
    let output_schema = workload.transform.schema(generator.schema());
    let database = match server {
        Some(server) => Some(Arc::new(connect_postgres(server)?)),
        None if settings.needs_postgres() => {
            Some(Arc::new(connect_postgres(start_server(data_dir, settings.wal_level)?)?))
        }
        None => None,
    };
    let store: Box<dyn Store> = match (settings.destination, &database) {
        (DestinationKind::Postgres, Some(database)) => {
            Box::new(PostgresStore::new(Arc::clone(database), Arc::clone(&output_schema), settings.clone()))
        }
        (DestinationKind::File, _) => {
            let directory = data_dir.join("rows");
            Box::new(FileStore::new(directory, Arc::clone(&output_schema), settings.syncs_per_commit))
        }
        _ => Box::new(SqliteStore::new(data_dir, Arc::clone(&output_schema), settings.clone())),
    };
    let source_table = match (settings.source, &database) {
        (SourceKind::Postgres, Some(database)) => {
            Some(SourceTable::fill(database.admin(), &generator, workload.rows(), settings.batch_rows)?)
        }
        _ => None,
    };
    let wasm = transforms && settings.transform_engine == TransformEngine::Wasm;
    let module_cache = match wasm && settings.aot {
        true => Some(Connector::precompile(&data_dir.join("connector.cwasm"))?),
        false => None,
    };
    Ok(Job {
        workload,
        settings,
        generator,
        store,
        database,
        source_table,
        module_cache,
        output_schema,
        output_row_bytes: 0.0,
        stages: StageTable::new(&stages::NAMES),
        counts: Default::default(),
        loading: Default::default(),
        traffic: Default::default(),
    })
}

/// What must arrive.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Rows and their checksum.
    pub checksum: Checksum,
    /// Mean bytes of values of a source row.
    pub source_row_bytes: f64,
    /// Mean bytes of values of a row that arrives.
    pub output_row_bytes: f64,
}

/// What must arrive, made by one thread without frames, channels or modules.
///
/// # Errors
/// Never with the profiles there are.
pub fn expected(generator: &Generator, workload: &Workload) -> Result<Expected> {
    const BATCH_ROWS: u64 = 500;
    let native = Native::new(workload.transform, generator.schema());
    let rows = workload.rows();
    let (mut checksum, mut source_bytes, mut output_bytes, mut first) = (Checksum::default(), 0, 0, 0);
    while first < rows {
        let count = BATCH_ROWS.min(rows - first);
        let batch = generator.batch(first, 1, count, None)?;
        source_bytes += value_bytes(&batch);
        let batch = native.transform(&batch).map_err(|error| PipelineError::arrow("transforming a batch", &error))?;
        output_bytes += value_bytes(&batch);
        checksum += Checksum::of(&batch);
        first += count;
    }
    Ok(Expected {
        checksum,
        source_row_bytes: source_bytes as f64 / rows as f64,
        output_row_bytes: output_bytes as f64 / checksum.rows.max(1) as f64,
    })
}

struct Pipeline {
    job: Job,
    psql: Option<Psql>,
    expected: Expected,
    effective: BTreeMap<String, String>,
    durability: Durability,
    runs: AtomicU64,
    run_ns: AtomicU64,
    resumes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether a run has put rows into the destination.
    dirty: bool,
    /// Runs whose rows were compared.
    compared: u64,
    /// What went wrong, run by run.
    failures: Vec<String>,
}

impl Pipeline {
    fn open(workload: Workload, settings: Settings, data_dir: &Path, seed: u64) -> Result<Self, TargetError> {
        let mut job = job(workload, settings, data_dir, seed, None)?;
        job.store.reset()?;
        let expected = expected(&job.generator, &job.workload)?;
        job.output_row_bytes = expected.output_row_bytes;
        let psql = match (job.settings.load, &job.database) {
            (LoadMethod::PsqlText | LoadMethod::PsqlBinary, Some(database)) => {
                Some(Psql::prepare(data_dir, &job.settings, &job.generator, job.workload.rows(), database)?)
            }
            _ => None,
        };
        let effective = effective(&job, &expected)?;
        Ok(Self {
            durability: job.store.durability(),
            job,
            psql,
            expected,
            effective,
            runs: AtomicU64::new(0),
            run_ns: AtomicU64::new(0),
            resumes: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what the last run left, and empties the destination for the next.
    fn prepare(&self) {
        let mut state = self.state();
        if !state.dirty {
            return;
        }
        self.compare(&mut state);
        if let Err(error) = self.job.store.reset() {
            state.failures.push(error.to_string());
        }
        state.dirty = false;
    }

    fn compare(&self, state: &mut State) {
        let run = self.runs.load(Ordering::Relaxed);
        let arrived = match self.job.store.read_back() {
            Ok(arrived) => arrived,
            Err(error) => return state.failures.push(format!("run {run}: {error}")),
        };
        state.compared += 1;
        let wanted = self.expected.checksum;
        if arrived != wanted {
            state.failures.push(format!(
                "run {run}: {} rows with checksum {:016x} are in the destination, {} with {:016x} belong there",
                arrived.rows, arrived.sum, wanted.rows, wanted.sum
            ));
        }
    }

    fn copy(&self) -> Result<()> {
        if let Some(psql) = &self.psql {
            return psql.run(&self.job.stages);
        }
        let fault = self.job.settings.fault;
        if fault == Fault::None {
            return self.job.run(Fault::None);
        }
        match self.job.run(fault) {
            Ok(()) => Err(PipelineError::new(
                "running into a fault",
                ErrorKind::Destination(format!("`{fault:?}` was asked for and did not happen")),
            )),
            Err(error) if !is_of(fault, &error.kind) => Err(error),
            Err(_) => {
                self.resumes.fetch_add(1, Ordering::Relaxed);
                self.job.run(Fault::None)
            }
        }
    }
}

/// Whether `error` is what `fault` should cause.
fn is_of(fault: Fault, error: &ErrorKind) -> bool {
    match fault {
        Fault::None => false,
        Fault::NotNull => matches!(error, ErrorKind::Constraint(_)),
        Fault::DiskFull => matches!(error, ErrorKind::DiskFull(_)),
        Fault::DropMidCopy => matches!(error, ErrorKind::DestinationLost(_)),
        Fault::TransformTrap => matches!(error, ErrorKind::TransformTrap(_)),
        Fault::TransformLoop => matches!(error, ErrorKind::TransformTimeout { .. }),
        Fault::SourceEndsEarly => matches!(error, ErrorKind::SourceEndedEarly { .. }),
    }
}

/// Settings of one destination only, which reads them back itself.
const DESTINATION_KEYS: [&str; 6] =
    ["synchronous", "journal_mode", "page_size", "toast", "table_layout", "syncs_per_commit"];

fn effective(job: &Job, expected: &Expected) -> Result<BTreeMap<String, String>, TargetError> {
    let settings = serde_json::to_value(&job.settings)
        .map_err(|error| TargetError::engine("writing the settings in force", error))?;
    let mut effective: BTreeMap<String, String> = settings
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !DESTINATION_KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let automatic = if job.settings.writers == 0 { AUTOMATIC } else { "" };
    effective.insert("writers".to_owned(), format!("{}{automatic}", job.settings.writers()));
    if job.settings.copy_flush_bytes == 0 {
        let adaptive = crate::destination::loader::adaptive_flush_bytes(expected.output_row_bytes as u64);
        effective.insert("flush_bytes_chosen".to_owned(), adaptive.to_string());
    }
    effective.extend(job.store.effective()?);
    Ok(effective)
}

impl Target for Pipeline {
    fn effective(&self) -> BTreeMap<String, String> {
        self.effective.clone()
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn client(&self, _: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(Copier(self)))
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        Ok(self.job.store.quiesce()?)
    }

    fn resume(&self) {
        self.prepare();
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let mut state = self.state();
        if state.dirty {
            self.compare(&mut state);
            state.dirty = false;
        }
        let wanted = self.expected.checksum;
        let detail = match state.failures.first() {
            Some(failure) => failure.clone(),
            None => format!(
                "after each of {} runs the destination held exactly the {} rows with checksum {:016x}",
                state.compared, wanted.rows, wanted.sum
            ),
        };
        Ok(Check { passed: state.failures.is_empty(), checked: state.compared * wanted.rows, detail })
    }

    fn sample(&self, samples: &mut Samples) {
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        let job = &self.job;
        samples.counter("runs", count(&self.runs));
        samples.counter("run_s", count(&self.run_ns) / 1e9);
        samples.counter("resumes", count(&self.resumes));
        samples.gauge("row_bytes", self.expected.source_row_bytes);
        if self.psql.is_none() {
            samples.counter("flushes", count(&job.counts.flushes));
            samples.counter("commits", count(&job.counts.commits));
            samples.counter("value_bytes", count(&job.counts.value_bytes));
            samples.counter("frame_bytes", count(&job.traffic.frame_bytes));
            samples.counter("skew", count(&job.traffic.skew_thousandths) / 1e3);
        }
        if job.settings.transform_engine == TransformEngine::Wasm && job.workload.transform != TransformKind::None {
            let (compile_ns, map_ns) = (count(&job.loading.compile_ns), count(&job.loading.deserialize_ns));
            samples.counter("module_compile_ns", compile_ns);
            samples.counter("module_compiles", count(&job.loading.compiles));
            samples.counter("module_deserialize_ns", map_ns);
            samples.counter("module_deserializes", count(&job.loading.deserializes));
            samples.counter("module_ready_ns", compile_ns + map_ns);
            samples.counter("module_instantiate_ns", count(&job.loading.instantiate_ns));
        }
        job.store.sample(samples);
        // Without a server the pipeline is all there is.
        let server_cpu_s = match &job.database {
            None => Some(0.0),
            Some(database) => database.server().usage().map(|usage| usage.cpu_s),
        };
        match server_cpu_s {
            Some(server_cpu_s) if self.psql.is_none() => {
                samples.counter("total_cpu_s", server_cpu_s + clock::process_cpu_ns() as f64 / 1e9);
            }
            Some(_) => samples.absent("total_cpu_s", "what `psql` itself used is not known while it runs"),
            None => samples.absent("total_cpu_s", "the server's processes cannot be seen from here"),
        }
    }

    fn stage_table(&self) -> Option<&StageTable> {
        Some(&self.job.stages)
    }

    fn processes(&self) -> Vec<u32> {
        self.job.database.iter().filter_map(|database| database.server().pid()).collect()
    }

    fn unobservable_work(&self) -> Option<String> {
        let server = self.job.database.as_ref()?.server();
        server
            .pid()
            .is_none()
            .then(|| format!("the processes of the server ({}) cannot be seen from here", server.origin()))
    }
}

struct Copier<'a>(&'a Pipeline);

impl Client for Copier<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let pipeline = self.0;
        // Nothing to do where a turn is one operation, as it should be.
        pipeline.prepare();
        let run = pipeline.runs.fetch_add(1, Ordering::Relaxed) + 1;
        pipeline.state().dirty = true;
        let start_ns = clock::now_ns();
        let result = pipeline.copy();
        pipeline.run_ns.fetch_add(clock::now_ns() - start_ns, Ordering::Relaxed);
        let rows = u32::try_from(pipeline.job.workload.rows()).unwrap_or(u32::MAX);
        match result {
            Ok(()) => Outcome::ok(0).of(rows),
            Err(error) => {
                eprintln!("pipeline: run {run}: {error}");
                let category = error.category();
                pipeline.state().failures.push(format!("run {run}: {error}"));
                Outcome::failed(0, category).of(rows)
            }
        }
    }
}
