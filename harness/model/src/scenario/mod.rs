//! The scenario file: what is measured, on what load, in which variants.
//!
//! [`Scenario::parse`] turns text into a validated [`Scenario`] once; nothing downstream checks it again. What only a
//! target can know (its workload and its settings) stays a table here and is validated by the target, whose complaint
//! [`ScenarioError::at`] pins to the line where the key stands. `scenarios/README.md` is the format's reference.

mod bound;
mod error;
mod load;
mod phases;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::load::LoadFile;
pub use self::{
    bound::{Bound, Comparison},
    error::ScenarioError,
    load::{Arrival, Load, RATES},
    phases::{Phase, Profile},
};
use crate::{
    Table,
    disk::{DiskFile, DiskModel},
    duration::HumanDuration,
    metric_names,
};

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

/// How variants take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interleave {
    /// Both resident, short turns in random order. For everything that a turn does not falsify.
    #[default]
    Turns,
    /// A fresh trial of each in random order: for state that grows, long queues, start-up costs.
    Trials,
}

/// The `[trial]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrialSpec {
    /// How variants take turns.
    pub interleave: Interleave,
    /// Load before anything counts.
    pub warmup: HumanDuration,
    /// Length of a turn; lengthened where it would hold fewer than 20 operations.
    pub turn: HumanDuration,
    /// Length of a turn in calls of the client instead of time.
    pub turn_operations: Option<u64>,
    /// Rounds of a block (`interleave = "turns"`).
    pub rounds: u32,
    /// The longest that the rounds of a block should take where a turn is so many operations: fewer are taken where
    /// operations are slow, at least one. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<HumanDuration>,
    /// Length of the measured window (`interleave = "trials"`).
    pub window: HumanDuration,
    /// The longest that set-up, a turn, or the final check may each take before the agent is killed.
    pub timeout: HumanDuration,
    /// The longest that an idle CPU may take to wake, asked of the kernel while trials run; "0s" keeps idle
    /// CPUs from sleeping. Absent: as the machine does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_latency: Option<HumanDuration>,
}

impl Default for TrialSpec {
    fn default() -> Self {
        Self {
            interleave: Interleave::Turns,
            warmup: HumanDuration::from_millis(500),
            turn: HumanDuration::from_millis(25),
            turn_operations: None,
            rounds: 40,
            block: None,
            window: HumanDuration::from_secs(3),
            timeout: HumanDuration::from_secs(60),
            cpu_latency: None,
        }
    }
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

/// The file as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    /// 1.
    schema: u32,
    /// The target's name.
    target: String,
    /// One line.
    title: String,
    /// Why anybody should care.
    #[serde(default)]
    story: String,
    /// Whether `compare --quick` measures it where no scenario is named; true where it is not said.
    #[serde(default = "yes")]
    quick: bool,
    /// The metric that decides; "throughput" where it is not said.
    #[serde(default = "throughput", deserialize_with = "metric_names::name")]
    primary: String,
    /// The target's own table.
    #[serde(default)]
    workload: Table,
    /// The load.
    #[serde(default)]
    #[schemars(with = "Load")]
    load: LoadFile,
    /// How trials are taken.
    #[serde(default)]
    trial: TrialSpec,
    /// A disk to model: every sync takes at least so long, for every variant.
    #[serde(default)]
    disk: Option<DiskFile>,
    /// The disk that the published figures come from, for `--disk source`; `source` says how it was estimated.
    #[serde(default)]
    claims_disk: Option<DiskFile>,
    /// Settings that every variant shares.
    #[serde(default)]
    settings: Table,
    /// What must hold for every variant.
    #[serde(default, deserialize_with = "metric_names::keys")]
    expect: BTreeMap<String, Bound>,
    /// The variants: name → settings.
    variants: Table,
    /// Thresholds of the gate.
    #[serde(default, deserialize_with = "metric_names::keys")]
    gate: BTreeMap<String, Bound>,
    /// Published figures.
    #[serde(default)]
    claims: Vec<Claim>,
    /// The steps of a sprint in the order in which they were taken, the baseline first: names of variants.
    #[serde(default)]
    ledger: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

fn throughput() -> String {
    "throughput".to_owned()
}

/// The JSON Schema of a scenario file, without what each target adds.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(ScenarioFile).to_value()
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

