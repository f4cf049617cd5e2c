//! What the slowest calls do that the others do not.
//!
//! A call's time is what its own thread ran and what it waited. Work that other threads did for it is not in its stacks:
//! it shows as waiting.

use std::collections::BTreeMap;

use uplift_model::protocol::{CallStacks, Profiled};

use super::{
    Category, FoldedError, Profile, Share,
    category::{of_wait, owner},
    differential,
    folded::{self, Stack, function, is_kernel},
};

/// The second frame of a stack in which the thread ran.
pub const RUNNING: &str = "[running]";
/// The second frame of a stack in which the thread was away.
pub const WAITING: &str = "[waiting]";

/// The slow calls of one variant and all of its calls, all its profile trials together.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// Calls at or above this percentile of service time are slow.
    pub percentile: f64,
    /// Lowest and highest of that percentile in the trials.
    pub threshold_ns: [u64; 2],
    /// The slow calls.
    pub slow: Calls,
    /// All calls.
    pub all: Calls,
    /// Calls that were not noted.
    pub missed: u64,
    /// On-CPU samples of no call, of all samples.
    pub elsewhere: Share,
}

/// Some calls, and where their time went.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// How many.
    pub calls: u64,
    /// Sum of their service times.
    pub service_ns: u64,
    /// Stacks in nanoseconds; the frame behind the thread's group is [`RUNNING`] or [`WAITING`].
    pub stacks: Vec<Stack>,
    /// Whether waiting is in them.
    pub waiting: bool,
}

impl Calls {
    fn of(parts: &[(&CallStacks, &Profiled)]) -> Result<Self, FoldedError> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let waiting = parts.iter().all(|(part, _)| part.folded_off_cpu.is_some());
        for (part, profiled) in parts {
            let off_cpu = part.folded_off_cpu.as_deref().filter(|_| waiting).unwrap_or("");
            for (text, state, unit_ns) in [(part.folded.as_str(), RUNNING, profiled.sample_ns), (off_cpu, WAITING, 1e3)]
            {
                for mut stack in folded::merge([&*profiled.plain(text)])? {
                    stack.frames.insert(1.min(stack.frames.len()), state.to_owned());
                    *counts.entry(stack.line()).or_insert(0) += (stack.count as f64 * unit_ns).round() as u64;
                }
            }
        }
        Ok(Self {
            calls: parts.iter().map(|(part, _)| part.calls).sum(),
            service_ns: parts.iter().map(|(part, _)| part.service_ns).sum(),
            stacks: counts
                .into_iter()
                .map(|(line, count)| Stack { frames: line.split(';').map(str::to_owned).collect(), count })
                .collect(),
            waiting,
        })
    }

    /// Mean service time of a call.
    pub fn mean_ns(&self) -> f64 {
        self.service_ns as f64 / self.calls.max(1) as f64
    }

    /// How much of the calls' time the stacks account for; a little more than all where samples overstate it.
    pub fn seen_share(&self) -> f64 {
        let seen_ns: u64 = self.stacks.iter().map(|stack| stack.count).sum();
        seen_ns as f64 / self.service_ns.max(1) as f64
    }

    /// As a profile whose samples are nanoseconds and whose operations are calls.
    pub fn profile(&self) -> Profile {
        Profile {
            stacks: self.stacks.clone(),
            samples: self.stacks.iter().map(|stack| stack.count).sum(),
            sample_ns: 1.0,
            operations: self.calls,
            duration_ns: self.service_ns,
        }
    }
}

/// The tail of some profile trials; `None` where none of them has one.
///
/// # Errors
/// The line that is no folded stack.
pub fn tail(profiled: &[&Profiled]) -> Result<Option<Tail>, FoldedError> {
    let tails: Vec<_> = profiled.iter().filter_map(|one| Some((one.tail.as_ref()?, *one))).collect();
    let Some((first, _)) = tails.first() else { return Ok(None) };
    let thresholds = || tails.iter().map(|(tail, _)| tail.threshold_ns);
    let mut samples = 0;
    for (_, one) in &tails {
        samples += folded::total(&one.folded)?;
    }
    let parts = |of: fn(&uplift_model::protocol::TailProfile) -> &CallStacks| -> Vec<(&CallStacks, &Profiled)> {
        tails.iter().map(|(tail, one)| (of(tail), *one)).collect()
    };
    Ok(Some(Tail {
        percentile: first.percentile,
        threshold_ns: [thresholds().min().unwrap_or(0), thresholds().max().unwrap_or(0)],
        slow: Calls::of(&parts(|tail| &tail.slow))?,
        all: Calls::of(&parts(|tail| &tail.all))?,
        missed: tails.iter().map(|(tail, _)| tail.calls_missed).sum(),
        elsewhere: Share::of(tails.iter().map(|(tail, _)| tail.samples_elsewhere).sum(), samples),
    }))
}

/// A kind of time that calls spend.
#[derive(Clone, Debug, PartialEq)]
pub struct TailRow {
    /// Whether the thread waited.
    pub waiting: bool,
    /// Whether it waited for nothing but a free CPU.
    pub preempted: bool,
    /// What for.
    pub category: Category,
    /// The innermost function whose path says whose it is, else the outermost of the stack; empty where it waited for a
    /// CPU.
    pub function: String,
    /// In a slow call, nanoseconds.
    pub slow_ns: f64,
    /// In a call, nanoseconds.
    pub all_ns: f64,
}

