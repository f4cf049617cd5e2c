//! The metrics of one trial: the one place where a record becomes numbers with names.

use std::collections::BTreeMap;

use uplift_model::{
    Better, Histogram, MetricClass, MetricSpec, Trial, Unit,
    metric::Derivation,
    run::PlannedScenario,
    trial::{Measured, OperationRecord, SyncKind, TurnRecord},
};

use crate::pairing::kept;

/// A metric of a trial, or why it is not available.
#[derive(Clone, Debug)]
pub struct Value {
    /// What it is.
    pub spec: MetricSpec,
    /// The value in the spec's unit, or the reason for its absence.
    pub value: Result<f64, String>,
}

/// The percentiles that are reported.
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// All metrics of a successful trial, in the order of a report; nothing for a trial without measurements.
pub fn of_trial(trial: &Trial, planned: &PlannedScenario) -> Vec<Value> {
    let Some(measured) = &trial.measured else { return Vec::new() };
    let mut values = Vec::new();
    let totals = Totals::of(trial, measured, planned);
    rates(&totals, &mut values);
    evenness(measured, &mut values);
    latencies(measured, &mut values);
    syncs(measured, &totals, &mut values);
    resources(measured, &totals, &mut values);
    of_target(measured, &totals, planned, &mut values);
    per_kind(measured, &mut values);
    values
}

/// The metric `name` of a trial.
pub fn named(trial: &Trial, planned: &PlannedScenario, name: &str) -> Option<Value> {
    of_trial(trial, planned).into_iter().find(|value| value.spec.name == name)
}

/// The harness's own metrics; a target adds its own, and percentiles of each of its operation kinds.
const OWN: [&str; 32] = [
    "throughput",
    "settled_throughput",
    "attempts",
    "success_rate",
    "no_op_rate",
    "group_evenness",
    "wall_per_completion",
    "response_p50",
    "response_p90",
    "response_p95",
    "response_p99",
    "response_p999",
    "response_max",
    "service_p50",
    "service_p90",
    "service_p95",
    "service_p99",
    "service_p999",
    "service_max",
    "syncs_per_op",
    "syncs_per_write",
    "sync_p50",
    "sync_p99",
    "cpu_per_op",
    "cpu_cores",
    "cpu_share",
    "storage_written_per_op",
    "written_per_op",
    "write_calls_per_op",
    "context_switches_per_op",
    "major_faults",
    "rss_peak",
];

/// The names of all metrics that a target with these operation kinds and metrics of its own can have.
pub fn known_names<'a>(kinds: impl Iterator<Item = &'a str>, own: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = OWN.iter().map(|name| (*name).to_owned()).collect();
    names.extend(own.map(str::to_owned));
    for kind in kinds {
        names.extend(["p50", "p95", "p99"].map(|suffix| format!("{kind}_response_{suffix}")));
    }
    names
}

struct Totals {
    ok: u64,
    attempts: u64,
    nothing: u64,
    failed: u64,
    writes: u64,
    /// What throughput is counted over: [`uplift_model::trial::TurnRecord::base_ns`] of all turns.
    base_ns: f64,
    wall_ns: u64,
    quiesce_ns: u64,
}

impl Totals {
    fn of(trial: &Trial, measured: &Measured, planned: &PlannedScenario) -> Self {
        let sum = |of: fn(&OperationRecord) -> u64| measured.operations.iter().map(of).sum::<u64>();
        let turns = kept(trial);
        let wall_ns = turns.iter().map(|turn| turn.wall_ns).sum::<u64>();
        Self {
            ok: sum(|operation| operation.ok),
            attempts: sum(OperationRecord::attempts),
            nothing: sum(|operation| operation.nothing.values().sum()),
            failed: sum(|operation| operation.failed.values().sum()),
            writes: measured
                .operations
                .iter()
                .filter(|operation| planned.write_kinds.contains(&operation.kind))
                .map(|operation| operation.ok)
                .sum(),
            base_ns: turns.iter().map(TurnRecord::base_ns).sum(),
            wall_ns,
            quiesce_ns: turns.iter().map(|turn| turn.quiesce_ns).sum::<u64>(),
        }
    }

