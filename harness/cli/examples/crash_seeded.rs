//! The fast document store with a bug sown into it: `uplift crash` must find each in under 200 cuts. The setting `bug` names it.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use docdb_seeded::{Bug, DocumentStore as _, Operation, Reply, Request, fast, sow};
use engine_disk::{Disk, RealDisk};
use uplift::target::{
    Audit, Batch, Check, Client, Description, Drain, Durability, OpenContext, Outcome, Recovered, SettingsError,
    Target, TargetError, TargetFactory,
    crash_ledger::{End, Entry, Ledger, LedgerWriter, State},
    ledger_of,
    model::Table,
    typed,
};

/// Documents of each client.
const KEYS: u64 = 8;
/// Long enough for several pages: a document may be torn.
const WORDS: usize = 900;
/// Short enough for a new segment every few writes.
const SEGMENT_BYTES: u64 = 64 << 10;

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    bug: Bug,
}

fn document(value: u64) -> Vec<u8> {
    let word = format!("{value:09}");
    format!("{{\"value\":{value},\"text\":\"{}\"}}", vec![word; WORDS].join(" ")).into_bytes()
}

struct Factory;

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "seeded"
    }

    fn about(&self) -> &'static str {
        "the fast document store with a bug sown into it"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "put".into(),
            operations: vec!["put".into()],
            write_kinds: vec!["put".into()],
            no_op_reasons: vec![],
            failure_categories: vec!["io".into()],
            metrics: vec![],
            workload_schema: serde_json::json!({ "type": "object" }),
            settings_schema: serde_json::json!({ "type": "object" }),
        }
    }

    fn validate(&self, _: &Table, settings: &Table) -> Result<(), SettingsError> {
        typed::<Settings>("settings", settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let store = opened(&context)?;
        for id in 0..u64::from(context.load.clients()) * KEYS {
            put(&store, Operation::Create, id, 0).map_err(|why| TargetError::engine("filling the store", why))?;
        }
        Ok(Box::new(Seeded { store, ledger: context.ledger }))
    }

    fn can_reopen(&self, _: &Table, _: &Table) -> Result<(), String> {
        Ok(())
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        Ok(Box::new(Left { store: opened(&context)?, clients: u64::from(context.load.clients()) }))
    }
}

fn opened(context: &OpenContext) -> Result<fast::Store, TargetError> {
    let settings: Settings =
        typed("settings", &context.settings).map_err(|error| TargetError::new("settings", error))?;
    sow(settings.bug);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let chosen = fast::Settings { databases: 1, segment_bytes_max: SEGMENT_BYTES, ..fast::Settings::default() };
    let store = fast::Store::open(&disk, &context.data_dir.join("store"), &chosen, &context.events);
    store.map(|(store, _)| store).map_err(|error| TargetError::engine("opening the store", error))
}

fn put(store: &fast::Store, operation: Operation, id: u64, value: u64) -> Result<(), String> {
    let document = document(value);
    let request = Request { operation, database: 0, id, document: &document };
    match store.apply(request, &mut Vec::new()) {
        Ok(Reply::Done) => Ok(()),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}

struct Seeded {
    store: fast::Store,
    ledger: Option<PathBuf>,
}

impl Target for Seeded {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    fn client(&self, index: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let ledger = ledger_of(self.ledger.as_deref(), index)?;
        Ok(Box::new(Putter { seeded: self, ledger, first: index as u64 * KEYS, puts: 0 }))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain::default())
    }

    fn check(&self) -> Result<Check, TargetError> {
        Ok(Check { passed: true, checked: 0, detail: "see `uplift crash`".to_owned() })
    }
}

struct Putter<'a> {
    seeded: &'a Seeded,
    ledger: Option<LedgerWriter>,
    first: u64,
    puts: u64,
}

impl Client for Putter<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        self.puts += 1;
        let (id, value) = (self.first + self.puts % KEYS, self.puts);
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(0, id, value);
        }
        let done = put(&self.seeded.store, Operation::Update, id, value);
        if let Some(ledger) = &mut self.ledger {
            ledger.end(if done.is_ok() { End::Acknowledged } else { End::Unknown });
        }
        if done.is_ok() { Outcome::ok(0) } else { Outcome::failed(0, 0) }
    }
}

struct Left {
    store: fast::Store,
    clients: u64,
}

impl Recovered for Left {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let mut audit = Audit { acknowledged: ledger.acknowledged(), in_flight: ledger.open(), ..Audit::default() };
        for id in 0..self.clients * KEYS {
            let mut bytes = Vec::new();
            let request = Request { operation: Operation::Read, database: 0, id, document: b"" };
            let found = match self.store.apply(request, &mut bytes) {
                Ok(Reply::Done) => value_of(&bytes),
                _ => None,
            };
            let Some(found) = found else {
                audit.wrong += 1;
                audit.note(|| format!("id {id}: no document that anybody wrote"));
                continue;
            };
            // Values of an id grow: what was acknowledged after the value that is found is lost.
            let own = ledger.clients.iter().flatten().filter(|entry: &&Entry| entry.key == id && entry.value > found);
            for entry in own {
                if let State::Acknowledged(ns) = entry.state {
                    audit.note(|| format!("id {id}: {} was acknowledged, {found} is found", entry.value));
                    audit.note_lost(ns, ledger.cut_ns);
                }
            }
        }
        Ok(audit)
    }
}

/// The value of a document that is as it was written.
fn value_of(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = text.strip_prefix("{\"value\":")?.split(',').next()?.parse().ok()?;
    (document(value) == bytes).then_some(value)
}

fn main() -> ExitCode {
    uplift::main(&[&Factory])
}
