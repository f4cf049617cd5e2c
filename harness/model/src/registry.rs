//! Every metric that the harness measures itself, in the order of a report: what it is, how it is compared, and where a
//! report shows it. A target's own metrics are described by the target; the few of them that every program has stand here
//! as well, for how they are shown.

use crate::{Better, MetricClass, MetricSpec, Unit};

/// The part of a report that a metric belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricGroup {
    /// What was achieved: rates and success.
    Work,
    /// How long operations took.
    Latency,
    /// Sync calls, bytes and write calls.
    SyncsAndIo,
    /// CPU time, switches, memory.
    CpuAndMemory,
    /// What the system under test counts itself.
    Own,
}

impl MetricGroup {
    /// All groups, in the order of a report.
    pub const ALL: [Self; 5] = [Self::Work, Self::Latency, Self::SyncsAndIo, Self::CpuAndMemory, Self::Own];

    /// As a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Work => "Work done",
            Self::Latency => "Latency",
            Self::SyncsAndIo => "Syncs and I/O",
            Self::CpuAndMemory => "CPU and memory",
            Self::Own => "The system's own",
        }
    }
}

/// When a report shows a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Without being asked.
    First,
    /// Without being asked where it got a verdict worth reading.
    IfChanged,
    /// Only in the details: it says again what one of the first says.
    Detail,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricEntry {
    /// Its name in records, rules and on the command line.
    pub id: &'static str,
    /// The unit of its value.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// How it is compared.
    pub class: MetricClass,
    /// Where it belongs.
    pub group: MetricGroup,
    /// When it is shown.
    pub shown: Shown,
    /// Whether it says again what the time of a run says, where operations are runs of a program.
    pub repeats_run_time: bool,
    /// What it is, in a line.
    pub about: &'static str,
}

impl MetricEntry {
    /// As records and verdicts bear it.
    pub const fn spec(&self) -> MetricSpec {
        MetricSpec::new(self.id, self.unit, self.better, self.class, self.about)
    }

    const fn detail(mut self) -> Self {
        self.shown = Shown::Detail;
        self
    }

    const fn first(mut self) -> Self {
        self.shown = Shown::First;
        self
    }

    const fn repeating(mut self) -> Self {
        self.repeats_run_time = true;
        self
    }
}

const fn metric(
    id: &'static str,
    kind: (Unit, Better, MetricClass),
    group: MetricGroup,
    about: &'static str,
) -> MetricEntry {
    let (unit, better, class) = kind;
    MetricEntry { id, unit, better, class, group, shown: Shown::IfChanged, repeats_run_time: false, about }
}

const RATE: (Unit, Better, MetricClass) = (Unit::OpsPerSecond, Better::Higher, MetricClass::Time);
const LATENCY: (Unit, Better, MetricClass) = (Unit::Nanoseconds, Better::Lower, MetricClass::Time);
/// A far tail has few operations behind it; it is shown and never decides.
const FAR_TAIL: (Unit, Better, MetricClass) = (Unit::Nanoseconds, Better::Lower, MetricClass::Info);
const COUNT_PER_OP: (Unit, Better, MetricClass) = (Unit::CountPerOp, Better::Lower, MetricClass::Counter);
const BYTES_PER_OP: (Unit, Better, MetricClass) = (Unit::BytesPerOp, Better::Lower, MetricClass::Counter);
const SHARE: (Unit, Better, MetricClass) = (Unit::Ratio, Better::Neither, MetricClass::Info);

