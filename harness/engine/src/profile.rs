//! Profile trials: fresh agents that are sampled, apart from those that are measured.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use uplift_model::{
    profile::{PROFILE_SCHEMA, ProfileTrial},
    protocol::{Profiled, TurnLength, TurnRequest},
    run::Run,
    scenario::Interleave,
    trial::{FailureKind, TrialOutcome},
};

use crate::{
    agent_connection::arrived,
    block::{BlockContext, Running, warm_up},
    plan::{BlockPlan, plan_block},
    runner::{Engine, EngineError, Progress, ScenarioOrder},
    sampling::Sampling,
    sentinel::NoiseProbe,
};

/// The profile trials of one scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProfilePlan {
    /// How agents are sampled.
    pub sampling: Sampling,
    /// How long each is sampled.
    pub window: Duration,
    /// How often each variant is, in turn.
    pub repeats: u32,
}

impl Engine<'_> {
    /// Samples every variant of a scenario, appends the trials to the store and to `profiles`.
    ///
    /// # Errors
    /// Where nothing more can be written. A trial that fails is a record, not an error.
    pub fn profile_scenario(
        &mut self,
        run: &mut Run,
        order: &ScenarioOrder<'_>,
        plan: &ProfilePlan,
        profiles: &mut Vec<ProfileTrial>,
    ) -> Result<(), EngineError> {
        let planned = &run.scenarios[order.index];
        let mut scenario = planned.scenario.clone();
        scenario.trial.interleave = Interleave::Trials;
        scenario.trial.window.0 = plan.window;
        let mut arms = self.arms(planned, order);
        arms.iter_mut().for_each(|arm| arm.counts_allocations = plan.sampling.allocations);
        self.make_data_root()?;
        self.observer.progress(&Progress::ProfilingStarted { name: &scenario.name, plan });
        let mut unavailable = None;
        'repeats: for repeat in 0..plan.repeats {
            let block = plan_block(run.seed, &scenario.name, repeat, arms.len(), 0);
            for (position, &index) in block.start_order.iter().enumerate() {
                self.check_disk()?;
                order.check_binaries()?;
                let left = RefCell::new(Vec::new());
                let mut context = BlockContext {
                    scenario: &scenario,
                    arms: &arms,
                    data_root: self.data_root,
                    interrupt: &self.interrupt,
                    dropped_turns: &|_| 0,
                    allow_debug: self.allow_debug,
                    left: &left,
                    progress: &mut |_, _| {},
                };
                let profile = profile_one(&mut context, &block, index, position as u32, plan);
                for message in left.into_inner() {
                    self.observer.progress(&Progress::DataLeft(&message));
                }
                self.store.append_profile(&profile)?;
                if let TrialOutcome::Failed(failure) = &profile.trial.outcome {
                    if failure.kind != FailureKind::Interrupted {
                        self.observer.progress(&Progress::TrialFailed(&profile.trial));
                    }
                    if failure.kind == FailureKind::Unavailable {
                        unavailable = Some(format!("no profiles of {}: {}", scenario.name, failure.message));
                    }
                }
                profiles.push(profile);
                if self.interrupt.is_set() || unavailable.is_some() {
                    break 'repeats;
                }
            }
        }
        if let Some(message) = unavailable {
            run.warnings.push(message);
            self.store.write_run(run)?;
        }
        Ok(())
    }
}

/// One fresh agent, sampled over one window.
fn profile_one(
    context: &mut BlockContext<'_>,
    block: &BlockPlan,
    index: usize,
    position: u32,
    plan: &ProfilePlan,
) -> ProfileTrial {
    let watch = NoiseProbe::begin(context.data_root);
    let mut running = Running::start(context, block, index, position, None);
    warm_up(context, &mut running);
    let sampling = plan.sampling;
    running.with(|link| link.profile_start(sampling));
    take_turns(context, &mut running, plan.window);
    let profiled: Option<Profiled> =
        running.with(|link| link.profile_stop().and_then(|profiled| arrived(profiled.check(), "profiling", profiled)));
    let drop_turns = running.is_alive().then_some(0);
    let sentinels = watch.end(context.data_root, &running.processes());
    let trial = running.end(context, block, drop_turns, &sentinels);
    ProfileTrial { schema: PROFILE_SCHEMA, trial, profiled }
}

/// One turn as long as the window; where turns are counted in operations, as many as fill it.
fn take_turns(context: &BlockContext<'_>, running: &mut Running, window: Duration) {
    let begun = Instant::now();
    let length = match context.scenario.trial.turn_operations {
        Some(operations) => TurnLength::Operations(operations),
        None => TurnLength::Nanoseconds(u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)),
    };
    for round in 0.. {
        let Some(record) = running.turn(TurnRequest { index: round, measured: true, length }) else { return };
        running.turns.push(record);
        if matches!(length, TurnLength::Nanoseconds(_)) || begun.elapsed() >= window || context.interrupt.is_set() {
            return;
        }
    }
}