    fn per_second(&self, count: u64) -> Result<f64, String> {
        divide(count as f64, self.base_ns / 1e9, "no time was measured")
    }
}

fn divide(numerator: f64, denominator: f64, otherwise: &str) -> Result<f64, String> {
    if denominator > 0.0 { Ok(numerator / denominator) } else { Err(otherwise.to_owned()) }
}

fn push(values: &mut Vec<Value>, spec: MetricSpec, value: Result<f64, String>) {
    values.push(Value { spec, value });
}

const NO_OPERATION: &str = "no operation succeeded";

fn rates(totals: &Totals, values: &mut Vec<Value>) {
    push(
        values,
        MetricSpec::new(
            "throughput",
            Unit::OpsPerSecond,
            Better::Higher,
            MetricClass::Time,
            "successful operations a second",
        ),
        totals.per_second(totals.ok),
    );
    push(
        values,
        MetricSpec::new(
            "settled_throughput",
            Unit::OpsPerSecond,
            Better::Higher,
            MetricClass::Time,
            "successful operations a second until everything acknowledged was settled and the variant was quiet",
        ),
        divide(totals.ok as f64, (totals.base_ns + totals.quiesce_ns as f64) / 1e9, "no time was measured"),
    );
    push(
        values,
        MetricSpec::new(
            "attempts",
            Unit::OpsPerSecond,
            Better::Neither,
            MetricClass::Info,
            "operations tried a second",
        ),
        totals.per_second(totals.attempts),
    );
    push(
        values,
        MetricSpec::new(
            "success_rate",
            Unit::Ratio,
            Better::Higher,
            MetricClass::Proportion,
            "share of attempts that did not fail; doing nothing is not a failure",
        ),
        divide((totals.attempts - totals.failed) as f64, totals.attempts as f64, "nothing was attempted"),
    );
    push(
        values,
        MetricSpec::new(
            "no_op_rate",
            Unit::Ratio,
            Better::Neither,
            MetricClass::Info,
            "share of attempts that were answered but did nothing (conflict, not found)",
        ),
        divide(totals.nothing as f64, totals.attempts as f64, "nothing was attempted"),
    );
    push(
        values,
        MetricSpec::new(
            "wall_per_completion",
            Unit::Nanoseconds,
            Better::Neither,
            MetricClass::Info,
            "wall time divided by completed operations: 1 / throughput, which is no latency",
        ),
        divide(totals.base_ns, totals.ok as f64, NO_OPERATION),
    );
}

/// How evenly the load fell on the groups (databases, shards), where there are several.
fn evenness(measured: &Measured, values: &mut Vec<Value>) {
    let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &measured.operations {
        if let Some(group) = &operation.group {
            *groups.entry(group).or_default() += operation.attempts();
        }
    }
    let (Some(least), Some(most), true) = (groups.values().min(), groups.values().max(), groups.len() > 1) else {
        return;
    };
    push(
        values,
        MetricSpec::new(
            "group_evenness",
            Unit::Ratio,
            Better::Neither,
            MetricClass::Info,
            "attempts of the least busy group as a share of the busiest one's",
        ),
        divide(*least as f64, *most as f64, "nothing was attempted"),
    );
}

fn latencies(measured: &Measured, values: &mut Vec<Value>) {
    let mut response = Histogram::new();
    let mut service: Option<Histogram> = None;
    for operation in &measured.operations {
        response.merge(&operation.response);
        if let Some(times) = &operation.service {
            service.get_or_insert_with(Histogram::new).merge(times);
        }
    }
    percentiles(values, "response", "intended start to done", &response);
    if let Some(service) = service {
        percentiles(values, "service", "sent to done", &service);
    }
}

/// So many operations must lie beyond a percentile from p99 on: with fewer it is the value of one or two of them.
const BEYOND_TAIL: f64 = 5.0;

/// The quantile `q`, or why it could not be had.
fn tail(histogram: &Histogram, suffix: &str, q: f64) -> Result<f64, String> {
    let least = BEYOND_TAIL / (1.0 - q);
    if q >= 0.99 && histogram.count() > 0 && (histogram.count() as f64) < (least - 0.5) {
        return Err(format!(
            "{suffix} needs {least:.0} operations in every block, of which {BEYOND_TAIL} lie beyond it; there were {}",
            histogram.count()
        ));
    }
    histogram.quantile(q).map(|ns| ns as f64).ok_or_else(|| "no operation was timed".to_owned())
}

