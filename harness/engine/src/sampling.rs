//! How stacks are sampled: what connections, blocks and profile trials share.

/// How an agent is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Samples a second and thread.
    pub frequency_hz: u32,
    /// Whether waiting threads are wanted as well.
    pub off_cpu: bool,
    /// The percentile of service time from which calls are wanted apart from all.
    pub tail_percentile: Option<f64>,
}
