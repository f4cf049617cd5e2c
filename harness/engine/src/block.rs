//! One block: a fresh agent of each variant, its turns, and the trials that come of it.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use uplift_model::{
    Scenario, Trial,
    protocol::{Prepare, TurnLength, TurnRequest},
    scenario::{Interleave, Load, OPERATIONS_PER_TURN_MIN, TrialSpec},
    trial::{Failure, FailureKind, Measured, Sentinels, TRIAL_SCHEMA, TrialOutcome, TurnRecord},
};

use crate::{
    agent_connection::{AgentConnection, arrived, phase},
    cpu_latency::CpuLatency,
    crew::{Crew, Started},
    interrupt::Interrupt,
    launch::{Launch, LaunchOrder},
    plan::{BlockPlan, shape_turns},
    sampling::Sampling,
    sentinel::NoiseProbe,
};

/// Width of a slice in `trials` mode.
const SLICE_NS: u64 = 100_000_000;
/// The longest turn for which agents make room, in `turns` mode.
const LONGEST_TURN_NS: u64 = 5_000_000_000;

/// One variant as a block runs it.
pub struct Arm<'a> {
    /// The variant's name.
    pub name: String,
    /// Its settings.
    pub settings: uplift_model::Table,
    /// How its agent is started.
    pub launcher: &'a dyn Launch,
    /// Its binary, where it is not the harness's own.
    pub binary: Option<PathBuf>,
    /// Memory it gets.
    pub memory_bytes_max: u64,
    /// How it is sampled while it is measured: only to measure what sampling costs.
    pub sampling: Option<Sampling>,
    /// Whether its agent is started so that it can count what it allocates.
    pub counts_allocations: bool,
}

/// What a block needs to know beside its plan.
pub struct BlockContext<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Its variants.
    pub arms: &'a [Arm<'a>],
    /// Where data directories are made.
    pub data_root: &'a Path,
    /// Whether the user wants the run to end.
    pub interrupt: &'a Interrupt,
    /// How many turns at the beginning of the block are warm-up, given the turns of every variant.
    pub dropped_turns: &'a dyn Fn(&[&[TurnRecord]]) -> u32,
    /// Whether a build with debug assertions may be measured.
    pub allow_debug: bool,
    /// Data of trials that could not be removed: where and why.
    pub left: &'a RefCell<Vec<String>>,
    /// Called whenever something was finished: turns done and turns planned of this block.
    pub progress: &'a mut dyn FnMut(u32, u32),
}

impl BlockContext<'_> {
    /// The load of a variant.
    fn load_of(&self, variant: &str) -> &Load {
        let work = self.scenario.variant(variant).and_then(|variant| variant.work.as_ref());
        work.map_or(&self.scenario.load, |work| &work.load)
    }
}

/// Runs a block. Every arm yields one trial, in the order in which they were started, whatever happened.
pub fn run_block(context: &mut BlockContext<'_>, plan: &BlockPlan) -> Vec<Trial> {
    match context.scenario.trial.interleave {
        Interleave::Turns => run_turns(context, plan),
        Interleave::Trials => {
            let mut trials = Vec::new();
            let total = plan.start_order.len() as u32;
            for (position, &index) in plan.start_order.iter().enumerate() {
                let alone = BlockPlan { start_order: vec![index], ..plan.clone() };
                trials.extend(run_window(context, &alone, position as u32));
                (context.progress)(position as u32 + 1, total);
            }
            trials
        }
    }
}

/// A trial that is under way.
pub(crate) struct Running {
    index: usize,
    position: u32,
    started_unix_ns: u64,
    data_dir: PathBuf,
    place: Option<String>,
    state: State,
    /// Held from when it is ready until it ends.
    cpu_latency: Option<CpuLatency>,
    pub(crate) turns: Vec<TurnRecord>,
}

enum State {
    Alive(Box<Crew>),
    Failed(Failure),
}

impl Running {
    /// Starts an agent; `cpus` are those that it is kept on, where it is.
    pub(crate) fn start(
        context: &BlockContext<'_>,
        plan: &BlockPlan,
        index: usize,
        position: u32,
        cpus: Option<&[u32]>,
    ) -> Self {
        let arm = &context.arms[index];
        let label = format!("{}-{}-{index}-{}", context.scenario.name, plan.block, arm.name).replace('/', "-");
        let data_dir = context.data_root.join(&label);
        let started_unix_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        let mut place = None;
        let state = match prepare(context, plan, arm, &label, &data_dir, &mut place, cpus) {
            Ok(link) => State::Alive(Box::new(link)),
            Err(failure) => State::Failed(failure),
        };
        // Another machine's CPUs are out of reach.
        let cpu_latency = match context.scenario.trial.cpu_latency {
            Some(limit) if place.is_none() => CpuLatency::hold(limit.0).ok(),
            _ => None,
        };
        Self { index, position, started_unix_ns, data_dir, place, state, cpu_latency, turns: Vec::new() }
    }