    /// Reads a scenario from the text of the file `path`; `name` is `target/file stem`.
    ///
    /// # Errors
    /// Every error points at the line and column, says the rule and what is allowed.
    pub fn parse(name: &str, path: &str, text: &str) -> Result<Self, ScenarioError> {
        let file: ScenarioFile = toml::from_str(text).map_err(|error| ScenarioError::from_toml(path, text, &error))?;
        let at = |keys: &[&str], message: String, help: &str| ScenarioError::at(path, text, keys, message, help);

        if file.schema != SCENARIO_SCHEMA {
            return Err(at(
                &["schema"],
                format!("schema {} is not known: this uplift reads schema {SCENARIO_SCHEMA}", file.schema),
                "write `schema = 1`, or use the uplift that wrote the file",
            ));
        }
        if file.title.trim().is_empty() {
            return Err(at(&["title"], "the title is empty".to_owned(), "say in one line what the scenario measures"));
        }
        if file.variants.is_empty() {
            return Err(at(
                &["variants"],
                "the scenario has no variant".to_owned(),
                "add a table such as `[variants.baseline]`",
            ));
        }
        let load = file.load.load().map_err(|(key, message, help)| at(&["load", key], message, help))?;
        load.validate().map_err(|(key, message, help)| at(&["load", key], message, help))?;
        validate_trial(&file.trial).map_err(|(key, message, help)| at(&["trial", key], message, help))?;

        let disk = file
            .disk
            .map(DiskFile::model)
            .transpose()
            .map_err(|(key, message, help)| at(&["disk", key], message, help))?;
        let claims_disk = file
            .claims_disk
            .map(DiskFile::model)
            .transpose()
            .map_err(|(key, message, help)| at(&["claims_disk", key], message, help))?;
        if claims_disk.as_ref().is_some_and(|disk| disk.source.is_none()) {
            return Err(at(
                &["claims_disk"],
                "the disk of the claims does not say how it was estimated".to_owned(),
                "write `source = \"…\"`: which of the published figures it follows from, and how",
            ));
        }

        let mut variants = Vec::new();
        for (variant, settings) in &file.variants {
            // It names folders and files of a run.
            let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
            if !variant.chars().all(fits) || !variant.starts_with(|first: char| first.is_ascii_alphanumeric()) {
                return Err(ScenarioError::at_key(
                    path,
                    text,
                    &["variants", variant],
                    format!("`{variant}` cannot be a variant's name"),
                    "write letters, digits, `-`, `_` and `.`, beginning with a letter or a digit",
                ));
            }
            let serde_json::Value::Object(own) = settings else {
                return Err(at(
                    &["variants", variant],
                    format!("variant `{variant}` is not a table"),
                    "write `[variants.name]` and its settings below, or `name = { key = value }`",
                ));
            };
            let mut settings = file.settings.clone();
            let mut uplift = VariantOptions::default();
            for (key, value) in own {
                if key == VARIANT_RESERVED_KEY {
                    uplift = serde_json::from_value(value.clone()).map_err(|error| {
                        at(
                            &["variants", variant, key],
                            format!("variant `{variant}`: {error}"),
                            "known keys: memory_bytes, launch (\"process\" or \"docker\")",
                        )
                    })?;
                } else {
                    settings.insert(key.clone(), value.clone());
                }
            }
            variants.push(Variant { name: variant.clone(), settings, uplift, work: None });
        }
        let known = |wanted: &str| variants.iter().any(|variant| variant.name == wanted);
        let names = || variants.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>().join(", ");
        for (index, step) in file.ledger.iter().enumerate() {
            if !known(step) {
                return Err(at(
                    &["ledger"],
                    format!("the ledger names `{step}`, which is not a variant"),
                    &format!("variants here: {}", names()),
                ));
            }
            if file.ledger[..index].contains(step) {
                let help = "name each variant once, in the order in which the steps were taken";
                return Err(at(&["ledger"], format!("the ledger names `{step}` twice"), help));
            }
        }
        if file.ledger.len() == 1 {
            return Err(at(
                &["ledger"],
                "a ledger of one step compares nothing".to_owned(),
                "name the baseline and what followed it, or leave the key out",
            ));
        }
        for claim in &file.claims {
            if let Some((message, help)) = claim.complaint() {
                return Err(at(&["claims"], message, help));
            }
            for variant in [Some(&claim.variant), claim.against.as_ref()].into_iter().flatten() {
                if !known(variant) {
                    return Err(at(
                        &["claims"],
                        format!("a claim names `{variant}`, which is not a variant"),
                        &format!("variants here: {}", names()),
                    ));
                }
            }
        }

        Ok(Self {
            name: name.to_owned(),
            target: file.target,
            title: file.title,
            story: file.story,
            quick: file.quick,
            primary: file.primary,
            workload: file.workload,
            load,
            trial: file.trial,
            disk,
            claims_disk,
            expect: file.expect,
            variants,
            gate: file.gate,
            claims: file.claims,
            ledger: file.ledger,
        })
    }

