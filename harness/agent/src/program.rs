//! The `main` of a program that brings targets of its own and nothing else of uplift.
//!
//! `my-bench agent` serves a trial. Every other command line is that of `uplift`, which is found in the search path and is
//! told that the targets are this program's: so a benchmark needs the SDK to build, and neither the harness nor its reports.

use std::{
    env, io,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use uplift_instrument::{allocations, sampler::StackSampler};
use uplift_sdk::TargetFactory;

/// Names the program whose targets `uplift` is to measure.
const AGENT: &str = "UPLIFT_AGENT";
/// Where `uplift` is, if not in the search path.
const HARNESS: &str = "UPLIFT_BIN";
/// The exit code of uplift where something around it is missing.
const FAILED: u8 = 5;

/// Executes the command line of the process for these targets; `sampler` takes profiles.
pub fn main(targets: &[&dyn TargetFactory], sampler: Option<&dyn StackSampler>) -> ExitCode {
    if env::args_os().nth(1).is_some_and(|command| command == "agent") {
        // A file that reaches `ulimit -f` is then an error with a sentence and not a signal.
        // SAFETY: ignoring a signal takes no handler.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        return agent(targets, sampler);
    }
    let own = match env::current_exe() {
        Ok(own) => own,
        Err(error) => {
            eprintln!("could not find the running program: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let harness = env::var_os(HARNESS).filter(|path| !path.is_empty()).unwrap_or_else(|| "uplift".into());
    let error = Command::new(&harness).args(env::args_os().skip(1)).env(AGENT, own).exec();
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "; install it, or say where it is with UPLIFT_BIN",
        _ => "",
    };
    eprintln!("could not start `{}`, which measures what this program serves: {error}{fix}", harness.display());
    ExitCode::from(FAILED)
}

/// Serves one trial over standard input and output, also as the first process of a container.
pub fn agent(targets: &[&dyn TargetFactory], sampler: Option<&dyn StackSampler>) -> ExitCode {
    allocations::begin_with_library();
    first_process().unwrap_or_else(|| crate::serve(targets, sampler))
}

/// The first process of a container is not like others: signals without a handler do nothing to it, not even its own
/// `abort`, and orphans become its children. So it serves nothing, but waits for a child that does. `None`: this is
/// that child, or no container.
fn first_process() -> Option<ExitCode> {
    if std::process::id() != 1 {
        return None;
    }
    // SAFETY: nothing has started a thread yet, so the child is a whole process.
    let child = unsafe { libc::fork() };
    if child == 0 {
        return None;
    }
    if child < 0 {
        eprintln!("uplift agent: the first process of the container cannot fork: {}", io::Error::last_os_error());
        return Some(ExitCode::FAILURE);
    }
    // The conversation is the child's: its end must be seen when the child closes it.
    // SAFETY: nothing in this process reads or writes these descriptors.
    unsafe {
        libc::close(0);
        libc::close(1);
    }
    loop {
        let mut status = 0;
        // SAFETY: the pointer is valid for an int.
        let ended = unsafe { libc::wait(&raw mut status) };
        if ended == child && libc::WIFEXITED(status) {
            return Some(ExitCode::from(libc::WEXITSTATUS(status) as u8));
        }
        if ended == child {
            return Some(ExitCode::from(128 + libc::WTERMSIG(status) as u8));
        }
        if ended < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Some(ExitCode::FAILURE);
        }
    }
}
