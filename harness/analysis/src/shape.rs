//! Whether two runs did the same work: a digest of what a scenario asks for.

use uplift_model::{Scenario, fnv1a};

/// A digest of target, workload, load, trial and modelled disk; titles, stories, thresholds and variants do not enter it.
pub fn of(scenario: &Scenario) -> String {
    let mut parts = serde_json::json!([scenario.target, scenario.workload, scenario.load, scenario.trial]);
    // Only where there is one: digests that were recorded before disks could be modelled stay what they are.
    if let (Some(disk), Some(parts)) = (&scenario.disk, parts.as_array_mut()) {
        parts.push(serde_json::json!(disk));
    }
    let text = parts.to_string();
    format!("{:016x}", fnv1a(text.as_bytes()))
}
