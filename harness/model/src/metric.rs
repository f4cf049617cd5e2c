//! What is measured: a metric has a name, a unit, a direction and a class.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// The unit of a metric's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// Operations a second.
    #[serde(rename = "op/s")]
    OpsPerSecond,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Nanoseconds of CPU time for each successful operation.
    #[serde(rename = "ns/op")]
    NanosecondsPerOp,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// Bytes for each successful operation.
    #[serde(rename = "B/op")]
    BytesPerOp,
    /// Bytes a second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// A plain count.
    #[serde(rename = "1")]
    Count,
    /// A count for each successful operation.
    #[serde(rename = "1/op")]
    CountPerOp,
    /// Events a second.
    #[serde(rename = "1/s")]
    CountPerSecond,
    /// A share between 0 and 1.
    #[serde(rename = "ratio")]
    Ratio,
    /// CPU cores kept busy.
    #[serde(rename = "cores")]
    Cores,
}

impl Unit {
    /// As it stands in a table's head.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::OpsPerSecond => "op/s",
            Self::Nanoseconds => "ns",
            Self::NanosecondsPerOp => "ns/op",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::BytesPerOp => "B/op",
            Self::BytesPerSecond => "B/s",
            Self::Count => "",
            Self::CountPerOp => "/op",
            Self::CountPerSecond => "/s",
            Self::Ratio => "",
            Self::Cores => "cores",
        }
    }

    /// Whether the value depends on how fast the machine was: such values are never compared across machines or days.
    pub const fn is_time(self) -> bool {
        matches!(
            self,
            Self::OpsPerSecond
                | Self::Nanoseconds
                | Self::NanosecondsPerOp
                | Self::Seconds
                | Self::BytesPerSecond
                | Self::CountPerSecond
                | Self::Cores
        )
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

/// Which direction of a metric is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// The metric describes; it has no good direction and gets no verdict but "changed" or "unchanged".
    Neither,
}

/// How a metric is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricClass {
    /// Depends on the machine's speed: intervals over blocks.
    Time,
    /// Counts of what the program did for each operation: compared directly where its spread is under 0.5 %.
    Counter,
    /// A proportion of attempts: difference of proportions, clustered by block.
    Proportion,
    /// Shown, never judged.
    Info,
}

/// A metric as its producer declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricSpec {
    /// Unique within a scenario, snake case, units last: `response_p99`, `syncs_per_write`.
    pub name: Cow<'static, str>,
    /// The unit of the value.
    pub unit: Unit,
    /// Which direction is an improvement.
    pub better: Better,
    /// How it is compared.
    #[serde(rename = "tier")]
    pub class: MetricClass,
    /// One line that says what it is and how it is obtained.
    pub about: Cow<'static, str>,
}

impl MetricSpec {
    /// A specification from static words.
    pub const fn new(name: &'static str, unit: Unit, better: Better, class: MetricClass, about: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), unit, better, class, about: Cow::Borrowed(about) }
    }
}

/// How a target's raw counter becomes a metric of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Derivation {
    /// The growth of a counter over the kept turns.
    Total,
    /// The growth of a counter, divided by successful operations.
    PerOperation,
    /// The growth of a counter, divided by measured seconds.
    PerSecond,
    /// The growth of a counter, divided by the growth of the named counter; absent where that did not grow.
    Per(Cow<'static, str>),
    /// The value of a gauge at the end of the trial.
    Gauge,
}

/// A metric that a target adds, made from one of its counters or gauges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DerivedMetric {
    /// What it is.
    pub spec: MetricSpec,
    /// The counter or gauge that it reads.
    pub source: Cow<'static, str>,
    /// What is done with it.
    pub derivation: Derivation,
}

impl DerivedMetric {
    /// A derived metric from static words.
    pub const fn new(spec: MetricSpec, source: &'static str, derivation: Derivation) -> Self {
        Self { spec, source: Cow::Borrowed(source), derivation }
    }
}
