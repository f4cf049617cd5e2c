//! The target: runs of one command, prepared, carried out and cleaned up.

mod apart;

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use parking_lot::{Mutex, MutexGuard};
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, OpenContext, Outcome, Samples, SettingsError, Target, TargetError,
    allocations, clock,
    crash_ledger::{End, LedgerWriter},
    hardware_counters::{Counter, EVENTS, Reading},
    ledger_of,
    model::{Histogram, trial::SyncRecord},
    sync_collectors::{self, SyncCollector},
    timeline::EventLog,
};

use self::apart::Apart;
use crate::{
    capture::digest_of,
    empty_program,
    invocation::{Streams, Surroundings},
    outcome::Outcomes,
    run::{Watch, ending, prepare_agent, run, spawn},
    settings::{Settings, Workload},
    words::{Placeholders, wants_data},
};

/// Sets a command up for one trial.
pub fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
    if context.load.clients() != 1 {
        let message = "runs are taken one after the other, so that each is measured alone; write `clients = 1`";
        return Err(TargetError::new("reading the scenario", SettingsError::new("workload", "load", message)));
    }
    prepare_agent();
    let block = context.data_dir.join("block");
    fs::create_dir_all(&block).map_err(|error| TargetError::new(format!("creating `{}`", block.display()), error))?;
    let surroundings = Surroundings {
        shell: workload.shell.clone(),
        env: settings.env.clone(),
        dir: settings.dir.as_ref().map(PathBuf::from),
    };
    let (collector, uncounted) = match sync_collectors::open(workload.sync_collector, &context.data_dir) {
        Ok(Some(collector)) => (Some(collector), String::new()),
        Ok(None) => (None, "sync calls are not counted, as asked".to_owned()),
        Err(reason) => (None, format!("sync calls cannot be counted here: {reason}")),
    };
    let mut target = Commands {
        start_cost_ns: empty_program::start_cost_ns(&context.data_dir),
        sync_call_cost_ns: collector.as_ref().map_or_else(|| Err(uncounted.clone()), |collector| collector.cost_ns()),
        collector,
        uncounted,
        surroundings,
        block,
        data_root: context.data_dir,
        seed: context.seed,
        events: context.events,
        program: String::new(),
        outcomes: Mutex::default(),
        ready: Mutex::default(),
        apart: Mutex::default(),
        torn_down: Mutex::new(true),
        no_counter: Mutex::default(),
        ledger: context.ledger,
        settings,
        workload,
    };
    if let Some(setup) = &target.workload.setup {
        target.auxiliary("set-up", setup, 0).map_err(|why| TargetError::engine("setting up", why))?;
    }
    target.set_torn_down(false);
    target.program = target.describe_program().map_err(|why| TargetError::engine("looking for the program", why))?;
    Ok(Box::new(target))
}

