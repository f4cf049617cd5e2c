//! What the Engine says about a container's use of resources, as metrics of a trial.

use std::collections::BTreeMap;

use bollard::models::ContainerStatsResponse;
use uplift_model::metric::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit};

/// Time from asking for a container until its agent ran.
pub(crate) const START: &str = "container_start";
const CPU: &str = "container_cpu";
const THROTTLED_SHARE: &str = "container_throttled_share";
const THROTTLED: &str = "container_throttled";
const MEMORY_PEAK: &str = "container_memory_peak";
const STORAGE_READ: &str = "container_storage_read";
const STORAGE_WRITTEN: &str = "container_storage_written";

/// The metrics that a launch in a container adds. They describe the container and are never judged by themselves.
pub fn metrics() -> Vec<DerivedMetric> {
    let metric = |name, unit, about| {
        DerivedMetric::new(
            MetricSpec::new(name, unit, Better::Lower, MetricClass::Info, about),
            name,
            Derivation::Gauge,
        )
    };
    vec![
        metric(
            START,
            Unit::Nanoseconds,
            "from asking for the container until its process ran; outside every timed window",
        ),
        metric(CPU, Unit::Nanoseconds, "CPU time of the container from the first measured turn to the last"),
        metric(
            THROTTLED_SHARE,
            Unit::Ratio,
            "share of scheduling periods in which the CPU limit stopped the container",
        ),
        metric(THROTTLED, Unit::Nanoseconds, "time for which the CPU limit stopped the container's threads"),
        metric(MEMORY_PEAK, Unit::Bytes, "peak of the container's memory, page cache included"),
        metric(STORAGE_READ, Unit::Bytes, "bytes that the container read from block devices"),
        metric(STORAGE_WRITTEN, Unit::Bytes, "bytes that the container wrote to block devices"),
    ]
}

/// One reading. `None`: the Engine does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    cpu_ns: Option<u64>,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled_ns: Option<u64>,
    memory_peak_bytes: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
}

impl Reading {
    pub(crate) fn of(stats: &ContainerStatsResponse) -> Self {
        let cpu = stats.cpu_stats.as_ref();
        let throttling = cpu.and_then(|cpu| cpu.throttling_data.as_ref());
        let transferred = |operation: &str| {
            let entries = stats.blkio_stats.as_ref()?.io_service_bytes_recursive.as_ref()?;
            // An empty list is not a count of zero: on cgroup 1 only disks with a throttle are counted.
            let of_kind = |entry: &&bollard::models::ContainerBlkioStatEntry| {
                entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(operation))
            };
            (!entries.is_empty()).then(|| entries.iter().filter(of_kind).filter_map(|entry| entry.value).sum())
        };
        Self {
            cpu_ns: cpu.and_then(|cpu| cpu.cpu_usage.as_ref()).and_then(|usage| usage.total_usage),
            periods: throttling.and_then(|data| data.periods),
            throttled_periods: throttling.and_then(|data| data.throttled_periods),
            throttled_ns: throttling.and_then(|data| data.throttled_time),
            memory_peak_bytes: stats.memory_stats.as_ref().and_then(|memory| memory.max_usage).filter(|&peak| peak > 0),
            read_bytes: transferred("read"),
            written_bytes: transferred("write"),
        }
    }

    /// Whether a CPU limit was accounted for at all.
    fn has_periods(&self) -> bool {
        self.periods.is_some_and(|periods| periods > 0)
    }
}

/// What was read, and why the rest was not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerUsage {
    pub(crate) gauges: BTreeMap<String, f64>,
    pub(crate) missing: BTreeMap<String, String>,
}

impl ContainerUsage {
    pub(crate) fn set(&mut self, name: &str, value: Option<u64>, reason: &str) {
        match value {
            Some(value) => {
                self.gauges.insert(name.to_owned(), value as f64);
            }
            None => {
                self.missing.insert(name.to_owned(), reason.to_owned());
            }
        }
    }

