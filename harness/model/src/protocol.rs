//! What harness and agent say to each other: JSON lines, one message a line, requests answered in order.
//!
//! The agent reads requests from its standard input and answers on its standard output, both of which it first moves
//! to descriptors of its own, so that a library that prints cannot break into the conversation. A target in another
//! language speaks the same lines. A message that either side does not know ends the trial with a sentence.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{
    Durability, Histogram, Table,
    crash::Audit,
    description::DescribedTarget,
    disk::DiskModel,
    metric::DerivedMetric,
    scenario::Load,
    trial::{Ceiling, Failure, Measured, TurnRecord},
};

/// The version of the conversation. Both sides name theirs in the first exchange, and unequal versions end it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest line that either side reads, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// The name of a process that an agent starts to end its process group when the agent is gone. It outlives the agent by a
/// moment, and the harness does not report it as left behind.
pub const GUARD_NAME: &std::ffi::CStr = c"uplift-guard";

/// The variable with which an agent is started that will be asked what it allocates; its value is [`ALLOCATIONS_OF_AGENT`].
pub const ALLOCATIONS_VARIABLE: &str = "UPLIFT_ALLOCATIONS";

/// The agent begins anew with the library that counts what it allocates.
pub const ALLOCATIONS_OF_AGENT: &str = "agent";

/// Harness to agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who are you?
    Hello {
        /// [`PROTOCOL_VERSION`] of the harness.
        protocol: u32,
    },
    /// What can you drive? Comes before `prepare`, any number of times, and only to agents whose targets the harness does
    /// not know; answered by [`Reply::Described`].
    Describe,
    /// Would you accept this? Comes before `prepare`, any number of times, and only to such agents; answered by
    /// [`Reply::Validated`].
    Validate {
        /// The target's name.
        target: String,
        /// The scenario's workload table.
        workload: Table,
        /// The variant's settings.
        settings: Table,
    },
    /// Set up the target; untimed.
    Prepare(Box<Prepare>),
    /// Take a turn.
    Turn(TurnRequest),
    /// Take a turn that begins at an agreed moment; to an agent that sends a part of the load, and answered by
    /// [`Reply::Sent`].
    TurnAt {
        /// The turn.
        turn: TurnRequest,
        /// When it begins, by the agent's own monotonic clock.
        at_ns: u64,
    },
    /// Keep the system through a turn whose load others send, until [`Request::WatchEnd`]; to the agent that keeps it, and
    /// answered by [`Reply::Watching`] when everything has been read that is read before a turn.
    Watch(TurnRequest),
    /// The others have sent everything; answered by [`Reply::Turn`].
    WatchEnd {
        /// When the turn began, by the agent's own monotonic clock.
        at_ns: u64,
    },
    /// What does your monotonic clock say? Answered by [`Reply::Clock`].
    Clock,
    /// Start sampling stacks; answered by [`Reply::Profiling`].
    ProfileStart {
        /// Samples a second and thread.
        frequency_hz: u32,
        /// Whether stacks of threads that wait are wanted as well.
        off_cpu: bool,
        /// Whether the calls slower than this percentile (50 to 100, exclusive) are wanted apart from all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail_percentile: Option<f64>,
        /// Whether stacks of what is allocated are wanted, in the place of those of threads that run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allocations: bool,
    },
    /// Stop sampling and give the folded stacks; answered by [`Reply::Profiled`].
    ProfileStop,
    /// Open what is there of a target that died, and check it against a ledger; comes in the place of `prepare`, and is
    /// answered by [`Reply::Audited`].
    Audit(Box<AuditOrder>),
    /// Drain, check, tear down and report.
    Finish {
        /// How many turns at the beginning are warm-up and must be left out of everything summed.
        drop_turns: u32,
    },
}

