//! Numbers that an agent sends, checked on arrival: what cannot be is a failure of that trial, and no figure of a report.
//!
//! An agent may be another build, or a program of somebody else. Every count is bounded, so that sums over a trial
//! cannot overflow, and what is a part of something is not larger than it.

use crate::{
    protocol::{Profiled, Ready},
    trial::{Ceiling, Failure, FailureKind, Measured, Trial, TrialOutcome, TurnRecord},
};

/// The largest count or time that is taken: what a double still tells from its neighbours (as nanoseconds, 104 days).
pub const COUNT_MAX: u64 = 1 << 53;

/// What is wrong, in words.
type Checked = Result<(), String>;

/// Reads one of the totals of a turn.
type ReadTotal = fn(&TurnRecord) -> u64;

impl TurnRecord {
    /// What cannot be in this record by itself.
    ///
    /// # Errors
    /// The first number that cannot be, and why.
    pub fn check(&self) -> Checked {
        let turn = self.index;
        bounded(
            &format!("turn {turn}"),
            &[
                ("start_ns", self.start_ns),
                ("wall_ns", self.wall_ns),
                ("attempts", self.attempts),
                ("unsent", self.unsent),
                ("cpu_ns", self.cpu_ns),
                ("sync_calls", self.sync_calls),
                ("quiesce_ns", self.quiesce_ns),
            ],
        )?;
        let parts = [self.ok, self.nothing, self.failed].into_iter().try_fold(0u64, u64::checked_add);
        if parts != Some(self.attempts) {
            return Err(format!(
                "turn {turn}: {} operations succeeded, {} did nothing and {} failed, of {} attempts",
                self.ok, self.nothing, self.failed, self.attempts
            ));
        }
        Ok(())
    }
}

impl Measured {
    /// What cannot be in this record, by itself and beside the turns that the harness was told of while it ran.
    ///
    /// # Errors
    /// The first number that cannot be, and why.
    pub fn check_numbers(&self) -> Checked {
        self.turns.iter().try_for_each(TurnRecord::check)?;
        let totals: [(&str, ReadTotal); 5] = [
            ("attempts", |turn| turn.attempts),
            ("unsent", |turn| turn.unsent),
            ("wall_ns", |turn| turn.wall_ns),
            ("cpu_ns", |turn| turn.cpu_ns),
            ("sync_calls", |turn| turn.sync_calls),
        ];
        for (name, of) in totals {
            total("all turns", name, self.turns.iter().map(of))?;
        }
        if self.dropped_turns as usize > self.turns.len() {
            return Err(format!("{} of {} turns were dropped as warm-up", self.dropped_turns, self.turns.len()));
        }
        self.check_operations()?;
        self.check_usage()?;
        for (name, growth) in &self.counters {
            if !(growth.is_finite() && *growth >= 0.0) {
                return Err(format!("the counter `{name}` grew by {growth}; counters do not fall"));
            }
        }
        for slice in &self.slices {
            span("a slice", slice.start_ns, slice.duration_ns)?;
        }
        total("the slices", "ok", self.slices.iter().map(|slice| slice.ok))?;
        for event in &self.events {
            span(&format!("the event `{}`", event.name), event.start_ns, event.duration_ns)?;
        }
        for stage in &self.stages {
            let of = format!("the stage `{}`", stage.stage);
            let (wall_ns, count) = (stage.wall_ns.unwrap_or(0), stage.count);
            bounded(
                &of,
                &[("process_ns", stage.process_ns), ("wait_ns", stage.wait_ns), ("wall_ns", wall_ns), ("count", count)],
            )?;
        }
        total("the stages", "process_ns", self.stages.iter().map(|stage| stage.process_ns))?;
        total("the stages", "wait_ns", self.stages.iter().map(|stage| stage.wait_ns))?;
        check_ceiling(self.ceiling.as_ref())
    }

    fn check_operations(&self) -> Checked {
        for operation in &self.operations {
            let of = format!("the operation `{}`", operation.kind);
            let counts = operation.nothing.values().chain(operation.failed.values()).chain([&operation.ok]);
            total(&of, "attempts", counts.copied())?;
            bounded(&of, &[("response times", operation.response.count())])?;
        }
        let kept = self.turns.get(self.dropped_turns as usize..).unwrap_or(&[]);
        let of_turns: u64 = kept.iter().map(|turn| turn.ok).sum();
        let of_kinds = total("all operations", "ok", self.operations.iter().map(|operation| operation.ok))?;
        total("all operations", "attempts", self.operations.iter().map(|one| one.attempts()))?;
        if of_kinds > of_turns {
            return Err(format!("{of_kinds} operations succeeded by kind and {of_turns} by turn"));
        }
        Ok(())
    }

