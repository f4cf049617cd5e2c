//! `run.json`: what was planned, where and with what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{calibration::Calibration, metric::DerivedMetric, scenario::Scenario};

/// The version of `run.json`. A reader refuses a newer one.
pub const RUN_SCHEMA: u32 = 1;

/// `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// [`RUN_SCHEMA`] of the writer.
    pub schema: u32,
    /// The run's name: `<UTC>-<what>`, as its directory is called.
    pub id: String,
    /// What was asked for.
    pub intent: Intent,
    /// How far it got.
    pub state: RunState,
    /// When it began, seconds since the Unix epoch.
    pub started_unix_s: u64,
    /// The command line that redoes it.
    pub command: Vec<String>,
    /// The seed of the plan.
    pub seed: u64,
    /// The budget of the whole run in nanoseconds.
    pub budget_ns: u64,
    /// Where it ran.
    pub environment: Environment,
    /// The scenarios as they were run, overrides applied.
    pub scenarios: Vec<PlannedScenario>,
    /// Things the reader must know, in the order in which they were noticed.
    pub warnings: Vec<String>,
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intent {
    /// Two variants against each other.
    Compare {
        /// The variant compared against.
        baseline: String,
        /// The variant in question.
        candidate: String,
    },
    /// Two variants at the same time, each on CPUs of its own: whether something moved, not by how much.
    Screen {
        /// The variant compared against.
        baseline: String,
        /// The variant in question.
        candidate: String,
        /// The CPUs of either side. Which variant has which side changes from round to round.
        sides: [Vec<u32>; 2],
    },
    /// Variants measured by themselves.
    Run {
        /// The variants.
        variants: Vec<String>,
    },
    /// Every scenario once at its smallest; correctness only.
    Verify,
    /// A grid of settings.
    Sweep {
        /// The parameters and their values.
        parameters: BTreeMap<String, Vec<String>>,
    },
    /// The steps of a sprint, each against the one before it and against the first.
    Ledger {
        /// The variants in the order of the steps.
        steps: Vec<String>,
    },
    /// A variant against itself.
    Calibrate {
        /// The variant.
        variant: String,
    },
    /// Cuts only.
    Crash {
        /// The variants.
        variants: Vec<String>,
    },
    /// Profiles only.
    Profile {
        /// The variants.
        variants: Vec<String>,
    },
}

impl Intent {
    /// Whether its variants ran at the same time, so that its times are comparable with no other run's.
    pub const fn is_screen(&self) -> bool {
        matches!(self, Self::Screen { .. })
    }
}

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Under way, or the harness died.
    Unfinished,
    /// All of the plan was carried out.
    Complete,
    /// The user ended it early.
    Interrupted,
}

/// A scenario with what the report needs to know about its target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedScenario {
    /// The scenario, overrides applied.
    pub scenario: Scenario,
    /// The variants of this run, in the order of the command line.
    pub variants: Vec<String>,
    /// What one operation is called: "operation", "orchestration", "row".
    pub unit_of_work: String,
    /// Operation kinds that write.
    pub write_kinds: Vec<String>,
    /// The target's own metrics.
    pub metrics: Vec<DerivedMetric>,
    /// Why it was not run, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The planned number of blocks, where it was fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u32>,
    /// The looks after which a decision could be made: most blocks that the budget was thought to pay for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_max: Option<u32>,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether it stopped at a look because its primary metric was decided, and not at the end of its budget.
    #[serde(default)]
    pub decided_early: bool,
    /// Binary of each variant that is not the harness's own: variant → path and digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binaries: BTreeMap<String, Binary>,
    /// The agent of every variant without a binary of its own, where that is not the harness's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Binary>,
    /// What is known of this machine's noise, as it was when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Box<Calibration>>,
    /// Launcher by variant ("process", "docker").
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub launchers: BTreeMap<String, String>,
}

/// A build that takes part in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Its path.
    pub path: String,
    /// A digest of its bytes.
    pub digest: String,
}

/// Where a run happened. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of uplift.
    pub uplift_version: String,
    /// Build profile: "optimised" or "debug assertions on".
    pub build_profile: String,
    /// Version of the compiler.
    pub compiler: Option<String>,
    /// Revision of the working directory's repository.
    pub git_revision: Option<String>,
    /// Whether that repository had changes that were not committed.
    pub git_dirty: Option<bool>,
    /// A digest that tells machines apart without naming them.
    pub machine: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Kernel.
    pub kernel: Option<String>,
    /// CPU.
    pub cpu_model: Option<String>,
    /// CPUs the harness may use.
    pub cores: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The directory that held the data.
    pub data_dir: String,
    /// Its filesystem.
    pub filesystem: Option<String>,
    /// Its mount options.
    pub mount_options: Option<String>,
    /// CPU frequency governor.
    pub governor: Option<String>,
    /// Whether the machine is virtual, and by what.
    pub virtualization: Option<String>,
}
