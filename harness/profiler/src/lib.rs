//! Samples the stacks of those who work, the agent's own threads or other processes, and gives them folded.
//!
//! First choice is `perf_event_open` with the software clock (see [`perf`]): kernel and user frames, no external program,
//! losses counted. Where the kernel forbids it, the crate `pprof` samples the agent by signal: user frames only, and the result
//! says so. What is sampled leaves this crate as text: one line for each stack, root first, frames separated by `;`, a space,
//! the count. A kernel frame ends in `_[k]`, a frame that the compiler inlined in `_[i]`. Where that text is large, numbers
//! stand for the frames, beside a table of their names.
//!
//! This crate knows stacks, and not whose work they are of or what they mean. Not here: drawing and judging. Graphs are made from the folded text, so that they can be made again from a stored run.

pub mod allocations;
pub mod fallback;
pub mod fold;
pub mod interned_stacks;
pub mod maps;
pub mod off_cpu;
pub mod perf;
pub mod processes;
pub mod symbol;
pub mod unwind;

use std::env;

use uplift_instrument::sampler::{RunningSampler, SamplerOptions, StackSampler, Work};

/// Names the sampler to use, instead of the best that works here: "perf" or "pprof".
pub const SAMPLER_VARIABLE: &str = "UPLIFT_SAMPLER";

/// The most samples a second and thread that are accepted: beyond it a sample costs a considerable part of its period.
pub const FREQUENCY_HZ_MAX: u32 = 10_000;

/// Samples with `perf_event_open`, and with `pprof` where that is forbidden.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampler;

impl StackSampler for Sampler {
    fn start(&self, options: &SamplerOptions) -> Result<Box<dyn RunningSampler>, String> {
        let frequency_hz = options.frequency_hz;
        if !(1..=FREQUENCY_HZ_MAX).contains(&frequency_hz) {
            return Err(format!("a sampling frequency must be 1 to {FREQUENCY_HZ_MAX} Hz, not {frequency_hz}"));
        }
        if options.allocations {
            return Ok(Box::new(allocations::start(options)?));
        }
        let fallback =
            |why: String| -> Result<Box<dyn RunningSampler>, String> { Ok(Box::new(fallback::start(options, why)?)) };
        match env::var(SAMPLER_VARIABLE).as_deref() {
            Ok("pprof") => fallback(format!("{SAMPLER_VARIABLE}=pprof was set")),
            Ok("perf") => Ok(Box::new(perf::start(options)?)),
            Ok(other) => Err(format!("{SAMPLER_VARIABLE} must be perf or pprof, not `{other}`")),
            Err(_) => match perf::start(options) {
                Ok(running) => Ok(Box::new(running)),
                // Processes of another user may not be sampled where one's own may.
                Err(message) if matches!(options.work, Work::OwnAnd(_)) => {
                    match perf::start(&SamplerOptions { work: Work::Own, ..options.clone() }) {
                        Ok(running) => Ok(Box::new(running.without_the_work(message))),
                        Err(_) => fallback(message),
                    }
                }
                Err(message) => fallback(message),
            },
        }
    }
}
