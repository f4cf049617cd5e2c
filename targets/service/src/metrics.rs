//! The metrics that every service has; a scenario adds its own counters.

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit};

use crate::names::METRICS;

/// The counter of CPU time of the load generator, in nanoseconds.
pub const CLIENT_CPU_NS: &str = "client_cpu_ns";
/// The same in seconds.
pub const CLIENT_CPU_S: &str = "client_cpu_s";

/// All of them.
pub fn all() -> Vec<DerivedMetric> {
    vec![
        DerivedMetric::new(
            MetricSpec::new(
                METRICS[0],
                Unit::NanosecondsPerOp,
                Better::Neither,
                MetricClass::Info,
                "CPU time of the load generator for each operation; it is part of cpu_per_op",
            ),
            CLIENT_CPU_NS,
            Derivation::PerOperation,
        ),
        DerivedMetric::new(
            MetricSpec::new(
                METRICS[1],
                Unit::Cores,
                Better::Neither,
                MetricClass::Info,
                "cores that the load generator kept busy: near the number of its threads or CPUs it is what limits the load",
            ),
            CLIENT_CPU_S,
            Derivation::PerSecond,
        ),
    ]
}
