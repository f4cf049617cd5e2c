//! The orchestration target: the published `duroxide` crate, driven through its own client.
//!
//! One operation starts an orchestration and waits for its end as duroxide's users do (`start_orchestration`, then
//! `wait_for_orchestration`, which polls after 5 ms and then ever more seldom, up to 100 ms). The baseline is the
//! bundled SQLite provider with the settings that its authors began with; each setting is a setting here.

mod retries;
mod settings;
mod workload;

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use duroxide::{
    Client as DuroxideClient, ErrorDetails, OrchestrationStatus,
    providers::sqlite::SqliteProvider,
    runtime::{Runtime, RuntimeOptions},
};
use sqlx::Row as _;
use uplift_target::{
    Batch, Better, Ceiling, Check, Client, Derivation, DerivedMetric, Description, Drain, Durability, MetricSpec,
    OpenContext, Outcome, Samples, SettingsError, Target, TargetError, TargetFactory, Tier, Unit,
    model::{Table, scenario::Load},
    typed,
};

pub use settings::{Provider, Settings, Storage, Workload, WorkloadKind};

/// The orchestration target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

/// Connections of the bundled provider's pool, which it does not let anybody choose.
const POOL_CONNECTIONS: usize = 5;
/// How long one orchestration may take before it counts as failed.
const ORCHESTRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the runtime may take to stop.
const SHUTDOWN_MS: u64 = 2_000;

/// Indices of the failure categories.
mod failure {
    pub const INFRASTRUCTURE: u8 = 0;
    pub const CONFIGURATION: u8 = 1;
    pub const APPLICATION: u8 = 2;
    pub const POISON: u8 = 3;
    pub const TIMEOUT: u8 = 4;
    pub const CLIENT: u8 = 5;
    pub const WRONG_OUTPUT: u8 = 6;
    pub const NAMES: [&str; 7] =
        ["infrastructure", "configuration", "application", "poison", "timeout", "client error", "wrong output"];
}

struct Factory;

fn read(workload: &Table, settings: &Table) -> Result<(Workload, Settings), SettingsError> {
    let workload: Workload = typed("workload", workload)?;
    let settings: Settings = typed("settings", settings)?;
    workload.validate()?;
    settings.validate()?;
    Ok((workload, settings))
}

fn metric(
    name: &'static str,
    unit: Unit,
    tier: Tier,
    about: &'static str,
    source: &'static str,
    derivation: Derivation,
) -> DerivedMetric {
    DerivedMetric::new(MetricSpec::new(name, unit, Better::Lower, tier, about), source, derivation)
}

impl TargetFactory for Factory {
    fn name(&self) -> &'static str {
        "orchestration"
    }

    fn about(&self) -> &'static str {
        "durable orchestrations: the published duroxide crate on its bundled SQLite provider"
    }

    fn describe(&self) -> Description {
        Description {
            unit_of_work: "orchestration".into(),
            operations: vec!["orchestration".into()],
            write_kinds: vec!["orchestration".into()],
            nothing_reasons: Vec::new(),
            failure_categories: failure::NAMES.iter().map(|name| (*name).into()).collect(),
            metrics: vec![
                DerivedMetric::new(
                    MetricSpec::new(
                        "activities_per_second",
                        Unit::CountPerSecond,
                        Better::Higher,
                        Tier::Info,
                        "activities carried out a second",
                    ),
                    "activities",
                    Derivation::PerSecond,
                ),
                metric(
                    "write_transactions_per_op",
                    Unit::CountPerOp,
                    Tier::Info,
                    "write transactions for each orchestration, from the change counter of SQLite's WAL index",
                    "write_transactions",
                    Derivation::PerOperation,
                ),
                metric(
                    "retries_per_op",
                    Unit::CountPerOp,
                    Tier::Info,
                    "provider calls that duroxide tried again, for each orchestration, from its tracing events",
                    "retries",
                    Derivation::PerOperation,
                ),
                metric(
                    "lock_errors_per_op",
                    Unit::CountPerOp,
                    Tier::Info,
                    "those of them that failed because the database was locked",
                    "lock_errors",
                    Derivation::PerOperation,
                ),
                metric(
                    "backoff_per_op",
                    Unit::NanosecondsPerOp,
                    Tier::Info,
                    "time that dispatchers slept in back-off, for each orchestration",
                    "backoff_ns",
                    Derivation::PerOperation,
                ),
            ],
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
        retries::install();
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| TargetError::new("starting the tokio runtime", error))?;
        let orchestration = tokio.block_on(Orchestration::open(workload, settings, &context))?;
        Ok(Box::new(Opened { orchestration, tokio }))
    }
}

