//! The contract between the harness and a target.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use uplift_model::{
    Durability, Histogram, Problem, Table,
    crash::Audit,
    metric::DerivedMetric,
    sampled::Sampled,
    scenario::Load,
    trial::{Ceiling, Check, Drain, StageRecord, SyncRecord},
};

use uplift_instrument::{
    crash_ledger::{Ledger, LedgerWriter},
    stage::StageTable,
    timeline::EventLog,
};

pub use uplift_model::description::{Description, REASONS_MAX};

use crate::settings::SettingsError;

/// Makes targets of one kind. One static value for each target, registered with the command line. Where workload and
/// settings are types, implement [`TypedFactory`](crate::TypedFactory), which is shorter.
pub trait TargetFactory: Sync {
    /// The name that scenarios use: "docdb".
    fn name(&self) -> &'static str;

    /// One line for `uplift list`.
    fn about(&self) -> &'static str;

    /// Everything about the target that does not depend on settings.
    fn describe(&self) -> Description;

    /// Metrics that follow from the workload, beside those of [`TargetFactory::describe`].
    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        let _ = workload;
        Vec::new()
    }

    /// Everything about the target under this workload: [`TargetFactory::describe`] with the metrics of the workload, and
    /// with its operations, where it names them.
    fn describe_workload(&self, workload: &Table) -> Description {
        let mut description = self.describe();
        description.metrics.extend(self.workload_metrics(workload));
        description
    }

    /// Checks workload and settings without setting anything up.
    ///
    /// # Errors
    /// The path of the key that is wrong, the rule, and what is allowed.
    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError>;

    /// Sets the target up: opens files, fills state, starts threads. Not timed.
    ///
    /// # Errors
    /// [`TargetErrorKind::Unavailable`] where something outside is missing (the scenario is then skipped with the
    /// remedy); any other kind fails the trial.
    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError>;

    /// Whether several agents can drive one system of this kind: then [`Target::system`] says where it is, and
    /// [`TargetFactory::join`] finds it.
    fn can_be_shared(&self) -> bool {
        false
    }

    /// Joins a system that another agent keeps, to send a part of the load. What comes of it makes clients; what the keeper
    /// does (checking, watching processes) it leaves alone.
    ///
    /// # Errors
    /// As [`TargetFactory::open`].
    fn join(&self, context: OpenContext, part: Part) -> Result<Box<dyn Target>, TargetError> {
        let _ = (context, part);
        Err(TargetError::engine(
            "joining a system",
            "this target cannot be driven by several agents; leave `load.agents` out",
        ))
    }

    /// Whether [`TargetFactory::reopen`] can open what is left of a target of this kind that died, for `uplift crash`: or
    /// why it cannot.
    ///
    /// # Errors
    /// The reason, in a sentence.
    fn can_reopen(&self, workload: &Table, settings: &Table) -> Result<(), String> {
        let _ = (workload, settings);
        Err("this target cannot be opened on data that are there".to_owned())
    }

    /// Opens what is there in the data directory of a target that was opened with the same context and died under load:
    /// recovery and nothing else. How long it takes is recorded.
    ///
    /// # Errors
    /// [`TargetErrorKind::Unavailable`] where something outside is missing; any other kind says that it does not open, which
    /// is a finding.
    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        Err(not_reopenable(self.can_reopen(&context.workload, &context.settings)))
    }
}

/// Why a target that does not implement `reopen` does not open what is left.
pub(crate) fn not_reopenable(can: Result<(), String>) -> TargetError {
    let state = can.err().unwrap_or_default();
    let remedy = "implement `reopen` of its factory, as docs/CRASH.md shows".to_owned();
    TargetError::new("opening what is left", TargetErrorKind::Unavailable { state, remedy })
}

/// The part of an agent that joins a system.
#[derive(Clone, Debug)]
pub struct Part {
    /// What [`Target::system`] said in the agent that keeps it.
    pub system: Table,
    /// The number of this agent among those that send, from 0: sequences that all clients share are divided by it.
    pub number: u32,
    /// How many send.
    pub of: u32,
}

/// What is left of a target that died, opened.
pub trait Recovered {
    /// Holds what is there against what was acknowledged.
    ///
    /// # Errors
    /// When the audit could not be carried out. What is wrong is counted in the [`Audit`].
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError>;
}

/// What a target needs to set itself up.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The scenario's workload table, validated.
    pub workload: Table,
    /// The variant's settings, validated.
    pub settings: Table,
    /// The load that will come.
    pub load: Load,
    /// A fresh and empty directory of its own. Everything it writes goes there.
    pub data_dir: PathBuf,
    /// Seed of everything random. Equal seeds must make equal data and equal operations.
    pub seed: u64,
    /// Where the target writes down what happened when. Cheap to clone.
    pub events: EventLog,
    /// The folder of the ledger, where clients must note what they are told: [`OpenContext::ledger_of`].
    pub ledger: Option<PathBuf>,
}

