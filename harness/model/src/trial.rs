//! What one trial left behind: one line of `trials.jsonl`.
//!
//! A trial is the life of one agent process: one variant in one block. Everything that a report says is derived
//! from these lines and from `run.json`; a failed trial is a line as well.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Durability, Histogram, Problem, disk::DiskInForce, duration::HumanDuration, load_agent::LoadAgent, sampled::Sampled,
};

/// The version of the line's shape. A reader refuses a newer one.
pub const TRIAL_SCHEMA: u32 = 1;

/// One line of `trials.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// [`TRIAL_SCHEMA`] of the writer.
    pub schema: u32,
    /// `target/name` of the scenario.
    pub scenario: String,
    /// The variant's name.
    pub variant: String,
    /// The block, from 0. Trials of one block are compared with each other.
    pub block: u32,
    /// The order in which the block's agents were started, from 0.
    pub position: u32,
    /// When the agent was started, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// The machine that it ran on, where trials of a run are spread over several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The seed that the load and the target were given; equal for the variants of one block.
    pub seed: u64,
    /// What became of it.
    pub outcome: TrialOutcome,
    /// How the machine was while it ran.
    pub sentinels: Sentinels,
    /// What it measured; absent where it failed before it could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

impl Trial {
    /// Whether the trial ended well.
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, TrialOutcome::Ok) && self.measured.is_some()
    }
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TrialOutcome {
    /// It measured, drained and passed its check.
    Ok,
    /// It did not.
    Failed(Failure),
}

impl TrialOutcome {
    /// Why it did not end well.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Ok => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}

/// Why a trial failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The kind, for counting and for the exit code.
    pub kind: FailureKind,
    /// What was being done: "set-up", "turn 3", "check".
    pub phase: String,
    /// One sentence: the thing, the rule, the value.
    pub message: String,
    /// The end of what the agent wrote to stderr.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
    /// The same in its parts, where the sentence has them: what is missing, and the fix. Older records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The agent could not be started.
    Launch,
    /// Something the target needs is not there (PostgreSQL, Docker).
    Unavailable,
    /// The settings were refused by the target.
    Settings,
    /// The target answered with an error.
    Target,
    /// The correctness check failed.
    Check,
    /// The agent ended by itself: exit code or signal.
    Crashed,
    /// The agent did not answer in time and was killed.
    TimedOut,
    /// The agent was killed: out of memory.
    OutOfMemory,
    /// The disk was full.
    DiskFull,
    /// The agent said something that the protocol does not know.
    Protocol,
    /// The user interrupted the run.
    Interrupted,
}

/// What a trial measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The settings that were in force, read back from the target after set-up.
    pub effective: BTreeMap<String, String>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// The limit that the workload itself sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// Set-up time, outside every timed window.
    pub setup_ns: u64,
    /// Every measured turn in order, the dropped ones included. In `trials` mode there is one: the window.
    pub turns: Vec<TurnRecord>,
    /// How many turns at the beginning were dropped as warm-up. Operations, resources, sync calls, counters and slices
    /// count the others only; stages, distributions and events cannot be taken apart by turns and hold all of them.
    pub dropped_turns: u32,
    /// Per operation kind and group.
    pub operations: Vec<OperationRecord>,
    /// What the process used.
    pub resources: Resources,
    /// Sync calls of the process.
    pub syncs: SyncRecord,
    /// What the modelled disk did, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskInForce>,
    /// Growth of the target's counters.
    pub counters: BTreeMap<String, f64>,
    /// The target's gauges at the end.
    pub gauges: BTreeMap<String, f64>,
    /// Distributions that the target recorded itself, in nanoseconds (batch latency, recovery time).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub distributions: BTreeMap<String, Histogram>,
    /// Throughput over time; in `trials` mode slices of 100 ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
    /// What happened when: checkpoints, compactions, stalls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The target's own numbers over time, where it was asked for them under load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
    /// What the process did while it should have been idle.
    pub idle: Idle,
    /// What was still owed when the load ended.
    pub drain: Drain,
    /// The correctness check.
    pub check: Check,
    /// What came of the work, in a form that must be equal for all variants (a digest of what a program printed); absent
    /// where nothing of the kind is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The agents that sent the load, where they were others than the one that kept the system. Of a sender's own report:
    /// itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_agents: Vec<LoadAgent>,
    /// The CPUs that the system was held to, apart from those of the load; empty: it was not held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_cpus: Vec<u32>,
}

/// The limit that the workload itself sets, whatever the system does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// Operations a second that cannot be exceeded.
    pub throughput: f64,
    /// The computation in words: "2 workers / (5 activities x 10 ms)".
    pub why: String,
}

