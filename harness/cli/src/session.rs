//! One run from arguments to documents: resolved, measured, judged, written.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use uplift_analysis::{Decision, decided, warmup};
use uplift_engine::{
    Engine, EngineError, Interrupt, Judge, Look, PinnedBinary, ProfilePlan, RunStore, Sampling, cpu_latency,
    environment,
    owner::{OWNER_FILE, Owner},
    runner::{BLOCKS_MIN, ScenarioOrder},
    sides::Sides,
};
use uplift_model::{
    ProfileTrial, Scenario, Trial,
    run::{Intent, PlannedScenario, RUN_SCHEMA, Run, RunState},
    trial::TurnRecord,
};

use crate::{
    archive,
    args::{Format, TrialArgs},
    budget::BudgetAllocator,
    catalogue::Entry,
    dry_run,
    error::CliError,
    external,
    finished::Finished,
    launchers::Launchers,
    output::{Terminal, write_documents},
    progress::ProgressReporter,
    quick,
};

/// A run that is ready to begin.
pub struct Session<'a> {
    /// What it is for.
    pub intent: Intent,
    /// A word for its name.
    pub name: String,
    /// The scenarios, with the variants of each in order.
    pub scenarios: Vec<(Entry, Vec<String>)>,
    /// How trials are run.
    pub trials: &'a TrialArgs,
    /// Binaries that are not this one, by position in the list of variants.
    pub binaries: [Option<PathBuf>; 2],
    /// Blocks, where the command fixes them.
    pub blocks: Option<u32>,
    /// Whether a comparison or measurement is kept in the history.
    pub history: bool,
    /// What is sampled.
    pub profiling: Profiling,
    /// The terminal.
    pub terminal: &'a Terminal,
}

/// What is sampled in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Profiling {
    /// Nothing.
    Off,
    /// Every variant, after the measured trials of its scenario.
    After(ProfilePlan),
    /// Every variant, and nothing is measured.
    Only(ProfilePlan),
    /// The candidate while it is measured: what does sampling cost?
    Cost(Sampling),
}

/// A run whose folder is there and of which nothing is measured yet.
struct Prepared {
    run: Run,
    store: RunStore,
    data_root: PathBuf,
    launchers: Launchers,
    binaries: Binaries,
    allocator: BudgetAllocator,
}

/// What serves trials where it is not this binary, as it was when the run began.
struct Binaries {
    /// By position in the list of variants.
    pinned: [Option<PinnedBinary>; 2],
    /// The agent that was named for all of them.
    agent: Option<PinnedBinary>,
}

impl Binaries {
    fn of(&self, variant: usize) -> Option<PinnedBinary> {
        self.pinned.get(variant).cloned().flatten().or_else(|| self.agent.clone())
    }
}

/// What was measured, as far as it came.
#[derive(Default)]
struct Measured {
    trials: Vec<Trial>,
    profiles: Vec<ProfileTrial>,
    /// Why nothing more could be.
    broken: Option<EngineError>,
}