/// Where slow calls spend their time, the largest difference from calls in general first; at most `most`.
pub fn rows(tail: &Tail, most: usize) -> Vec<TailRow> {
    let mut sums: BTreeMap<(bool, bool, Category, &str), [u64; 2]> = BTreeMap::new();
    for (side, calls) in [&tail.slow, &tail.all].into_iter().enumerate() {
        for stack in &calls.stacks {
            let waiting = stack.frames.get(1).is_some_and(|frame| frame == WAITING);
            let preempted = stack.frames.last().is_some_and(|frame| frame.starts_with("[preempted]"));
            let user =
                || stack.frames.iter().skip(2).rev().filter(|frame| !is_kernel(frame)).map(|frame| function(frame));
            // Where a thread was when its CPU was taken from it says nothing.
            let place = if preempted { "" } else { owner(user()).or_else(|| user().next_back()).unwrap_or("?") };
            let category = if preempted { Category::Scheduler } else { of_wait(stack) };
            sums.entry((waiting, preempted, category, place)).or_default()[side] += stack.count;
        }
    }
    let per_call = |sum: u64, calls: &Calls| sum as f64 / calls.calls.max(1) as f64;
    let mut rows: Vec<TailRow> = sums
        .into_iter()
        .map(|((waiting, preempted, category, place), [slow, all])| TailRow {
            waiting,
            preempted,
            category,
            function: place.to_owned(),
            slow_ns: per_call(slow, &tail.slow),
            all_ns: per_call(all, &tail.all),
        })
        .collect();
    rows.retain(|row| row.slow_ns > 0.0);
    rows.sort_by(|a, b| (b.slow_ns - b.all_ns).total_cmp(&(a.slow_ns - a.all_ns)).then(a.function.cmp(&b.function)));
    rows.truncate(most);
    rows
}

/// Folded stacks with two numbers each, picoseconds in a call and in a slow call; `None` where there are no calls.
pub fn differential(tail: &Tail) -> Option<String> {
    differential::folded(&tail.all.profile(), &tail.slow.profile())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uplift_model::protocol::TailProfile;

    fn profiled() -> Profiled {
        let stacks = |calls, service_ns, folded: &str, off_cpu: &str| CallStacks {
            calls,
            service_ns,
            folded: folded.to_owned(),
            folded_off_cpu: Some(off_cpu.to_owned()),
        };
        Profiled {
            sampler: "perf cpu-clock".to_owned(),
            frequency_hz: 1000,
            sample_ns: 1e6,
            frames: Vec::new(),
            folded: "client;docdb::apply 12\nflusher;docdb::flush 4\n".to_owned(),
            folded_off_cpu: None,
            not_sampled: None,
            allocations: None,
            lost: Some(0),
            symbolised_share: 1.0,
            kernel_frames: true,
            duration_ns: 1_000_000_000,
            operations: 100,
            warnings: Vec::new(),
            tail: Some(TailProfile {
                percentile: 90.0,
                threshold_ns: 3_000_000,
                slow: stacks(
                    10,
                    40_000_000,
                    "client;docdb::apply 2\n",
                    "client;docdb::wait;do_syscall_64_[k];__x64_sys_futex_[k];schedule_[k] 38000\n",
                ),
                all: stacks(
                    100,
                    60_000_000,
                    "client;docdb::apply 12\n",
                    "client;docdb::wait;do_syscall_64_[k];__x64_sys_futex_[k];schedule_[k] 47500\n",
                ),
                calls_missed: 0,
                samples_elsewhere: 4,
            }),
        }
    }

    #[test]
    fn what_slow_calls_do_more_of_comes_first() {
        let one = profiled();
        let tail = tail(&[&one]).unwrap().unwrap();
        assert_eq!((tail.slow.seen_share(), tail.elsewhere.samples, tail.elsewhere.share), (1.0, 4, 0.25));
        assert!(tail.slow.waiting && (tail.all.seen_share() - 59.5 / 60.0).abs() < 1e-9);
        let rows = rows(&tail, 10);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].waiting, rows[0].category, rows[0].function.as_str()),
            (true, Category::Locks, "docdb::wait")
        );
        assert_eq!((rows[0].slow_ns, rows[0].all_ns), (3_800_000.0, 475_000.0));
        assert_eq!((rows[1].waiting, rows[1].slow_ns, rows[1].all_ns), (false, 200_000.0, 120_000.0));
        let text = differential(&tail).unwrap();
        assert!(text.contains("client;[running];docdb::apply 120000000 200000000\n"), "{text}");
    }

    #[test]
    fn trials_are_added_up_and_one_without_waiting_takes_it_from_all() {
        let (one, mut other) = (profiled(), profiled());
        if let Some(tail) = &mut other.tail {
            tail.threshold_ns = 5_000_000;
            tail.slow.folded_off_cpu = None;
        }
        let tail = tail(&[&one, &other]).unwrap().unwrap();
        assert_eq!((tail.threshold_ns, tail.slow.calls), ([3_000_000, 5_000_000], 20));
        assert!(!tail.slow.waiting && tail.all.waiting);
        assert_eq!(super::tail(&[&Profiled { tail: None, ..one }]).unwrap(), None);
    }
}
