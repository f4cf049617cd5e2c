//! The seam between the agent and a stack sampler: the agent does not depend on a profiler.

use uplift_model::protocol::Profiled;

use crate::calls::Tail;

/// Whose stacks are sampled: those of the processes that do the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// The agent's own threads.
    #[default]
    Own,
    /// The processes that the agent starts while it is sampled, and all that these start; the agent itself is left out.
    Children,
    /// The agent's own threads, and these processes with all that they start.
    OwnAnd(Vec<u32>),
}

/// What is to be sampled, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplerOptions {
    /// Samples a second and thread.
    pub frequency_hz: u32,
    /// Whether stacks of threads that wait are wanted as well.
    pub off_cpu: bool,
    /// Whether the moment of each sample is remembered.
    pub moments: bool,
    /// Whose stacks.
    pub work: Work,
    /// Whether stacks of what is allocated are wanted, in the place of those of threads that run.
    pub allocations: bool,
}

/// Samples the stacks of those who work. Implemented outside, so that targets do not depend on a profiler.
pub trait StackSampler: Sync {
    /// Starts sampling every thread, those born later included.
    ///
    /// # Errors
    /// Why nothing can be sampled here, and the fix.
    fn start(&self, options: &SamplerOptions) -> Result<Box<dyn RunningSampler>, String>;
}

/// A sampler at work.
pub trait RunningSampler {
    /// What it is: "perf cpu-clock".
    fn name(&self) -> String;
    /// What it cannot do here, each with its fix.
    fn warnings(&self) -> Vec<String>;
    /// Stops and gives what was sampled, with `tail` also by the calls it fell in, where moments were asked for;
    /// `operations` of the result is filled in by the agent.
    ///
    /// # Errors
    /// Why there are no samples.
    fn stop(self: Box<Self>, tail: Option<&Tail>) -> Result<Profiled, String>;
}