impl Session<'_> {
    /// Carries the run out and writes its documents.
    pub fn execute(mut self) -> Result<Finished, CliError> {
        if let Some(disk) = &self.trials.setup.disk {
            for (entry, _) in &mut self.scenarios {
                entry.scenario.disk = disk.model(&entry.scenario).map_err(|why| {
                    CliError::usage(why, "write one with `source = …`, or name a disk: `uplift list --disks`")
                })?;
            }
        }
        if self.trials.setup.dry_run {
            return self.show_plan();
        }
        let interrupt = Interrupt::install()
            .map_err(|error| CliError::environment(format!("could not catch Ctrl-C: {error}"), ""))?;
        let mut prepared = self.prepare()?;
        let measured = self.measure(&mut prepared, &interrupt);
        self.publish(prepared, measured, &interrupt)
    }

    /// How the time is shared.
    fn allocator(&self) -> BudgetAllocator {
        let count = self.scenarios.len().max(1) as u32;
        let may_share = matches!(self.intent, Intent::Compare { .. }) && self.blocks().is_none();
        BudgetAllocator::of(self.trials, count, self.is_bare_quick(), may_share)
    }

    /// Checks everything that can be wrong before something is measured, and plans each scenario.
    fn planned(
        &self,
        id: &str,
        allocator: &BudgetAllocator,
    ) -> Result<(Vec<PlannedScenario>, Launchers, Binaries), CliError> {
        let binaries = self.pin()?;
        let scenarios = self.scenarios.iter().map(|(entry, variants)| (&entry.scenario, variants.as_slice()));
        let profiling = !matches!(self.profiling, Profiling::Off);
        let launchers = Launchers::resolve(&self.trials.setup.launch, id, profiling, scenarios)?;
        let planned = self
            .scenarios
            .iter()
            .map(|(entry, variants)| self.plan(entry, variants, &launchers, &binaries, allocator))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((planned, launchers, binaries))
    }

    /// Prints what would be done.
    fn show_plan(&self) -> Result<Finished, CliError> {
        let allocator = self.allocator();
        let (planned, ..) = self.planned("plan", &allocator)?;
        let profiled = !matches!(self.profiling, Profiling::Off);
        let share = allocator.share(Duration::ZERO, 0);
        let document = dry_run::document(&planned, profiled, share, allocator.total);
        self.terminal.show(&document, Format::Table, false);
        Err(CliError::through())
    }

    /// The folder with the record of what is to come.
    fn prepare(&self) -> Result<Prepared, CliError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let allocator = self.allocator();
        let id = format!("{}-{}", utc(now.as_secs()), self.name);
        let compares = matches!(self.intent, Intent::Compare { .. } | Intent::Screen { .. });
        if compares && self.blocks().is_none() {
            self.terminal.say(&allocator.announcement());
        }
        let (planned, launchers, binaries) = self.planned(&id, &allocator)?;
        let mut run = Run {
            schema: RUN_SCHEMA,
            id,
            intent: self.intent.clone(),
            state: RunState::Unfinished,
            started_unix_s: now.as_secs(),
            command: command_line(),
            // 53 bits: the seed survives readers that keep numbers as doubles.
            seed: self.trials.setup.seed.unwrap_or(now.as_nanos() as u64 & ((1 << 53) - 1)),
            budget_ns: u64::try_from(allocator.total.as_nanos()).unwrap_or(u64::MAX),
            environment: Default::default(),
            scenarios: planned,
            warnings: Vec::new(),
        };
        let store = RunStore::create(&self.trials.setup.out, &mut run)?;
        let place = store.directory().canonicalize().unwrap_or_else(|_| store.directory().to_owned());
        self.terminal.say(&format!("results: {}", place.display()));
        let data_root = self.make_data_root(&store, &run)?;
        run.environment = environment::read(&data_root);
        let planned = run.scenarios.iter().map(|planned| &planned.scenario);
        let known = [
            environment::data_dir_warning(&run.environment),
            cpu_latency::warning(planned),
            self.sides().and_then(|sides| sides.warning()),
        ];
        for warning in known.into_iter().flatten().chain(self.switched(&run)) {
            self.warn(&mut run, warning);
        }
        self.attach_calibrations(&mut run)?;
        store.write_run(&run)?;
        Ok(Prepared { run, store, data_root, launchers, binaries, allocator })
    }

    /// Which scenarios are measured in another mode than they ask for, and why.
    fn switched(&self, run: &Run) -> Vec<String> {
        self.scenarios
            .iter()
            .zip(&run.scenarios)
            .filter(|((entry, _), planned)| entry.scenario.trial.interleave != planned.scenario.trial.interleave)
            .map(|(_, planned)| {
                format!(
                    "{}: an open load is measured in trials of {}, not in turns: every turn would begin with an empty queue, and end before the queue is what it will be; write `interleave = \"trials\"` and a `window` to choose",
                    planned.scenario.name, planned.scenario.trial.window
                )
            })
            .collect()
    }

    /// The folder of this run's own for the data of trials, with the name of its owner.
    fn make_data_root(&self, store: &RunStore, run: &Run) -> Result<PathBuf, CliError> {
        match &self.trials.setup.data_dir {
            Some(shared) => own_folder(shared, &run.id),
            None => {
                let own = store.directory().join("data");
                fs::create_dir_all(&own).map(|()| own)
            }
        }
        .and_then(|own| Owner::current().sign(&own.join(OWNER_FILE)).map(|()| own))
        .map_err(|error| {
            let wanted = self.trials.setup.data_dir.as_deref().unwrap_or(store.directory());
            CliError::environment(
                format!("could not create a data directory in `{}`: {error}", wanted.display()),
                "name a folder that can be written with --data-dir",
            )
        })
    }

    /// What is known about the noise of each scenario on this machine, for runs that compare.
    fn attach_calibrations(&self, run: &mut Run) -> Result<(), CliError> {
        if matches!(run.intent, Intent::Compare { .. } | Intent::Ledger { .. }) {
            let known = archive::calibrations(&self.trials.setup.out)?;
            for planned in &mut run.scenarios {
                let machine = run.environment.machine.as_deref();
                planned.calibration =
                    archive::calibration_for(&known, planned, machine).map(|one| Box::new(one.clone()));
            }
        }
        Ok(())
    }

    /// Runs every scenario, and takes the data of their trials away.
    fn measure(&self, prepared: &mut Prepared, interrupt: &Interrupt) -> Measured {
        let Prepared { run, store, data_root, launchers, binaries, allocator } = prepared;
        let mut measured = Measured::default();
        let mut bars = ProgressReporter::new(self.terminal, run, allocator.total);
        let mut judge = SequentialJudge { run: run.clone(), comparisons: run.scenarios.len() };
        let memory = self
            .trials
            .setup
            .memory_max
            .map(|mib| mib << 20)
            .or_else(|| environment::memory_bytes().map(|bytes| bytes / 4 * 3));
        let mut engine = Engine {
            store,
            data_root,
            interrupt: interrupt.clone(),
            judge: &mut judge,
            observer: &mut bars,
            memory_bytes_max: memory.unwrap_or(u64::MAX),
            allow_debug: self.trials.setup.allow_debug,
        };
        let begun = Instant::now();
        for index in 0..run.scenarios.len() {
            let spent = begun.elapsed();
            let order = ScenarioOrder {
                budget: allocator.share(spent, index as u32),
                allow_overrun: allocator.may_overrun(spent),
                stretch: allocator.stretch(),
                ..self.order(&run.scenarios[index], index, launchers, binaries)
            };
            if let Err(error) = self.measure_scenario(&mut engine, run, &order, &mut measured, interrupt) {
                measured.broken = Some(error);
                break;
            }
            if interrupt.is_set() {
                break;
            }
        }
        // What is not decided gets the time that the others left.
        let is_open = |planned: &PlannedScenario| {
            !planned.decided_early && planned.skipped.is_none() && planned.stopped.is_some() && allocator.shared
        };
        let mut open: Vec<usize> = (0..run.scenarios.len()).filter(|&index| is_open(&run.scenarios[index])).collect();
        while let Some(index) = open.pop() {
            if measured.broken.is_some() || interrupt.is_set() {
                break;
            }
            let planned = &run.scenarios[index];
            let own = measured.trials.iter().filter(|trial| trial.scenario == planned.scenario.name);
            let done = own.map(|trial: &Trial| trial.block + 1).max().unwrap_or(0);
            let Some(budget) = allocator.second_share(begun.elapsed(), open.len() as u32 + 1) else { break };
            let Some(blocks_max) = planned.blocks_max.filter(|most| done < *most) else { continue };
            let order = ScenarioOrder {
                budget,
                allow_overrun: false,
                resumed: Some((done, blocks_max)),
                ..self.order(planned, index, launchers, binaries)
            };
            measured.broken = engine.run_scenario(run, &order, &mut measured.trials).err();
        }
        bars.done();
        run.warnings.append(&mut bars.left);
        for warning in launchers.warnings() {
            self.warn(run, warning);
        }
        // It is this run's own, in the run's folder or in the one that was named.
        if let Err(error) = fs::remove_dir_all(&*data_root) {
            self.warn(run, format!("could not remove the data directory `{}`: {error}", data_root.display()));
        }
        measured
    }

    /// How scenario `index` is run, but for its time.
    fn order<'l>(
        &self,
        planned: &PlannedScenario,
        index: usize,
        launchers: &'l Launchers,
        binaries: &Binaries,
    ) -> ScenarioOrder<'l> {
        ScenarioOrder {
            index,
            launchers: planned.variants.iter().map(|name| launchers.of(planned.scenario.variant(name))).collect(),
            binaries: (0..planned.variants.len()).map(|variant| binaries.of(variant)).collect(),
            sampling: match self.profiling {
                Profiling::Cost(sampling) => vec![None, Some(sampling)],
                _ => Vec::new(),
            },
            budget: Duration::ZERO,
            allow_overrun: true,
            blocks: self.blocks(),
            // Where the scenario says how long a block should take, one that takes longer is no reason to have too few.
            blocks_paid: if planned.scenario.trial.block.is_some() { BLOCKS_MIN } else { 0 },
            stretch: 1,
            sides: self.sides(),
            resumed: None,
        }
    }

    /// The halves of the CPUs, where both variants run at the same time.
    fn sides(&self) -> Option<Sides> {
        match &self.intent {
            Intent::Screen { sides, .. } => Some(Sides::between(sides.clone())),
            _ => None,
        }
    }

    fn measure_scenario(
        &self,
        engine: &mut Engine<'_>,
        run: &mut Run,
        order: &ScenarioOrder<'_>,
        measured: &mut Measured,
        interrupt: &Interrupt,
    ) -> Result<(), EngineError> {
        if !matches!(self.profiling, Profiling::Only(_)) {
            engine.run_scenario(run, order, &mut measured.trials)?;
        }
        let skipped = run.scenarios[order.index].skipped.is_some();
        match &self.profiling {
            Profiling::After(plan) | Profiling::Only(plan) if !skipped && !interrupt.is_set() => {
                engine.profile_scenario(run, order, plan, &mut measured.profiles)
            }
            _ => Ok(()),
        }
    }

    /// Writes down how the run ended, its documents, and what is kept across runs.
    fn publish(&self, prepared: Prepared, measured: Measured, interrupt: &Interrupt) -> Result<Finished, CliError> {
        let Prepared { mut run, store, .. } = prepared;
        let Measured { trials, profiles, broken } = measured;
        run.state = match (&broken, interrupt.is_set()) {
            (Some(error), _) => {
                run.warnings.push(error.to_string());
                RunState::Unfinished
            }
            (None, true) => RunState::Interrupted,
            (None, false) => RunState::Complete,
        };
        store.write_run(&run)?;
        // What follows is from what was recorded, and what was recorded has no passwords.
        let run = run.masked();
        let verdicts = write_documents(store.directory(), &run, &trials).map_err(|error| {
            let run = store.directory().display();
            CliError::environment(
                error.report.to_string(),
                &format!("the records are kept: `uplift show {run}` prints the results, and once it can be written `uplift report {run}` makes the documents"),
            )
        })?;
        if self.history
            && matches!(run.intent, Intent::Compare { .. } | Intent::Run { .. })
            && let Err(error) =
                archive::append_history(&self.trials.setup.out, &uplift_analysis::history::entries(&run, &trials))
        {
            // The run itself is complete and stored.
            self.terminal.say(&format!("warning: the history is not kept: {}", error.report));
        }
        let finished = Finished { directory: store.directory().to_owned(), run, trials, profiles, verdicts };
        match broken {
            Some(error) => {
                if !finished.trials.is_empty() {
                    self.terminal.say(&format!("what was measured is kept in {}", finished.directory.display()));
                }
                Err(error.into())
            }
            None => Ok(finished),
        }
    }

    /// Says a warning now, and in every document of the run.
    fn warn(&self, run: &mut Run, warning: String) {
        self.terminal.say(&format!("warning: {warning}"));
        run.warnings.push(warning);
    }

    /// Whether `--quick` alone says how long to measure.
    fn is_bare_quick(&self) -> bool {
        let TrialArgs { quick, budget, blocks, .. } = self.trials;
        *quick && budget.is_none() && blocks.or(self.blocks).is_none()
    }

    /// How many blocks each scenario has, where that does not follow from the data and the budget.
    fn blocks(&self) -> Option<u32> {
        let compares = matches!(self.intent, Intent::Compare { .. });
        self.blocks.or(self.trials.blocks).or((self.is_bare_quick() && compares).then_some(quick::BLOCKS))
    }

    /// The binaries as they are now.
    fn pin(&self) -> Result<Binaries, CliError> {
        let mut pinned = [None, None];
        for (slot, path) in pinned.iter_mut().zip(&self.binaries) {
            if let Some(path) = path {
                *slot = Some(pinned_at(path, "name an executable built from uplift")?);
            }
        }
        let agent = external::agent().map(|path| pinned_at(path, "name the program with --agent")).transpose()?;
        Ok(Binaries { pinned, agent })
    }

    fn plan(
        &self,
        entry: &Entry,
        variants: &[String],
        launch: &Launchers,
        binaries: &Binaries,
        allocator: &BudgetAllocator,
    ) -> Result<PlannedScenario, CliError> {
        let mut scenario = entry.scenario.clone();
        scenario.measure_open_loads_in_trials();
        if self.trials.quick {
            quick::shorten(&mut scenario.trial, allocator.share(Duration::ZERO, 0), variants.len() as u32);
        }
        allocator.cut(&mut scenario.trial, variants.len() as u32);
        let mut named = BTreeMap::new();
        let mut launchers = BTreeMap::new();
        for (index, variant) in variants.iter().enumerate() {
            launchers.insert(variant.clone(), launch.of(scenario.variant(variant)).describe());
            if let Some(binary) = binaries.pinned.get(index).and_then(Option::as_ref) {
                // The digest says which build it was, long after the file has changed.
                let side = ["baseline", "candidate"][index.min(1)];
                named.insert(format!("{side}: {variant}"), binary.record());
            }
        }
        let mut metrics = entry.description.metrics.clone();
        if variants.iter().any(|variant| launch.of(scenario.variant(variant)).name() != "process") {
            metrics.extend(uplift_docker::metrics());
        }
        Ok(PlannedScenario {
            unit_of_work: entry.description.unit_of_work.to_string(),
            write_kinds: entry.description.write_kinds.iter().map(ToString::to_string).collect(),
            metrics,
            scenario,
            variants: variants.to_vec(),
            skipped: None,
            blocks: self.blocks(),
            blocks_max: None,
            stopped: None,
            decided_early: false,
            calibration: None,
            agent: binaries.agent.as_ref().map(PinnedBinary::record),
            binaries: named,
            launchers,
        })
    }
}