impl OpenContext {
    /// The ledger of client `index`, where one is kept. The client begins an entry before each operation that changes
    /// something, and ends it when it is answered.
    ///
    /// # Errors
    /// Where its file cannot be created.
    pub fn ledger_of(&self, index: usize) -> Result<Option<LedgerWriter>, TargetError> {
        ledger_of(self.ledger.as_deref(), index)
    }
}

/// The ledger of client `index` in `folder`, where one is kept.
///
/// # Errors
/// Where its file cannot be created.
pub fn ledger_of(folder: Option<&Path>, index: usize) -> Result<Option<LedgerWriter>, TargetError> {
    folder
        .map(|folder| LedgerWriter::create(folder, index))
        .transpose()
        .map_err(|error| TargetError::new(format!("creating the ledger of client {index}"), error))
}

/// A system under test, set up and ready.
pub trait Target: Send + Sync {
    /// The settings in force, read back from the system itself wherever it can tell, under the names that the
    /// settings have in a scenario. Where a scenario says "auto", whatever is read back counts as asked for.
    fn effective(&self) -> BTreeMap<String, String>;

    /// What an acknowledged write survives under these settings.
    fn durability(&self) -> Durability;

    /// What other agents need to find the system, where the target can be driven by several.
    fn system(&self) -> Option<Table> {
        None
    }

    /// The limit that the workload itself sets, where it sets one.
    fn ceiling(&self) -> Option<Ceiling> {
        None
    }

    /// Names of the groups that outcomes point to (databases, shards); at most 255, empty where there are none.
    fn groups(&self) -> Vec<String> {
        Vec::new()
    }

    /// A client for load thread `index`. Called before the first turn, on the thread that will use it.
    ///
    /// # Errors
    /// Whatever keeps the client from being made; it fails the trial.
    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError>;

    /// Called after the clients have stopped at the end of each turn. Returns when the system is quiet: nothing in
    /// flight, group commits flushed, background work finished or paused until the next turn. While it is quiet the
    /// process uses under 2 % of a core and makes no sync call; the harness checks that. The time this takes is
    /// recorded beside the turn, and its sync calls and CPU time are counted with it.
    ///
    /// # Errors
    /// Fails the trial.
    fn quiesce(&self) -> Result<(), TargetError> {
        Ok(())
    }

    /// Called before each turn: background work that [`Target::quiesce`] paused may run again.
    fn resume(&self) {}

    /// Called once when all load is over: settles what was acknowledged but is still owed.
    ///
    /// # Errors
    /// Fails the trial.
    fn drain(&self) -> Result<Drain, TargetError>;

    /// Checks that the system is correct after the load: that what it holds is what its clients were told.
    ///
    /// # Errors
    /// When the check could not be carried out. A check that was carried out and failed is a [`Check`].
    fn check(&self) -> Result<Check, TargetError>;

    /// Writes down the target's counters and gauges. Called around every turn while the target is quiet; must be
    /// cheap.
    fn sample(&self, samples: &mut Samples) {
        let _ = samples;
    }

    /// Distributions that only the target can record, by name: times in nanoseconds (batch latency, recovery time), or
    /// counts where the name ends in `_records`. Called once, at the end. They cover the whole trial, warm-up included, and are described, never judged.
    fn distributions(&self) -> BTreeMap<String, Histogram> {
        BTreeMap::new()
    }

    /// Its own numbers over time, where it asked for them while the load went on. Called once, at the end.
    fn sampled(&self) -> Option<Sampled> {
        None
    }

    /// The target's stage clocks, where it has them. The agent lets them run during turns only, until the variant is
    /// quiet.
    fn stage_table(&self) -> Option<&StageTable> {
        None
    }

    /// Called when the first turn that counts begins: stage clocks start from zero.
    fn reset_stages(&self) {
        if let Some(stages) = self.stage_table() {
            stages.reset();
        }
    }

    /// Where the time of the measured turns went. Called once, at the end.
    fn stages(&self) -> Vec<StageRecord> {
        self.stage_table().map(StageTable::records).unwrap_or_default()
    }

    /// Processes outside the agent that work for the target (a database server), whose sync calls, CPU time
    /// and bytes belong to it, their children's included. Asked once, after set-up. Children of the agent that it
    /// waits for within a turn are counted without being named.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Whether all work is done by children that the agent waits for within a turn. CPU time, faults and switches are
    /// then theirs alone: the agent's own, which starts and watches them, is no part of the system.
    fn works_in_children(&self) -> bool {
        false
    }

    /// The sync calls of such children, where the target had them counted. Asked once, at the end.
    fn syncs(&self) -> Option<SyncRecord> {
        None
    }

    /// What came of the work, where that must be equal for all variants. Asked once, at the end.
    fn result(&self) -> Option<String> {
        None
    }

    /// Called once at the very end, when everything is reported and all clients are gone: ends what must end in order, such as a
    /// server. Where the trial failed before, the target is dropped without it.
    ///
    /// # Errors
    /// Fails the trial.
    fn close(self: Box<Self>) -> Result<(), TargetError> {
        Ok(())
    }

