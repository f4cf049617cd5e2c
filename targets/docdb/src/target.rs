//! A store under load: its clients, what it counts, and whether it holds what it acknowledged.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreError, StoreErrorKind, stages, wire::RemoteStore};
use parking_lot::{Mutex, MutexGuard};
use uplift_sdk::{
    Check, Client, Drain, Durability, OpenContext, Samples, SettingsError, Target, TargetError, ledger_of,
    model::Histogram,
    slowdown::Slowdown,
    stage::{StageTable, thread as span},
};

use crate::{
    client::{DocClient, Way},
    in_flight::Counted,
    open::{chosen, durability, engine_error, open_store, syncs_of_a_write},
    serve::{Listening, serve},
    settings::{self, Settings, Workload},
    workload::{Draw, Held, Model},
};

/// An open store with its clients.
pub struct DocDb {
    workload: Workload,
    pub settings: Settings,
    effective: BTreeMap<String, String>,
    store: Arc<dyn DocumentStore>,
    /// Of each database, where there is a socket; clients share them in turn.
    connections: Vec<Vec<Arc<RemoteStore>>>,
    // Dropped before the store.
    _server: Option<Listening>,
    models: Vec<Mutex<Model>>,
    pub writes: AtomicU64,
    stages: StageTable,
    ledger: Option<PathBuf>,
}

/// The content of a lock, whoever panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl DocDb {
    pub fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
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
        let (store, mut effective) = open_store(&workload, &settings, context, Some(&documents))?;
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
            effective.insert("connections_per_db".to_owned(), chosen(first.len(), settings.connections_per_db));
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
            ledger: context.ledger.clone(),
        })
    }
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
        let ledger = ledger_of(self.ledger.as_deref(), index)?;
        Ok(Box::new(DocClient { target: self, model, way, draw, slowdown, document: Vec::new(), ledger }))
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