    /// The growth from one reading to the next.
    pub(crate) fn of(before: &Result<Reading, String>, after: &Result<Reading, String>, limited: bool) -> Self {
        let mut account = Self::default();
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(reason), _) | (_, Err(reason)) => {
                for metric in metrics().iter().filter(|metric| metric.source != START) {
                    account.set(&metric.source, None, reason);
                }
                return account;
            }
        };
        let grown = |of: fn(&Reading) -> Option<u64>| Some(of(after)?.saturating_sub(of(before)?));
        account.set(CPU, grown(|reading| reading.cpu_ns), "the engine's statistics hold no CPU time");
        let unlimited = if limited {
            "the engine's statistics count no scheduling periods"
        } else {
            "the container has no CPU limit"
        };
        let periods = grown(|reading| reading.periods).filter(|_| after.has_periods());
        account.set(THROTTLED, grown(|reading| reading.throttled_ns).filter(|_| periods.is_some()), unlimited);
        match (periods, grown(|reading| reading.throttled_periods)) {
            (Some(periods), Some(throttled)) if periods > 0 => {
                account.gauges.insert(THROTTLED_SHARE.to_owned(), throttled as f64 / periods as f64);
            }
            _ => account.set(THROTTLED_SHARE, None, unlimited),
        }
        account.set(
            MEMORY_PEAK,
            after.memory_peak_bytes,
            "the engine's statistics hold no peak of memory: cgroup 2 does not report it there",
        );
        let empty = "the engine's block statistics are empty: cgroup 1 counts only disks on which a throttle was set since boot";
        account.set(STORAGE_READ, grown(|reading| reading.read_bytes), empty);
        account.set(STORAGE_WRITTEN, grown(|reading| reading.written_bytes), empty);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Reading {
        Reading::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn growth_is_counted_and_what_is_not_told_is_absent_with_its_reason() {
        let before = reading(
            r#"{"cpu_stats": {"cpu_usage": {"total_usage": 1000}, "throttling_data": {"periods": 10, "throttled_periods": 2, "throttled_time": 5}}, "memory_stats": {"max_usage": 4096}, "blkio_stats": {"io_service_bytes_recursive": null}}"#,
        );
        let after = reading(
            r#"{"cpu_stats": {"cpu_usage": {"total_usage": 4000}, "throttling_data": {"periods": 30, "throttled_periods": 7, "throttled_time": 105}}, "memory_stats": {"max_usage": 8192}, "blkio_stats": {"io_service_bytes_recursive": []}}"#,
        );
        let account = ContainerUsage::of(&Ok(before), &Ok(after), true);
        assert_eq!(account.gauges[CPU], 3000.0);
        assert_eq!(account.gauges[THROTTLED], 100.0);
        assert_eq!(account.gauges[THROTTLED_SHARE], 0.25);
        assert_eq!(account.gauges[MEMORY_PEAK], 8192.0);
        assert!(account.missing[STORAGE_WRITTEN].contains("only disks on which a throttle"));
        assert!(!account.gauges.contains_key(STORAGE_WRITTEN));
    }

    #[test]
    fn bytes_are_summed_over_disks_by_direction() {
        let of = |write: u64| {
            reading(&format!(
                r#"{{"blkio_stats": {{"io_service_bytes_recursive": [{{"major": 8, "minor": 0, "op": "Write", "value": {write}}}, {{"major": 9, "minor": 0, "op": "write", "value": 10}}, {{"major": 8, "minor": 0, "op": "Read", "value": 7}}, {{"major": 8, "minor": 0, "op": "Total", "value": 1000}}]}}}}"#
            ))
        };
        let account = ContainerUsage::of(&Ok(of(5)), &Ok(of(105)), false);
        assert_eq!(account.gauges[STORAGE_WRITTEN], 100.0);
        assert_eq!(account.gauges[STORAGE_READ], 0.0);
        assert_eq!(account.missing[THROTTLED_SHARE], "the container has no CPU limit");
    }

    #[test]
    fn statistics_that_cannot_be_read_are_absent_as_a_whole() {
        let account = ContainerUsage::of(&Err("gone".to_owned()), &Ok(Reading::default()), false);
        assert!(account.gauges.is_empty());
        assert_eq!(account.missing.len(), metrics().len() - 1);
    }
}
