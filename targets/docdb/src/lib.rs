//! The docdb target: a document store whose every shortcut is a setting, a fast one, and real peers under one workload.
//!
//! Each id belongs to one client, which knows what was acknowledged to it: every answer is checked as it comes, and the
//! whole store when the load is over.

mod in_flight;
mod metrics;
mod settings;
mod workload;

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use docdb_engine::{
    DocumentStore, Operation, Reply, Request, StoreError, StoreErrorKind, classic, fast, stages,
    wire::{RemoteStore, Server, Transport as Socket},
};
use uplift_target::{
    Batch, Check, Client, Description, Drain, Durability, OpenContext, Outcome, OutcomeKind, Samples, SettingsError,
    Target, TargetError, TargetErrorKind, TargetFactory,
    disk::{Disk, RealDisk},
    model::{Histogram, Table, duration::HumanDuration},
    settings::read,
    slowdown::Slowdown,
    stage::{StageTable, thread as span},
    sync_probe,
};

pub use settings::{Ack, Distribution, Engine, Fsync, Gather, Locking, Logs, Settings, Transport, Workload};

use in_flight::Counted;
use workload::{Draw, Held, Model};

/// The docdb target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

/// Indices of the reasons for which an operation does nothing.
mod nothing {
    pub const CONFLICT: u8 = 0;
    pub const NOT_FOUND: u8 = 1;
    pub const NAMES: [&str; 2] = ["conflict", "not found"];
}

/// Indices of the failure categories.
mod failure {
    pub const QUEUE_FULL: u8 = 0;
    pub const REFUSED: u8 = 1;
    pub const CORRUPT: u8 = 2;
    pub const IO: u8 = 3;
    pub const ENGINE: u8 = 4;
    pub const WRONG_ANSWER: u8 = 5;
    pub const NAMES: [&str; 6] = ["queue full", "refused", "corrupt", "io", "engine", "wrong answer"];
}

/// Names of the operations, in the order of their codes.
const OPERATIONS: [&str; 4] = ["create", "read", "update", "delete"];

struct Factory;

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "docdb"
    }

    fn about(&self) -> &'static str {
        "document stores: a write-ahead log whose every shortcut is a setting, a fast log, and SQLite, redb, fjall"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "operation".into(),
            operations: OPERATIONS.iter().map(|name| (*name).into()).collect(),
            write_kinds: vec!["create".into(), "update".into(), "delete".into()],
            nothing_reasons: nothing::NAMES.iter().map(|name| (*name).into()).collect(),
            failure_categories: failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: metrics::all(),
            workload_schema: schemars::schema_for!(Workload).to_value(),
            settings_schema: schemars::schema_for!(Settings).to_value(),
        }
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        read::<Workload, Settings>(workload, settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let (workload, settings) = read::<Workload, Settings>(&context.workload, &context.settings)
            .map_err(|error| TargetError::new("reading the scenario", error))?;
        DocDb::open(workload, settings, &context).map(|target| Box::new(target) as _)
    }
}

struct DocDb {
    workload: Workload,
    settings: Settings,
    effective: BTreeMap<String, String>,
    store: Arc<dyn DocumentStore>,
    /// Of each database, where there is a socket; clients share them in turn.
    connections: Vec<Vec<Arc<RemoteStore>>>,
    // Dropped before the store.
    _server: Option<Listening>,
    models: Vec<Mutex<Model>>,
    writes: AtomicU64,
    stages: StageTable,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine_error(what: &str, error: StoreError) -> TargetError {
    match error.kind {
        StoreErrorKind::Unavailable { state, remedy } => {
            TargetError::new(what, TargetErrorKind::Unavailable { state, remedy })
        }
        _ => TargetError::engine(what, error),
    }
}

impl DocDb {
    fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let clients = context.load.clients() as usize;
        if clients < usize::from(workload.databases) {
            let message = format!("{clients} clients leave databases idle; write at least {}", workload.databases);
            return Err(TargetError::new(
                "spreading the clients",
                SettingsError::new("workload", "databases", message),
            ));
        }
        let mut models: Vec<Model> = (0..clients)
            .map(|index| Model::new(&workload, index, clients, context.seed.wrapping_add(index as u64)))
            .collect();
        let mut documents: Vec<Vec<(u64, Vec<u8>)>> = vec![Vec::new(); usize::from(workload.databases)];
        for model in &mut models {
            let database = usize::from(model.database);
            documents[database].extend(model.preload(workload.preload));
        }
        // Before the store, whose threads give themselves clocks.
        let stages = StageTable::new(&stages::NAMES);
        span::install(&stages);
        let (store, mut effective) = open_store(&workload, &settings, context, &documents)?;
        if durability(&settings) == Durability::PowerLoss
            && let Some(syncs) = syncs_of_a_write(&*store, u64::from(workload.ids))?
        {
            effective.insert("syncs_of_a_write".to_owned(), syncs.to_string());
        }
        let store: Arc<dyn DocumentStore> = Arc::new(Counted::new(store));
        let (server, connections) = serve(&workload, &settings, &store, &context.data_dir, clients)?;
        effective.insert("engine".to_owned(), settings.engine.name().to_owned());
        effective.insert("transport".to_owned(), settings::word(&settings.transport));
        if settings.slowdown_percent > 0.0 {
            effective.insert("slowdown_percent".to_owned(), settings.slowdown_percent.to_string());
        }
        if let Some(first) = connections.first() {
            effective.insert("connections_per_db".to_owned(), first.len().to_string());
        }
        Ok(Self {
            workload,
            settings,
            effective,
            store,
            connections,
            _server: server,
            models: models.into_iter().map(Mutex::new).collect(),
            writes: AtomicU64::new(0),
            stages,
        })
    }
}

