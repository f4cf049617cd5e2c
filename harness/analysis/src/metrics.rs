//! The metrics of one trial: the one place where a record becomes numbers with names.

use std::collections::BTreeMap;

use uplift_model::{
    Better, Histogram, MetricClass, MetricSpec, Trial, Unit,
    metric::Derivation,
    registry::{self, KIND_SUFFIXES, METRICS},
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

/// The names of all metrics that a target with these operation kinds and metrics of its own can have.
pub fn known_names<'a>(kinds: impl Iterator<Item = &'a str>, own: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = METRICS.iter().map(|entry| entry.id.to_owned()).collect();
    names.extend(own.map(str::to_owned));
    for kind in kinds {
        names.extend(KIND_SUFFIXES.map(|suffix| format!("{kind}{suffix}")));
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

/// The specification of a metric of the harness; every name that is asked for here is in the registry, and a test asks
/// for all of them.
fn registered(name: &str) -> MetricSpec {
    registry::find(name).map_or_else(
        || MetricSpec::new("unregistered", Unit::Count, Better::Neither, MetricClass::Info, ""),
        |entry| entry.spec(),
    )
}

fn push(values: &mut Vec<Value>, spec: MetricSpec, value: Result<f64, String>) {
    values.push(Value { spec, value });
}

const NO_OPERATION: &str = "no operation succeeded";

fn rates(totals: &Totals, values: &mut Vec<Value>) {
    push(values, registered("throughput"), totals.per_second(totals.ok));
    push(
        values,
        registered("settled_throughput"),
        divide(totals.ok as f64, (totals.base_ns + totals.quiesce_ns as f64) / 1e9, "no time was measured"),
    );
    push(values, registered("attempts"), totals.per_second(totals.attempts));
    push(
        values,
        registered("success_rate"),
        divide((totals.attempts - totals.failed) as f64, totals.attempts as f64, "nothing was attempted"),
    );
    push(
        values,
        registered("no_op_rate"),
        divide(totals.nothing as f64, totals.attempts as f64, "nothing was attempted"),
    );
    push(values, registered("wall_per_completion"), divide(totals.base_ns, totals.ok as f64, NO_OPERATION));
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
    push(values, registered("group_evenness"), divide(*least as f64, *most as f64, "nothing was attempted"));
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
    percentiles(values, "response", &response);
    if let Some(service) = service {
        percentiles(values, "service", &service);
    }
}

/// So many operations must lie beyond a percentile from p99 on: with fewer it is the value of one or two of them.
const BEYOND_TAIL: f64 = 5.0;

/// The quantile `q`, or why it is not available.
fn tail(histogram: &Histogram, suffix: &str, q: f64) -> Result<f64, String> {
    let least = BEYOND_TAIL / (1.0 - q);
    if q >= 0.99 && histogram.count() > 0 && (histogram.count() as f64) < (least - 0.5) {
        return Err(format!(
            "{suffix} needs {least:.0} operations in every block, of which {BEYOND_TAIL} lie beyond it; there were {}",
            histogram.count()
        ));
    }
    histogram.quantile(q).map(|ns| ns as f64).ok_or_else(untimed)
}

fn untimed() -> String {
    "no operation was timed".to_owned()
}

fn percentiles(values: &mut Vec<Value>, prefix: &str, histogram: &Histogram) {
    for (suffix, q) in QUANTILES {
        push(values, registered(&format!("{prefix}_{suffix}")), tail(histogram, suffix, q));
    }
    let longest = histogram.max().map(|ns| ns as f64);
    push(values, registered(&format!("{prefix}_max")), longest.ok_or_else(untimed));
}

fn syncs(measured: &Measured, totals: &Totals, values: &mut Vec<Value>) {
    let uncounted =
        || measured.syncs.missing.clone().unwrap_or_else(|| "sync calls could not be counted here".to_owned());
    let calls = measured.syncs.calls().ok_or_else(uncounted);
    let counted = measured.syncs.operations.unwrap_or(totals.ok);
    push(
        values,
        registered("syncs_per_op"),
        calls.clone().and_then(|calls| divide(calls as f64, counted as f64, NO_OPERATION)),
    );
    push(
        values,
        registered("syncs_per_write"),
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
            registered(name),
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
    push(values, registered("cpu_per_op"), cpu().and_then(per_op));
    push(
        values,
        registered("cpu_cores"),
        cpu().and_then(|cpu_ns| divide(cpu_ns, (totals.wall_ns + totals.quiesce_ns) as f64, "no time was measured")),
    );
    push(
        values,
        registered("cpu_share"),
        cpu().and_then(|cpu_ns| {
            divide(
                cpu_ns,
                (totals.wall_ns + totals.quiesce_ns) as f64 * f64::from(used.cores.max(1)),
                "no time was measured",
            )
        }),
    );
    let counted = [
        (registered("storage_written_per_op"), used.storage_written_bytes, "storage_written_bytes"),
        (registered("written_per_op"), used.written_bytes, "written_bytes"),
        (registered("write_calls_per_op"), used.write_calls, "write_calls"),
    ];
    for (spec, count, field) in counted {
        push(values, spec, count.ok_or_else(|| missing(field)).and_then(|count| per_op(count as f64)));
    }
    push(
        values,
        registered("context_switches_per_op"),
        per_op((used.voluntary_switches + used.involuntary_switches) as f64),
    );
    push(values, registered("major_faults"), Ok(used.major_faults as f64));
    push(
        values,
        registered("rss_peak"),
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
        for (suffix, q) in KIND_SUFFIXES.into_iter().zip([0.5, 0.95, 0.99]) {
            let spec = MetricSpec {
                name: format!("{kind}{suffix}").into(),
                unit: Unit::Nanoseconds,
                better: Better::Lower,
                class: MetricClass::Info,
                about: format!("{} of response time of `{kind}`", suffix.trim_start_matches("_response_")).into(),
            };
            let value = histogram.quantile(q).map(|ns| ns as f64);
            push(values, spec, value.ok_or_else(|| format!("no `{kind}` was timed")));
        }
    }
}