/// Every metric that is known by name.
pub const METRICS: &[MetricEntry] = &[
    metric("throughput", RATE, MetricGroup::Work, "successful operations a second").first().repeating(),
    metric(
        "settled_throughput",
        RATE,
        MetricGroup::Work,
        "successful operations a second until everything acknowledged was settled and the variant was quiet",
    )
    .detail(),
    metric(
        "attempts",
        (Unit::OpsPerSecond, Better::Neither, MetricClass::Info),
        MetricGroup::Work,
        "operations tried a second",
    ),
    metric(
        "success_rate",
        (Unit::Ratio, Better::Higher, MetricClass::Proportion),
        MetricGroup::Work,
        "share of attempts that did not fail; doing nothing is not a failure",
    )
    .first()
    .repeating(),
    metric(
        "no_op_rate",
        SHARE,
        MetricGroup::Work,
        "share of attempts that were answered but did nothing (conflict, not found)",
    ),
    metric(
        "wall_per_completion",
        (Unit::Nanoseconds, Better::Neither, MetricClass::Info),
        MetricGroup::Work,
        "wall time divided by completed operations: 1 / throughput, which is no latency",
    )
    .first()
    .repeating(),
    metric(
        "group_evenness",
        SHARE,
        MetricGroup::Work,
        "attempts of the least busy group as a share of the busiest one's",
    ),
    metric("response_p50", LATENCY, MetricGroup::Latency, RESPONSE[0]).first().repeating(),
    metric("response_p90", LATENCY, MetricGroup::Latency, RESPONSE[1]).detail(),
    metric("response_p95", LATENCY, MetricGroup::Latency, RESPONSE[2]).first().repeating(),
    metric("response_p99", LATENCY, MetricGroup::Latency, RESPONSE[3]).first().repeating(),
    metric("response_p999", FAR_TAIL, MetricGroup::Latency, RESPONSE[4]),
    metric("response_max", FAR_TAIL, MetricGroup::Latency, "longest response time: the worst stall"),
    metric("service_p50", LATENCY, MetricGroup::Latency, SERVICE[0]),
    metric("service_p90", LATENCY, MetricGroup::Latency, SERVICE[1]).detail(),
    metric("service_p95", LATENCY, MetricGroup::Latency, SERVICE[2]),
    metric("service_p99", LATENCY, MetricGroup::Latency, SERVICE[3]),
    metric("service_p999", FAR_TAIL, MetricGroup::Latency, SERVICE[4]),
    metric("service_max", FAR_TAIL, MetricGroup::Latency, "longest service time: the worst stall"),
    metric(
        "syncs_per_op",
        COUNT_PER_OP,
        MetricGroup::SyncsAndIo,
        "sync calls of every kind for each successful operation",
    ),
    metric(
        "syncs_per_write",
        COUNT_PER_OP,
        MetricGroup::SyncsAndIo,
        "sync calls of every kind for each successful writing operation",
    )
    .first(),
    metric("sync_p50", FAR_TAIL, MetricGroup::SyncsAndIo, "how long one sync call takes"),
    metric("sync_p99", FAR_TAIL, MetricGroup::SyncsAndIo, "how long one sync call takes"),
    metric(
        "cpu_per_op",
        (Unit::NanosecondsPerOp, Better::Lower, MetricClass::Time),
        MetricGroup::CpuAndMemory,
        "CPU time, user and kernel, for each successful operation",
    )
    .first(),
    metric(
        "cpu_cores",
        (Unit::Cores, Better::Neither, MetricClass::Info),
        MetricGroup::CpuAndMemory,
        "CPU cores kept busy during turns",
    ),
    metric("cpu_share", SHARE, MetricGroup::CpuAndMemory, "share of all CPU cores kept busy during turns"),
    metric(
        "storage_written_per_op",
        BYTES_PER_OP,
        MetricGroup::SyncsAndIo,
        "bytes sent to storage for each successful operation",
    )
    .first()
    .repeating(),
    metric(
        "written_per_op",
        BYTES_PER_OP,
        MetricGroup::SyncsAndIo,
        "bytes handed to write calls for each successful operation",
    ),
    metric("write_calls_per_op", COUNT_PER_OP, MetricGroup::SyncsAndIo, "write calls for each successful operation"),
    metric(
        "context_switches_per_op",
        (Unit::CountPerOp, Better::Lower, MetricClass::Info),
        MetricGroup::CpuAndMemory,
        "voluntary and involuntary context switches of the agent for each successful operation",
    ),
    metric(
        "major_faults",
        (Unit::Count, Better::Lower, MetricClass::Info),
        MetricGroup::CpuAndMemory,
        "page faults that read from disk",
    ),
    metric(
        "rss_peak",
        (Unit::Bytes, Better::Lower, MetricClass::Info),
        MetricGroup::CpuAndMemory,
        "peak of resident memory of the whole trial",
    ),
];

