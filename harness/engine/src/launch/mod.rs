//! Ways to start an agent.

mod family;
pub mod process;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::PathBuf,
};

use uplift_model::trial::Failure;

/// Starts agents in one way. A new way is a new implementation; nothing else changes.
pub trait Launch {
    /// Its name in records: "process", "docker".
    fn name(&self) -> &'static str;

    /// Its name with what matters about it: engine, limits. Two launches that are described alike are alike.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// Starts an agent.
    ///
    /// # Errors
    /// [`uplift_model::trial::FailureKind::Launch`] or `Unavailable`, with the fix in the message.
    fn start(&self, order: &LaunchOrder) -> Result<Box<dyn AgentHandle>, Failure>;

    /// What the reader of the run must know about how its agents were started.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What is to be started.
#[derive(Clone, Debug)]
pub struct LaunchOrder {
    /// The binary; `None`: the one that is running.
    pub binary: Option<PathBuf>,
    /// A fresh and empty directory on the host for the agent's data.
    pub data_dir: PathBuf,
    /// A short name for what runs: scenario, block and variant.
    pub label: String,
    /// What it is compared with: agents of one pair must run in the same place.
    pub pair: String,
    /// The most memory that the agent may use before it is killed.
    pub memory_bytes_max: u64,
    /// Whether it must be able to count what it allocates. A launcher that cannot do that starts the agent without it, and
    /// the agent says so when it is asked to count.
    pub counts_allocations: bool,
}

/// An agent that was started. Dropping it kills it and everything it started.
pub trait AgentHandle {
    /// Where to write requests and read replies. Called once.
    fn take_streams(&mut self) -> (Box<dyn Write + Send>, Box<dyn Read + Send>);

    /// The data directory as the agent sees it.
    fn data_dir(&self) -> String;

    /// Resident memory of the agent and everything it started, at the moment; `None` where it cannot be read or is
    /// limited by other means.
    fn memory_bytes(&self) -> Option<u64>;

    /// Whether the agent is known to have ended: its streams may be held open by what it started.
    fn has_ended(&self) -> bool {
        false
    }

    /// The end of what it wrote to stderr.
    fn stderr_tail(&self) -> String;

    /// Ends it and everything it started, at once.
    fn kill(&mut self);

    /// Waits for the end of the agent, which has closed its stream or was killed, and says how it ended.
    fn wait(&mut self) -> Exit;

    /// The machine that it runs on, where that is not the harness's own and not the same for every agent.
    fn place(&self) -> Option<String> {
        None
    }

    /// What can be done where the agent misses a service: what its box lacks may be there on the machine.
    fn remedy(&self) -> Option<&'static str> {
        None
    }

    /// Keeps the agent and everything it started, and will start, on these CPUs.
    ///
    /// # Errors
    /// A sentence, where that cannot be done.
    fn keep_on(&mut self, _cpus: &[u32]) -> Result<(), String> {
        Err("agents that are started in this way cannot be kept on CPUs of their own; start them as processes"
            .to_owned())
    }

    /// Called at these moments, outside every timed window, so that the launcher can read its own statistics.
    fn mark(&mut self, _moment: Moment) {}

    /// Processes of this machine that are the agent's but no children of the harness: their work is not foreign.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// What the launcher can tell about the agent's use of resources (container statistics), for the trial's gauges;
    /// and why it cannot tell the rest.
    fn observations(&mut self) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
        (BTreeMap::new(), BTreeMap::new())
    }
}

/// A moment in the life of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right before the first measured turn.
    FirstTurn,
    /// Right after the last.
    LastTurn,
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed by the system or the engine because it ran out of memory; the limit in bytes where there is one.
    OutOfMemory(Option<u64>),
    /// Whoever ran it cannot be reached any more, and why.
    Lost(String),
    /// It cannot be told.
    Unknown,
}
