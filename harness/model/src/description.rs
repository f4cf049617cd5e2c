//! What a target says of itself: what one operation is, how it may end, and what it measures besides.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::metric::DerivedMetric;

/// The most reasons for doing nothing, and the most failure categories, that a target may declare.
pub const REASONS_MAX: usize = 16;

/// What the harness must know about a target. The indices that outcomes use point into these lists.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What one operation is called: "operation", "orchestration", "row".
    pub unit_of_work: Cow<'static, str>,
    /// The kinds of operation; at most 255.
    pub operations: Vec<Cow<'static, str>>,
    /// Those of them that write.
    pub write_kinds: Vec<Cow<'static, str>>,
    /// Why an operation may do nothing; at most [`REASONS_MAX`].
    pub no_op_reasons: Vec<Cow<'static, str>>,
    /// How an operation may fail; at most [`REASONS_MAX`].
    pub failure_categories: Vec<Cow<'static, str>>,
    /// The target's own metrics.
    pub metrics: Vec<DerivedMetric>,
    /// JSON Schema of the workload table.
    pub workload_schema: serde_json::Value,
    /// JSON Schema of the settings.
    pub settings_schema: serde_json::Value,
}

/// A target that an agent can drive, as the agent describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedTarget {
    /// The name that scenarios use.
    pub name: String,
    /// One line for `uplift list`.
    pub about: String,
    /// Everything about it that does not depend on settings.
    pub description: Description,
}
