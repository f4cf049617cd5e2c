//! `uplift agent`: what the harness starts for each trial. Not for people.

use std::process::ExitCode;

use uplift_sdk::TargetFactory;

/// Serves one trial over standard input and output.
pub fn serve(targets: &[&'static dyn TargetFactory]) -> ExitCode {
    let targets: Vec<&dyn TargetFactory> = targets.iter().map(|target| *target as &dyn TargetFactory).collect();
    uplift_agent::program::agent(&targets, Some(&uplift_profiler::Sampler))
}