/// What an acknowledged write survives.
const fn durability(settings: &Settings) -> Durability {
    match (settings.engine, settings.fsync, settings.ack) {
        (Engine::Docdb, Fsync::Group, Ack::Buffered) => Durability::Buffered,
        (Engine::Docdb, Fsync::Interval | Fsync::None, _) => Durability::ProcessCrash,
        _ => Durability::PowerLoss,
    }
}

/// The sync calls that one update costs, of the document `id` that no client has: durability read back from what the
/// store does. `None` where sync calls cannot be counted.
fn syncs_of_a_write(store: &dyn DocumentStore, id: u64) -> Result<Option<u64>, TargetError> {
    if !sync_probe::is_live() {
        return Ok(None);
    }
    let failed = |error| engine_error("counting the syncs of a write", error);
    let apply = |operation: Operation| {
        // Not the same twice: an engine may notice that there is nothing to write.
        let document: &[u8] = match operation {
            Operation::Create => b"[]",
            Operation::Update => b"{}",
            Operation::Read | Operation::Delete => b"",
        };
        store.apply(Request { operation, database: 0, id, document }, &mut Vec::new()).map_err(failed)
    };
    apply(Operation::Create)?;
    // What the first write sets going in the background is not the second's.
    store.settle().map_err(failed)?;
    let before = sync_probe::calls();
    apply(Operation::Update)?;
    let syncs = sync_probe::calls() - before;
    apply(Operation::Delete)?;
    Ok(Some(syncs))
}

/// A store, with its settings in force.
type Opened = (Arc<dyn DocumentStore>, BTreeMap<String, String>);

/// The engine, filled and ready.
fn open_store(
    workload: &Workload,
    settings: &Settings,
    context: &OpenContext,
    documents: &[Vec<(u64, Vec<u8>)>],
) -> Result<Opened, TargetError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let directory = context.data_dir.join("store");
    let fill = |store: &dyn DocumentStore| {
        documents
            .iter()
            .enumerate()
            .try_for_each(|(database, documents)| store.load(database as u16, documents))
            .map_err(|error| engine_error("filling the store", error))
    };
    match settings.engine {
        Engine::Docdb => {
            let opening = |error| engine_error("opening the store", error);
            let chosen = settings.classic(workload.databases);
            // It is filled without a sync and with a free hand, then closed and opened as the settings say.
            let quick = classic::Settings {
                fsync: classic::Fsync::None,
                data_file_fsyncs: 0,
                locking: classic::Locking::Narrow,
                workers: 32,
                ..chosen.clone()
            };
            let (store, _) = classic::Store::open(&disk, &directory, &quick, &context.events).map_err(opening)?;
            fill(&store)?;
            drop(store);
            let (store, recovery) =
                classic::Store::open(&disk, &directory, &chosen, &context.events).map_err(opening)?;
            expect_all(documents, recovery.documents)?;
            let effective = classic_effective(&store);
            Ok((Arc::new(store), effective))
        }
        Engine::Fast => {
            let chosen = fast::Settings {
                databases: workload.databases,
                index_shards: settings.index_shards as usize,
                gather: settings.gather.into(),
                prepare: settings.prepare,
                ..fast::Settings::default()
            };
            let opening = |error| engine_error("opening the store", error);
            let store: Arc<dyn DocumentStore> = match settings.logs {
                Logs::Shared => {
                    Arc::new(fast::Store::open(&disk, &directory, &chosen, &context.events).map_err(opening)?.0)
                }
                Logs::PerDatabase => {
                    Arc::new(fast::Partitioned::open(&disk, &directory, &chosen, &context.events).map_err(opening)?.0)
                }
            };
            fill(&*store)?;
            let effective = [
                ("fsync", "group".to_owned()),
                ("ack", "durable".to_owned()),
                ("datafile_fsyncs", "0".to_owned()),
                ("index_shards", chosen.index_shards.to_string()),
                ("gather", settings::word(&settings.gather)),
                ("prepare", chosen.prepare.to_string()),
                ("logs", settings::word(&settings.logs)),
            ];
            Ok((store, effective.map(|(key, value)| (key.to_owned(), value)).into()))
        }
        Engine::Sqlite | Engine::Redb | Engine::Fjall | Engine::Rocksdb => {
            let (store, effective) = docdb_peers::open(settings.engine.name(), &directory, workload.databases)
                .map_err(|error| engine_error("opening the store", error))?;
            fill(&*store)?;
            Ok((Arc::from(store), effective))
        }
    }
}