/// All that a target needs to be set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The target's name.
    pub target: String,
    /// The scenario's workload table.
    pub workload: Table,
    /// The variant's settings.
    pub settings: Table,
    /// The load.
    pub load: Load,
    /// A fresh and empty directory, absolute as the agent sees it.
    pub data_dir: String,
    /// The seed of everything random in load and target.
    pub seed: u64,
    /// The longest turn that will be asked for, in nanoseconds: buffers are made for it beforehand.
    pub longest_turn_ns: u64,
    /// Width of a slice in nanoseconds; 0: no slices.
    pub slice_ns: u64,
    /// The disk to model; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskModel>,
    /// The folder of a ledger in which every client notes what it was told; absent: none is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// The agent's part where several drive one system; absent: it does everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// The part of an agent where several drive one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// It sets the system up, watches and checks it, and sends nothing.
    Keeper {
        /// The CPUs that it and what it starts are held to; empty: not held.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cpus: Vec<u32>,
    },
    /// It sends a part of the load to a system that another keeps.
    Sender {
        /// Its number among the senders, from 0.
        number: u32,
        /// How many senders there are.
        of: u32,
        /// What [`Ready::system`] of the keeper says.
        system: Table,
        /// The CPUs that it is held to; empty: not held.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cpus: Vec<u32>,
    },
}

/// What died and is to be opened again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditOrder {
    /// As the one that died was prepared; its data directory holds what is left.
    pub prepare: Prepare,
    /// The folder of its ledger.
    pub ledger: String,
    /// When it died, by the monotonic clock of the machine.
    pub cut_ns: u64,
}

/// What is left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audited {
    /// How long opening took.
    pub recovery_ns: u64,
    /// What was found; where it does not open, how much had been acknowledged.
    pub audit: Audit,
    /// What it said where it does not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_opened: Option<String>,
}

/// The phase in which a target that died is opened: a failure of it says that it does not open.
pub const RECOVERY_PHASE: &str = "recovery";

/// One turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnRequest {
    /// The round.
    pub index: u32,
    /// Whether it counts; a turn that does not is warm-up.
    pub measured: bool,
    /// When it ends.
    pub length: TurnLength,
}

/// When a turn ends. Operations under way are always finished.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnLength {
    /// After so many nanoseconds.
    Nanoseconds(u64),
    /// After so many calls of the client, over all clients.
    Operations(u64),
}

/// Agent to harness.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// I am.
    Hello(AgentHello),
    /// These I can drive.
    Described {
        /// One for each name in the hello.
        targets: Vec<DescribedTarget>,
    },
    /// Whether workload and settings are accepted.
    Validated(Validated),
    /// The target is set up.
    Ready(Ready),
    /// The turn is over and the variant is quiet.
    Turn(TurnRecord),
    /// A turn with a part of the load is over.
    Sent(Box<Sent>),
    /// The system is being watched: others may begin.
    Watching,
    /// The monotonic clock of the agent.
    Clock {
        /// What it says.
        now_ns: u64,
    },
    /// Sampling runs.
    Profiling {
        /// What samples: "perf cpu-clock", "pprof".
        sampler: String,
        /// What it cannot do here, each with its fix.
        warnings: Vec<String>,
    },
    /// The folded stacks.
    Profiled(Box<Profiled>),
    /// What is left of a target that died.
    Audited(Audited),
    /// Everything the trial measured.
    Finished(Box<Measured>),
    /// The request failed; the trial is over.
    Failed(Failure),
}

/// A turn of an agent that sends a part of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The turn as this agent saw it.
    pub record: TurnRecord,
    /// Response times of everything that did not fail: those of several agents add up exactly.
    pub response: Histogram,
}

/// Who the agent is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentHello {
    /// [`PROTOCOL_VERSION`] of the agent.
    pub protocol: u32,
    /// Version of the agent's build.
    pub version: String,
    /// Whether it was built with debug assertions: its numbers then mean nothing.
    pub debug_assertions: bool,
    /// Whether the sync probe answered when it was tried.
    pub sync_probe_live: bool,
    /// The targets it can drive.
    pub targets: Vec<String>,
}

/// Whether workload and settings are accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// The key that is wrong; absent: everything is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Metrics that follow from the workload, beside those of the description.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<DerivedMetric>,
}

/// A key of a scenario's table that a target refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Which table.
    pub table: ProblemTable,
    /// The key's path within it, outermost first; empty where the table as a whole is wrong.
    pub keys: Vec<String>,
    /// The rule that was broken, with the value.
    pub message: String,
}