struct Commands {
    workload: Workload,
    settings: Settings,
    surroundings: Surroundings,
    collector: Option<Box<dyn SyncCollector>>,
    /// Why there is no collector.
    uncounted: String,
    start_cost_ns: Result<f64, String>,
    sync_call_cost_ns: Result<f64, String>,
    /// Where the program is and a digest of it.
    program: String,
    data_root: PathBuf,
    block: PathBuf,
    seed: u64,
    events: EventLog,
    outcomes: Mutex<Outcomes>,
    ready: Mutex<Ready>,
    apart: Mutex<Apart>,
    torn_down: Mutex<bool>,
    /// Counters of the CPU that are not available, and why.
    no_counter: Mutex<Vec<(&'static str, String)>>,
    ledger: Option<PathBuf>,
}

/// What stands between runs.
#[derive(Debug, Default)]
struct Ready {
    /// The next run is prepared.
    prepared: Option<u64>,
    /// A run that is over and not cleaned up.
    dirty: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Commands {
    fn prepare_line(&self) -> Option<&String> {
        self.settings.prepare.as_ref().or(self.workload.prepare.as_ref())
    }

    /// Whether any line of a run asks for a folder of its own.
    fn wants_data(&self) -> bool {
        let lines = [
            Some(&self.settings.command),
            self.prepare_line(),
            self.workload.cleanup.as_ref(),
            self.workload.input.as_ref(),
            Some(&self.workload.output),
        ];
        let files = self.workload.expect.files_equal.iter().chain(self.settings.env.values());
        lines.into_iter().flatten().chain(files).any(|line| wants_data(line))
    }

    fn data_of(&self, run: u64) -> PathBuf {
        self.data_root.join(format!("run-{run}"))
    }

    fn with_placeholders<T>(&self, run: u64, with: impl FnOnce(&Placeholders<'_>) -> T) -> T {
        let data = self.data_of(run);
        with(&Placeholders { data: &data, block: &self.block, seed: self.seed, run })
    }

    /// Runs a line that is not measured.
    fn auxiliary(&self, what: &str, line: &str, of_run: u64) -> Result<(), String> {
        let streams = Streams { input: None, output: "null" };
        let mut command = self.with_placeholders(of_run, |filled| self.surroundings.command(line, filled, streams))?;
        let watch = Watch { timeout: self.workload.timeout.0, keeps_stdout: false };
        let ended = run(watch, || command.spawn())
            .map_err(|error| format!("{what}: `{line}` could not be started: {error}"))?;
        let (code, words) = ending(ended.status);
        if ended.timed_out {
            return Err(format!("{what}: `{line}` was not done after {} and was ended", self.workload.timeout));
        }
        if code == Some(0) {
            return Ok(());
        }
        let end = ended.stderr.end();
        let end = if end.is_empty() {
            "it printed nothing on standard error".to_owned()
        } else {
            format!("its standard error ends with: {end}")
        };
        Err(format!("{what}: `{line}` ended with {words}; {end}"))
    }

    /// Cleans up behind the last run and prepares the next; a failure is kept.
    fn make_ready(&self) {
        let mut ready = lock(&self.ready);
        if ready.prepared.is_some() || lock(&self.outcomes).failure.is_some() {
            return;
        }
        let next = {
            let mut outcomes = lock(&self.outcomes);
            outcomes.started += 1;
            outcomes.started - 1
        };
        match self.clean_up(&mut ready).and_then(|()| self.prepare(next)) {
            Ok(()) => ready.prepared = Some(next),
            Err(why) => lock(&self.outcomes).failure = Some(why),
        }
    }

    fn clean_up(&self, ready: &mut Ready) -> Result<(), String> {
        let Some(last) = ready.dirty.take() else { return Ok(()) };
        if let Some(cleanup) = &self.workload.cleanup {
            self.auxiliary(&format!("clean-up after run {last}"), cleanup, last)?;
        }
        if self.wants_data() {
            let data = self.data_of(last);
            // A program may remove its own folder, or move it.
            match fs::remove_dir_all(&data) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("`{}` could not be removed: {error}", data.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn prepare(&self, next: u64) -> Result<(), String> {
        if self.wants_data() {
            let data = self.data_of(next);
            fs::create_dir_all(&data).map_err(|error| format!("could not create `{}`: {error}", data.display()))?;
        }
        match self.prepare_line() {
            Some(line) => self.auxiliary(&format!("preparation of run {next}"), line, next),
            None => Ok(()),
        }
    }

    fn streams(&self) -> Streams<'_> {
        let output = if self.workload.reads_stdout() { "pipe" } else { &self.workload.output };
        Streams { input: self.workload.input.as_deref(), output }
    }

    /// Carries out the run that is prepared; `counters` are those of the calling thread.
    fn run_once(&self, counters: &[(&'static str, Counter)]) {
        self.make_ready();
        let Some(number) = lock(&self.ready).prepared.take() else { return };
        let line = &self.settings.command;
        self.with_placeholders(number, |filled| {
            let mut command = match self.surroundings.command(line, filled, self.streams()) {
                Ok(command) => command,
                Err(why) => {
                    lock(&self.outcomes).failure = Some(format!("run {number} of `{line}`: {why}"));
                    return;
                }
            };
            let measures = lock(&self.outcomes).measures;
            let before = read_all(counters);
            let watch = Watch { timeout: self.workload.timeout.0, keeps_stdout: self.workload.looks_at_stdout() };
            // What counts sync calls may cost time, so it counts in the runs that are not timed.
            let collector = self.collector.as_ref().filter(|_| !measures);
            let ended = run(watch, || match collector {
                Some(collector) => collector.spawn(command),
                None => {
                    // Only while a profile of what is allocated is taken.
                    if let Some(log) = allocations::of_children() {
                        log.preload_into(&mut command).map_err(io::Error::other)?;
                    }
                    spawn(command)
                }
            });
            lock(&self.ready).dirty = Some(number);
            let mut outcomes = lock(&self.outcomes);
            match ended {
                Ok(ended) => {
                    let hardware = growth(counters, &before);
                    outcomes.take(&self.workload, &self.surroundings, filled, line, &ended, &hardware);
                    if collector.is_some() {
                        outcomes.counted += 1;
                        if let Some(failure) = &mut outcomes.failure
                            && ["privilege", "setuid", "not permitted", "effective uid"].iter().any(|word| failure.contains(word))
                        {
                            failure.push_str("; while its sync calls are counted a program cannot gain privileges: --sync-collector off (`workload.sync_collector`) lets it");
                        }
                    }
                }
                Err(error) => outcomes.failure = Some(format!("run {number} of `{line}`: it could not be started: {error}")),
            }
        });
    }

    /// Where the program is, and which: two builds under one name are two programs.
    fn describe_program(&self) -> Result<String, String> {
        let found = self.with_placeholders(0, |filled| self.surroundings.find(&self.settings.command, filled))?;
        let Some(path) = found else { return Ok("known to the shell alone".to_owned()) };
        let shown = path.canonicalize().unwrap_or_else(|_| path.clone());
        let digest = fs::read(&path).map_or_else(|error| format!("not readable: {error}"), |bytes| digest_of(&bytes));
        Ok(format!("{} ({digest})", shown.display()))
    }

    fn set_torn_down(&self, done: bool) -> bool {
        std::mem::replace(&mut *lock(&self.torn_down), done)
    }

    /// Cleans up behind the last run and tears the block down, once.
    fn tear_down(&self) -> Result<(), String> {
        if self.set_torn_down(true) {
            return Ok(());
        }
        let cleaned = self.clean_up(&mut lock(&self.ready));
        let torn_down = self.workload.teardown.as_ref().map_or(Ok(()), |line| self.auxiliary("teardown", line, 0));
        cleaned.and(torn_down)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // A trial that failed is torn down all the same; what failed first was told.
        let _ = self.tear_down();
    }
}

fn read_all(counters: &[(&'static str, Counter)]) -> Vec<Option<Reading>> {
    counters.iter().map(|(_, counter)| counter.read().ok()).collect()
}

fn growth(counters: &[(&'static str, Counter)], before: &[Option<Reading>]) -> Vec<(&'static str, f64)> {
    counters
        .iter()
        .zip(before)
        .filter_map(|((name, counter), before)| Some((*name, counter.read().ok()?.since((*before)?)?)))
        .collect()
}

impl Target for Commands {
    fn effective(&self) -> BTreeMap<String, String> {
        let mut effective = BTreeMap::from([
            ("command".to_owned(), self.settings.command.clone()),
            ("program".to_owned(), self.program.clone()),
        ]);
        if !self.settings.env.is_empty() {
            effective.insert("env".to_owned(), serde_json::to_string(&self.settings.env).unwrap_or_default());
        }
        // Where a revision was checked out to is no setting: the revision says what differs.
        let dir = if self.settings.revision.is_some() { &None } else { &self.settings.dir };
        let own = [
            ("dir", dir),
            ("prepare", &self.settings.prepare),
            ("ref", &self.settings.reference),
            ("revision", &self.settings.revision),
        ];
        effective.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        effective
    }

    /// What a program has written by the time it has ended is in the page cache; how much of it was synced is counted.
    fn durability(&self) -> Durability {
        Durability::ProcessCrash
    }

    fn client(&self, index: usize, _seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let mut counters = Vec::new();
        for event in EVENTS {
            match Counter::open(event) {
                Ok(counter) => counters.push((event.0, counter)),
                Err(reason) => lock(&self.no_counter).push((event.0, reason)),
            }
        }
        let ledger = ledger_of(self.ledger.as_deref(), index)?;
        let client = CommandClient { target: self, counters, ledger };
        for _ in 1..self.workload.warmup {
            self.run_once(&[]);
        }
        self.quiesce()?;
        Ok(Box::new(client))
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        match &lock(&self.outcomes).failure {
            // What was being done stands before the colon.
            Some(why) => {
                let (context, message) = why.split_once(": ").unwrap_or(("running", why));
                Err(TargetError::engine(context, message))
            }
            None => Ok(()),
        }
    }

    fn resume(&self) {
        self.make_ready();
    }

    fn reset_stages(&self) {
        lock(&self.outcomes).measures = true;
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        self.count_apart();
        self.tear_down().map_err(|why| TargetError::engine("tearing down", why))?;
        let left_behind = lock(&self.outcomes).left_behind();
        if !left_behind.is_empty() {
            let now_ns = clock::now_ns();
            self.events.record("left behind", now_ns, now_ns, left_behind.clone());
        }
        Ok(Drain { owed: Some(0), detail: left_behind, ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        let (wrong, checked) = lock(&self.outcomes).checked();
        Ok(Check {
            passed: wrong.is_none(),
            checked,
            detail: wrong.unwrap_or_else(|| format!("{checked} runs ended as they should")),
        })
    }

    fn sample(&self, samples: &mut Samples) {
        lock(&self.outcomes).sample(samples);
        for (name, value) in [("start_cost", &self.start_cost_ns), ("sync_call_cost", &self.sync_call_cost_ns)] {
            match value {
                Ok(value) => samples.gauge(name, *value),
                Err(reason) => samples.absent(name, reason.clone()),
            }
        }
        lock(&self.apart).sample(samples);
        for (name, reason) in lock(&self.no_counter).iter() {
            samples.absent(*name, reason.clone());
        }
        // The whole process's memory would be the agent's.
        samples.absent("rss_peak_bytes", "that of the agent is not the program's; see `peak_memory`");
    }

    fn distributions(&self) -> BTreeMap<String, Histogram> {
        lock(&self.outcomes).distributions()
    }

    fn works_in_children(&self) -> bool {
        true
    }

    fn syncs(&self) -> Option<SyncRecord> {
        let counted = lock(&self.outcomes).counted;
        let mut record = match &self.collector {
            Some(collector) if counted > 0 => collector.record(),
            Some(_) => SyncRecord { missing: Some("no run was counted".to_owned()), ..SyncRecord::default() },
            None => SyncRecord { missing: Some(self.uncounted.clone()), ..SyncRecord::default() },
        };
        if let Some(name) = &mut record.collector {
            name.push_str(", in runs that are not timed");
            record.operations = Some(counted);
        }
        Some(record)
    }

    fn result(&self) -> Option<String> {
        lock(&self.outcomes).result()
    }
}

struct CommandClient<'a> {
    target: &'a Commands,
    /// Those of this thread, which starts the runs.
    counters: Vec<(&'static str, Counter)>,
    ledger: Option<LedgerWriter>,
}

impl Client for CommandClient<'_> {
    fn operate(&mut self, _batch: Batch) -> Outcome {
        if let Some(ledger) = &mut self.ledger {
            self.target.make_ready();
            ledger.begin(0, lock(&self.target.ready).prepared.unwrap_or(0), 0);
        }
        self.target.run_once(&self.counters);
        if let Some(ledger) = &mut self.ledger {
            let failed = lock(&self.target.outcomes).failure.is_some();
            ledger.end(if failed { End::Unknown } else { End::Acknowledged });
        }
        if lock(&self.target.outcomes).failure.is_some() { Outcome::failed(0, 0) } else { Outcome::ok(0) }
    }
}