fn expect_all(documents: &[Vec<(u64, Vec<u8>)>], found: u64) -> Result<(), TargetError> {
    let written: u64 = documents.iter().map(|documents| documents.len() as u64).sum();
    if found == written {
        return Ok(());
    }
    let why = format!("{written} documents were written, {found} are there");
    Err(TargetError::engine("opening the filled store", why))
}

/// What is in force of the classic store's settings, as the store has them.
fn classic_effective(store: &classic::Store) -> BTreeMap<String, String> {
    let mut effective = BTreeMap::new();
    let mut put = |key: &str, value: String| effective.insert(key.to_owned(), value);
    let classic::Settings { fsync, acknowledge, data_file_fsyncs, locking, index_shards, .. } = store.settings();
    put("fsync", settings::word(&Fsync::from(*fsync)));
    match *fsync {
        classic::Fsync::Group { interval, records_max } => {
            put("interval", HumanDuration(interval).to_string());
            put("max_batch", records_max.to_string());
            put("ack", settings::word(&Ack::from(*acknowledge)));
        }
        classic::Fsync::Interval(interval) => {
            put("interval", HumanDuration(interval).to_string());
        }
        classic::Fsync::Always | classic::Fsync::None => {}
    }
    put("datafile_fsyncs", data_file_fsyncs.to_string());
    put("locking", settings::word(&Locking::from(*locking)));
    put("index_shards", index_shards.to_string());
    put("scheduler_workers", store.workers().to_string());
    effective
}

type Served = (Option<Listening>, Vec<Vec<Arc<RemoteStore>>>);

/// A server, and the directory that the name of its socket goes through.
type Listening = (Server, Option<File>);

/// A place for a Unix socket in a directory however deep: its name may have 107 bytes, and that of a run's folder has
/// more. The name goes through the open directory instead, which must stay open as long as the name is used.
fn socket_in(data_dir: &Path) -> std::io::Result<(File, PathBuf)> {
    let directory = File::open(data_dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()));
    Ok((directory, path))
}

/// Serves the store on a socket and connects to it, where the transport is one.
fn serve(
    workload: &Workload,
    settings: &Settings,
    store: &Arc<dyn DocumentStore>,
    data_dir: &Path,
    clients: usize,
) -> Result<Served, TargetError> {
    let (directory, socket) = match settings.transport {
        Transport::InProcess => return Ok((None, Vec::new())),
        Transport::Unix => {
            let (directory, path) = socket_in(data_dir)
                .map_err(|error| TargetError::new("opening the data directory", TargetErrorKind::Io(error)))?;
            (Some(directory), Socket::Unix(path))
        }
        Transport::Tcp => (None, Socket::Tcp),
    };
    let server = Server::start(Arc::clone(store), &socket).map_err(|error| engine_error("serving the store", error))?;
    let mut connections = Vec::new();
    for database in 0..usize::from(workload.databases) {
        let here = (clients + usize::from(workload.databases) - 1 - database) / usize::from(workload.databases);
        let count = match settings.connections_per_db as usize {
            0 => here,
            some => some.min(here),
        };
        let connect = |_| {
            RemoteStore::connect(server.address())
                .map(Arc::new)
                .map_err(|error| engine_error("connecting to the store", error))
        };
        connections.push((0..count).map(connect).collect::<Result<Vec<_>, _>>()?);
    }
    Ok((Some((server, directory)), connections))
}

