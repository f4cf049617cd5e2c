//! A metric of a target in one row.

use uplift_model::metric::{Better, Derivation, DerivedMetric, MetricClass, MetricSpec, Unit};

/// A metric of a target's own: its name, what it is, and the counter or gauge `source` that it is derived from.
pub const fn metric(
    name: &'static str,
    unit: Unit,
    better: Better,
    class: MetricClass,
    about: &'static str,
    source: &'static str,
    derivation: Derivation,
) -> DerivedMetric {
    DerivedMetric::new(MetricSpec::new(name, unit, better, class, about), source, derivation)
}
