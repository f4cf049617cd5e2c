//! `verdicts.json`: what was decided. Computed by the analysis, drawn by the report.

use serde::{Deserialize, Serialize};

use crate::{Better, Durability, MetricClass, Unit, setting_value::is_granted, trial::Ceiling};

/// The version of `verdicts.json`.
pub const VERDICTS_SCHEMA: u32 = 1;

/// `verdicts.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// [`VERDICTS_SCHEMA`] of the writer.
    pub schema: u32,
    /// The variant compared against.
    pub baseline: String,
    /// The variant in question.
    pub candidate: String,
    /// One entry for each scenario of the run.
    pub scenarios: Vec<ScenarioVerdict>,
    /// What holds for the whole report: partial runs, contamination, corrections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Whether a scenario could be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was compared.
    Compared,
    /// Something that must be equal differs, or a trial was wrong.
    Incomparable,
    /// It needs something that is not there.
    Skipped,
    /// It failed.
    Failed,
}

/// What was decided for one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioVerdict {
    /// `target/name`.
    pub name: String,
    /// Whether it was compared.
    pub status: Status,
    /// Why not, where it was not.
    pub reason: Option<String>,
    /// Blocks that were compared.
    pub blocks: u32,
    /// The candidate's durability against the baseline's.
    pub durability: Parity,
    /// That in a sentence.
    pub durability_reason: Option<String>,
    /// Settings: asked for and in force.
    pub settings: Vec<SettingRow>,
    /// The modelled disk and how well it was kept to, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Why its figures may be those of the load generator, where something says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_generator: Option<String>,
    /// The workload's own limit.
    pub ceiling: Option<Ceiling>,
    /// Every metric.
    pub metrics: Vec<MetricVerdict>,
    /// What the source published, and what became of it.
    pub claims: Vec<ClaimVerdict>,
    /// What the scenario expects of every variant.
    #[serde(default)]
    pub expectations: Vec<ExpectationVerdict>,
    /// The steps of a sprint, where the run measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
    /// Why measuring stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What the reader must know about this scenario.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ScenarioVerdict {
    /// The primary metric, where it was measured.
    pub fn primary(&self) -> Option<&MetricVerdict> {
        self.metrics.iter().find(|metric| metric.primary)
    }
}

/// One durability against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parity {
    /// The candidate's acknowledged writes survive more.
    Stronger,
    /// The same.
    Equal,
    /// The candidate's acknowledged writes survive less: no improvement counts.
    Weaker,
    /// Nothing was measured that tells.
    Unknown,
}

/// One setting in both variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingRow {
    /// The setting.
    pub key: String,
    /// In the baseline.
    pub baseline: SettingValue,
    /// In the candidate.
    pub candidate: SettingValue,
}

/// What was asked for and what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingValue {
    /// As the scenario says; `None`: not said, the target's default.
    pub requested: Option<String>,
    /// As the target read it back; `None`: the target does not tell.
    pub effective: Option<String>,
}

impl SettingValue {
    /// Whether something else is in force than was asked for. "auto" leaves the choice to the target.
    pub fn is_ignored(&self) -> bool {
        let (Some(asked), Some(got)) = (&self.requested, &self.effective) else { return false };
        !is_granted(asked, got)
    }
}

/// The five verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Better, beyond the margin and beyond chance.
    Improved,
    /// Worse, beyond the margin and beyond chance.
    Regressed,
    /// The same within the margin, shown and not assumed.
    Unchanged,
    /// The data decide nothing yet.
    Inconclusive,
    /// The two must not be compared.
    Incomparable,
}

impl Verdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::Regressed => "regressed",
            Self::Unchanged => "unchanged",
            Self::Inconclusive => "inconclusive",
            Self::Incomparable => "incomparable",
        }
    }
}

/// One variant's value over blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Median over blocks.
    pub median: f64,
    /// Interval of that median; `None` with fewer blocks than an interval needs.
    pub ci: Option<[f64; 2]>,
    /// Blocks.
    pub n: u32,
}