fn pinned_at(path: &Path, fix: &str) -> Result<PinnedBinary, CliError> {
    PinnedBinary::of(path.to_owned())
        .map_err(|error| CliError::usage(format!("could not read the binary `{}`: {error}", path.display()), fix))
}

/// Makes a folder of this run's own in a folder that other runs may use at the same time. Making it is the lock: of two
/// runs of one name only one can.
fn own_folder(shared: &Path, id: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(shared)?;
    let mut attempt = 1;
    loop {
        let name = if attempt == 1 { id.to_owned() } else { format!("{id}-{attempt}") };
        match fs::create_dir(shared.join(&name)) {
            Ok(()) => return Ok(shared.join(name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Looks at a comparison under way; a run that compares nothing is never decided early.
struct SequentialJudge {
    run: Run,
    comparisons: usize,
}

impl Judge for SequentialJudge {
    fn dropped_turns(&self, turns: &[&[TurnRecord]]) -> u32 {
        warmup::dropped_turns(turns)
    }

    fn look(&mut self, scenario: &Scenario, trials: &[Trial], blocks_max: u32) -> Look {
        let (Intent::Compare { baseline, candidate } | Intent::Screen { baseline, candidate, .. }) = &self.run.intent
        else {
            return Look::Continue;
        };
        let Some(planned) = self.run.scenarios.iter().find(|planned| planned.scenario.name == scenario.name) else {
            return Look::Continue;
        };
        match decided(planned, trials, baseline, candidate, blocks_max, self.comparisons) {
            Decision::Open => Look::Continue,
            // What it reads beside the other is no verdict on it.
            Decision::Decided(_) if self.run.intent.is_screen() => Look::Decided("the answer is clear".to_owned()),
            Decision::Decided(verdict) => Look::Decided(format!("{} is {}", planned.scenario.primary, verdict.word())),
        }
    }
}

/// The command line that redoes this run.
pub fn command_line() -> Vec<String> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or(&name).to_owned();
    std::iter::once(name).chain(arguments).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// Seconds since the epoch as `20260131T235959Z`.
pub fn utc(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    // No clock says so; a record written by something else may.
    moment.unwrap_or(jiff::Timestamp::MAX).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_400), "20000229T000000Z");
        assert_eq!(utc(1_795_238_645), "20261121T052405Z");
        assert_eq!(utc(u64::MAX), "99991230T220000Z", "beyond the calendar is its end");
    }
}