/// One turn (or the window of a `trials` trial).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnRecord {
    /// The round, from 0.
    pub index: u32,
    /// Start, nanoseconds since the agent was ready.
    pub start_ns: u64,
    /// From the release of the clients to the end of the last operation, nanoseconds.
    pub wall_ns: u64,
    /// Operations attempted.
    pub attempts: u64,
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that did nothing (conflict, not found).
    pub nothing: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Arrivals of an open load that could not be sent before the turn was given up.
    pub unsent: u64,
    /// Median response time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_p50_ns: Option<u64>,
    /// Longest response time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_max_ns: Option<u64>,
    /// CPU time of the process.
    pub cpu_ns: u64,
    /// Sync calls of the process.
    pub sync_calls: u64,
    /// From the end of the last operation until the variant was quiet.
    pub quiesce_ns: u64,
    /// Of a closed load that never pauses: for each client the time from its release to the end of its own last
    /// operation, summed over the clients. Older records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ns: Option<u64>,
    /// How many clients that sum is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Of an open load: the window of arrivals, or the time until the last arrival was sent where that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ns: Option<u64>,
    /// CPU time that the hypervisor kept for others meanwhile, over all CPUs, in the kernel's ticks of 10 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal_ns: Option<u64>,
    /// Those of the target's metrics that are one counter's growth for each of another, over this turn alone: a queue's
    /// depth, records for each batch. Where the other did not grow there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<String, f64>,
}

impl TurnRecord {
    /// The time that throughput is counted over, in nanoseconds.
    ///
    /// Of a closed load the mean busy time of its clients: a turn ends when its *last* client does, and the others are
    /// idle until then, so operations ÷ wall time depends on the shape of the latencies. Clients × operations ÷ summed
    /// busy time does not, by Wald's identity. Of an open load the window of arrivals: when the last of them happened to
    /// come says nothing about the system.
    pub fn base_ns(&self) -> f64 {
        match (self.busy_ns, self.clients, self.window_ns) {
            (Some(busy_ns), Some(clients), _) if clients > 0 => busy_ns as f64 / f64::from(clients),
            (_, _, Some(window_ns)) => window_ns as f64,
            _ => self.wall_ns as f64,
        }
    }
}

/// What one kind of operation did, for one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationRecord {
    /// The operation's kind, as the target declares it.
    pub kind: String,
    /// The group (a database, a shard), where the target has groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Successful operations.
    pub ok: u64,
    /// Operations that did nothing, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nothing: BTreeMap<String, u64>,
    /// Failed operations, by category.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, u64>,
    /// Intended start to done, of every attempt that did not fail.
    pub response: Histogram,
    /// Sent to done. Absent where it is the response time: in a closed loop without think time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Histogram>,
    /// How long failed attempts took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_response: Option<Histogram>,
}

impl OperationRecord {
    /// Successes, nothings and failures.
    pub fn attempts(&self) -> u64 {
        self.ok + self.nothing.values().sum::<u64>() + self.failed.values().sum::<u64>()
    }
}

/// What the process, and those that work for it outside, used during the kept turns. `None`: not available, with the reason in [`Resources::missing`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Wall time of the kept turns.
    pub wall_ns: u64,
    /// CPU time in user mode.
    pub cpu_user_ns: u64,
    /// CPU time in the kernel.
    pub cpu_system_ns: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
    /// Bytes the process caused to be written to storage (`write_bytes` of `/proc/self/io`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_written_bytes: Option<u64>,
    /// Bytes the process caused to be read from storage (`read_bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_read_bytes: Option<u64>,
    /// Bytes handed to write calls (`wchar`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Write calls (`syscw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_calls: Option<u64>,
    /// Peak resident memory of the whole trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_peak_bytes: Option<u64>,
    /// CPUs that the process may use.
    pub cores: u32,
    /// Why something is missing: field → reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// The kinds of sync call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncKind {
    /// `fsync`
    Fsync,
    /// `fdatasync`
    Fdatasync,
    /// `msync` with `MS_SYNC`
    Msync,
    /// `sync_file_range`
    SyncFileRange,
    /// `syncfs`
    Syncfs,
}

impl SyncKind {
    /// All kinds, in order.
    pub const ALL: [Self; 5] = [Self::Fsync, Self::Fdatasync, Self::Msync, Self::SyncFileRange, Self::Syncfs];

    /// The name of the call.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Fdatasync => "fdatasync",
            Self::Msync => "msync",
            Self::SyncFileRange => "sync_file_range",
            Self::Syncfs => "syncfs",
        }
    }
}

/// How sync calls of a program are to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncCollectorChoice {
    /// The first of the others that works here.
    #[default]
    Auto,
    /// A seccomp filter that notifies the agent: any language, static programs, without privileges.
    Seccomp,
    /// Tracepoints of the kernel: any language, with the right to trace.
    Tracepoint,
    /// A preloaded library: dynamic programs alone, with latencies.
    Preload,
    /// They are not counted.
    Off,
}

