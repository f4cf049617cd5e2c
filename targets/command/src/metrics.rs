//! The metrics of a command: what the kernel says of its processes, run by run.

use std::borrow::Cow;

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit};

/// The counter that every other is divided by.
pub const RUNS: &str = "runs";

/// All of them.
pub fn all() -> Vec<DerivedMetric> {
    use Better::{Lower, Neither};
    use MetricClass::{Counter, Info, Time};
    let per_run = |name: &'static str, unit, better, class, about: &'static str| DerivedMetric {
        spec: MetricSpec::new(name, unit, better, class, about),
        source: Cow::Borrowed(name),
        derivation: Derivation::Per(Cow::Borrowed(RUNS)),
    };
    let gauge = |name: &'static str, unit, better, class, about: &'static str| {
        DerivedMetric::new(MetricSpec::new(name, unit, better, class, about), name, Derivation::Gauge)
    };
    let total = |name: &'static str, about: &'static str| {
        DerivedMetric::new(MetricSpec::new(name, Unit::Count, Lower, Info, about), name, Derivation::Total)
    };
    vec![
        per_run(
            "run_time",
            Unit::Nanoseconds,
            Lower,
            Time,
            "wall time of one run, from before its process is started until it was seen to have ended",
        ),
        gauge("run_time_min", Unit::Nanoseconds, Lower, Info, "fastest run of a trial"),
        gauge("run_time_median", Unit::Nanoseconds, Lower, Info, "median run of a trial"),
        gauge("run_time_max", Unit::Nanoseconds, Lower, Info, "slowest run of a trial"),
        per_run(
            "user_time",
            Unit::Nanoseconds,
            Lower,
            Info,
            "CPU time in user mode of one run, all descendants included",
        ),
        per_run(
            "system_time",
            Unit::Nanoseconds,
            Lower,
            Info,
            "CPU time in the kernel of one run, all descendants included; where the kernel samples, the split is rough",
        ),
        gauge("peak_memory", Unit::Bytes, Lower, Time, "peak of resident memory of the largest process of any run"),
        per_run("minor_faults", Unit::Count, Lower, Info, "page faults of one run that read nothing from disk"),
        per_run("voluntary_switches", Unit::Count, Lower, Info, "context switches of one run that wait for something"),
        per_run(
            "involuntary_switches",
            Unit::Count,
            Lower,
            Info,
            "context switches of one run that the scheduler forced",
        ),
        per_run(
            "read_bytes",
            Unit::Bytes,
            Lower,
            Counter,
            "bytes that read calls of one run returned, from files, pipes and caches",
        ),
        per_run("storage_read_bytes", Unit::Bytes, Lower, Info, "bytes that one run read from storage"),
        per_run("instructions", Unit::Count, Lower, Counter, "instructions of one run, counted by the CPU"),
        per_run("cycles", Unit::Count, Lower, Time, "cycles of one run, counted by the CPU"),
        per_run("cache_misses", Unit::Count, Lower, Info, "cache misses of one run, counted by the CPU"),
        per_run("branch_misses", Unit::Count, Lower, Info, "mispredicted branches of one run, counted by the CPU"),
        gauge(
            "callgrind_instructions",
            Unit::Count,
            Lower,
            Counter,
            "instructions of one run under callgrind, in user mode",
        ),
        gauge(
            "allocations",
            Unit::Count,
            Lower,
            Counter,
            "calls of one run that allocate or reallocate, all descendants included",
        ),
        gauge("allocated_bytes", Unit::Bytes, Lower, Counter, "bytes that these calls asked for"),
        gauge(
            "start_cost",
            Unit::Nanoseconds,
            Neither,
            Info,
            "what it takes to start a process that does nothing: it is in every run, and not subtracted",
        ),
        gauge(
            "sync_call_cost",
            Unit::Nanoseconds,
            Neither,
            Info,
            "what counting adds to one sync call, in runs that are not timed",
        ),
        total("nonzero_exits", "runs that ended with another exit status than 0 and were accepted"),
        total("left_behind", "processes that were alive when their program had ended; they were ended"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_listed() {
        let declared: Vec<String> = all().iter().map(|metric| metric.spec.name.to_string()).collect();
        assert_eq!(declared, crate::own_metrics::METRICS);
    }
}
