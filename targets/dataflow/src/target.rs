//! The engine bound to the harness: set-up, clients, samples, drain and check.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dataflow_engine::{
    check::{self, Told},
    engine::{Engine, EngineError, Packets},
    persist::Storage,
    row::{Article, Vote, user},
};
use parking_lot::{Mutex, MutexGuard};
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, OpenContext, Outcome, Samples, Target, TargetError, clock, ledger_of,
    model::Histogram, stage::StageTable, timeline::EventLog,
};

use crate::{
    client::{Articles, Slowed, Tally, Voter, failure, kind},
    settings::{Settings, Workload, WorkloadKind},
};

/// The client number of votes that are cast before anything is timed.
pub const PRELOAD_CLIENT: u16 = u16::MAX;
/// Votes of one packet of them.
const PRELOAD_PACKET: u64 = 16_384;
/// Keeps the random numbers of preloading from those of the clients.
const PRELOAD_SEED: u64 = 0x0b1e_55ed_0b1e_55ed;

fn failed(doing: &'static str) -> impl FnOnce(EngineError) -> TargetError {
    move |error| TargetError::engine(doing, error)
}

/// Sets the engine up as the scenario says.
///
/// # Errors
/// Whatever keeps it from being set up.
pub fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
    let storage = Storage::real();
    let (engine, _) = Engine::open(&context.data_dir, &settings.engine(), &storage, &context.events)
        .map_err(failed("opening the engine"))?;
    let titles: Vec<String> = (0..workload.articles).map(title).collect();
    let articles = titles.iter().zip(0..).map(|(title, id)| Article { id, title });
    engine.insert_articles(articles).map_err(failed("inserting the articles"))?;
    preload(&engine, &workload, context.seed).map_err(failed("casting the first votes"))?;
    Ok(match workload.kind {
        WorkloadKind::Vote => {
            let slowdown_percent = settings.slowdown_percent;
            Box::new(Voting {
                engine,
                workload,
                slowdown_percent,
                tallies: Mutex::default(),
                ledger: context.ledger.clone(),
                final_gauges: Mutex::default(),
            })
        }
        WorkloadKind::Recovery => {
            let in_force = with_slowdown(engine.in_force().clone(), settings.slowdown_percent);
            let survives = engine.survives();
            let stored = engine.stored().map_err(failed("reading file sizes"))?;
            engine.close().map_err(failed("closing the engine"))?;
            Box::new(Recovering {
                workload,
                settings,
                storage,
                directory: context.data_dir,
                in_force,
                survives,
                log_bytes: stored.log_bytes,
                one_at_a_time: Mutex::new(()),
                recoveries: AtomicU64::new(0),
                recovery_ns: AtomicU64::new(0),
            })
        }
    })
}

fn recount(engine: &Engine, articles: u32, told: &BTreeMap<u16, Told>) -> Result<Check, TargetError> {
    let check::Check { passed, checked, detail } =
        check::check(engine, articles, told).map_err(failed("reading votes back"))?;
    Ok(Check { passed, checked, detail })
}

/// What clients do is in force too.
fn with_slowdown(mut in_force: BTreeMap<String, String>, percent: f64) -> BTreeMap<String, String> {
    if percent > 0.0 {
        in_force.insert("slowdown_percent".to_owned(), percent.to_string());
    }
    in_force
}

fn title(article: u32) -> String {
    format!("Article #{article}")
}

fn preload(engine: &Engine, workload: &Workload, seed: u64) -> Result<(), EngineError> {
    let mut articles = Articles::new(workload, seed ^ PRELOAD_SEED);
    let mut packets = Packets::new(engine);
    for sequence in 0..workload.preload_votes {
        packets.add(engine, Vote { article: articles.draw(), user: user(PRELOAD_CLIENT, sequence) });
        if sequence % PRELOAD_PACKET == PRELOAD_PACKET - 1 {
            packets.send(engine)?;
        }
    }
    packets.send(engine)?;
    engine.quiesce()
}

/// Votes and reads.
struct Voting {
    engine: Engine,
    workload: Workload,
    slowdown_percent: f64,
    tallies: Mutex<BTreeMap<u16, Arc<Tally>>>,
    ledger: Option<PathBuf>,
    /// Gauges that are too dear for every turn; taken once, when the load is over.
    final_gauges: Mutex<BTreeMap<&'static str, f64>>,
}

impl Voting {
    fn tallies(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<Tally>>> {
        self.tallies.lock()
    }

    fn told(&self) -> BTreeMap<u16, Told> {
        let mut told: BTreeMap<u16, Told> = self
            .tallies()
            .iter()
            .map(|(client, tally)| {
                let acknowledged = tally.acknowledged.load(Ordering::Acquire);
                let unanswered_max = if tally.failed.load(Ordering::Acquire) { u64::MAX } else { 0 };
                (*client, Told { acknowledged, unanswered_max })
            })
            .collect();
        if self.workload.preload_votes > 0 {
            let preloaded = Told { acknowledged: self.workload.preload_votes, unanswered_max: 0 };
            told.insert(PRELOAD_CLIENT, preloaded);
        }
        told
    }
}

impl Target for Voting {
    fn effective(&self) -> BTreeMap<String, String> {
        with_slowdown(self.engine.in_force().clone(), self.slowdown_percent)
    }