impl Target for DocDb {
    fn effective(&self) -> BTreeMap<String, String> {
        self.effective.clone()
    }

    fn durability(&self) -> Durability {
        durability(&self.settings)
    }

    fn groups(&self) -> Vec<String> {
        (1..=self.workload.databases).map(|number| format!("db{number}")).collect()
    }

    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let model = &self.models[index];
        let (database, ids) = {
            let model = lock(model);
            (model.database, model.held.len())
        };
        if ids == 0 {
            let message = format!("client {index} has no id of {}; write more ids or fewer clients", self.workload.ids);
            return Err(TargetError::new("spreading the ids", SettingsError::new("workload", "ids", message)));
        }
        let way = match self.connections.get(usize::from(database)) {
            None => Way::Direct(Arc::clone(&self.store)),
            Some(connections) => {
                let place = index / usize::from(self.workload.databases);
                Way::Remote(Arc::clone(&connections[place % connections.len()]))
            }
        };
        span::attach("client");
        let draw = Draw::new(&self.workload, ids, seed);
        let slowdown = Slowdown::new(self.settings.slowdown_percent);
        Ok(Box::new(DocClient { target: self, model, way, draw, slowdown, document: Vec::new() }))
    }

    fn stage_table(&self) -> Option<&StageTable> {
        Some(&self.stages)
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        self.store.settle().map_err(|error| engine_error("settling the store", error))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        let owed = self.store.statistics().gauges.get("at_risk").copied();
        self.quiesce()?;
        Ok(Drain { owed: owed.map(|owed| owed as u64), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let (mut checked, mut held) = (0, 0);
        let mut found = Vec::new();
        let fail = |checked, detail| Ok(Check { passed: false, checked, detail });
        for model in &self.models {
            let mut model = lock(model);
            if let Some(wrong) = &model.wrong {
                return fail(checked, format!("a client was answered wrongly: {wrong}"));
            }
            for number in 0..model.held.len() {
                let (id, database) = (model.id(number), model.database);
                let request = Request { operation: Operation::Read, database, id, document: b"" };
                let reply = match self.store_read(request, &mut found) {
                    Ok(reply) => reply,
                    Err(error) => return fail(checked, format!("db{} id {id}: {error}", database + 1)),
                };
                checked += 1;
                held += u64::from(reply == Reply::Done);
                let right = match model.held[number] {
                    Held::Nothing => reply == Reply::NotFound,
                    Held::Document(sequence) => {
                        reply == Reply::Done && model.documents.document(id, sequence) == found.as_slice()
                    }
                    Held::Unknown => true,
                };
                if !right {
                    let what = model.held[number];
                    let detail = format!("db{} id {id}: {what:?} was acknowledged, {reply:?} is found", database + 1);
                    return fail(checked, detail);
                }
            }
        }
        let documents = self.store.documents().map_err(|error| engine_error("counting the documents", error))?;
        if documents != held {
            return fail(checked, format!("{held} documents were read, the store counts {documents}"));
        }
        Ok(Check {
            passed: true,
            checked,
            detail: format!("each of {checked} ids holds what was last acknowledged; {documents} documents"),
        })
    }

    fn sample(&self, samples: &mut Samples) {
        let statistics = self.store.statistics();
        for (name, value) in statistics.counters {
            samples.counter(name, value);
        }
        for (name, value) in statistics.gauges {
            samples.gauge(name, value);
        }
        samples.counter("writes", self.writes.load(Ordering::Relaxed) as f64);
    }

    fn distributions(&self) -> BTreeMap<String, Histogram> {
        let distributions = self.store.statistics().distributions;
        distributions.into_iter().map(|(name, histogram)| (name.to_owned(), histogram)).collect()
    }
}

impl DocDb {
    /// Reads past the queues' limit: a full queue is asked again.
    fn store_read(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        loop {
            match self.store.apply(request, document) {
                Err(StoreError { kind: StoreErrorKind::QueueFull { .. }, .. }) => std::thread::yield_now(),
                other => return other,
            }
        }
    }
}

/// How a client reaches the store.
enum Way {
    Direct(Arc<dyn DocumentStore>),
    Remote(Arc<RemoteStore>),
}

struct DocClient<'a> {
    target: &'a DocDb,
    model: &'a Mutex<Model>,
    way: Way,
    draw: Draw,
    slowdown: Slowdown,
    document: Vec<u8>,
}

