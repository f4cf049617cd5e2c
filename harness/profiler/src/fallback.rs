//! The sampler for where perf events are forbidden: the crate `pprof`, which samples by signal.
//!
//! It sees user frames only, cannot sample faster than the kernel's tick, sees no waiting thread, and does not count what
//! it loses. Each of that is said in its warnings.

use uplift_instrument::{
    calls::Tail,
    clock,
    sampler::{RunningSampler, SamplerOptions, Work},
};
use uplift_model::protocol::Profiled;

use crate::{
    fold::fold_named,
    interned_stacks::{self, Limits, Names},
};

/// A sampler at work.
pub struct SignalSampler {
    guard: pprof::ProfilerGuard<'static>,
    frequency_hz: u32,
    start_ns: u64,
    start_cpu_ns: u64,
    warnings: Vec<String>,
    not_sampled: Option<String>,
}

/// Starts sampling; `why` says why nothing better is used.
///
/// # Errors
/// Why this does not work either.
pub fn start(options: &SamplerOptions, why: String) -> Result<SignalSampler, String> {
    let &SamplerOptions { frequency_hz, off_cpu, moments, ref work, .. } = options;
    let not_sampled = match work {
        Work::Own => None,
        Work::Children => {
            return Err(format!("the programs cannot be sampled, and this agent does no work of its own: {why}"));
        }
        Work::OwnAnd(_) => Some(format!("the processes that do the work cannot be sampled: {why}")),
    };
    let mut warnings = vec![
        why,
        "sampled by signal: user frames only, at most once in each tick of the kernel, losses are not counted"
            .to_owned(),
    ];
    if off_cpu {
        warnings.push("waiting threads are not seen: that needs perf events".to_owned());
    }
    if moments {
        warnings.push(
            "the slowest calls cannot be told apart: its samples have no time; that needs perf events".to_owned(),
        );
    }
    let hz = libc::c_int::try_from(frequency_hz).map_err(|error| error.to_string())?;
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(hz)
        .build()
        .map_err(|error| format!("{}; and sampling by signal failed: {error}", warnings[0]))?;
    Ok(SignalSampler {
        guard,
        frequency_hz,
        start_ns: clock::now_ns(),
        start_cpu_ns: clock::process_cpu_ns(),
        warnings,
        not_sampled,
    })
}

impl RunningSampler for SignalSampler {
    fn name(&self) -> String {
        "pprof (user frames only)".to_owned()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn stop(self: Box<Self>, _: Option<&Tail>) -> Result<Profiled, String> {
        let (duration_ns, cpu_ns) = (clock::now_ns() - self.start_ns, clock::process_cpu_ns() - self.start_cpu_ns);
        let report = self.guard.report().build().map_err(|error| format!("could not read the samples: {error}"))?;
        let mut names = Names::default();
        let folded = fold_named(
            &mut names,
            report.data.iter().map(|(stack, count)| {
                let frames = stack
                    .frames
                    .iter()
                    .rev()
                    .flat_map(|inlined| inlined.iter().rev().map(pprof::Symbol::name))
                    .collect();
                (stack.thread_name.clone(), frames, u64::try_from(*count).unwrap_or(0))
            }),
        );
        let mut written = interned_stacks::write(&names, &[&folded.stacks], Limits::MESSAGE);
        let put_together = written.put_together[0].count;
        let (sampler, mut warnings) = (self.name(), self.warnings);
        warnings.extend(folded.complaint());
        warnings.extend(folded.complaint_of_others(put_together));
        Ok(Profiled {
            sampler,
            frequency_hz: self.frequency_hz,
            // The tick bounds what comes: a sample stands for its share of the CPU time that was used.
            sample_ns: cpu_ns as f64 / folded.total.max(1) as f64,
            symbolised_share: folded.named_share(put_together),
            frames: written.frames,
            folded: written.texts.remove(0),
            folded_off_cpu: None,
            lost: None,
            kernel_frames: false,
            duration_ns,
            operations: 0,
            warnings,
            tail: None,
            not_sampled: self.not_sampled,
            allocations: None,
        })
    }
}
