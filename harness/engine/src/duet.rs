//! A block in which both variants run at the same time, each on CPUs of its own: what disturbs the one disturbs the other
//! in the same moment, and leaves their ratio. What they do to each other stays in it, so that it says whether something
//! differs and not by how much.

use uplift_model::{
    Trial,
    protocol::{TurnLength, TurnRequest},
    scenario::{Interleave, OPERATIONS_PER_TURN_MIN},
    trial::TurnRecord,
};

use crate::{
    block::{BlockContext, Running, warm_up_length},
    plan::{BlockPlan, shape_turns},
    sentinel::NoiseProbe,
    sides::Sides,
};

/// Which side a variant has in a round: sides change with the orders of the rounds, which are balanced. Where there is one
/// window, with the order of starts.
fn side_of(plan: &BlockPlan, windowed: bool, round: usize, variant: usize) -> usize {
    let order = if windowed { &plan.start_order } else { plan.rounds.get(round).unwrap_or(&plan.start_order) };
    usize::from(order.first() != Some(&variant))
}

/// Both resident, every turn of both at the same time.
pub(crate) fn run_duet(context: &mut BlockContext<'_>, plan: &BlockPlan, sides: &Sides) -> Vec<Trial> {
    let watch = NoiseProbe::begin(context.data_root);
    let spec = &context.scenario.trial;
    let windowed = spec.interleave == Interleave::Trials;
    let cpus = |round: usize, variant: usize| sides.halves[side_of(plan, windowed, round, variant)].as_slice();
    let mut running: Vec<Running> = Vec::new();
    for (position, &index) in plan.start_order.iter().enumerate() {
        let trial = Running::start(context, plan, index, position as u32, Some(cpus(0, index)));
        let alive = trial.is_alive();
        running.push(trial);
        if !alive {
            break;
        }
    }
    let everybody = running.len() == context.arms.len();
    let warm_up = TurnRequest { index: 0, measured: false, length: warm_up_length(spec) };
    let slowest_per_second = if everybody { together(&mut running, warm_up) } else { None }
        .iter()
        .flatten()
        .map(|record| record.attempts as f64 / (record.base_ns().max(1.0) / 1e9))
        .fold(f64::INFINITY, f64::min);
    let (turn_ns, rounds) = if windowed {
        (spec.window.as_nanos(), 1)
    } else {
        let slowest = if slowest_per_second.is_finite() { slowest_per_second } else { 0.0 };
        let clients = context.scenario.load.clients();
        let shape = shape_turns(spec, plan.rounds.len() as u32, slowest, OPERATIONS_PER_TURN_MIN, clients, 1);
        // Of an even number each variant has either side equally often.
        (shape.turn_ns, shape.rounds.next_multiple_of(2).min(plan.rounds.len() as u32))
    };
    for round in 0..rounds {
        for trial in &mut running {
            let cpus = cpus(round as usize, trial.index());
            trial.with(|link| link.keep_on(cpus));
        }
        let request = TurnRequest { index: round, measured: true, length: TurnLength::Nanoseconds(turn_ns) };
        let Some(records) = everybody.then(|| together(&mut running, request)).flatten() else { break };
        for (trial, record) in running.iter_mut().zip(records) {
            trial.turns.push(record);
        }
        (context.progress)(round + 1, rounds);
    }
    let drop_turns = (everybody && running.iter().all(Running::is_alive)).then(|| {
        let turns: Vec<&[TurnRecord]> = running.iter().map(|trial| trial.turns.as_slice()).collect();
        if windowed { 0 } else { (context.dropped_turns)(&turns) }
    });
    let agents: Vec<u32> = running.iter().flat_map(Running::processes).collect();
    let sentinels = watch.end(context.data_root, &agents);
    running.into_iter().map(|trial| trial.end(context, plan, drop_turns, &sentinels)).collect()
}

/// One turn of all of them at the same time; `None` where one of them failed.
fn together(running: &mut [Running], request: TurnRequest) -> Option<Vec<TurnRecord>> {
    for trial in running.iter_mut() {
        trial.with(|link| link.begin_turn(&request))?;
    }
    // All are heard, or a failed one would leave the others in the middle of a turn.
    let records: Vec<Option<TurnRecord>> = running.iter_mut().map(|trial| trial.end_turn(&request)).collect();
    records.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_block;

    #[test]
    fn either_variant_has_either_side_equally_often() {
        for block in 0..20 {
            let plan = plan_block(7, "reference/steady", block, 2, 10);
            let first = (0..10).filter(|&round| side_of(&plan, false, round, 0) == 0).count();
            assert_eq!(first, 5);
            assert!((0..10).all(|round| side_of(&plan, false, round, 0) != side_of(&plan, false, round, 1)));
        }
        let plans: Vec<BlockPlan> = (0..20).map(|block| plan_block(7, "reference/steady", block, 2, 1)).collect();
        assert_eq!(plans.iter().filter(|plan| side_of(plan, true, 0, 0) == 0).count(), 10);
    }
}