struct Opened {
    orchestration: Orchestration,
    tokio: tokio::runtime::Runtime,
}

struct Orchestration {
    workload: Workload,
    settings: Settings,
    effective: BTreeMap<String, String>,
    provider: Arc<SqliteProvider>,
    runtime: Arc<Runtime>,
    client: DuroxideClient,
    activities: Arc<AtomicU64>,
    /// The WAL index of the database, whose header counts write transactions.
    wal_index: Option<PathBuf>,
    instances: AtomicU64,
    /// Numbers of the instances whose completion was acknowledged.
    acknowledged: Mutex<Vec<u64>>,
    expected: String,
    prefix: String,
    in_flight: u32,
}

impl Orchestration {
    async fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let path = context.data_dir.join("orchestration.db");
        let provider = match settings.storage {
            Storage::File => {
                // As duroxide's examples do: the URL of its provider does not create the file.
                File::create(&path).map_err(|error| TargetError::new("creating the database file", error))?;
                SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await
            }
            Storage::Memory => SqliteProvider::new_in_memory().await,
        }
        .map_err(|error| TargetError::engine("opening the bundled SQLite provider", error))?;
        let mut effective = apply_pragmas(&provider, &settings).await?;
        let text = |value: &dyn std::fmt::Display| value.to_string();
        effective.insert("provider".to_owned(), "sqlite".to_owned());
        effective.insert(
            "storage".to_owned(),
            match settings.storage {
                Storage::File => "file",
                Storage::Memory => "memory",
            }
            .to_owned(),
        );
        effective.insert("orchestration_concurrency".to_owned(), text(&settings.orchestration_concurrency));
        effective.insert("worker_concurrency".to_owned(), text(&settings.worker_concurrency));
        effective.insert("poll_interval".to_owned(), text(&settings.poll_interval));