    /// Does something with the agents, if they are alive; a failure ends it.
    pub(crate) fn with<T>(&mut self, action: impl FnOnce(&mut Crew) -> Result<T, Failure>) -> Option<T> {
        let State::Alive(link) = &mut self.state else { return None };
        match action(link) {
            Ok(value) => Some(value),
            Err(failure) => {
                self.state = State::Failed(failure);
                None
            }
        }
    }

    pub(crate) fn turn(&mut self, request: TurnRequest) -> Option<TurnRecord> {
        self.with(|crew| crew.turn(&request).and_then(|record| arrived(record.check(), &phase(&request), record)))
    }

    /// Waits for the end of a turn that was begun.
    pub(crate) fn end_turn(&mut self, request: &TurnRequest) -> Option<TurnRecord> {
        self.with(|crew| crew.end_turn(request).and_then(|record| arrived(record.check(), &phase(request), record)))
    }

    /// Which of the arms it is of.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.state {
            State::Alive(link) => link.processes(),
            State::Failed(_) => Vec::new(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive(_))
    }

    /// Ends the trial and removes its data.
    pub(crate) fn end(
        mut self,
        context: &BlockContext<'_>,
        plan: &BlockPlan,
        drop_turns: Option<u32>,
        sentinels: &Sentinels,
    ) -> Trial {
        let measured: Option<Measured> = match drop_turns {
            Some(drop_turns) => {
                let told = std::mem::take(&mut self.turns);
                self.with(|link| {
                    let measured = link.finish(drop_turns)?;
                    let same = measured.turns == told && measured.dropped_turns == drop_turns;
                    let numbers = measured.check_numbers().and_then(|()| {
                        same.then_some(()).ok_or_else(|| "its turns are not those that it told of before".to_owned())
                    });
                    arrived(numbers, "report", measured)
                })
            }
            None => None,
        };
        let outcome = match self.state {
            State::Failed(failure) => TrialOutcome::Failed(failure),
            State::Alive(link) => {
                // Dropping the link ends an agent that was not finished.
                drop(link);
                match &measured {
                    Some(measured) if !measured.check.passed => TrialOutcome::Failed(Failure {
                        kind: FailureKind::Check,
                        phase: "check".to_owned(),
                        message: measured.check.detail.clone(),
                        stderr_tail: String::new(),
                        problem: None,
                    }),
                    Some(measured) if nothing_done(measured) => TrialOutcome::Failed(Failure {
                        kind: FailureKind::Target,
                        phase: "turns".to_owned(),
                        message: idle_words(context.scenario, measured),
                        stderr_tail: String::new(),
                        problem: None,
                    }),
                    Some(_) => TrialOutcome::Ok,
                    None => TrialOutcome::Failed(Failure {
                        kind: FailureKind::Interrupted,
                        phase: "block".to_owned(),
                        message: "ended because the other variant of its block failed".to_owned(),
                        stderr_tail: String::new(),
                        problem: None,
                    }),
                }
            }
        };
        let senders = context.load_of(&context.arms[self.index].name).agents();
        let of_senders = (0..senders).map(|number| sender_dir(&self.data_dir, number));
        for folder in of_senders.chain([self.data_dir.clone()]) {
            if let Err(error) = remove(&folder) {
                let path = folder.display();
                context.left.borrow_mut().push(format!("the data of a trial, `{path}`, cannot be removed: {error}"));
            }
        }
        let limit = self.cpu_latency.and_then(|held| held.in_force().ok());
        let cpu_latency_ns = limit.map(|limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        Trial {
            schema: TRIAL_SCHEMA,
            scenario: context.scenario.name.clone(),
            variant: context.arms[self.index].name.clone(),
            block: plan.block,
            position: self.position,
            started_unix_ns: self.started_unix_ns,
            place: self.place,
            seed: plan.seed,
            outcome,
            sentinels: Sentinels { cpu_latency_ns, ..sentinels.clone() },
            measured,
        }
        .masked()
    }
}

/// Whether no operation was done in any turn that counts.
fn nothing_done(measured: &Measured) -> bool {
    let kept = measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]);
    kept.iter().all(|turn| turn.attempts == 0)
}