    fn check_usage(&self) -> Checked {
        let resources = &self.resources;
        let known = |value: Option<u64>| value.unwrap_or(0);
        bounded(
            "resources",
            &[
                ("wall_ns", resources.wall_ns),
                ("cpu_user_ns", resources.cpu_user_ns),
                ("cpu_system_ns", resources.cpu_system_ns),
                ("voluntary_switches", resources.voluntary_switches),
                ("involuntary_switches", resources.involuntary_switches),
                ("major_faults", resources.major_faults),
                ("storage_written_bytes", known(resources.storage_written_bytes)),
                ("storage_read_bytes", known(resources.storage_read_bytes)),
                ("written_bytes", known(resources.written_bytes)),
                ("write_calls", known(resources.write_calls)),
                ("rss_peak_bytes", known(resources.rss_peak_bytes)),
            ],
        )?;
        for (kind, calls) in &self.syncs.kinds {
            bounded(kind.name(), &[("calls", calls.calls), ("latencies", calls.latency.count())])?;
            if calls.errors > calls.calls {
                return Err(format!("{} of {} calls of {} failed", calls.errors, calls.calls, kind.name()));
            }
        }
        total("sync calls", "calls", self.syncs.kinds.values().map(|kind| kind.calls))?;
        let idle = self.idle;
        bounded("idle", &[("wall_ns", idle.wall_ns), ("cpu_ns", idle.cpu_ns), ("sync_calls", known(idle.sync_calls))])?;
        bounded(
            "the trial",
            &[
                ("setup_ns", self.setup_ns),
                ("drain duration_ns", self.drain.duration_ns),
                ("drain owed", known(self.drain.owed)),
                ("checked", self.check.checked),
            ],
        )
    }
}

impl Ready {
    /// What cannot be in it.
    ///
    /// # Errors
    /// The first number that cannot be, and why.
    pub fn check(&self) -> Checked {
        bounded("set-up", &[("setup_ns", self.setup_ns)])?;
        check_ceiling(self.ceiling.as_ref())
    }
}

impl Profiled {
    /// What cannot be in it.
    ///
    /// # Errors
    /// The first number that cannot be, and why.
    pub fn check(&self) -> Checked {
        let (lost, operations) = (self.lost.unwrap_or(0), self.operations);
        bounded("the profile", &[("duration_ns", self.duration_ns), ("operations", operations), ("lost", lost)])?;
        if let Some(allocated) = &self.allocations {
            bounded("the profile", &[("calls", allocated.calls), ("bytes", allocated.bytes)])?;
        }
        if !(0.0..=1.0).contains(&self.symbolised_share) {
            return Err(format!("{} of the stacks are whole and named, which is no share", self.symbolised_share));
        }
        if !(self.sample_ns.is_finite() && self.sample_ns >= 0.0) {
            return Err(format!("a sample stands for {} ns", self.sample_ns));
        }
        Ok(())
    }
}

impl Trial {
    /// The trial; where its numbers cannot be, as one that failed for that reason, without them.
    pub fn checked(mut self) -> Self {
        if let Some(Err(message)) = self.measured.as_ref().map(Measured::check_numbers) {
            if matches!(self.outcome, TrialOutcome::Ok) {
                self.outcome = TrialOutcome::Failed(Failure {
                    kind: FailureKind::Protocol,
                    phase: "report".to_owned(),
                    message: format!("the agent reported numbers that cannot be: {message}"),
                    stderr_tail: String::new(),
                    problem: None,
                });
            }
            self.measured = None;
        }
        self
    }
}

fn check_ceiling(ceiling: Option<&Ceiling>) -> Checked {
    match ceiling {
        Some(ceiling) if !(ceiling.throughput.is_finite() && ceiling.throughput > 0.0) => {
            Err(format!("the workload allows {} operations a second, which is no limit", ceiling.throughput))
        }
        _ => Ok(()),
    }
}

fn bounded(of: &str, numbers: &[(&str, u64)]) -> Checked {
    match numbers.iter().find(|(_, value)| *value > COUNT_MAX) {
        Some((name, value)) => Err(format!("{of}: {name} is {value}, above {COUNT_MAX}")),
        None => Ok(()),
    }
}

fn total(of: &str, name: &str, mut values: impl Iterator<Item = u64>) -> Result<u64, String> {
    let sum = values.try_fold(0u64, u64::checked_add);
    sum.filter(|sum| *sum <= COUNT_MAX).ok_or_else(|| format!("{of}: {name} add up to more than {COUNT_MAX}"))
}

fn span(of: &str, start_ns: u64, duration_ns: u64) -> Checked {
    bounded(of, &[("start_ns", start_ns), ("duration_ns", duration_ns)])
}
