//! What a write leaves, as scenarios write it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a write leaves. Without `value`, `adds` and `there` it is gone: the request finds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Leaves {
    /// The request that finds it, with the placeholders of the write: `GET key:{key}`.
    pub read: String,
    /// What it answers then.
    pub value: Option<String>,
    /// By how much the number that it answers has grown.
    pub adds: Option<String>,
    /// Whether it answers anything at all.
    pub there: bool,
}

impl Leaves {
    /// `read` answers `value`.
    pub fn value(read: impl Into<String>, value: impl Into<String>) -> Self {
        Self { read: read.into(), value: Some(value.into()), ..Self::default() }
    }

    /// The number that `read` answers has grown by `number`.
    pub fn adds(read: String, number: &str) -> Self {
        Self { read, adds: Some(number.to_owned()), ..Self::default() }
    }

    /// The texts in which placeholders stand.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        [Some(&self.read), self.value.as_ref(), self.adds.as_ref()].into_iter().flatten()
    }
}