fn idle_words(scenario: &Scenario, measured: &Measured) -> String {
    let (key, length) = match scenario.trial.interleave {
        Interleave::Turns => ("turn", scenario.trial.turn),
        Interleave::Trials => ("window", scenario.trial.window),
    };
    let turns = measured.turns.len();
    let turns = if turns == 1 { "the one turn".to_owned() } else { format!("any of {turns} turns") };
    let clients = scenario.load.clients();
    format!(
        "no operation was begun in {turns}: {clients} clients did not get to it, or none was due; lengthen `{key} = \"{length}\"` in [trial], or ask with fewer clients or at a higher rate"
    )
}

fn prepare(
    context: &BlockContext<'_>,
    plan: &BlockPlan,
    arm: &Arm<'_>,
    label: &str,
    data_dir: &Path,
    place: &mut Option<String>,
    cpus: Option<&[u32]>,
) -> Result<Crew, Failure> {
    let work = context.scenario.variant(&arm.name).and_then(|variant| variant.work.as_ref());
    let load = context.load_of(&arm.name).clone();
    let no_screen = |message: String| Failure {
        kind: FailureKind::Unavailable,
        phase: "set-up".to_owned(),
        message,
        stderr_tail: String::new(),
        problem: None,
    };
    if cpus.is_some() && load.agents() > 0 {
        return Err(no_screen(format!(
            "a screen runs both variants at once, each on CPUs of its own, and the load agents of `{}` begin each turn together, on CPUs apart from the system's; leave `agents` in [load] out, or compare in turns, without --screen",
            arm.name
        )));
    }
    let mut keeper = start(context, plan, arm, label, data_dir)?;
    place.clone_from(&keeper.place);
    // Before it is set up: a target asks then how many CPUs there are.
    if let Some(cpus) = cpus {
        keeper.link.keep_on(cpus)?;
    }
    let trial = &context.scenario.trial;
    let windowed = trial.interleave == Interleave::Trials;
    let order = Prepare {
        target: context.scenario.target.clone(),
        workload: work.map_or(&context.scenario.workload, |work| &work.workload).clone(),
        settings: arm.settings.clone(),
        load,
        data_dir: String::new(),
        seed: plan.seed,
        longest_turn_ns: if windowed { trial.window.as_nanos() } else { LONGEST_TURN_NS },
        slice_ns: if windowed { SLICE_NS } else { 0 },
        disk: work.map_or(&context.scenario.disk, |work| &work.disk).clone(),
        ledger: None,
        role: None,
    };
    let crew = Crew::assemble(keeper, order, |number| {
        start(context, plan, arm, &sender_name(label, number), &sender_dir(data_dir, number))
    })?;
    match (cpus, crew.works_elsewhere()) {
        (Some(_), Some(elsewhere)) => Err(no_screen(format!(
            "a screen keeps each variant on CPUs of its own, and part of the work of `{}` is done elsewhere: {elsewhere}; compare it in turns, without --screen",
            arm.name
        ))),
        _ => Ok(crew),
    }
}

/// What an agent is called that sends a part of the load of the trial `label`.
fn sender_name(label: &str, number: u32) -> String {
    format!("{label}-load-{}", number + 1)
}

/// Its data directory, beside that of the trial.
fn sender_dir(data_dir: &Path, number: u32) -> PathBuf {
    let name = data_dir.file_name().unwrap_or_default().to_string_lossy();
    data_dir.with_file_name(sender_name(&name, number))
}

/// Starts an agent on a fresh directory, and says hello.
fn start(
    context: &BlockContext<'_>,
    plan: &BlockPlan,
    arm: &Arm<'_>,
    label: &str,
    data_dir: &Path,
) -> Result<Started, Failure> {
    let launch_failure = |message: String| Failure {
        kind: FailureKind::Launch,
        phase: "launch".to_owned(),
        message,
        stderr_tail: String::new(),
        problem: None,
    };
    // What a killed run left behind under the same name is not a fresh directory.
    remove(data_dir).map_err(|error| {
        launch_failure(format!(
            "`{}`, which an earlier run has left, cannot be removed: {error}; remove it, or name another folder with --data-dir",
            data_dir.display()
        ))
    })?;
    fs::create_dir_all(data_dir).map_err(|error| {
        launch_failure(format!("could not create the data directory `{}`: {error}", data_dir.display()))
    })?;
    let data_dir = data_dir.canonicalize().map_err(|error| {
        launch_failure(format!("could not find the data directory `{}`: {error}", data_dir.display()))
    })?;
    let handle = arm.launcher.start(&LaunchOrder {
        binary: arm.binary.clone(),
        data_dir,
        label: label.to_owned(),
        pair: format!("{}-{}", context.scenario.name, plan.block),
        memory_bytes_max: arm.memory_bytes_max,
        counts_allocations: arm.counts_allocations,
    })?;
    let place = handle.place();
    let timeout = context.scenario.trial.timeout.0;
    let link = AgentConnection::open(handle, context.interrupt.clone(), arm.memory_bytes_max, timeout)?;
    if link.hello.debug_assertions && !context.allow_debug {
        return Err(launch_failure(
            "the agent was built with debug assertions and its numbers mean nothing; build it with the dev or release profile of this project, or pass --allow-debug".to_owned(),
        ));
    }
    Ok(Started { link, place, here: arm.launcher.name() == "process" })
}

