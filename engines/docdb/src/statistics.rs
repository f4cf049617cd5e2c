//! What a store counted.

use std::collections::BTreeMap;

use uplift_model::Histogram;

/// Counters, gauges and distributions of a store. What a store does not have, it leaves out.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Numbers that only grow.
    pub counters: BTreeMap<&'static str, f64>,
    /// Numbers that go up and down.
    pub gauges: BTreeMap<&'static str, f64>,
    /// Distributions: nanoseconds, or records where the name says so.
    pub distributions: BTreeMap<&'static str, Histogram>,
}

impl Statistics {
    /// Adds `other`: counters and gauges are summed, those whose name ends in `_max` are compared, distributions are
    /// merged.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in [(&mut self.counters, &other.counters), (&mut self.gauges, &other.gauges)] {
            for (name, value) in others {
                let entry = own.entry(name).or_insert(0.0);
                *entry = if name.ends_with("_max") { entry.max(*value) } else { *entry + value };
            }
        }
        for (name, histogram) in &other.distributions {
            self.distributions.entry(name).or_default().merge(histogram);
        }
    }
}