impl Client for DocClient<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let _request = span::process(stages::REQUEST);
        let (operation, number) = self.draw.next();
        // The model is this client's own; the lock only lets the check see it afterwards.
        let mut model = lock(self.model);
        let model = &mut *model;
        let (id, database) = (model.id(number), model.database);
        let sequence = model.sequence + 1;
        let text = if operation.has_document() { model.documents.document(id, sequence) } else { b"".as_slice() };
        let request = Request { operation, database, id, document: text };
        let Self { target, way, slowdown, document, .. } = self;
        let result = slowdown.around(|| match way {
            Way::Direct(store) => {
                // Our own stores have stages inside.
                let opaque = !matches!(target.settings.engine, Engine::Docdb | Engine::Fast);
                let _engine = opaque.then(|| span::process(stages::ENGINE));
                store.apply(request, document)
            }
            Way::Remote(store) => {
                let _answer = span::wait(stages::ANSWER);
                store.call(request, document)
            }
        });
        let held = model.held[number];
        let kind = match result {
            Ok(reply) if !agrees(held, operation, reply) => {
                model.note_wrong(|| format!("{operation:?} of id {id}, which holds {held:?}, was answered {reply:?}"));
                model.held[number] = Held::Unknown;
                OutcomeKind::Failed(failure::WRONG_ANSWER)
            }
            Ok(Reply::Done) => self.done(model, operation, number, sequence),
            Ok(Reply::Conflict) => OutcomeKind::Nothing(nothing::CONFLICT),
            Ok(Reply::NotFound) => {
                model.held[number] = Held::Nothing;
                OutcomeKind::Nothing(nothing::NOT_FOUND)
            }
            Err(error) => {
                let category = category(&error.kind);
                // A request that was turned away changed nothing; any other failure leaves open what happened.
                if operation != Operation::Read && !matches!(category, failure::QUEUE_FULL | failure::REFUSED) {
                    model.held[number] = Held::Unknown;
                    model.sequence = sequence;
                }
                OutcomeKind::Failed(category)
            }
        };
        Outcome { kind: operation as u8, group: database as u8, units: 1, result: kind }
    }
}

impl DocClient<'_> {
    /// Notes a request that was carried out; a read is compared with what was last acknowledged.
    fn done(&self, model: &mut Model, operation: Operation, number: usize, sequence: u64) -> OutcomeKind {
        match operation {
            Operation::Read => {
                let id = model.id(number);
                if let Held::Document(sequence) = model.held[number]
                    && model.documents.document(id, sequence) != self.document.as_slice()
                {
                    model.note_wrong(|| format!("the document read for id {id} is not the last one acknowledged"));
                    return OutcomeKind::Failed(failure::WRONG_ANSWER);
                }
                return OutcomeKind::Ok;
            }
            Operation::Create | Operation::Update => {
                model.sequence = sequence;
                model.held[number] = Held::Document(sequence);
            }
            Operation::Delete => model.held[number] = Held::Nothing,
        }
        self.target.writes.fetch_add(1, Ordering::Relaxed);
        OutcomeKind::Ok
    }
}

/// Whether an answer fits what the id holds.
fn agrees(held: Held, operation: Operation, reply: Reply) -> bool {
    match held {
        Held::Unknown => true,
        Held::Nothing => reply == if operation == Operation::Create { Reply::Done } else { Reply::NotFound },
        Held::Document(_) => match operation {
            Operation::Create => reply == Reply::Conflict,
            Operation::Read | Operation::Update | Operation::Delete => reply == Reply::Done,
        },
    }
}

fn category(kind: &StoreErrorKind) -> u8 {
    match kind {
        StoreErrorKind::QueueFull { .. } => failure::QUEUE_FULL,
        StoreErrorKind::Refused(_) => failure::REFUSED,
        StoreErrorKind::Corrupt { .. } => failure::CORRUPT,
        StoreErrorKind::Io { .. } => failure::IO,
        StoreErrorKind::Failed(_)
        | StoreErrorKind::Closed
        | StoreErrorKind::Engine(_)
        | StoreErrorKind::Unavailable { .. } => failure::ENGINE,
    }
}
