//! A target of your own that `uplift crash` can try: a small key-value store with a log that it compacts. Its setting `bug`
//! plants one of three mistakes that a benchmark does not see.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use uplift::target::{
    Audit, Batch, Check, Client, Description, Drain, Durability, NoWorkload, OpenContext, Outcome, Recovered, Target,
    TargetError, TypedFactory, Validated,
    crash_ledger::{End, Entry, Ledger, LedgerWriter, State},
    ledger_of,
};

const RECORD_BYTES: usize = 1_000;
const KEYS: u64 = 40;
const COMPACT_EVERY: u64 = 50;

/// What is wrong with the store.
#[derive(Clone, Copy, Default, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Bug {
    #[default]
    None,
    /// A write is acknowledged before it is synced.
    EarlyAcknowledgement,
    /// A new log is renamed into place, and its directory is not synced.
    NoDirectorySync,
    /// Recovery does not look at checksums.
    NoChecksum,
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    bug: Bug,
}

impl Validated for Settings {}

/// Key, value, filling made of the value, checksum.
fn record(key: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    bytes.extend(key.to_le_bytes());
    while bytes.len() < RECORD_BYTES - 8 {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

struct Store {
    folder: PathBuf,
    log: File,
    values: BTreeMap<u64, Vec<u8>>,
    appended: u64,
    bug: Bug,
}

impl Store {
    fn open(folder: &Path, bug: Bug) -> io::Result<Self> {
        let path = folder.join("log");
        let bytes = if path.exists() { fs::read(&path)? } else { Vec::new() };
        let mut values = BTreeMap::new();
        for record in bytes.chunks_exact(RECORD_BYTES) {
            let is_whole = checksum(&record[..RECORD_BYTES - 8]) == word(record, RECORD_BYTES - 8);
            if !is_whole && bug != Bug::NoChecksum {
                break;
            }
            values.insert(word(record, 0), record.to_vec());
        }
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { folder: folder.to_owned(), log, values, appended: 0, bug })
    }

    fn put(&mut self, key: u64, value: u64) -> io::Result<()> {
        let record = record(key, value);
        self.log.write_all(&record)?;
        self.values.insert(key, record);
        self.appended += 1;
        if self.bug != Bug::EarlyAcknowledgement || self.appended.is_multiple_of(8) {
            self.log.sync_data()?;
        }
        if self.appended.is_multiple_of(COMPACT_EVERY) { self.compact() } else { Ok(()) }
    }

    fn compact(&mut self) -> io::Result<()> {
        let (new, path) = (self.folder.join("log.new"), self.folder.join("log"));
        let mut file = File::create(&new)?;
        for record in self.values.values() {
            file.write_all(record)?;
        }
        file.sync_all()?;
        fs::rename(&new, &path)?;
        if self.bug != Bug::NoDirectorySync {
            File::open(&self.folder)?.sync_all()?;
        }
        self.log = OpenOptions::new().append(true).open(&path)?;
        Ok(())
    }
}

struct Factory;

impl TypedFactory for Factory {
    type Workload = NoWorkload;
    type Settings = Settings;
    const NAME: &'static str = "keeper";
    const ABOUT: &'static str = "a key-value store with a log that is compacted";

    fn description() -> Description {
        Description {
            unit_of_work: "put".into(),
            operations: vec!["put".into()],
            write_kinds: vec!["put".into()],
            failure_categories: vec!["io".into()],
            ..Description::default()
        }
    }

    fn open(_: NoWorkload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        Ok(Box::new(Keeper { store: Mutex::new(opened(&settings, &context)?), ledger: context.ledger }))
    }

    fn can_reopen(_: &NoWorkload, _: &Settings) -> Result<(), String> {
        Ok(())
    }

    fn reopen(_: NoWorkload, settings: Settings, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        Ok(Box::new(Left(opened(&settings, &context)?)))
    }
}

fn opened(settings: &Settings, context: &OpenContext) -> Result<Store, TargetError> {
    Store::open(&context.data_dir, settings.bug).map_err(|error| TargetError::new("opening the log", error))
}

struct Keeper {
    store: Mutex<Store>,
    ledger: Option<PathBuf>,
}

impl Target for Keeper {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    fn client(&self, index: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(Putter { keeper: self, ledger: ledger_of(self.ledger.as_deref(), index)?, puts: 0 }))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain::default())
    }

    fn check(&self) -> Result<Check, TargetError> {
        Ok(Check { passed: true, checked: 0, detail: "see `uplift crash`".to_owned() })
    }
}

struct Putter<'a> {
    keeper: &'a Keeper,
    ledger: Option<LedgerWriter>,
    puts: u64,
}

impl Client for Putter<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        self.puts += 1;
        let (key, value) = (self.puts.wrapping_mul(7) % KEYS, self.puts);
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(0, key, value);
        }
        let done = self.keeper.store.lock().unwrap_or_else(PoisonError::into_inner).put(key, value);
        if let Some(ledger) = &mut self.ledger {
            ledger.end(if done.is_ok() { End::Acknowledged } else { End::Unknown });
        }
        if done.is_ok() { Outcome::ok(0) } else { Outcome::failed(0, 0) }
    }
}

struct Left(Store);

impl Recovered for Left {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let mut audit = Audit { in_flight: ledger.open(), ..Audit::default() };
        for key in 0..KEYS {
            let entries: Vec<&Entry> = ledger.clients.iter().flatten().filter(|entry| entry.key == key).collect();
            let found = self.0.values.get(&key).map(|record| word(record, 8));
            if let Some(bytes) = self.0.values.get(&key)
                && *bytes != record(key, found.unwrap_or(0))
            {
                audit.wrong += 1;
                audit.note(|| format!("key {key}: a record that nobody wrote"));
            }
            let told = |entry: &&&Entry| entry.acknowledged_ns().is_some();
            audit.acknowledged += entries.iter().filter(told).count() as u64;
            // Values of a key grow: what was acknowledged after the value that is found is lost.
            let newer = entries.iter().filter(|entry| Some(entry.value) > found);
            for entry in newer {
                if let State::Acknowledged(ns) = entry.state {
                    audit.note(|| format!("key {key}: {} was acknowledged, {found:?} is found", entry.value));
                    audit.note_lost(ns, ledger.cut_ns);
                }
            }
        }
        Ok(audit)
    }
}

fn main() -> ExitCode {
    uplift::main(&[&Factory])
}
