//! Workload and settings of the reference target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{SettingsError, Validated, model::duration::HumanDuration};

/// What one operation is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Steps of computation of one operation before any slowdown; 0: the operation is empty. A step is some 2 ns.
    pub work: u32,
    /// How the work of an operation is drawn.
    pub distribution: Distribution,
    /// Share of operations that find nothing to do.
    pub nothing_rate: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self { work: 10_000, distribution: Distribution::Constant, nothing_rate: 0.0 }
    }
}

/// The distribution of work per operation; each has the mean that `work` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Always the same.
    Constant,
    /// Between 0 and twice the mean.
    Uniform,
    /// Exponential.
    Exponential,
}

/// What a variant may inject.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// More work for each operation, in percent.
    pub slowdown_percent: f64,
    /// `fdatasync` calls of each operation, each after a small write.
    pub fsyncs_per_op: u32,
    /// Share of operations that fail.
    pub error_rate: f64,
    /// Every client stops once for this long …
    pub stall: Option<HumanDuration>,
    /// … this long after the first operation.
    pub stall_after: HumanDuration,
    /// Misbehaviour, for the harness's own tests.
    pub fault: Fault,
    /// Operations before the fault.
    pub fault_after: u64,
    /// Threads that compute while the target should be idle, for the harness's own tests.
    pub busy_threads: u32,
    /// Blocks of 64 bytes that each operation allocates and frees, in three functions that share them 70/20/10.
    pub allocations_per_op: u32,
    /// A value that changes nothing, so that variants can differ in a setting that has no effect.
    pub label: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slowdown_percent: 0.0,
            fsyncs_per_op: 0,
            error_rate: 0.0,
            stall: None,
            stall_after: HumanDuration::from_millis(500),
            fault: Fault::None,
            fault_after: 100,
            busy_threads: 0,
            allocations_per_op: 0,
            label: String::new(),
        }
    }
}

/// Ways to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// None.
    None,
    /// The process aborts.
    Crash,
    /// A client never returns.
    Hang,
    /// A client panics.
    Panic,
    /// Garbage on standard output, where the protocol must not be hurt by it.
    Garbage,
    /// Memory without bound.
    Allocate,
    /// The correctness check finds something wrong.
    WrongResult,
    /// Set-up fails.
    Setup,
    /// Set-up finds that something outside is missing.
    Unavailable,
    /// Set-up writes until the disk is full, or a gibibyte.
    FillDisk,
}

impl Validated for Workload {
    fn validate(&self) -> Result<(), SettingsError> {
        share("workload", "nothing_rate", self.nothing_rate)
    }
}

impl Validated for Settings {
    fn validate(&self) -> Result<(), SettingsError> {
        share("settings", "error_rate", self.error_rate)?;
        if !(self.slowdown_percent.is_finite() && self.slowdown_percent > -100.0) {
            let message = format!("a slowdown of {} % cannot be; write a number above -100", self.slowdown_percent);
            return Err(SettingsError::new("settings", "slowdown_percent", message));
        }
        Ok(())
    }
}

fn share(table: &'static str, key: &str, value: f64) -> Result<(), SettingsError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::new(table, key, format!("{value} is not a share; write a number between 0 and 1")))
}
