//! The seam between the agent and a stack sampler: the agent does not depend on a profiler.

use uplift_model::protocol::Profiled;

use crate::calls::Tail;

/// Samples stacks of the agent's process. Implemented outside, so that targets do not depend on a profiler.
pub trait StackSampler: Sync {
    /// Starts sampling every thread, those born later included; with `moments` it remembers when each sample was taken.
    ///
    /// # Errors
    /// Why nothing can be sampled here, and the fix.
    fn start(&self, frequency_hz: u32, off_cpu: bool, moments: bool) -> Result<Box<dyn RunningSampler>, String>;
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