fn percentiles(values: &mut Vec<Value>, prefix: &str, about: &str, histogram: &Histogram) {
    for (suffix, q) in QUANTILES {
        let spec = MetricSpec {
            name: format!("{prefix}_{suffix}").into(),
            unit: Unit::Nanoseconds,
            better: Better::Lower,
            // A far tail has few operations behind it; it is shown and never decides.
            class: if suffix == "p999" { MetricClass::Info } else { MetricClass::Time },
            about: format!("{suffix} of {prefix} time ({about}) of all operations that did not fail").into(),
        };
        push(values, spec, tail(histogram, suffix, q));
    }
    let spec = MetricSpec {
        name: format!("{prefix}_max").into(),
        unit: Unit::Nanoseconds,
        better: Better::Lower,
        class: MetricClass::Info,
        about: format!("longest {prefix} time: the worst stall").into(),
    };
    push(values, spec, histogram.max().map(|ns| ns as f64).ok_or_else(|| "no operation was timed".to_owned()));
}

fn syncs(measured: &Measured, totals: &Totals, values: &mut Vec<Value>) {
    let uncounted =
        || measured.syncs.missing.clone().unwrap_or_else(|| "sync calls could not be counted here".to_owned());
    let calls = measured.syncs.calls().ok_or_else(uncounted);
    let counted = measured.syncs.operations.unwrap_or(totals.ok);
    push(
        values,
        MetricSpec::new(
            "syncs_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Counter,
            "sync calls of every kind for each successful operation",
        ),
        calls.clone().and_then(|calls| divide(calls as f64, counted as f64, NO_OPERATION)),
    );
    push(
        values,
        MetricSpec::new(
            "syncs_per_write",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Counter,
            "sync calls of every kind for each successful writing operation",
        ),
        calls.and_then(|calls| divide(calls as f64, totals.writes as f64, "no writing operation succeeded")),
    );
    let mut latency = Histogram::new();
    for kind in SyncKind::ALL {
        if let Some(calls) = measured.syncs.kinds.get(&kind) {
            latency.merge(&calls.latency);
        }
    }
    for (name, q) in [("sync_p50", 0.5), ("sync_p99", 0.99)] {
        push(
            values,
            MetricSpec::new(name, Unit::Nanoseconds, Better::Lower, MetricClass::Info, "how long one sync call takes"),
            latency.quantile(q).map(|ns| ns as f64).ok_or_else(|| match &measured.syncs.collector {
                Some(_) => "no sync call was made".to_owned(),
                None => uncounted(),
            }),
        );
    }
}

