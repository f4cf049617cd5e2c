//! Runs scenarios: block after block until the judge has decided, the budget is spent, or the user has had enough.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use uplift_model::{
    Scenario, Trial,
    run::{PlannedScenario, Run},
    trial::{FailureKind, TrialOutcome, TurnRecord},
};

use crate::{
    binary::PinnedBinary,
    block::{Arm, BlockContext, run_block},
    environment::{FREE_BYTES_MIN, free_bytes},
    interrupt::Interrupt,
    launch::Launch,
    plan::plan_block,
    profile::ProfilePlan,
    sampling::Sampling,
    store::{RunStore, StoreError},
};

/// The fewest blocks for which a verdict is possible; the budget may be overdrawn up to twice for them, where
/// [`ScenarioOrder::allow_overrun`] says so.
pub const BLOCKS_MIN: u32 = 6;
/// The most blocks of one scenario.
pub const BLOCKS_MAX: u32 = 1_000;
/// A scenario is given up after so many blocks in a row that failed.
const FAILED_BLOCKS_MAX: u32 = 2;

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
            });
        }
        arms
    }

    fn blocks(
        &mut self,
        seed: u64,
        scenario: &Scenario,
        arms: &[Arm<'_>],
        order: &ScenarioOrder<'_>,
        trials: &mut Vec<Trial>,
    ) -> Result<ScenarioEnd, EngineError> {
        let begun = Instant::now();
        // The judge finds the trials of the scenario by its name; only where it goes on are there older ones.
        let first_trial = if order.resumed.is_some() { 0 } else { trials.len() };
        let (before, mut blocks_max) = match order.resumed {
            Some((done, planned)) => (done, Some(planned)),
            None => (0, order.blocks),
        };
        let mut failed_in_a_row = 0;
        let mut block = before;
        let mut budget = order.budget;
        let end = |stopped: String, blocks_max: Option<u32>| ScenarioEnd {
            stopped,
            decided_early: false,
            skipped: None,
            blocks_max: blocks_max.unwrap_or(BLOCKS_MIN),
        };
        loop {
            self.check_disk()?;
            order.check_binaries()?;
            let plan = plan_block(seed, &scenario.name, block, arms.len(), scenario.trial.rounds);
            let observer = &mut *self.observer;
            let judge = &*self.judge;
            let left = RefCell::new(Vec::new());
            let block_trials = run_block(
                &mut BlockContext {
                    scenario,
                    arms,
                    data_root: self.data_root,
                    interrupt: &self.interrupt,
                    dropped_turns: &|turns| judge.dropped_turns(turns),
                    allow_debug: self.allow_debug,
                    left: &left,
                    progress: &mut |done, of| {
                        observer.progress(&Progress::BlockProgress { block, blocks_max, done, of })
                    },
                },
                &plan,
            );
            for message in left.into_inner() {
                self.observer.progress(&Progress::DataLeft(&message));
            }
            // Agents of this block were started until now: if one was of another build, nobody knows which.
            order.check_binaries()?;
            let mut whole = block_trials.len() == arms.len();
            let mut unavailable = None;
            for trial in block_trials {
                self.store.append(&trial)?;
                if let TrialOutcome::Failed(failure) = &trial.outcome {
                    whole = false;
                    // What is not there ends the scenario, whose end says so.
                    if !matches!(failure.kind, FailureKind::Interrupted | FailureKind::Unavailable) {
                        self.observer.progress(&Progress::TrialFailed(&trial));
                    }
                    if failure.kind == FailureKind::Unavailable {
                        unavailable = Some(failure.message.clone());
                    }
                }
                trials.push(trial);
            }
            if self.interrupt.is_set() {
                return Ok(end(format!("interrupted after {}", blocks_word(block + u32::from(whole))), blocks_max));
            }
            if let Some(message) = unavailable {
                return Ok(ScenarioEnd { skipped: Some(message.clone()), ..end(message, blocks_max) });
            }
            failed_in_a_row = if whole { 0 } else { failed_in_a_row + 1 };
            if failed_in_a_row >= FAILED_BLOCKS_MAX {
                return Ok(end(format!("given up after {FAILED_BLOCKS_MAX} failed blocks in a row"), blocks_max));
            }
            block += 1;
            let elapsed = begun.elapsed();
            let mean = elapsed / (block - before);
            if block == 1 {
                budget = budget.max(mean * order.blocks_paid + mean / 2);
            }
            let affordable = match blocks_max {
                // Nobody has looked yet: the more blocks, the better is known how many the budget pays for. From the first
                // look on the plan stands, or looks could come again and again with error that is already spent.
                Some(planned) if order.blocks.is_some() || order.resumed.is_some() || block >= BLOCKS_MIN => planned,
                _ => ((budget.as_secs_f64() / mean.as_secs_f64()) as u32 * order.stretch).clamp(BLOCKS_MIN, BLOCKS_MAX),
            };
            blocks_max = Some(affordable);
            self.observer.progress(&Progress::BlockFinished {
                block: block - 1,
                blocks_max: affordable,
                left: budget.saturating_sub(elapsed),
            });
            if let Some(blocks) = order.blocks {
                if block >= blocks {
                    return Ok(end(
                        if blocks == 1 {
                            "the one block is done".to_owned()
                        } else {
                            format!("all {blocks} blocks are done")
                        },
                        blocks_max,
                    ));
                }
                if order.allow_overrun {
                    continue;
                }
            } else if whole && let Look::Decided(why) = self.judge.look(scenario, &trials[first_trial..], affordable) {
                let stopped = format!("decided after {block} blocks: {why}");
                return Ok(ScenarioEnd { decided_early: true, ..end(stopped, blocks_max) });
            }
            if order.blocks.is_none() && block >= affordable {
                return Ok(end(format!("the {} that were planned are done", blocks_word(affordable)), blocks_max));
            }
            let next_would_overdraw = elapsed + mean > budget;
            let needed = order.allow_overrun && block < BLOCKS_MIN && elapsed < 2 * budget;
            if (next_would_overdraw && !needed) || block >= BLOCKS_MAX {
                let seconds = budget.as_secs_f64();
                let what = match order.resumed {
                    Some(_) => format!("the time of {seconds:.0} s that other scenarios left"),
                    None => format!("the budget of {seconds:.0} s"),
                };
                return Ok(end(format!("{what} was spent after {}", blocks_word(block)), blocks_max));
            }
        }
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

/// "1 block", "6 blocks".
fn blocks_word(blocks: u32) -> String {
    format!("{blocks} block{}", if blocks == 1 { "" } else { "s" })
}

struct ScenarioEnd {
    stopped: String,
    decided_early: bool,
    skipped: Option<String>,
    blocks_max: u32,
}
