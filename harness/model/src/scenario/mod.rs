//! The scenario file: what is measured, on what load, in which variants.
//!
//! [`Scenario::parse`] turns text into a validated [`Scenario`] once; nothing downstream checks it again. What only a
//! target can know (its workload and its settings) stays a table here and is validated by the target, whose complaint
//! [`ScenarioError::at`] pins to the line where the key stands. `scenarios/README.md` is the format's reference.

mod bound;
mod error;
mod load;
mod parse;
mod phases;
mod trial_spec;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    bound::{Bound, Comparison},
    error::ScenarioError,
    load::{Arrival, Load, RATES},
    parse::json_schema,
    phases::{Phase, Profile},
    trial_spec::{Interleave, TrialSpec},
};
use crate::{Table, disk::DiskModel, metric_names};

/// The version of the scenario format.
pub const SCENARIO_SCHEMA: u32 = 1;

/// The variant that others are compared with where nothing else is said.
pub const BASELINE: &str = "baseline";

/// The fewest operations that a turn should hold.
pub const OPERATIONS_PER_TURN_MIN: u64 = 20;

/// A key of a variant that is the harness's own and not a setting of the target.
pub const VARIANT_RESERVED_KEY: &str = "uplift";

/// A validated scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// `target/file stem`.
    pub name: String,
    /// The target's name.
    pub target: String,
    /// One line.
    pub title: String,
    /// Why anybody should care, shown in the report.
    pub story: String,
    /// Whether a quick look at everything looks at it too.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub quick: bool,
    /// The metric that decides.
    #[serde(deserialize_with = "metric_names::name")]
    pub primary: String,
    /// The target's workload.
    pub workload: Table,
    /// The load.
    pub load: Load,
    /// How trials are taken.
    pub trial: TrialSpec,
    /// The disk that is modelled, the same for every variant; absent: the one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskModel>,
    /// The disk that the published figures come from, estimated from the figures themselves; its `source` says how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_disk: Option<DiskModel>,
    /// What must hold for every variant: metric → rule.
    #[serde(deserialize_with = "metric_names::keys")]
    pub expect: BTreeMap<String, Bound>,
    /// The variants in the order of the file.
    pub variants: Vec<Variant>,
    /// Thresholds of the gate: metric → rule.
    #[serde(deserialize_with = "metric_names::keys")]
    pub gate: BTreeMap<String, Bound>,
    /// What the source published.
    pub claims: Vec<Claim>,
    /// The steps of a sprint in the order in which they were taken, the baseline first: names of variants, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<String>,
}

/// A variant: settings of the target, and what the harness does differently for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// How the command line, records and reports refer to it; unique in its scenario.
    pub name: String,
    /// The target's settings, those that all variants share included.
    pub settings: Table,
    /// What the harness does differently for it.
    #[serde(default)]
    pub uplift: VariantOptions,
    /// Workload and load of its own, as a point of a sweep may have them; a scenario file cannot say this, since
    /// variants that do different work are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// What a variant of a sweep is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The target's workload.
    pub workload: Table,
    /// The load.
    pub load: Load,
    /// The disk that is modelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskModel>,
}

/// The reserved table of a variant: `uplift = { memory_bytes = 1073741824 }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantOptions {
    /// The most memory that its agent may use, in bytes; absent: as the command line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How its agent is started; absent: as the command line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchKind>,
    /// Options of `docker run` for its container, after those of the command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub docker_args: Vec<String>,
}

/// The ways to start an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchKind {
    /// A child process of the harness.
    Process,
    /// A container of a Docker Engine.
    Docker,
    /// A job of a Docker Swarm, on one of its nodes.
    Swarm,
}

/// A published figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The variant it is about.
    pub variant: String,
    /// The variant it was compared against; absent: `baseline`, or where the scenario has no such variant, the baseline of
    /// the comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The metric; empty where the figure is about something else.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "metric_names::name")]
    pub metric: String,
    /// Instead of a metric: categories of the variant's profile, whose share of CPU time together is meant;
    /// "system calls" is all time within one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<String>,
    /// The published value of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// The published value of the variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<f64>,
    /// The published change as a ratio − 1, where no values were published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<f64>,
    /// Where the variant's own value lies, for what does not depend on the machine: a share, a count, cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// The figure in the source's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub figure: String,
    /// Why no run here can check it; absent: a run can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unchecked: String,
    /// Where it was published.
    pub source: String,
    /// What the source meant by the metric, where it differs from ours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Claim {
    /// What the claim is about: the metric, or the categories of the profile.
    pub fn subject(&self) -> String {
        if self.profile.is_empty() {
            return self.metric.clone();
        }
        format!("share of CPU time: {}", self.profile.join(", "))
    }

    /// What is wrong with it, and what to do.
    fn complaint(&self) -> Option<(String, &'static str)> {
        if self.metric.is_empty() && self.profile.is_empty() && self.unchecked.is_empty() {
            let message = format!("a claim about `{}` has no metric", self.variant);
            return Some((message, "write `metric`, or `profile`, or say in `unchecked` why no run can check it"));
        }
        if !self.profile.is_empty() && (!self.metric.is_empty() || self.range.is_none()) {
            let message = format!("a claim about the profile of `{}` needs a range and no metric", self.variant);
            return Some((message, "write `range = [0.6, 0.7]` beside `profile`"));
        }
        match self.range {
            Some([low, high]) if low > high || low.is_nan() || high.is_nan() => {
                Some((format!("the range [{low}, {high}] of a claim is empty"), "write the smaller limit first"))
            }
            _ => None,
        }
    }

    /// The published change as a ratio − 1.
    pub fn published_change(&self) -> Option<f64> {
        self.change.or_else(|| match (self.baseline, self.candidate) {
            (Some(baseline), Some(candidate)) if baseline != 0.0 => Some(candidate / baseline - 1.0),
            _ => None,
        })
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

impl Scenario {
    /// Measures open loads in trials, never in turns: a turn begins with an empty queue and ends before the queue is what
    /// it will be, so that what it shows is of no steady state.
    pub fn measure_open_loads_in_trials(&mut self) {
        let of_variants = self.variants.iter().filter_map(|variant| variant.work.as_ref()).map(|work| &work.load);
        if of_variants.chain([&self.load]).any(|load| matches!(load, Load::Open { .. })) {
            self.trial.interleave = Interleave::Trials;
        }
    }

    /// Checks load and trial again, for a scenario that was changed after it was read.
    ///
    /// # Errors
    /// `table.key` that is wrong, the rule, and the fix.
    pub fn revalidate(&self) -> Result<(), (String, String, &'static str)> {
        let of = |table: &str, (key, message, help): Complaint| (format!("{table}.{key}"), message, help);
        self.load.validate().map_err(|complaint| of("load", complaint))?;
        self.trial.validate().map_err(|complaint| of("trial", complaint))?;
        self.disk.as_ref().map_or(Ok(()), |disk| disk.validate().map_err(|complaint| of("disk", complaint)))
    }

    /// The variant of that name.
    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The variant that `claim` is against; `None`: whatever a comparison has for its baseline.
    pub fn against<'a>(&'a self, claim: &'a Claim) -> Option<&'a str> {
        claim.against.as_deref().or_else(|| self.variant(BASELINE).map(|variant| variant.name.as_str()))
    }
}

/// A key, what is wrong with it, and what to do.
type Complaint = (&'static str, String, &'static str);

#[cfg(test)]
mod tests;
