//! Settings asked for and in force, and durability against durability.

use std::collections::{BTreeMap, BTreeSet};

use uplift_model::{
    Durability, Table,
    setting_value::same_value,
    verdict::{Parity, SettingRow, SettingValue},
};

/// One row for every setting that either variant names or the target reads back, by key.
pub fn rows(requested: [&Table; 2], effective: [Option<&BTreeMap<String, String>>; 2]) -> Vec<SettingRow> {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    keys.extend(requested.iter().flat_map(|table| table.keys().map(String::as_str)));
    keys.extend(effective.iter().flatten().flat_map(|map| map.keys().map(String::as_str)));
    let value = |side: usize, key: &str| SettingValue {
        requested: requested[side].get(key).map(text),
        effective: effective[side].and_then(|map| map.get(key).cloned()),
    };
    keys.into_iter()
        .map(|key| SettingRow { key: key.to_owned(), baseline: value(0, key), candidate: value(1, key) })
        .collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether something was asked for differently and nothing came into force differently.
pub fn differ_only_on_paper(rows: &[SettingRow]) -> bool {
    let told = rows.iter().any(|row| row.baseline.effective.is_some() && row.candidate.effective.is_some());
    let asked = rows.iter().any(|row| differ(&row.baseline.requested, &row.candidate.requested));
    told && asked && !rows.iter().any(in_force_differently)
}

/// Whether a setting has one value in the baseline and another in the candidate.
pub fn in_force_differently(row: &SettingRow) -> bool {
    differ(&row.baseline.effective, &row.candidate.effective)
}

/// The settings that were asked for differently and are in force differently: what the comparison changes on purpose. What
/// is in force on one side only belongs to another setting, such as the engine that has it.
pub fn changed_on_purpose(rows: &[SettingRow]) -> Vec<&SettingRow> {
    let told = |row: &SettingRow| row.baseline.effective.is_some() && row.candidate.effective.is_some();
    rows.iter()
        .filter(|row| {
            differ(&row.baseline.requested, &row.candidate.requested) && told(row) && in_force_differently(row)
        })
        .collect()
}

fn differ(a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => !same_value(a, b),
        (a, b) => a != b,
    }
}

/// The candidate's durability against the baseline's, and that in a sentence where they differ.
pub fn parity(baseline: Durability, candidate: Durability) -> (Parity, Option<String>) {
    let sentence = || {
        format!(
            "an acknowledged write of the baseline survives {}, one of the candidate {}",
            baseline.survives(),
            candidate.survives()
        )
    };
    match candidate.cmp(&baseline) {
        std::cmp::Ordering::Less => (Parity::Weaker, Some(sentence())),
        std::cmp::Ordering::Equal => (Parity::Equal, None),
        std::cmp::Ordering::Greater => (Parity::Stronger, Some(sentence())),
    }
}
