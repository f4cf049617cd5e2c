//! What is used up: the workload's own limit, the CPUs, one worker, sync calls.

use super::{
    Insight, Topic,
    figures::{percent, short, time},
    side::Side,
};

/// From this share of its ceiling on a variant is near it.
const NEAR_CEILING: f64 = 0.3;
/// From this share on the CPUs are used up.
const CPU_USED_UP: f64 = 0.85;
/// A worker that is busy for this share of its time is worth a statement, and from the second on it limits.
const BUSY: f64 = 0.6;
const USED_UP: f64 = 0.85;
/// So many sync calls under way on average are worth a statement.
const SYNCS_UNDER_WAY: f64 = 0.5;

/// How near a variant is to what the workload itself allows.
pub fn ceiling(side: &Side<'_>) -> Option<Insight> {
    let (limit, why) = side.ceiling.filter(|(limit, _)| *limit > 0.0)?;
    let share = side.rate / limit;
    (share >= NEAR_CEILING).then(|| {
        let text = format!(
            "`{}` reaches {} of the at most {} op/s that the workload itself allows ({}): {why}",
            side.name,
            short(side.rate),
            short(limit),
            percent(share)
        );
        Insight::new(Topic::Ceiling, share, text, Some("throughput"))
    })
}

/// The resources that are used up, or nearly.
pub fn critical(side: &Side<'_>) -> Vec<Insight> {
    [cpu(side), worker(side), syncs(side)].into_iter().flatten().collect()
}

fn cpu(side: &Side<'_>) -> Option<Insight> {
    let (busy, cores) = side.cpu?;
    let share = busy / f64::from(cores);
    (share >= CPU_USED_UP).then(|| {
        let text = format!(
            "`{}` keeps {} of {cores} CPUs busy: CPU time is what limits it, and cpu_per_op is what to lower",
            side.name,
            short(busy)
        );
        Insight::new(Topic::Critical, share, text, Some("cpu_cores"))
    })
}

fn worker(side: &Side<'_>) -> Option<Insight> {
    let (first, next) = side.busiest()?;
    // Workers of a pool share their work; a single one is the way that everything must go.
    if first.busy < BUSY || (first.clocks > 1 && first.busy < USED_UP) {
        return None;
    }
    let (stage, of_it) = first.stages.first()?;
    let who = if first.clocks > 1 { format!("{} ×{}", first.name, first.clocks) } else { first.name.clone() };
    let role = if first.busy >= USED_UP { "the critical path" } else { "the busiest worker" };
    let next = next.map_or_else(String::new, |next| format!("; next is `{}` with {}", next.name, percent(next.busy)));
    let text = format!(
        "`{who}` is {role} of `{}`: at work {} of the time, in `{stage}` {}{next}",
        side.name,
        percent(first.busy),
        percent(*of_it)
    );
    Some(Insight::new(Topic::Critical, first.busy, text, None))
}

fn syncs(side: &Side<'_>) -> Option<Insight> {
    let (rate, mean_ns) = side.syncs?;
    let under_way = rate * mean_ns / 1e9;
    (under_way >= SYNCS_UNDER_WAY).then(|| {
        let text = format!(
            "sync calls are the wall of `{}`: {} a second × {} each = {} under way at any time",
            side.name,
            short(rate),
            time(mean_ns),
            short(under_way)
        );
        Insight::new(Topic::Critical, under_way.min(0.95), text, Some("syncs_per_op"))
    })
}