    fn durability(&self) -> Durability {
        self.engine.survives()
    }

    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let tally = Arc::<Tally>::default();
        let number = index as u16;
        self.tallies().insert(number, Arc::clone(&tally));
        let ledger = ledger_of(self.ledger.as_deref(), index)?;
        let voter = Voter::new(&self.engine, &self.workload, number, seed, tally, ledger);
        Ok(Box::new(Slowed::new(voter, self.slowdown_percent)))
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        self.engine.quiesce().map_err(failed("waiting until the engine is quiet"))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        let owed = self.engine.settle().map_err(failed("settling what is owed"))?;
        self.engine.report_worst_stalls().map_err(failed("asking for the worst stalls"))?;
        let memory = self.engine.memory().map_err(failed("asking for memory"))?;
        let counters = self.engine.counters();
        let mut gauges = self.final_gauges.lock();
        gauges.insert("memory_per_article", memory.article_bytes as f64 / f64::from(self.workload.articles));
        if let (Some(bytes), 1..) = (memory.base_bytes, memory.votes) {
            gauges.insert("memory_per_vote", bytes as f64 / memory.votes as f64);
        }
        gauges.extend(counters.checkpoint_trend.growth().map(|growth| ("checkpoint_growth", growth)));
        gauges.extend(counters.persist_trend.growth().map(|growth| ("persist_growth", growth)));
        let detail = if owed > 0 { format!("a checkpoint was owed for {owed} rows") } else { String::new() };
        Ok(Drain { owed: Some(owed), detail, ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        recount(&self.engine, self.workload.articles, &self.told())
    }

    fn sample(&self, samples: &mut Samples) {
        for (name, count) in self.engine.counters().all() {
            samples.counter(name, count as f64);
        }
        // A shard that has failed says so elsewhere.
        if let Ok(stored) = self.engine.stored() {
            for (name, bytes) in [
                ("log_bytes", stored.log_bytes),
                ("database_bytes", stored.database_bytes),
                ("wal_bytes", stored.wal_bytes),
            ] {
                if let Some(bytes) = bytes {
                    samples.gauge(name, bytes as f64);
                }
            }
        }
        for (name, value) in self.final_gauges.lock().iter() {
            samples.gauge(*name, *value);
        }
    }

    fn distributions(&self) -> BTreeMap<String, Histogram> {
        self.engine.distributions().unwrap_or_default()
    }

    fn reset_stages(&self) {
        // A shard that has failed says so with the next packet.
        let _ = self.engine.reset_stages();
    }

    fn stage_table(&self) -> Option<&StageTable> {
        Some(self.engine.stages())
    }
}

/// Opening what is there, again and again.
struct Recovering {
    workload: Workload,
    settings: Settings,
    storage: Storage,
    directory: PathBuf,
    in_force: BTreeMap<String, String>,
    survives: Durability,
    log_bytes: Option<u64>,
    /// Two engines on one directory would write to the same files.
    one_at_a_time: Mutex<()>,
    recoveries: AtomicU64,
    recovery_ns: AtomicU64,
}

impl Recovering {
    fn recover(&self) -> Result<Engine, EngineError> {
        let start_ns = clock::now_ns();
        let (engine, _) = Engine::open(&self.directory, &self.settings.engine(), &self.storage, &EventLog::default())?;
        self.recovery_ns.fetch_add(clock::now_ns() - start_ns, Ordering::Relaxed);
        self.recoveries.fetch_add(1, Ordering::Relaxed);
        Ok(engine)
    }

    fn once(&self) -> Result<bool, EngineError> {
        let _alone = self.one_at_a_time.lock();
        let engine = self.recover()?;
        let whole = engine.memory()?.votes == self.workload.preload_votes;
        engine.close()?;
        Ok(whole)
    }
}

impl Target for Recovering {
    fn effective(&self) -> BTreeMap<String, String> {
        self.in_force.clone()
    }

    fn durability(&self) -> Durability {
        self.survives
    }

    fn client(&self, _: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(Slowed::new(Recoverer(self), self.settings.slowdown_percent)))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let engine = self.recover().map_err(failed("opening the engine once more"))?;
        let told = Told { acknowledged: self.workload.preload_votes, unanswered_max: 0 };
        recount(&engine, self.workload.articles, &BTreeMap::from([(PRELOAD_CLIENT, told)]))
    }

    fn sample(&self, samples: &mut Samples) {
        let recoveries = self.recoveries.load(Ordering::Relaxed) as f64;
        let votes = self.workload.preload_votes as f64;
        samples.counter("recovery_ns", self.recovery_ns.load(Ordering::Relaxed) as f64);
        samples.counter("recovered_millions", recoveries * votes / 1e6);
        if let Some(bytes) = self.log_bytes {
            samples.gauge("log_bytes", bytes as f64);
        }
    }
}

struct Recoverer<'a>(&'a Recovering);

impl Client for Recoverer<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let votes = u32::try_from(self.0.workload.preload_votes).unwrap_or(u32::MAX);
        match self.0.once() {
            Ok(true) => Outcome::ok(kind::RECOVER).of(votes),
            Ok(false) | Err(_) => Outcome::failed(kind::RECOVER, failure::RECOVERY).of(votes),
        }
    }
}
