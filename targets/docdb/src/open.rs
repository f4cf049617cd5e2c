//! Opening the store that the settings name, filled, with what is in force of them.

use std::{collections::BTreeMap, sync::Arc};

use docdb_engine::{DocumentStore, Operation, Request, StoreError, StoreErrorKind, classic, fast};
use engine_disk::{Disk, RealDisk};
use uplift_sdk::sync_probe;
use uplift_sdk::{
    Durability, OpenContext, TargetError, TargetErrorKind,
    model::{duration::HumanDuration, setting_value::AUTOMATIC},
};

use crate::settings::{self, Ack, Engine, Fsync, Locking, Logs, Settings, Workload};

/// An error of the store while doing `what`.
pub fn engine_error(what: &str, error: StoreError) -> TargetError {
    match error.kind {
        StoreErrorKind::Unavailable { state, remedy } => {
            TargetError::new(what, TargetErrorKind::Unavailable { state, remedy })
        }
        _ => TargetError::engine(what, error),
    }
}

/// What an acknowledged write survives.
pub const fn durability(settings: &Settings) -> Durability {
    match (settings.engine, settings.fsync, settings.ack) {
        (Engine::Docdb, Fsync::Group, Ack::Buffered) => Durability::Buffered,
        (Engine::Docdb, Fsync::Interval | Fsync::None, _) => Durability::ProcessCrash,
        _ => Durability::PowerLoss,
    }
}

/// The sync calls that one update costs, of the document `id` that no client has: durability read back from what the
/// store does. `None` where sync calls cannot be counted.
pub fn syncs_of_a_write(store: &dyn DocumentStore, id: u64) -> Result<Option<u64>, TargetError> {
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

/// The documents of one database, by number.
pub type Documents = Vec<(u64, Vec<u8>)>;

/// A store, with its settings in force.
pub type Opened = (Arc<dyn DocumentStore>, BTreeMap<String, String>);

/// The engine, filled with `documents` and ready; without them with what is there.
pub fn open_store(
    workload: &Workload,
    settings: &Settings,
    context: &OpenContext,
    documents: Option<&[Documents]>,
) -> Result<Opened, TargetError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let directory = context.data_dir.join("store");
    let fill = |store: &dyn DocumentStore| {
        documents
            .into_iter()
            .flatten()
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
            if documents.is_some() {
                let (store, _) = classic::Store::open(&disk, &directory, &quick, &context.events).map_err(opening)?;
                fill(&store)?;
            }
            let (store, recovery) =
                classic::Store::open(&disk, &directory, &chosen, &context.events).map_err(opening)?;
            if let Some(documents) = documents {
                expect_all(documents, recovery.documents)?;
            }
            let effective = classic_effective(&store, settings);
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
        Engine::Sqlite
        | Engine::Redb
        | Engine::Fjall
        | Engine::Rocksdb
        | Engine::SqliteGrouped
        | Engine::RedbGrouped
        | Engine::FjallGrouped
        | Engine::RocksdbGrouped => {
            let (store, effective) = docdb_peers::open(settings.engine.name(), &directory, workload.databases)
                .map_err(|error| engine_error("opening the store", error))?;
            fill(&*store)?;
            Ok((Arc::from(store), effective))
        }
    }
}

fn expect_all(documents: &[Documents], found: u64) -> Result<(), TargetError> {
    let written: u64 = documents.iter().map(|documents| documents.len() as u64).sum();
    if found == written {
        return Ok(());
    }
    let why = format!("{written} documents were written, {found} are there");
    Err(TargetError::engine("opening the filled store", why))
}

/// A number in force, and that the target chose it where 0 or "auto" was asked for.
pub fn chosen(in_force: usize, asked: u32) -> String {
    format!("{in_force}{}", if asked == 0 { AUTOMATIC } else { "" })
}

/// What is in force of the classic store's settings, as the store has them.
fn classic_effective(store: &classic::Store, asked: &Settings) -> BTreeMap<String, String> {
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
    put("scheduler_workers", chosen(store.workers(), asked.scheduler_workers));
    effective
}
