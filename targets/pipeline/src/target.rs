//! The target as the harness sees it: sets a job up, runs it, compares what arrived.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use pipeline_engine::{
    Expected, Fault, LoadMethod, Settings, TransformEngine, Workload,
    destination::loader::adaptive_flush_bytes,
    error::{ErrorKind, PipelineError, Result},
    expected, job,
    psql::Psql,
    run::Job,
    transform::TransformKind,
};
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, OpenContext, Outcome, OutcomeKind, Samples, Target, TargetError,
    TargetErrorKind, clock,
    crash_ledger::{End, LedgerWriter},
    ledger_of,
    model::setting_value::AUTOMATIC,
    stage::StageTable,
};

pub fn failed(error: PipelineError) -> TargetError {
    match error.kind {
        ErrorKind::Unavailable { state, remedy, missing } => {
            let error = TargetError::new(error.context, TargetErrorKind::Unavailable { state, remedy });
            TargetError { missing: missing.map(str::to_owned), ..error }
        }
        kind => TargetError::engine(error.context, kind),
    }
}

/// A job that is run again and again.
pub struct Pipeline {
    job: Job,
    psql: Option<Psql>,
    expected: Expected,
    effective: BTreeMap<String, String>,
    durability: Durability,
    runs: AtomicU64,
    run_ns: AtomicU64,
    resumes: AtomicU64,
    state: Mutex<State>,
    ledger: Option<PathBuf>,
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
    /// Sets it up.
    ///
    /// # Errors
    /// Whatever keeps it from being set up.
    pub fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let data_dir = &context.data_dir;
        let mut job = job(workload, settings, data_dir, context.seed, None).map_err(failed)?;
        job.store.reset().map_err(failed)?;
        let expected = expected(&job.generator, &job.workload).map_err(failed)?;
        job.output_row_bytes = expected.output_row_bytes;
        let psql = match (job.settings.load, &job.database) {
            (LoadMethod::PsqlText | LoadMethod::PsqlBinary, Some(database)) => {
                let rows = job.workload.rows();
                Some(Psql::prepare(data_dir, &job.settings, &job.generator, rows, database).map_err(failed)?)
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
            ledger: context.ledger.clone(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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
        let adaptive = adaptive_flush_bytes(expected.output_row_bytes as u64);
        effective.insert("flush_bytes_chosen".to_owned(), adaptive.to_string());
    }
    effective.extend(job.store.effective().map_err(failed)?);
    Ok(effective)
}

impl Target for Pipeline {
    fn effective(&self) -> BTreeMap<String, String> {
        self.effective.clone()
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn client(&self, index: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(match ledger_of(self.ledger.as_deref(), index)? {
            None => Box::new(Copier(self)),
            Some(ledger) => Box::new(Noted { copier: Copier(self), ledger, is_done: false }),
        })
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        self.job.store.quiesce().map_err(failed)
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
        for (name, value) in job.store.counters() {
            match value {
                Ok(value) => samples.counter(name, value),
                Err(reason) => samples.absent(name, reason),
            }
        }
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

/// A client that notes what it is told, of one run: the next would empty the destination.
struct Noted<'a> {
    copier: Copier<'a>,
    ledger: LedgerWriter,
    is_done: bool,
}

/// How long a client that is done waits for its end at a time.
const DONE_WAIT: Duration = Duration::from_millis(5);

impl Client for Noted<'_> {
    fn operate(&mut self, batch: Batch) -> Outcome {
        if self.is_done {
            thread::sleep(DONE_WAIT);
            return Outcome::ok(0).of(0);
        }
        self.is_done = true;
        self.ledger.begin(0, 0, self.copier.0.expected.checksum.rows);
        let outcome = self.copier.operate(batch);
        self.ledger.end(if outcome.result == OutcomeKind::Ok { End::Acknowledged } else { End::Unknown });
        outcome
    }
}

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
