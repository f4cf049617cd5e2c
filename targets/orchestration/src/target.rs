//! Orchestrations under load: starts each, waits for its end, and holds the store against what was acknowledged.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use duroxide::{
    Client as DuroxideClient,
    providers::Provider as DuroxideProvider,
    runtime::{Runtime, RuntimeOptions},
};
use parking_lot::Mutex;
use uplift_sdk::{
    Batch, Ceiling, Check, Client, Drain, Durability, OpenContext, Outcome, OutcomeKind, Samples, Target, TargetError,
    crash_ledger::{End, LedgerWriter},
    ledger_of,
    stage::StageTable,
};

use crate::{
    engine::{Engine, Stored},
    failure, open, retries,
    settings::{Completion, Settings, Workload, WorkloadKind},
    timed, workload,
};

/// How long one orchestration may take before it counts as failed.
const ORCHESTRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the runtime may take to stop.
const SHUTDOWN_MS: u64 = 2_000;

/// Sets the provider up and starts duroxide's runtime on it.
///
/// # Errors
/// Whatever keeps either from starting.
pub fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Box<dyn Target>, TargetError> {
    retries::install();
    let tokio = tokio_runtime()?;
    let orchestration = tokio.block_on(Orchestration::open(workload, settings, context))?;
    Ok(Box::new(Opened { orchestration, tokio }))
}

pub fn tokio_runtime() -> Result<tokio::runtime::Runtime, TargetError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| TargetError::new("starting the tokio runtime", error))
}

/// A provider that is set up, with what runs on it.
struct Opened {
    orchestration: Orchestration,
    tokio: tokio::runtime::Runtime,
}

struct Orchestration {
    workload: Workload,
    settings: Settings,
    effective: BTreeMap<String, String>,
    engine: Box<dyn Engine>,
    runtime: Arc<Runtime>,
    client: DuroxideClient,
    activities: Arc<AtomicU64>,
    instances: AtomicU64,
    /// Numbers of the instances whose completion was acknowledged.
    acknowledged: Mutex<Vec<u64>>,
    expected: String,
    prefix: String,
    in_flight: u32,
    stages: StageTable,
    ledger: Option<PathBuf>,
}

/// What the names of a trial's orchestrations begin with.
pub fn prefix(seed: u64) -> String {
    format!("u{seed:x}")
}

pub fn instance(prefix: &str, number: u64) -> String {
    format!("{prefix}-{number}")
}

impl Orchestration {
    async fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let stages = StageTable::new(&timed::NAMES);
        timed::watch_writers(&stages);
        let engine = open::open(&settings, &context.data_dir).await?;
        let mut effective = engine.effective();
        let text = |value: &dyn std::fmt::Display| value.to_string();
        effective.insert("orchestration_concurrency".to_owned(), text(&settings.orchestration_concurrency));
        effective.insert("worker_concurrency".to_owned(), text(&settings.worker_concurrency));
        effective.insert("poll_interval".to_owned(), text(&settings.poll_interval));
        let completion = match settings.completion {
            Completion::Poll => "poll",
            Completion::Notify => "notify",
        };
        effective.insert("completion".to_owned(), completion.to_owned());
        let provider: Arc<dyn DuroxideProvider> = Arc::new(timed::Timed::new(engine.provider(), stages.clone()));
        let (activity_registry, activities) = workload::activities(&workload);
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: settings.poll_interval.0,
            orchestration_concurrency: settings.orchestration_concurrency as usize,
            worker_concurrency: settings.worker_concurrency as usize,
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::start_with_options(
            Arc::clone(&provider),
            activity_registry,
            workload::orchestrations(&workload),
            options,
        )
        .await;
        Ok(Self {
            client: DuroxideClient::new(provider),
            expected: workload::expected_output(&workload),
            prefix: prefix(context.seed),
            workload,
            settings,
            effective,
            engine,
            runtime,
            activities,
            instances: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            in_flight: context.load.clients(),
            stages,
            ledger: context.ledger.clone(),
        })
    }

    fn instance(&self, number: u64) -> String {
        instance(&self.prefix, number)
    }

    async fn run_one(&self, number: u64) -> Outcome {
        let instance = self.instance(number);
        let start = Box::pin(self.client.start_orchestration(&instance, workload::ORCHESTRATION, ""));
        if self.stages.timed(timed::CALLER, timed::START, start).await.is_err() {
            return Outcome::failed(0, failure::CLIENT);
        }
        let end = self.engine.wait(&self.client, &instance, ORCHESTRATION_TIMEOUT);
        match self.stages.timed(timed::CALLER, timed::END, end).await {
            Ok(output) if output == self.expected => {
                self.acknowledged.lock().push(number);
                Outcome::ok(0)
            }
            Ok(_) => Outcome::failed(0, failure::WRONG_OUTPUT),
            Err(category) => Outcome::failed(0, category),
        }
    }

    /// Every acknowledged orchestration is completed in the store, once, with the right output.
    async fn check(&self) -> Result<Check, TargetError> {
        let acknowledged = self.acknowledged.lock().clone();
        let mut instances: Vec<String> = acknowledged.iter().map(|number| self.instance(*number)).collect();
        instances.sort_unstable();
        let stored = self.engine.completed(&instances).await?;
        for instance in &instances {
            let wrong = match stored.get(instance) {
                None => Some("is not completed in the store".to_owned()),
                Some(Stored { output, .. }) if *output != self.expected => Some(format!("has the output `{output}`")),
                Some(Stored { completions: 1, .. }) => None,
                Some(Stored { completions, .. }) => Some(format!("was completed {completions} times")),
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

impl Target for Opened {
    fn effective(&self) -> BTreeMap<String, String> {
        self.orchestration.effective.clone()
    }

    fn durability(&self) -> Durability {
        self.orchestration.engine.durability()
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

    fn client(&self, index: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let ledger = ledger_of(self.orchestration.ledger.as_deref(), index)?;
        Ok(Box::new(Caller { opened: self, ledger }))
    }

    fn stage_table(&self) -> Option<&StageTable> {
        Some(&self.orchestration.stages)
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
        self.tokio.block_on(self.orchestration.engine.sample(samples));
    }

    fn processes(&self) -> Vec<u32> {
        self.orchestration.engine.processes()
    }

    fn unobservable_work(&self) -> Option<String> {
        self.orchestration.engine.unobservable_work()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let runtime = Arc::clone(&self.orchestration.runtime);
        self.tokio.block_on(async {
            runtime.shutdown(Some(SHUTDOWN_MS)).await;
            self.orchestration.engine.close().await;
        });
    }
}

struct Caller<'a> {
    opened: &'a Opened,
    ledger: Option<LedgerWriter>,
}

impl Client for Caller<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let Opened { orchestration, tokio } = self.opened;
        let number = orchestration.instances.fetch_add(1, Ordering::Relaxed);
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(0, number, 0);
        }
        let outcome = tokio.block_on(orchestration.run_one(number));
        if let Some(ledger) = &mut self.ledger {
            ledger.end(if outcome.result == OutcomeKind::Ok { End::Acknowledged } else { End::Unknown });
        }
        outcome
    }
}