/// Removes a folder that need not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn warm_up(context: &BlockContext<'_>, running: &mut Running) -> Option<TurnRecord> {
    let length = warm_up_length(&context.scenario.trial);
    running.turn(TurnRequest { index: 0, measured: false, length })
}

pub(crate) fn warm_up_length(trial: &TrialSpec) -> TurnLength {
    // Even without a warm-up one operation is needed: it shows how long a turn must be.
    match trial.warmup.as_nanos() {
        0 => TurnLength::Operations(1),
        ns => TurnLength::Nanoseconds(ns),
    }
}

/// Both resident, short turns in random order.
fn run_turns(context: &mut BlockContext<'_>, plan: &BlockPlan) -> Vec<Trial> {
    let watch = NoiseProbe::begin(context.data_root);
    let mut running: Vec<Running> = Vec::new();
    for (position, &index) in plan.start_order.iter().enumerate() {
        let trial = Running::start(context, plan, index, position as u32, None);
        let alive = trial.is_alive();
        running.push(trial);
        if !alive {
            break;
        }
    }
    let mut slowest_per_second = f64::INFINITY;
    for trial in &mut running {
        if let Some(record) = warm_up(context, trial) {
            let per_second = record.attempts as f64 / (record.base_ns().max(1.0) / 1e9);
            slowest_per_second = slowest_per_second.min(per_second);
        }
        if let Some(sampling) = context.arms[trial.index].sampling {
            trial.with(|link| link.profile_start(sampling));
        }
    }
    let spec = &context.scenario.trial;
    let shape = shape_turns(
        spec,
        plan.rounds.len() as u32,
        if slowest_per_second.is_finite() { slowest_per_second } else { 0.0 },
        OPERATIONS_PER_TURN_MIN,
        context.scenario.load.clients(),
        context.arms.len() as u32,
    );
    let length = spec.turn_operations.map_or(TurnLength::Nanoseconds(shape.turn_ns), TurnLength::Operations);
    let everybody = running.len() == context.arms.len();
    'rounds: for (round, order) in plan.rounds.iter().take(shape.rounds as usize).enumerate() {
        if !everybody || !running.iter().all(Running::is_alive) {
            break;
        }
        for &index in order {
            let Some(trial) = running.iter_mut().find(|trial| trial.index == index) else { break 'rounds };
            let Some(record) = trial.turn(TurnRequest { index: round as u32, measured: true, length }) else {
                break 'rounds;
            };
            trial.turns.push(record);
        }
        (context.progress)(round as u32 + 1, shape.rounds);
    }
    let complete = everybody && running.iter().all(Running::is_alive);
    let drop_turns = complete.then(|| {
        let turns: Vec<&[TurnRecord]> = running.iter().map(|trial| trial.turns.as_slice()).collect();
        (context.dropped_turns)(&turns)
    });
    let agents: Vec<u32> = running.iter().flat_map(Running::processes).collect();
    let sentinels = watch.end(context.data_root, &agents);
    running.into_iter().map(|trial| trial.end(context, plan, drop_turns, &sentinels)).collect()
}

/// One fresh trial with one window.
fn run_window(context: &mut BlockContext<'_>, plan: &BlockPlan, position: u32) -> Vec<Trial> {
    let watch = NoiseProbe::begin(context.data_root);
    let mut trial = Running::start(context, plan, plan.start_order[0], position, None);
    warm_up(context, &mut trial);
    let spec = &context.scenario.trial;
    let length = spec.turn_operations.map_or(TurnLength::Nanoseconds(spec.window.as_nanos()), TurnLength::Operations);
    if let Some(record) = trial.turn(TurnRequest { index: 0, measured: true, length }) {
        trial.turns.push(record);
    }
    let drop_turns = trial.is_alive().then_some(0);
    let sentinels = watch.end(context.data_root, &trial.processes());
    vec![trial.end(context, plan, drop_turns, &sentinels)]
}
