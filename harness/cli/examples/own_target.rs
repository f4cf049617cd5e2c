//! A target of your own: a crate that implements `Target` and a `main` of one line has every command of uplift.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use uplift::target::{
    Batch, Check, Client, Description, Drain, Durability, NoWorkload, OpenContext, Outcome, Target, TargetError,
    TypedFactory, Validated,
};

/// Settings are a serde struct: unknown keys are errors, and the JSON Schema comes from the same place.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Whether every append is synced before it is acknowledged.
    sync: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sync: true }
    }
}

/// Rules that the types do not tell would stand here.
impl Validated for Settings {}

struct Factory;

impl TypedFactory for Factory {
    type Workload = NoWorkload;
    type Settings = Settings;
    const NAME: &'static str = "appender";
    const ABOUT: &'static str = "appends 100 bytes to a file";

    fn description() -> Description {
        Description {
            unit_of_work: "append".into(),
            operations: vec!["append".into()],
            write_kinds: vec!["append".into()],
            failure_categories: vec!["io".into()],
            ..Description::default()
        }
    }

    fn open(_: NoWorkload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(context.data_dir.join("log"))
            .map_err(|error| TargetError::new("opening `log` in the data directory", error))?;
        Ok(Box::new(Appender { settings, file, acknowledged: AtomicU64::new(0) }))
    }
}

struct Appender {
    settings: Settings,
    file: File,
    acknowledged: AtomicU64,
}

impl Target for Appender {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("sync".to_owned(), self.settings.sync.to_string())])
    }

    fn durability(&self) -> Durability {
        if self.settings.sync { Durability::PowerLoss } else { Durability::ProcessCrash }
    }

    fn client(&self, _index: usize, _seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(Writer(self)))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let length =
            self.file.metadata().map_err(|error| TargetError::new("reading the length of `log`", error))?.len();
        let wanted = self.acknowledged.load(Ordering::Relaxed) * 100;
        Ok(Check {
            passed: length == wanted,
            checked: 1,
            detail: format!("{length} bytes are in the log, {wanted} were acknowledged"),
        })
    }
}

struct Writer<'a>(&'a Appender);

impl Client for Writer<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let written = (&self.0.file).write_all(&[b'a'; 100]);
        let synced = written.and_then(|()| if self.0.settings.sync { self.0.file.sync_data() } else { Ok(()) });
        if synced.is_err() {
            return Outcome::failed(0, 0);
        }
        self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
        Outcome::ok(0)
    }
}

fn main() -> ExitCode {
    uplift::main(&[&Factory])
}