/// The tables of a scenario that only its target understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemTable {
    /// `[workload]`
    Workload,
    /// `[settings]`, or the variant's own.
    Settings,
}

impl ProblemTable {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Settings => "settings",
        }
    }
}

/// The target is set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The settings in force.
    pub effective: BTreeMap<String, String>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// The workload's own limit.
    pub ceiling: Option<Ceiling>,
    /// How long set-up took.
    pub setup_ns: u64,
    /// What of the work is done by processes that the agent did not start, where there are any: they run on whatever CPUs
    /// they like, wherever the agent is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub works_elsewhere: Option<String>,
    /// Of a keeper: what a sender needs to find the system, where the target can be driven by several agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Table>,
}

/// The stacks of one profiled stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiled {
    /// What sampled.
    pub sampler: String,
    /// Samples a second that were asked for.
    pub frequency_hz: u32,
    /// Nanoseconds of CPU time that one sample stands for.
    pub sample_ns: f64,
    /// Where not empty: the names of frames. All folded texts of this profile then hold the index of a name (from 0) in
    /// the place of each; read them by [`Self::plain`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// On-CPU stacks, folded: "root;…;leaf count" lines. [`OTHER_STACKS`] is the leaf of what stands for many.
    pub folded: String,
    /// Off-CPU stacks in microseconds, where they were asked for and available.
    pub folded_off_cpu: Option<String>,
    /// Samples lost; `None`: the sampler does not count them.
    pub lost: Option<u64>,
    /// Share of samples whose stack is whole and whose every frame has a name.
    pub symbolised_share: f64,
    /// Whether kernel frames are in it.
    pub kernel_frames: bool,
    /// Length of the stretch.
    pub duration_ns: u64,
    /// Successful operations in the stretch.
    pub operations: u64,
    /// What is not available, each with its fix.
    pub warnings: Vec<String>,
    /// The slowest calls apart from all, where that was asked for and available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<TailProfile>,
    /// Why what does the work is not in this profile, where that is so: what is in it then is the load generator alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_sampled: Option<String>,
    /// What was allocated, where that was asked for: the folded stacks then hold bytes, and no samples of running threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations: Option<Allocations>,
}

/// What was allocated in a stretch, counted and not sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocations {
    /// Allocations and reallocations.
    pub calls: u64,
    /// The bytes that they asked for.
    pub bytes: u64,
}

/// The innermost frame of what stands for stacks that were too many to be told apart.
pub const OTHER_STACKS: &str = "[other stacks]";

impl Profiled {
    /// A folded text of this profile with the names of frames in it. What is no index of a name is left as it is.
    pub fn plain<'a>(&'a self, folded: &'a str) -> Cow<'a, str> {
        if self.frames.is_empty() {
            return Cow::Borrowed(folded);
        }
        let mut plain = String::new();
        for line in folded.split_inclusive('\n') {
            let (stack, count) = line.split_at(line.rfind(' ').unwrap_or(line.len()));
            for (depth, frame) in stack.split(';').enumerate() {
                if depth > 0 {
                    plain.push(';');
                }
                let name = frame.parse::<usize>().ok().and_then(|index| self.frames.get(index));
                plain.push_str(name.map_or(frame, String::as_str));
            }
            plain.push_str(count);
        }
        Cow::Owned(plain)
    }
}

/// Stacks of the client threads while they were within a call, of the slowest calls and of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailProfile {
    /// Calls at or above this percentile of service time (sent to done) are slow.
    pub percentile: f64,
    /// That percentile of this stretch.
    pub threshold_ns: u64,
    /// The slow calls.
    pub slow: CallStacks,
    /// All calls, the slow ones included.
    pub all: CallStacks,
    /// Calls that were not noted because there were too many.
    pub calls_missed: u64,
    /// On-CPU samples of no call: of other threads, and of client threads between calls.
    pub samples_elsewhere: u64,
}

/// Where the time of some calls went, on the threads that made them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallStacks {
    /// How many calls.
    pub calls: u64,
    /// Sum of their service times.
    pub service_ns: u64,
    /// On-CPU stacks, folded, in samples.
    pub folded: String,
    /// Off-CPU stacks, folded, in microseconds; `None` where they were not available.
    pub folded_off_cpu: Option<String>,
}