fn resources(measured: &Measured, totals: &Totals, values: &mut Vec<Value>) {
    let used = &measured.resources;
    let cpu_ns = (used.cpu_user_ns + used.cpu_system_ns) as f64;
    let per_op = |total: f64| divide(total, totals.ok as f64, NO_OPERATION);
    let cpu = || used.missing.get("cpu").map_or(Ok(cpu_ns), |reason| Err(reason.clone()));
    let missing = |field: &str| used.missing.get(field).cloned().unwrap_or_else(|| "could not be read".to_owned());
    push(
        values,
        MetricSpec::new(
            "cpu_per_op",
            Unit::NanosecondsPerOp,
            Better::Lower,
            MetricClass::Time,
            "CPU time, user and kernel, for each successful operation",
        ),
        cpu().and_then(per_op),
    );
    push(
        values,
        MetricSpec::new(
            "cpu_cores",
            Unit::Cores,
            Better::Neither,
            MetricClass::Info,
            "CPU cores kept busy during turns",
        ),
        cpu().and_then(|cpu_ns| divide(cpu_ns, (totals.wall_ns + totals.quiesce_ns) as f64, "no time was measured")),
    );
    push(
        values,
        MetricSpec::new(
            "cpu_share",
            Unit::Ratio,
            Better::Neither,
            MetricClass::Info,
            "share of all CPU cores kept busy during turns",
        ),
        cpu().and_then(|cpu_ns| {
            divide(
                cpu_ns,
                (totals.wall_ns + totals.quiesce_ns) as f64 * f64::from(used.cores.max(1)),
                "no time was measured",
            )
        }),
    );
    let counted = [
        (
            MetricSpec::new(
                "storage_written_per_op",
                Unit::BytesPerOp,
                Better::Lower,
                MetricClass::Counter,
                "bytes sent to storage for each successful operation",
            ),
            used.storage_written_bytes,
            "storage_written_bytes",
        ),
        (
            MetricSpec::new(
                "written_per_op",
                Unit::BytesPerOp,
                Better::Lower,
                MetricClass::Counter,
                "bytes handed to write calls for each successful operation",
            ),
            used.written_bytes,
            "written_bytes",
        ),
        (
            MetricSpec::new(
                "write_calls_per_op",
                Unit::CountPerOp,
                Better::Lower,
                MetricClass::Counter,
                "write calls for each successful operation",
            ),
            used.write_calls,
            "write_calls",
        ),
    ];
    for (spec, count, field) in counted {
        push(values, spec, count.ok_or_else(|| missing(field)).and_then(|count| per_op(count as f64)));
    }
    push(
        values,
        MetricSpec::new(
            "context_switches_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Info,
            "voluntary and involuntary context switches of the agent for each successful operation",
        ),
        per_op((used.voluntary_switches + used.involuntary_switches) as f64),
    );
    push(
        values,
        MetricSpec::new(
            "major_faults",
            Unit::Count,
            Better::Lower,
            MetricClass::Info,
            "page faults that read from disk",
        ),
        Ok(used.major_faults as f64),
    );
    push(
        values,
        MetricSpec::new(
            "rss_peak",
            Unit::Bytes,
            Better::Lower,
            MetricClass::Info,
            "peak of resident memory of the whole trial",
        ),
        used.rss_peak_bytes.map(|bytes| bytes as f64).ok_or_else(|| missing("rss_peak_bytes")),
    );
}

fn of_target(measured: &Measured, totals: &Totals, planned: &PlannedScenario, values: &mut Vec<Value>) {
    for metric in &planned.metrics {
        let source = metric.source.as_ref();
        let absent = |otherwise: String| measured.resources.missing.get(source).cloned().unwrap_or(otherwise);
        let counter = || {
            let count = measured.counters.get(source).copied();
            count.ok_or_else(|| absent(format!("the target did not count `{source}` under these settings")))
        };
        let value = match &metric.derivation {
            Derivation::Total => counter(),
            Derivation::PerOperation => counter().and_then(|count| divide(count, totals.ok as f64, NO_OPERATION)),
            Derivation::PerSecond => {
                counter().and_then(|count| divide(count, totals.wall_ns as f64 / 1e9, "no time was measured"))
            }
            Derivation::Per(other) => counter().and_then(|count| {
                let per = measured.counters.get(other.as_ref()).copied().unwrap_or(0.0);
                divide(count, per, &format!("`{other}` did not grow"))
            }),
            Derivation::Gauge => {
                let gauge = measured.gauges.get(source).copied();
                gauge.ok_or_else(|| absent(format!("the trial reported no `{source}` under these settings")))
            }
        };
        push(values, metric.spec.clone(), value);
    }
}

/// Percentiles of each kind of operation, where there are several: `create_response_p95`.
fn per_kind(measured: &Measured, values: &mut Vec<Value>) {
    let mut kinds: BTreeMap<&str, Histogram> = BTreeMap::new();
    for operation in &measured.operations {
        kinds.entry(&operation.kind).or_default().merge(&operation.response);
    }
    if kinds.len() < 2 {
        return;
    }
    for (kind, histogram) in kinds {
        for (suffix, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let spec = MetricSpec {
                name: format!("{kind}_response_{suffix}").into(),
                unit: Unit::Nanoseconds,
                better: Better::Lower,
                class: MetricClass::Info,
                about: format!("{suffix} of response time of `{kind}`").into(),
            };
            let value = histogram.quantile(q).map(|ns| ns as f64);
            push(values, spec, value.ok_or_else(|| format!("no `{kind}` was timed")));
        }
    }
}
