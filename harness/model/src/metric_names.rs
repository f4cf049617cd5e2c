//! Metrics that were renamed: scenarios, `--metric` and records written before keep working.
//!
//! Names change where they come in (`serde`, the command line), so that everything behind knows one name.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The old name and the one that replaced it. Lines are added and never removed: records live long.
const RENAMED: &[(&str, &str)] = &[
    // It counts every kind of sync call, not only fsync.
    ("fsyncs_per_write", "syncs_per_write"),
    ("nothing_rate", "no_op_rate"),
];

/// The name that a metric has today.
pub fn current(name: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new)
}

/// Reads the name of a metric.
///
/// # Errors
/// As reading a string.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|name| current(&name).to_owned())
}

/// Reads a table whose keys are metrics.
///
/// # Errors
/// As reading the table; two names of one metric.
pub fn keys<'de, D: Deserializer<'de>, V: Deserialize<'de>>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error> {
    let mut table = BTreeMap::new();
    for (name, value) in BTreeMap::<String, V>::deserialize(deserializer)? {
        let now = current(&name).to_owned();
        if table.insert(now.clone(), value).is_some() {
            let (old, _) = RENAMED.iter().find(|(_, new)| *new == now).unwrap_or(&("", ""));
            return Err(D::Error::custom(format!("`{old}` is the old name of `{now}`, which is there too; remove it")));
        }
    }
    Ok(table)
}

/// A whole document whose keys are metrics, such as `gate.toml`.
#[derive(Debug, Deserialize)]
#[serde(transparent, bound(deserialize = "V: Deserialize<'de>"))]
pub struct ByMetric<V>(#[serde(deserialize_with = "keys")] pub BTreeMap<String, V>);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Gate {
        #[serde(deserialize_with = "keys")]
        gate: BTreeMap<String, u32>,
        #[serde(deserialize_with = "name")]
        primary: String,
    }

    #[test]
    fn old_names_are_read_as_the_new_ones() {
        let read: Gate =
            toml::from_str("primary = \"nothing_rate\"\ngate = { fsyncs_per_write = 1, other = 2 }").unwrap();
        assert_eq!(read.primary, "no_op_rate");
        assert_eq!(
            read.gate.into_iter().collect::<Vec<_>>(),
            [("other".to_owned(), 2), ("syncs_per_write".to_owned(), 1)]
        );
    }

    #[test]
    fn both_names_of_one_metric_are_an_error() {
        let error = toml::from_str::<Gate>("primary = \"x\"\ngate = { fsyncs_per_write = 1, syncs_per_write = 2 }");
        let message = error.err().unwrap().to_string();
        assert!(message.contains("`fsyncs_per_write` is the old name of `syncs_per_write`"), "{message}");
    }

    /// No name is both an old and a new one: `current` looks once.
    #[test]
    fn a_chain_of_names_is_not_needed() {
        for (_, new) in RENAMED {
            assert_eq!(current(new), *new);
        }
    }
}