    /// Checks load and trial again, for a scenario that was changed after it was read.
    ///
    /// # Errors
    /// `table.key` that is wrong, the rule, and the fix.
    pub fn revalidate(&self) -> Result<(), (String, String, &'static str)> {
        let of = |table: &str, (key, message, help): Complaint| (format!("{table}.{key}"), message, help);
        self.load.validate().map_err(|complaint| of("load", complaint))?;
        validate_trial(&self.trial).map_err(|complaint| of("trial", complaint))?;
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

/// The most rounds of a block: each is a record of every trial, and an entry of the plan.
const ROUNDS_MAX: u32 = 100_000;
/// The most operations of one turn.
const TURN_OPERATIONS_MAX: u64 = 1_000_000_000_000;
/// The longest turn and window: agents make room for every slice of it.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);

fn validate_trial(trial: &TrialSpec) -> Result<(), Complaint> {
    if trial.rounds == 0 {
        return Err(("rounds", "0 rounds measure nothing".to_owned(), "write at least 1; the default is 40"));
    }
    if trial.rounds > ROUNDS_MAX {
        return Err((
            "rounds",
            format!("{} rounds are more than {ROUNDS_MAX}", trial.rounds),
            "write a number between 1 and 100000; the default is 40",
        ));
    }
    for (key, length) in [("turn", trial.turn), ("window", trial.window), ("warmup", trial.warmup)] {
        if length.0 > WINDOW_MAX {
            return Err((key, format!("{length} is longer than a day"), "write a duration up to \"24h\""));
        }
    }
    if trial.turn_operations.is_some_and(|operations| operations > TURN_OPERATIONS_MAX) {
        return Err((
            "turn_operations",
            format!("a turn of more than {TURN_OPERATIONS_MAX} operations never ends"),
            "write a number up to 1000000000000",
        ));
    }
    if trial.turn.0.is_zero() && trial.turn_operations.is_none() {
        return Err(("turn", "a turn of no length measures nothing".to_owned(), "write a duration such as \"25ms\""));
    }
    if trial.turn_operations == Some(0) {
        return Err((
            "turn_operations",
            "a turn of 0 operations measures nothing".to_owned(),
            "write at least 1, or leave the key out",
        ));
    }
    if trial.window.0.is_zero() {
        return Err(("window", "a window of no length measures nothing".to_owned(), "write a duration such as \"3s\""));
    }
    if trial.timeout.0.is_zero() {
        return Err(("timeout", "a timeout of 0 kills every trial".to_owned(), "write a duration such as \"60s\""));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
