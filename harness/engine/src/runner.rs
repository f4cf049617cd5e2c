//! Runs scenarios: block after block until the judge has decided, the budget is spent, or the user has had enough.

mod pace;

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pace::{Pace, ScenarioEnd, blocks_word};
use uplift_model::{
    Scenario, Trial,
    run::{PlannedScenario, Run},
    trial::{FailureKind, TrialOutcome, TurnRecord},
};

pub use pace::{BLOCKS_MAX, BLOCKS_MIN};

use crate::{
    binary::PinnedBinary,
    block::{Arm, BlockContext, run_block},
    duet::run_duet,
    environment::{FREE_BYTES_MIN, free_bytes},
    interrupt::Interrupt,
    launch::Launch,
    plan::{BlockPlan, plan_block},
    profile::ProfilePlan,
    sampling::Sampling,
    sides::Sides,
    store::{RunStore, StoreError},
};

/// Decides what the engine must not: which turns are warm-up, and when enough is measured.
pub trait Judge {
    /// How many turns at the beginning of a block are warm-up, given the turns of each variant.
    fn dropped_turns(&self, turns: &[&[TurnRecord]]) -> u32;

    /// Called after each whole block of a scenario. `blocks_max` is how many the budget was thought to pay for.
    fn look(&mut self, scenario: &Scenario, trials: &[Trial], blocks_max: u32) -> Look;
}

/// What a judge says after a look at the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Not decided.
    Continue,
    /// Decided, and why.
    Decided(String),
}

/// What happens while a run goes on.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A scenario begins.
    ScenarioStarted {
        /// Its index in the run.
        index: usize,
        /// How many there are.
        of: usize,
        /// As it is selected on the command line, `target/scenario`.
        name: &'a str,
        /// Its share of the budget.
        budget: Duration,
    },
    /// Some of a block is done.
    BlockProgress {
        /// The block.
        block: u32,
        /// How many blocks the budget is thought to pay for; `None` before the first is done.
        blocks_max: Option<u32>,
        /// Turns or trials done of this block.
        done: u32,
        /// Of how many.
        of: u32,
    },
    /// A block is done.
    BlockFinished {
        /// The block.
        block: u32,
        /// How many blocks the budget is thought to pay for.
        blocks_max: u32,
        /// Time left of the scenario's budget.
        left: Duration,
        /// The scenario's trials so far.
        trials: &'a [Trial],
    },
    /// The profile trials of a scenario begin.
    ProfilingStarted {
        /// As it is selected on the command line, `target/scenario`.
        name: &'a str,
        /// How they are run.
        plan: &'a ProfilePlan,
    },
    /// Data of a trial could not be removed: where and why.
    DataLeft(&'a str),
    /// A trial failed.
    TrialFailed(&'a Trial),
    /// A scenario is done.
    ScenarioFinished {
        /// As it is selected on the command line, `target/scenario`.
        name: &'a str,
        /// Why it ended.
        stopped: &'a str,
    },
}

/// Is told what happens.
pub trait Observer {
    /// Something happened.
    fn progress(&mut self, progress: &Progress<'_>);
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The run's folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory could not be created.
    #[error("could not create the data directory `{path}`: {error}; name a folder that can be written with --data-dir")]
    DataDir {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A binary is not what it was when the run began.
    #[error(
        "the binary `{path}` was replaced while the run went on: {what}; blocks of two builds are no comparison: measure again, with a copy that nothing builds into"
    )]
    BinaryReplaced {
        /// Where.
        path: PathBuf,
        /// What is there now.
        what: String,
    },
    /// The disk is full.
    #[error(
        "the disk that holds `{path}` has {free_mib} MiB left and a trial wants {} MiB; free some space or name another place with --data-dir",
        FREE_BYTES_MIN >> 20
    )]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// What is left.
        free_mib: u64,
    },
}