/// What was decided for one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricVerdict {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// How it was compared.
    #[serde(rename = "tier")]
    pub class: MetricClass,
    /// Whether it is the scenario's primary metric.
    pub primary: bool,
    /// One line that says what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The baseline; `None` where it was not available.
    pub baseline: Option<Estimate>,
    /// The candidate.
    pub candidate: Option<Estimate>,
    /// candidate / baseline − 1 of all work over all time (for proportions: the difference).
    pub change: Option<f64>,
    /// The corrected interval of the change.
    pub ci: Option<[f64; 2]>,
    /// The p value before correction.
    pub p: Option<f64>,
    /// The smallest change that this many blocks would have found 8 times in 10.
    pub minimum_detectable: Option<f64>,
    /// The typical change, which no stall moves: of throughput the median over rounds, trimmed over blocks; of other times
    /// the trimmed mean over blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical: Option<f64>,
    /// Its interval, at the same level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_ci: Option<[f64; 2]>,
    /// Where both part by more than the margin: by how much, and what stalls, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parting: Option<String>,
    /// What lies behind a change of throughput: the rounds at their quantiles, and what was slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// What being started first brings, as a ratio − 1, with its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The change corrected for an early stop, where the run ended at the first look that found it: what stops early reads
    /// too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected_for_stop: Option<f64>,
    /// What was decided.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
}

/// The rounds of a comparison beside each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Quantiles of the rounds' throughput, and the change at each as a ratio − 1.
    pub shift: Vec<[f64; 2]>,
    /// The share of slow rounds, of the baseline and of the candidate: far below the median round of their own process.
    pub slow_rounds: [f64; 2],
    /// Blocks in which one process was far slower than its change to the other usually is, of the baseline and of the
    /// candidate.
    pub slow_processes: [u32; 2],
    /// By how much those were slower in the mean, as a ratio − 1; 0 where there were none.
    pub slow_size: [f64; 2],
}

/// What being started first brings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The variant started first against the other, as a ratio − 1.
    pub change: f64,
    /// Its interval, at the level of the change.
    pub ci: [f64; 2],
}

/// The steps of a sprint in the order in which they were taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The metric that decides.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// The steps, the baseline first.
    pub steps: Vec<LedgerStep>,
}

/// One step of a sprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerStep {
    /// The variant that stands for the state after it.
    pub variant: String,
    /// What it changed: settings asked for or in force otherwise than in the step before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<SettingRow>,
    /// What an acknowledged write survives after it; `None` where it was not measured.
    pub durability: Option<Durability>,
    /// The metric over all blocks; `None` where it was not available.
    pub value: Option<Estimate>,
    /// Against the step before it; `None` for the baseline, and where no block has both.
    pub marginal: Option<MetricVerdict>,
    /// Against the baseline; `None` for the baseline itself, and where no block has both.
    pub cumulative: Option<MetricVerdict>,
}

/// What became of a published figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimOutcome {
    /// Our interval holds the published change.
    Reproduced,
    /// Our interval lies beyond the published change, in its direction.
    Exceeded,
    /// A change in the published direction, but smaller than published.
    NotReproduced,
    /// A change in the other direction.
    Contradicted,
    /// Our data decide nothing about it.
    Undecided,
    /// It was not measured in this run.
    NotMeasured,
    /// No run here can check it: a time of another machine, or something that nobody measures.
    NotComparable,
}

/// A published figure beside ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimVerdict {
    /// The metric.
    pub metric: String,
    /// The variant it is about.
    pub variant: String,
    /// The published change as a ratio − 1; `None`: only a value was published.
    pub published: Option<f64>,
    /// The published value for the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_baseline: Option<f64>,
    /// The published value for the variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_candidate: Option<f64>,
    /// Our change.
    pub measured: Option<f64>,
    /// Its interval.
    pub ci: Option<[f64; 2]>,
    /// What became of it.
    pub outcome: ClaimOutcome,
    /// Where it was published.
    pub source: String,
    /// The figure in the source's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub figure: String,
    /// In a sentence.
    pub reason: String,
}

/// What a scenario expects of every variant, and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectationVerdict {
    /// The metric.
    pub metric: String,
    /// The rule as written: ">= 0.999".
    pub rule: String,
    /// The variant.
    pub variant: String,
    /// The value; `None` where it was not available.
    pub value: Option<f64>,
    /// Whether it held.
    pub held: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_ignored_where_something_else_is_in_force_than_was_asked_for() {
        let ignored = |asked: Option<&str>, got: Option<&str>| {
            let word = |word: Option<&str>| word.map(str::to_owned);
            SettingValue { requested: word(asked), effective: word(got) }.is_ignored()
        };
        assert!(ignored(Some("WAL"), Some("NORMAL")) && ignored(Some("0"), Some("6")));
        assert!(!ignored(Some("full"), Some("FULL")) && !ignored(Some("5"), Some("5.0")));
        assert!(!ignored(Some("60s"), Some("1m")) && !ignored(Some("0"), Some("6 (automatic)")));
        assert!(!ignored(None, Some("6")) && !ignored(Some("6"), None), "nothing to check it against");
        assert!(!ignored(Some("auto"), Some("6")), "the choice was left to the target");
    }
}