    /// Why what works for the target cannot be watched, where that is so (a server on another machine). Sync calls,
    /// CPU time and bytes are then absent with this reason: those of the agent alone would not be the target's.
    fn unobservable_work(&self) -> Option<String> {
        None
    }
}

/// One load thread's hold on the target.
pub trait Client: Send {
    /// Carries out the next operation (or the next batch of operations) and returns when it is acknowledged.
    ///
    /// Must not allocate needlessly, print, or measure: it is what is being measured.
    fn operate(&mut self, batch: Batch) -> Outcome;
}

/// How much a client is asked to do at once.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Operations: 1 unless the scenario's load has a batch.
    pub operations: u32,
}

/// What one call of [`Client::operate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Index into [`Description::operations`].
    pub kind: u8,
    /// Index into [`Target::groups`]; 0 where there are none.
    pub group: u8,
    /// How many units of work it was: the batch's operations, or as many as one call does (rows of a pipeline run).
    pub units: u32,
    /// What became of it.
    pub result: OutcomeKind,
}

impl Outcome {
    /// One successful operation of `kind`.
    pub const fn ok(kind: u8) -> Self {
        Self { kind, group: 0, units: 1, result: OutcomeKind::Ok }
    }

    /// One operation of `kind` that did nothing, for reason `reason`.
    pub const fn no_op(kind: u8, reason: u8) -> Self {
        Self { kind, group: 0, units: 1, result: OutcomeKind::NoOp(reason) }
    }

    /// One operation of `kind` that failed in `category`.
    pub const fn failed(kind: u8, category: u8) -> Self {
        Self { kind, group: 0, units: 1, result: OutcomeKind::Failed(category) }
    }

    /// The same in group `group`.
    pub const fn in_group(mut self, group: u8) -> Self {
        self.group = group;
        self
    }

    /// The same for `units` units of work.
    pub const fn of(mut self, units: u32) -> Self {
        self.units = units;
        self
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// It did what it was to do.
    Ok,
    /// It was answered, but there was nothing to do: index into [`Description::no_op_reasons`].
    NoOp(u8),
    /// It failed: index into [`Description::failure_categories`].
    Failed(u8),
}

/// Counters and gauges at one moment.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    counters: BTreeMap<Cow<'static, str>, f64>,
    gauges: BTreeMap<Cow<'static, str>, f64>,
    absent: BTreeMap<Cow<'static, str>, String>,
}

impl Samples {
    /// A number that only grows: bytes written, batches, retries. The harness takes differences.
    pub fn counter(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        self.counters.insert(name.into(), value);
    }

    /// A number that goes up and down: a size, a queue's depth. The harness takes the last.
    pub fn gauge(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        self.gauges.insert(name.into(), value);
    }

    /// A counter or gauge that is not available here, and why. The harness takes the last reason.
    pub fn absent(&mut self, name: impl Into<Cow<'static, str>>, reason: impl Into<String>) {
        self.absent.insert(name.into(), reason.into());
    }

    /// Why counters and gauges are missing, by their names.
    pub fn absences(&self) -> &BTreeMap<Cow<'static, str>, String> {
        &self.absent
    }

    /// The counters.
    pub fn counters(&self) -> &BTreeMap<Cow<'static, str>, f64> {
        &self.counters
    }

    /// The gauges.
    pub fn gauges(&self) -> &BTreeMap<Cow<'static, str>, f64> {
        &self.gauges
    }
}

/// Why a target could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct TargetError {
    /// What was being done: "opening the write-ahead log `wal-000001`".
    pub context: String,
    /// What went wrong.
    pub kind: TargetErrorKind,
    /// The service that is missing, where one is: "postgres". `UPLIFT_REQUIRE` names those whose lack is a failure.
    pub missing: Option<String>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum TargetErrorKind {
    /// A setting is wrong in a way that only set-up can tell.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The engine under test said no.
    #[error("{0}")]
    Engine(String),
    /// Something outside is missing; the scenario is skipped.
    #[error("{state}; {remedy}")]
    Unavailable {
        /// What is not there.
        state: String,
        /// What the user can do.
        remedy: String,
    },
}

impl TargetError {
    /// An error with its context.
    pub fn new(context: impl Into<String>, kind: impl Into<TargetErrorKind>) -> Self {
        Self { context: context.into(), kind: kind.into(), missing: None }
    }

    /// The engine under test said no.
    pub fn engine(context: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::new(context, TargetErrorKind::Engine(error.to_string()))
    }

    /// Names the service that is missing.
    #[must_use]
    pub fn missing(self, service: impl Into<String>) -> Self {
        Self { missing: Some(service.into()), ..self }
    }

    /// What is missing, in its parts; `None` where the error is of another kind.
    pub fn problem(&self) -> Option<Problem> {
        let TargetErrorKind::Unavailable { state, remedy } = &self.kind else { return None };
        let problem = Problem::new(&self.context).because(state).fix(remedy);
        Some(match &self.missing {
            Some(service) => problem.missing(service),
            None => problem,
        })
    }
}
