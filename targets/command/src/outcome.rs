//! What came of the runs so far: sums for the metrics, and the first thing that was wrong.

use std::{borrow::Cow, collections::BTreeMap, fs};

use regex::Regex;
use uplift_sdk::{Samples, model::Histogram};

use crate::{
    capture::digest_of,
    invocation::Surroundings,
    metrics::RUNS,
    run::{Ended, ending},
    settings::Workload,
    values::{count_of, sum_of},
    words::Placeholders,
};

/// The most names of processes that were left behind which are kept.
const NAMES_MAX: usize = 5;

/// What came of the runs of one trial.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Runs that were started, warm-up included.
    pub started: u64,
    /// Runs whose sync calls were counted.
    pub counted: u64,
    /// Whether runs are measured from now on.
    pub measures: bool,
    /// Why no run can follow.
    pub failure: Option<String>,
    /// The first result that was not right.
    wrong: Option<String>,
    checked: u64,
    result: Option<String>,
    totals: BTreeMap<Cow<'static, str>, f64>,
    walls_ns: Vec<u64>,
    peak_memory_bytes: u64,
    values: BTreeMap<String, Histogram>,
    left_behind: Vec<String>,
}

impl Outcomes {
    /// Takes in a run that is over; `hardware` is what the CPU counted. What makes it a failure is kept.
    pub fn take(
        &mut self,
        workload: &Workload,
        surroundings: &Surroundings,
        filled: &Placeholders<'_>,
        line: &str,
        ended: &Ended,
        hardware: &[(&'static str, f64)],
    ) {
        if let Some(failure) = failure_of(workload, filled.run, line, ended) {
            self.failure = Some(failure);
            return;
        }
        self.check(workload, surroundings, filled, ended);
        for name in &ended.left_behind {
            if self.left_behind.len() < NAMES_MAX && !self.left_behind.contains(name) {
                self.left_behind.push(name.clone());
            }
        }
        if self.failure.is_none() && self.measures {
            self.measure(workload, ended, hardware);
            self.find_values(workload, filled.run, ended);
        }
    }

    fn add(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        *self.totals.entry(name.into()).or_insert(0.0) += value;
    }

    fn measure(&mut self, workload: &Workload, ended: &Ended, hardware: &[(&'static str, f64)]) {
        let used = &ended.used;
        self.add(RUNS, 1.0);
        let counted = [
            ("run_time", ended.wall_ns),
            ("user_time", used.user_ns),
            ("system_time", used.system_ns),
            ("minor_faults", used.minor_faults),
            ("voluntary_switches", used.voluntary_switches),
            ("involuntary_switches", used.involuntary_switches),
            ("left_behind", ended.left_behind.len() as u64),
        ];
        for (name, value) in counted {
            self.add(name, value as f64);
        }
        for (name, value) in [("read_bytes", used.read_bytes), ("storage_read_bytes", used.storage_read_bytes)] {
            if let Some(value) = value {
                self.add(name, value as f64);
            }
        }
        for &(name, value) in hardware {
            self.add(name, value);
        }
        let accepted = workload.ignore_failure && ending(ended.status).0 != Some(0);
        self.add("nonzero_exits", if accepted { 1.0 } else { 0.0 });
        self.walls_ns.push(ended.wall_ns);
        self.peak_memory_bytes = self.peak_memory_bytes.max(used.peak_memory_bytes);
    }

    fn find_values(&mut self, workload: &Workload, run: u64, ended: &Ended) {
        if workload.metrics.is_empty() {
            return;
        }
        if ended.stdout.is_cut() {
            self.failure = Some(format!(
                "run {run} printed {} bytes, and values are looked for in at most {}; let it print less",
                ended.stdout.bytes,
                crate::capture::KEPT_BYTES_MAX
            ));
            return;
        }
        let printed = String::from_utf8_lossy(ended.stdout.kept());
        for (name, rule) in &workload.metrics {
            match rule.find(&printed) {
                Ok(values) => {
                    self.add(sum_of(name), values.iter().sum());
                    self.add(count_of(name), values.len() as f64);
                    if rule.is_time() {
                        let histogram = self.values.entry(name.clone()).or_default();
                        values.iter().for_each(|value| histogram.record_n(value.max(0.0) as u64, 1));
                    }
                }
                Err(why) => {
                    self.failure = Some(format!(
                        "run {run} printed no value for the metric `{name}`: {why}; it printed {}",
                        ended.stdout.digest()
                    ));
                    return;
                }
            }
        }
    }

    fn check(&mut self, workload: &Workload, surroundings: &Surroundings, filled: &Placeholders<'_>, ended: &Ended) {
        let expect = &workload.expect;
        self.checked += 1;
        if self.wrong.is_some() {
            return;
        }
        let run = filled.run;
        if let Some(file) = &expect.stdout_file {
            match fs::read(surroundings.here(&filled.fill(file))) {
                Ok(wanted) if !ended.stdout.is_cut() && wanted == ended.stdout.kept() => {}
                Ok(wanted) => {
                    self.wrong = Some(format!(
                        "run {run} printed {}, and not what is in `{file}`: {} bytes ({})",
                        ended.stdout.digest(),
                        wanted.len(),
                        digest_of(&wanted)
                    ));
                }
                Err(error) => {
                    self.failure =
                        Some(format!("`{file}`, which standard output must be equal to, cannot be read: {error}"))
                }
            }
        }
        if let Some(pattern) = &expect.stdout_matches {
            let found =
                Regex::new(pattern).is_ok_and(|regex| regex.is_match(&String::from_utf8_lossy(ended.stdout.kept())));
            if !found {
                self.wrong =
                    Some(format!("run {run} printed {}, in which `{pattern}` is not found", ended.stdout.digest()));
            }
        }
        let mut parts = Vec::new();
        if expect.stdout_equal {
            parts.push(ended.stdout.digest());
        }
        for file in &expect.files_equal {
            match fs::read(surroundings.here(&filled.fill(file))) {
                Ok(bytes) => parts.push(format!("`{file}` of {} bytes ({})", bytes.len(), digest_of(&bytes))),
                Err(error) => self.wrong = Some(format!("run {run} left no file `{file}`: {error}")),
            }
        }
        if parts.is_empty() {
            return;
        }
        let result = parts.join(", ");
        match &self.result {
            None => self.result = Some(result),
            Some(first) if *first == result => {}
            Some(first) => self.wrong = Some(format!("run {run} gave {result}, and an earlier run {first}")),
        }
    }

    /// Writes the sums down.
    pub fn sample(&self, samples: &mut Samples) {
        for (name, value) in &self.totals {
            samples.counter(name.clone(), *value);
        }
        let mut sorted = self.walls_ns.clone();
        sorted.sort_unstable();
        if let (Some(first), Some(last)) = (sorted.first(), sorted.last()) {
            samples.gauge("run_time_min", *first as f64);
            samples.gauge("run_time_max", *last as f64);
            let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) as f64 / 2.0;
            samples.gauge("run_time_median", middle);
            // The kernel counts what its parent held when it was started as a process's own.
            let own = own_peak_bytes();
            if self.peak_memory_bytes > own + own / 50 {
                samples.gauge("peak_memory", self.peak_memory_bytes as f64);
            } else {
                samples.absent(
                    "peak_memory",
                    format!(
                        "less than the {} MiB that the agent itself holds, below which the kernel cannot tell",
                        own >> 20
                    ),
                );
            }
        }
        for name in ["read_bytes", "storage_read_bytes"] {
            if !self.walls_ns.is_empty() && !self.totals.contains_key(name) {
                samples.absent(name, "the kernel does not tell what a process read (/proc/PID/io)");
            }
        }
    }

    /// The values that were times, as distributions.
    pub fn distributions(&self) -> BTreeMap<String, Histogram> {
        self.values.clone()
    }

    /// What must be equal in all variants.
    pub fn result(&self) -> Option<String> {
        self.result.clone()
    }

    /// What was wrong, and how much was looked at.
    pub fn checked(&self) -> (Option<String>, u64) {
        (self.wrong.clone(), self.checked)
    }

    /// What was left behind, in a sentence; empty where nothing was.
    pub fn left_behind(&self) -> String {
        if self.left_behind.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.left_behind.iter().map(|name| format!("`{name}`")).collect();
        format!("processes were alive when the program had ended, and were ended: {}", names.join(", "))
    }
}

/// Peak of resident memory of the agent, in bytes.
fn own_peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Why a run counts for nothing.
fn failure_of(workload: &Workload, run: u64, line: &str, ended: &Ended) -> Option<String> {
    let said = match ended.stderr.end() {
        end if end.is_empty() => "it printed nothing on standard error".to_owned(),
        end => format!("its standard error ends with: {end}"),
    };
    if ended.timed_out {
        return Some(format!(
            "run {run} of `{line}`: it was not done after {} and was ended; {said}; allow more with --timeout (`workload.timeout`)",
            workload.timeout
        ));
    }
    let (code, words) = ending(ended.status);
    if workload.expect.allows(code) || (workload.ignore_failure && code.is_some()) {
        return None;
    }
    Some(format!("run {run} of `{line}`: it ended with {words}; {said}"))
}