const RESPONSE: [&str; 5] = [
    "p50 of response time (intended start to done) of all operations that did not fail",
    "p90 of response time (intended start to done) of all operations that did not fail",
    "p95 of response time (intended start to done) of all operations that did not fail",
    "p99 of response time (intended start to done) of all operations that did not fail",
    "p999 of response time (intended start to done) of all operations that did not fail",
];
const SERVICE: [&str; 5] = [
    "p50 of service time (sent to done) of all operations that did not fail",
    "p90 of service time (sent to done) of all operations that did not fail",
    "p95 of service time (sent to done) of all operations that did not fail",
    "p99 of service time (sent to done) of all operations that did not fail",
    "p999 of service time (sent to done) of all operations that did not fail",
];

/// The percentiles of each kind of operation, where there are several: `create_response_p95`.
pub const KIND_SUFFIXES: [&str; 3] = ["_response_p50", "_response_p95", "_response_p99"];

/// Metrics that targets measure where operations are runs of a program: how they are shown.
const OF_RUNS: [(&str, MetricGroup, Shown, bool); 9] = [
    ("run_time", MetricGroup::Work, Shown::First, false),
    ("run_time_median", MetricGroup::Work, Shown::IfChanged, true),
    ("user_time", MetricGroup::CpuAndMemory, Shown::First, false),
    ("system_time", MetricGroup::CpuAndMemory, Shown::First, false),
    ("peak_memory", MetricGroup::CpuAndMemory, Shown::First, false),
    ("instructions", MetricGroup::CpuAndMemory, Shown::IfChanged, false),
    ("cycles", MetricGroup::CpuAndMemory, Shown::IfChanged, true),
    ("allocations", MetricGroup::CpuAndMemory, Shown::IfChanged, false),
    ("allocated_bytes", MetricGroup::CpuAndMemory, Shown::IfChanged, false),
];

/// Where and when a report shows a metric.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Where it belongs.
    pub group: MetricGroup,
    /// When it is shown.
    pub shown: Shown,
    /// Whether it says again what the time of a run says.
    pub repeats_run_time: bool,
}

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static MetricEntry> {
    METRICS.iter().find(|entry| entry.id == name)
}

/// The kind of operation that a metric is a percentile of.
pub fn kind_of<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix).filter(|kind| !kind.is_empty())
}

/// Where any metric is shown: what nobody here knows is the system's own.
pub fn placement(name: &str) -> Placement {
    if let Some(entry) = find(name) {
        return Placement { group: entry.group, shown: entry.shown, repeats_run_time: entry.repeats_run_time };
    }
    if let Some((_, group, shown, repeats_run_time)) = OF_RUNS.into_iter().find(|(known, ..)| *known == name) {
        return Placement { group, shown, repeats_run_time };
    }
    let of_kind = KIND_SUFFIXES.iter().any(|suffix| kind_of(name, suffix).is_some());
    let group = if of_kind { MetricGroup::Latency } else { MetricGroup::Own };
    Placement { group, shown: Shown::IfChanged, repeats_run_time: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_metric_says_what_it_is() {
        for (index, entry) in METRICS.iter().enumerate() {
            assert!(METRICS[..index].iter().all(|other| other.id != entry.id), "{}", entry.id);
            assert!(!entry.about.is_empty() && crate::metric_names::current(entry.id) == entry.id, "{}", entry.id);
        }
    }

    #[test]
    fn what_is_not_known_is_the_systems_own() {
        for (name, group, shown) in [
            ("create_response_p95", MetricGroup::Latency, Shown::IfChanged),
            ("response_p95", MetricGroup::Latency, Shown::First),
            ("activities_per_second", MetricGroup::Own, Shown::IfChanged),
            ("syncs_per_op", MetricGroup::SyncsAndIo, Shown::IfChanged),
            ("settled_throughput", MetricGroup::Work, Shown::Detail),
            ("peak_memory", MetricGroup::CpuAndMemory, Shown::First),
        ] {
            let place = placement(name);
            assert_eq!((place.group, place.shown), (group, shown), "{name}");
        }
    }
}
