//! Whether two runs did the same work: a digest of what a scenario asks for.

use uplift_model::Scenario;

/// A digest of target, workload, load and trial; titles, stories, thresholds and variants do not enter it.
pub fn of(scenario: &Scenario) -> String {
    let text = serde_json::json!([scenario.target, scenario.workload, scenario.load, scenario.trial]).to_string();
    // FNV-1a (Fowler, Noll, Vo), 64 bits.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}
