//! Workload and settings: what is run, around what, and what must come of it.

use std::{collections::BTreeMap, time::Duration};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{
    SettingsError, Validated,
    model::{duration::HumanDuration, trial::SyncCollectorChoice},
};

use crate::{values::ValueRule, words};

/// What all variants share.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// The shell that commands are given to: "sh". Absent: they are split into words and started directly.
    pub shell: Option<String>,
    /// Run before each run, not timed.
    pub prepare: Option<String>,
    /// Run after each run, not timed.
    pub cleanup: Option<String>,
    /// Run once before the runs of a block.
    pub setup: Option<String>,
    /// Run once after the runs of a block.
    pub teardown: Option<String>,
    /// What looks, for `uplift crash`, whether the effects of the runs are still there. The variable `UPLIFT_LEDGER` names a file
    /// with a line for each run: its number, and `acknowledged` or `open`. It prints a JSON object with the numbers of the runs
    /// that are `lost`, and how many things are `wrong` or there `twice`; another exit status than 0 is one thing wrong.
    pub verify: Option<String>,
    /// What builds the program of each variant, given to `sh` before anything is measured. Variants with a `ref` are built
    /// in a worktree of that revision, others where they are.
    pub build: Option<String>,
    /// The file that is standard input of each run. Absent: /dev/null.
    pub input: Option<String>,
    /// Where standard output goes: "null", "pipe" (read and thrown away), or a file.
    pub output: String,
    /// The longest that one run may take; then it is ended and the trial has failed.
    pub timeout: HumanDuration,
    /// Whether runs that end with another exit status than 0 count like others.
    pub ignore_failure: bool,
    /// Runs at the beginning of each block that are not timed; their sync calls are counted.
    pub warmup: u32,
    /// What must come of every run.
    pub expect: Expect,
    /// Values that the program prints: name → where, unit, direction.
    pub metrics: BTreeMap<String, ValueRule>,
    /// How sync calls are counted.
    pub sync_collector: SyncCollectorChoice,
    /// What is counted in a run of its own at the end of each block.
    pub count: Vec<Count>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            shell: None,
            prepare: None,
            cleanup: None,
            setup: None,
            teardown: None,
            verify: None,
            build: None,
            input: None,
            output: "null".to_owned(),
            timeout: HumanDuration(Duration::from_secs(600)),
            ignore_failure: false,
            warmup: 1,
            expect: Expect::default(),
            metrics: BTreeMap::new(),
            sync_collector: SyncCollectorChoice::default(),
            count: Vec::new(),
        }
    }
}

/// Counters that need a run of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// Instructions, by callgrind of valgrind.
    Instructions,
    /// Calls that allocate and the bytes that they ask for, by a preloaded library.
    Allocations,
}

/// What must come of every run; where it does not, the variants are not comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The exit statuses that are right; empty: 0. Any other fails the trial.
    pub exit_codes: Vec<i32>,
    /// Whether standard output must be equal in every run and all variants.
    pub stdout_equal: bool,
    /// A file that standard output must be equal to.
    pub stdout_file: Option<String>,
    /// A regular expression that must be found in standard output.
    pub stdout_matches: Option<String>,
    /// Files that every run must leave, equal in every run and all variants.
    pub files_equal: Vec<String>,
}

impl Expect {
    /// Whether standard output is looked at.
    pub fn looks_at_stdout(&self) -> bool {
        self.stdout_equal || self.stdout_file.is_some() || self.stdout_matches.is_some()
    }

    /// Whether an exit status is right.
    pub fn allows(&self, code: Option<i32>) -> bool {
        match code {
            Some(code) if self.exit_codes.is_empty() => code == 0,
            Some(code) => self.exit_codes.contains(&code),
            None => false,
        }
    }
}

/// What a variant is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The program and its arguments. `{data}`, `{block}`, `{seed}` and `{run}` are filled in.
    pub command: String,
    /// Environment of the run, beside that of uplift.
    pub env: BTreeMap<String, String>,
    /// The working folder. Absent: that of uplift.
    pub dir: Option<String>,
    /// The revision that it is built from; absent: the working tree.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What it was built from, in words: filled in when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Run before each run instead of the workload's, not timed.
    pub prepare: Option<String>,
}

impl Workload {
    /// Whether standard output must be read.
    pub fn reads_stdout(&self) -> bool {
        self.output == "pipe" || self.looks_at_stdout()
    }

    /// Whether anything is looked for in standard output.
    pub fn looks_at_stdout(&self) -> bool {
        self.expect.looks_at_stdout() || !self.metrics.is_empty()
    }

    fn check_line(&self, table: &'static str, key: &str, line: &str) -> Result<(), SettingsError> {
        if self.shell.is_some() {
            if line.trim().is_empty() {
                return Err(SettingsError::new(table, key, "the command is empty; write a program and its arguments"));
            }
            return Ok(());
        }
        words::split(line).map(drop).map_err(|message| SettingsError::new(table, key, message))
    }

    /// Checks what concerns workload and settings together: how a line is read depends on the shell.
    pub fn check_with(&self, settings: &Settings) -> Result<(), SettingsError> {
        self.check_line("settings", "command", &settings.command)?;
        if let Some(prepare) = &settings.prepare {
            self.check_line("settings", "prepare", prepare)?;
        }
        Ok(())
    }
}

impl Validated for Workload {
    fn validate(&self) -> Result<(), SettingsError> {
        let lines = [
            ("prepare", &self.prepare),
            ("cleanup", &self.cleanup),
            ("setup", &self.setup),
            ("teardown", &self.teardown),
            ("verify", &self.verify),
        ];
        for (key, line) in lines {
            if let Some(line) = line {
                self.check_line("workload", key, line)?;
            }
        }
        for (key, line) in [("setup", &self.setup), ("teardown", &self.teardown)] {
            if line.as_ref().is_some_and(|line| words::wants_data(line)) {
                let message =
                    "{data} is a folder of one run, and this is run once a block; write {block}, a folder of the block";
                return Err(SettingsError::new("workload", key, message));
            }
        }
        if self.timeout.0.is_zero() {
            let message = "a timeout of 0 ends every run; write a duration such as \"10m\"";
            return Err(SettingsError::new("workload", "timeout", message));
        }
        if self.output.is_empty() {
            let message = "write \"null\", \"pipe\", or the name of a file";
            return Err(SettingsError::new("workload", "output", message));
        }
        if self.looks_at_stdout() && !["null", "pipe"].contains(&self.output.as_str()) {
            let message = "standard output cannot go to a file and be looked at; leave `output` out";
            return Err(SettingsError::new("workload", "output", message));
        }
        if let Some(pattern) = &self.expect.stdout_matches {
            Regex::new(pattern).map_err(|error| {
                SettingsError::new("workload", "expect", format!("`stdout_matches` is no regular expression: {error}"))
            })?;
        }
        self.metrics.iter().try_for_each(|(name, rule)| rule.check(name))
    }
}

impl Validated for Settings {
    fn validate(&self) -> Result<(), SettingsError> {
        if self.command.trim().is_empty() {
            return Err(SettingsError::new(
                "settings",
                "command",
                "a variant needs a `command`: a program and its arguments",
            ));
        }
        if let Some(wrong) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(SettingsError::new("settings", "env", format!("`{wrong}` cannot be the name of a variable")));
        }
        Ok(())
    }
}
