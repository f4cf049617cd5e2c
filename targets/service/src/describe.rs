//! What the harness must know of the target: operations come from the workload.

use uplift_sdk::{Better, Derivation, DerivedMetric, Description, MetricClass, MetricSpec, Unit};

use crate::{
    expect::{FAILURES, NO_OPS},
    settings::{Settings, Workload},
};

/// Names of the metrics that every service has.
pub const METRICS: [&str; 2] = ["client_cpu", "client_cores"];
/// The counter of CPU time of the load generator, in nanoseconds.
pub const CLIENT_CPU_NS: &str = "client_cpu_ns";
/// The same in seconds.
pub const CLIENT_CPU_S: &str = "client_cpu_s";

pub fn description() -> Description {
    let mut settings = schemars::schema_for!(Settings).to_value();
    // Every other key is a setting of the service.
    settings["additionalProperties"] = serde_json::json!({ "type": ["string", "number", "boolean"] });
    Description {
        unit_of_work: "operation".into(),
        operations: vec!["operation".into()],
        write_kinds: Vec::new(),
        no_op_reasons: NO_OPS.map(Into::into).into(),
        failure_categories: FAILURES.map(Into::into).into(),
        metrics: vec![
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
        ],
        workload_schema: schemars::schema_for!(Workload).to_value(),
        settings_schema: settings,
    }
}