        let provider = Arc::new(provider);
        let (activity_registry, activities) = workload::activities(&workload);
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: settings.poll_interval.0,
            orchestration_concurrency: settings.orchestration_concurrency as usize,
            worker_concurrency: settings.worker_concurrency as usize,
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::start_with_options(
            Arc::clone(&provider) as _,
            activity_registry,
            workload::orchestrations(&workload),
            options,
        )
        .await;
        let in_flight = match &context.load {
            Load::Closed { clients, .. } | Load::Open { clients, .. } => *clients,
        };
        Ok(Self {
            client: DuroxideClient::new(Arc::clone(&provider) as _),
            expected: workload::expected_output(&workload),
            wal_index: (settings.storage == Storage::File).then(|| path.with_extension("db-shm")),
            prefix: format!("u{:x}", context.seed),
            workload,
            settings,
            effective,
            provider,
            runtime,
            activities,
            instances: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            in_flight,
        })
    }

    fn instance(&self, number: u64) -> String {
        format!("{}-{number}", self.prefix)
    }

    async fn run_one(&self) -> Outcome {
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let instance = self.instance(number);
        if self.client.start_orchestration(&instance, workload::ORCHESTRATION, "").await.is_err() {
            return Outcome::failed(0, failure::CLIENT);
        }
        match self.client.wait_for_orchestration(&instance, ORCHESTRATION_TIMEOUT).await {
            Ok(OrchestrationStatus::Completed { output, .. }) if output == self.expected => {
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                Outcome::ok(0)
            }
            Ok(OrchestrationStatus::Completed { .. }) => Outcome::failed(0, failure::WRONG_OUTPUT),
            Ok(OrchestrationStatus::Failed { details, .. }) => Outcome::failed(
                0,
                match details {
                    ErrorDetails::Infrastructure { .. } => failure::INFRASTRUCTURE,
                    ErrorDetails::Configuration { .. } => failure::CONFIGURATION,
                    ErrorDetails::Application { .. } => failure::APPLICATION,
                    ErrorDetails::Poison { .. } => failure::POISON,
                },
            ),
            Ok(_) => Outcome::failed(0, failure::TIMEOUT),
            Err(duroxide::ClientError::Timeout) => Outcome::failed(0, failure::TIMEOUT),
            Err(_) => Outcome::failed(0, failure::CLIENT),
        }
    }

    /// Every acknowledged orchestration is completed in the store, once, with the right output.
    async fn check(&self) -> Result<Check, TargetError> {
        let engine = |error: sqlx::Error| TargetError::engine("reading back completed orchestrations", error);
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = sqlx::query(
            "SELECT e.instance_id AS instance, e.output AS output, COUNT(h.event_id) AS completions \
             FROM executions e LEFT JOIN history h ON h.instance_id = e.instance_id \
             AND h.event_type = 'OrchestrationCompleted' \
             WHERE e.status = 'Completed' GROUP BY e.instance_id",
        )
        .fetch_all(self.provider.get_pool())
        .await
        .map_err(engine)?;
        let mut stored: BTreeMap<String, (String, i64)> = BTreeMap::new();
        for row in rows {
            let instance: String = row.try_get("instance").map_err(engine)?;
            let output: Option<String> = row.try_get("output").map_err(engine)?;
            let completions: i64 = row.try_get("completions").map_err(engine)?;
            stored.insert(instance, (output.unwrap_or_default(), completions));
        }
        for number in &acknowledged {
            let instance = self.instance(*number);
            let wrong = match stored.get(&instance) {
                None => Some("is not completed in the store".to_owned()),
                Some((output, _)) if *output != self.expected => Some(format!("has the output `{output}`")),
                Some((_, completions)) if *completions != 1 => Some(format!("was completed {completions} times")),
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                let detail = format!("orchestration `{instance}` was acknowledged and {wrong}");
                return Ok(Check { passed: false, checked: acknowledged.len() as u64, detail });
            }
        }
        Ok(Check {
            passed: true,
            checked: acknowledged.len() as u64,
            detail: format!(
                "each of {} acknowledged orchestrations is completed in the store, once, with the right output",
                acknowledged.len()
            ),
        })
    }
}