/// How a scenario is to be run.
pub struct ScenarioOrder<'a> {
    /// Its index in the run's list.
    pub index: usize,
    /// Launcher of each variant, in the order of the plan.
    pub launchers: Vec<&'a dyn Launch>,
    /// Binary of each variant; `None`: the harness's own.
    pub binaries: Vec<Option<PinnedBinary>>,
    /// How each variant is sampled while it is measured; empty: none is.
    pub sampling: Vec<Option<Sampling>>,
    /// Its budget.
    pub budget: Duration,
    /// Whether the budget may be overdrawn: for the fewest blocks that make a verdict possible, or for `blocks`.
    pub allow_overrun: bool,
    /// So many blocks, whatever the judge says, and whatever the budget where it may be overdrawn; `None`: as the judge
    /// and the budget say.
    pub blocks: Option<u32>,
    /// The budget is at least what so many blocks take, by the first of them.
    pub blocks_paid: u32,
    /// So many times the blocks that the budget pays for are planned: there may be time for them later.
    pub stretch: u32,
    /// The halves of the CPUs, where both variants run at the same time.
    pub sides: Option<Sides>,
    /// Of a scenario that is taken up again: its blocks so far, and how many are planned.
    pub resumed: Option<(u32, u32)>,
}

impl ScenarioOrder<'_> {
    /// Whether every binary is what it was when the run began.
    pub(crate) fn check_binaries(&self) -> Result<(), EngineError> {
        for binary in self.binaries.iter().flatten() {
            binary.verify().map_err(|what| EngineError::BinaryReplaced { path: binary.path.clone(), what })?;
        }
        Ok(())
    }
}

/// Runs the scenarios of one run.
pub struct Engine<'a> {
    /// Where records go.
    pub store: &'a mut RunStore,
    /// Where data directories are made.
    pub data_root: &'a Path,
    /// Whether the user wants the run to end.
    pub interrupt: Interrupt,
    /// Decides when enough is measured.
    pub judge: &'a mut dyn Judge,
    /// Is told what happens.
    pub observer: &'a mut dyn Observer,
    /// The most memory of one trial.
    pub memory_bytes_max: u64,
    /// Whether builds with debug assertions may be measured.
    pub allow_debug: bool,
}

