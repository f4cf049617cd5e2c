//! The metric that the reference target adds to those of every target.

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit};

/// All of them.
pub fn all() -> Vec<DerivedMetric> {
    vec![DerivedMetric::new(
        MetricSpec::new(
            "steps_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Counter,
            "steps of computation for each successful operation, counted by the target",
        ),
        "steps",
        Derivation::PerOperation,
    )]
}