/// Sets the pragmas on every connection of the pool and reads them back from each.
///
/// The provider sets its own when it connects, and a pragma belongs to a connection: all connections are held at once,
/// so that none is missed.
async fn apply_pragmas(
    provider: &SqliteProvider,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, TargetError> {
    let failed = |error: sqlx::Error| TargetError::engine("setting the pragmas of the bundled provider", error);
    let mut connections = Vec::new();
    let count = match settings.storage {
        Storage::File => POOL_CONNECTIONS,
        // Pragmas of the shared in-memory database are left as the provider sets them.
        Storage::Memory => 1,
    };
    for _ in 0..count {
        connections.push(provider.get_pool().acquire().await.map_err(failed)?);
    }
    let mut read_back: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for connection in &mut connections {
        if settings.storage == Storage::File {
            for statement in [
                format!("PRAGMA synchronous = {}", settings.synchronous),
                format!("PRAGMA wal_autocheckpoint = {}", settings.wal_autocheckpoint),
                format!("PRAGMA cache_size = -{}", settings.cache_size_kib),
            ] {
                sqlx::query(&statement).execute(&mut **connection).await.map_err(failed)?;
            }
        }
        for pragma in ["synchronous", "wal_autocheckpoint", "cache_size", "journal_mode"] {
            let row = sqlx::query(&format!("PRAGMA {pragma}")).fetch_one(&mut **connection).await.map_err(failed)?;
            let value = row
                .try_get::<i64, _>(0)
                .map(|number| number.to_string())
                .or_else(|_| row.try_get::<String, _>(0))
                .map_err(failed)?;
            read_back.entry(pragma).or_default().push(value);
        }
    }
    let mut effective = BTreeMap::new();
    for (pragma, mut values) in read_back {
        values.sort();
        values.dedup();
        let words: Vec<String> = values.iter().map(|value| in_words(pragma, value)).collect();
        let name = if pragma == "cache_size" { "cache_size_kib" } else { pragma };
        effective.insert(name.to_owned(), words.join(" and "));
    }
    Ok(effective)
}

/// A pragma's value under the name and unit that the settings have.
fn in_words(pragma: &str, value: &str) -> String {
    match (pragma, value) {
        ("synchronous", "0") => "OFF".to_owned(),
        ("synchronous", "1") => "NORMAL".to_owned(),
        ("synchronous", "2") => "FULL".to_owned(),
        ("synchronous", "3") => "EXTRA".to_owned(),
        ("cache_size", kib) => kib.trim_start_matches('-').to_owned(),
        (_, value) => value.to_owned(),
    }
}

impl Target for Opened {
    fn effective(&self) -> BTreeMap<String, String> {
        self.orchestration.effective.clone()
    }

    fn durability(&self) -> Durability {
        let effective = |key: &str| self.orchestration.effective.get(key).map(String::as_str);
        match (self.orchestration.settings.storage, effective("synchronous"), effective("journal_mode")) {
            (Storage::Memory, ..) => Durability::None,
            (Storage::File, Some("FULL" | "EXTRA"), _) => Durability::PowerLoss,
            // In WAL mode NORMAL syncs only at checkpoints: the newest commits are in the page cache.
            (Storage::File, Some("NORMAL"), Some("wal")) => Durability::ProcessCrash,
            (Storage::File, Some("NORMAL"), _) => Durability::PowerLoss,
            (Storage::File, ..) => Durability::ProcessCrash,
        }
    }

    fn ceiling(&self) -> Option<Ceiling> {
        let Orchestration { workload, settings, in_flight, .. } = &self.orchestration;
        if workload.kind != WorkloadKind::Fanout || workload.activity_delay.0.is_zero() {
            return None;
        }
        let delay_s = workload.activity_delay.0.as_secs_f64();
        let workers = f64::from(settings.worker_concurrency) / (f64::from(workload.activities) * delay_s);
        // What is in flight must at least wait for its own activities, which run side by side at best.
        let flight = f64::from(*in_flight) / delay_s;
        let why = if workers <= flight {
            format!(
                "{} workers / ({} activities x {})",
                settings.worker_concurrency, workload.activities, workload.activity_delay
            )
        } else {
            format!("{in_flight} in flight / {}", workload.activity_delay)
        };
        Some(Ceiling { throughput: workers.min(flight), why })
    }

    fn client(&self, _: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(Caller { opened: self }))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), detail: "every orchestration was waited for".to_owned(), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        self.tokio.block_on(self.orchestration.check())
    }

    fn sample(&self, samples: &mut Samples) {
        samples.counter("activities", self.orchestration.activities.load(Ordering::Relaxed) as f64);
        samples.counter("retries", retries::RETRIES.load(Ordering::Relaxed) as f64);
        samples.counter("lock_errors", retries::LOCK_ERRORS.load(Ordering::Relaxed) as f64);
        samples.counter("backoff_ns", retries::BACKOFF_MS.load(Ordering::Relaxed) as f64 * 1e6);
        if let Some(count) = self.orchestration.wal_index.as_ref().and_then(wal_transactions) {
            samples.counter("write_transactions", f64::from(count));
        }
    }
}

/// The number of write transactions from the WAL index: the 32-bit counter `iChange` at offset 8 of its header, which
/// every committed write transaction increments (SQLite's file format, "WAL-Index Header").
fn wal_transactions(path: &PathBuf) -> Option<u32> {
    let mut counter = [0; 4];
    File::open(path).ok()?.read_exact_at(&mut counter, 8).ok()?;
    Some(u32::from_ne_bytes(counter))
}

impl Drop for Opened {
    fn drop(&mut self) {
        let runtime = Arc::clone(&self.orchestration.runtime);
        self.tokio.block_on(runtime.shutdown(Some(SHUTDOWN_MS)));
    }
}

struct Caller<'a> {
    opened: &'a Opened,
}

impl Client for Caller<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        self.opened.tokio.block_on(self.opened.orchestration.run_one())
    }
}