impl Engine<'_> {
    /// Runs one scenario of `run`, appends its trials to the store and to `trials`, and notes in `run` why it stopped.
    ///
    /// # Errors
    /// Where nothing more can be measured at all. A trial that fails is a record, not an error.
    pub fn run_scenario(
        &mut self,
        run: &mut Run,
        order: &ScenarioOrder<'_>,
        trials: &mut Vec<Trial>,
    ) -> Result<(), EngineError> {
        let planned = &run.scenarios[order.index];
        let scenario = planned.scenario.clone();
        let arms = self.arms(planned, order);
        self.observer.progress(&Progress::ScenarioStarted {
            index: order.index,
            of: run.scenarios.len(),
            name: &scenario.name,
            budget: order.budget,
        });
        self.make_data_root()?;
        let outcome = self.blocks(run.seed, &scenario, &arms, order, trials);
        let planned = &mut run.scenarios[order.index];
        planned.blocks = order.blocks;
        match &outcome {
            Ok(end) => {
                planned.blocks_max = Some(end.blocks_max);
                planned.skipped = end.skipped.clone();
                planned.stopped = Some(end.stopped.clone());
                planned.decided_early = end.decided_early;
                self.observer.progress(&Progress::ScenarioFinished { name: &scenario.name, stopped: &end.stopped });
            }
            Err(error) => planned.stopped = Some(error.to_string()),
        }
        self.store.write_run(run)?;
        outcome.map(drop)
    }

    pub(crate) fn make_data_root(&self) -> Result<(), EngineError> {
        fs::create_dir_all(self.data_root)
            .map_err(|error| EngineError::DataDir { path: self.data_root.to_owned(), error })
    }

    /// The variants of a scenario as its blocks run them.
    pub(crate) fn arms<'o>(&self, planned: &PlannedScenario, order: &ScenarioOrder<'o>) -> Vec<Arm<'o>> {
        let mut arms = Vec::new();
        for (index, name) in planned.variants.iter().enumerate() {
            let (Some(variant), Some(launcher)) = (planned.scenario.variant(name), order.launchers.get(index)) else {
                continue;
            };
            arms.push(Arm {
                name: name.clone(),
                settings: variant.settings.clone(),
                launcher: *launcher,
                binary: order.binaries.get(index).and_then(|binary| Some(binary.as_ref()?.path.clone())),
                memory_bytes_max: variant.uplift.memory_bytes.unwrap_or(self.memory_bytes_max),
                sampling: order.sampling.get(index).copied().flatten(),
                counts_allocations: false,
            });
        }
        arms
    }

    /// Block after block, until one of the reasons to stop is there.
    fn blocks(
        &mut self,
        seed: u64,
        scenario: &Scenario,
        arms: &[Arm<'_>],
        order: &ScenarioOrder<'_>,
        trials: &mut Vec<Trial>,
    ) -> Result<ScenarioEnd, EngineError> {
        let mut pace = Pace::new(order);
        // The judge finds the trials of the scenario by its name; only where it goes on are there older ones.
        let first_trial = if order.resumed.is_some() { 0 } else { trials.len() };
        loop {
            self.check_disk()?;
            order.check_binaries()?;
            let plan = plan_block(seed, &scenario.name, pace.block, arms.len(), scenario.trial.rounds);
            let block_trials = self.run_block(scenario, arms, &plan, &pace);
            // Agents of this block were started until now: if one was of another build, nobody knows which.
            order.check_binaries()?;
            let taken = self.keep(block_trials, arms.len(), trials)?;
            if self.interrupt.is_set() {
                let blocks = pace.block + u32::from(taken.is_whole);
                return Ok(pace.end(format!("interrupted after {}", blocks_word(blocks))));
            }
            if let Some(message) = taken.unavailable {
                return Ok(ScenarioEnd { skipped: Some(message.clone()), ..pace.end(message) });
            }
            if let Some(stopped) = pace.give_up(taken.is_whole) {
                return Ok(pace.end(stopped));
            }
            let blocks_max = pace.advance();
            self.observer.progress(&Progress::BlockFinished {
                block: pace.block - 1,
                blocks_max,
                left: pace.left(),
                trials: &trials[first_trial..],
            });
            if order.blocks.is_none()
                && taken.is_whole
                && let Look::Decided(why) = self.judge.look(scenario, &trials[first_trial..], blocks_max)
            {
                let stopped = format!("decided after {} blocks: {why}", pace.block);
                return Ok(ScenarioEnd { decided_early: true, ..pace.end(stopped) });
            }
            if let Some(stopped) = pace.is_over() {
                return Ok(pace.end(stopped));
            }
        }
    }

    /// Runs one block, and says what happens in it.
    fn run_block(&mut self, scenario: &Scenario, arms: &[Arm<'_>], plan: &BlockPlan, pace: &Pace<'_>) -> Vec<Trial> {
        let (observer, judge) = (&mut *self.observer, &*self.judge);
        let (block, blocks_max) = (pace.block, pace.blocks_max);
        let left = RefCell::new(Vec::new());
        let mut context = BlockContext {
            scenario,
            arms,
            data_root: self.data_root,
            interrupt: &self.interrupt,
            dropped_turns: &|turns| judge.dropped_turns(turns),
            allow_debug: self.allow_debug,
            left: &left,
            progress: &mut |done, of| observer.progress(&Progress::BlockProgress { block, blocks_max, done, of }),
        };
        let trials = match pace.sides() {
            Some(sides) => run_duet(&mut context, plan, sides),
            None => run_block(&mut context, plan),
        };
        for message in left.into_inner() {
            self.observer.progress(&Progress::DataLeft(&message));
        }
        trials
    }

    /// Writes the trials of a block down, and says what became of it.
    fn keep(&mut self, taken: Vec<Trial>, arms: usize, trials: &mut Vec<Trial>) -> Result<Taken, EngineError> {
        let mut block = Taken { is_whole: taken.len() == arms, unavailable: None };
        for trial in taken {
            self.store.append(&trial)?;
            if let TrialOutcome::Failed(failure) = &trial.outcome {
                block.is_whole = false;
                // What is not there ends the scenario, whose end says so.
                if !matches!(failure.kind, FailureKind::Interrupted | FailureKind::Unavailable) {
                    self.observer.progress(&Progress::TrialFailed(&trial));
                }
                if failure.kind == FailureKind::Unavailable {
                    block.unavailable = Some(failure.message.clone());
                }
            }
            trials.push(trial);
        }
        Ok(block)
    }

    pub(crate) fn check_disk(&self) -> Result<(), EngineError> {
        match free_bytes(self.data_root) {
            Ok(free) if free < FREE_BYTES_MIN => {
                Err(EngineError::DiskFull { path: self.data_root.to_owned(), free_mib: free >> 20 })
            }
            // Where free space cannot be told, the trial will say whether there was any.
            _ => Ok(()),
        }
    }
}

/// What became of a block.
struct Taken {
    /// Every variant has a trial, and none failed.
    is_whole: bool,
    /// Why a variant cannot be measured here.
    unavailable: Option<String>,
}