/// The sync calls of the kept turns, until the variant was quiet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncRecord {
    /// How they were counted ("interposed symbols"); `None`: they could not be, and nothing is said about them.
    pub collector: Option<String>,
    /// Why they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// What that collector cannot see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind_spots: Vec<String>,
    /// Operations in which they were counted, where that was done apart from the timed ones; absent: in all of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// Calls and latency by kind; a kind that was never called is left out.
    pub kinds: BTreeMap<SyncKind, SyncCalls>,
}

impl SyncRecord {
    /// Calls of every kind, `None` where they could not be counted.
    pub fn calls(&self) -> Option<u64> {
        self.collector.as_ref().map(|_| self.kinds.values().map(|kind| kind.calls).sum())
    }
}

/// Calls of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncCalls {
    /// How many.
    pub calls: u64,
    /// How many returned an error.
    pub errors: u64,
    /// How long each took.
    pub latency: Histogram,
}

/// Operations that ended within one slice of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Start, nanoseconds since the agent was ready.
    pub start_ns: u64,
    /// Length.
    pub duration_ns: u64,
    /// Successful operations that ended in it.
    pub ok: u64,
    /// The longest response time that ended in it; 0 where nothing ended.
    pub response_max_ns: u64,
}

/// Time that one worker spent in one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// The stage.
    pub stage: String,
    /// The worker (a thread, a partition), where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Time at work.
    pub process_ns: u64,
    /// Time blocked on a neighbour (a channel, a lock, a queue) or on the disk (a sync call).
    pub wait_ns: u64,
    /// How many spans.
    pub count: u64,
    /// Wall time of the worker during the measured turns, until the variant was quiet: what its stages and the
    /// unaccounted rest add up to. Where several clocks bear the worker's name, that of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ns: Option<u64>,
    /// How many clocks (threads, calls at a time) bear the worker's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<u32>,
}

/// Something that happened during the trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What: "checkpoint", "compaction".
    pub name: String,
    /// Start, nanoseconds since the agent was ready.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Anything worth saying: "1000 pages, busy".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What an agent did between its turns, while the other variant ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// Time between turns.
    pub wall_ns: u64,
    /// CPU time in it.
    pub cpu_ns: u64,
    /// Sync calls in it; `None` where they cannot be counted.
    pub sync_calls: Option<u64>,
}

/// The largest share of one core that an idle variant may use.
pub const IDLE_CPU_SHARE_MAX: f64 = 0.02;

/// The most sync calls that an idle variant may make in a second. None would be right but for database servers, which
/// write down every 15 seconds that they are alive.
pub const IDLE_SYNCS_PER_SECOND_MAX: f64 = 0.2;

impl Idle {
    /// The share of one core that was used while idle; `None` where there was no idle time.
    pub fn cpu_share(&self) -> Option<f64> {
        (self.wall_ns > 0).then(|| self.cpu_ns as f64 / self.wall_ns as f64)
    }

    /// Whether the variant made sync calls beyond what an idle one may.
    pub fn synced(&self) -> bool {
        let seconds = self.wall_ns as f64 / 1e9;
        self.sync_calls.is_some_and(|calls| calls as f64 > IDLE_SYNCS_PER_SECOND_MAX * seconds)
    }
}

/// What was still owed when the load ended: work acknowledged but not settled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long settling it took.
    pub duration_ns: u64,
    /// How many operations were owed; `None` where the target cannot tell.
    pub owed: Option<u64>,
    /// In words, where there is something to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The correctness check after the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Whether it passed.
    pub passed: bool,
    /// How many things were checked. A check of nothing is not a check.
    pub checked: u64,
    /// What was checked, or what was wrong, in one sentence.
    pub detail: String,
}

/// How the machine was around one trial. `None`: could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentinels {
    /// Share of the machine's CPU time that the hypervisor kept for others.
    pub steal_share: Option<f64>,
    /// Share of the machine's CPU time used by processes that are not ours.
    pub foreign_cpu_share: Option<f64>,
    /// A fixed computation, in nanoseconds: longer than its fellows means the CPU was slowed or shared.
    pub spin_ns: Option<u64>,
    /// Median of a few small fdatasync calls in the data directory, in nanoseconds.
    pub fdatasync_ns: Option<u64>,
    /// Load average of the last minute.
    pub load_1m: Option<f64>,
    /// Mean frequency of the CPUs where the system tells it, in megahertz.
    pub cpu_mhz: Option<f64>,
    /// The limit on how long idle CPUs might take to wake, in nanoseconds, read back at the end; absent where the
    /// scenario asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_latency_ns: Option<u64>,
}

impl Sentinels {
    /// Whether idle CPUs had to wake within `limit`.
    pub fn holds_cpu_latency(&self, limit: HumanDuration) -> bool {
        self.cpu_latency_ns.is_some_and(|ns| ns <= limit.as_nanos())
    }
}
