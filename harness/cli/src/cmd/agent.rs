//! `uplift agent`: what the harness starts for each trial. Not for people.

use std::process::ExitCode;

use uplift_sdk::TargetFactory;

/// Serves one trial over standard input and output.
pub fn serve(targets: &[&'static dyn TargetFactory]) -> ExitCode {
    if let Some(code) = first_process() {
        return code;
    }
    let targets: Vec<&dyn TargetFactory> = targets.iter().map(|target| *target as &dyn TargetFactory).collect();
    uplift_agent::serve(&targets, Some(&uplift_profiler::Sampler))
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
        eprintln!("uplift agent: the first process of the container cannot fork: {}", std::io::Error::last_os_error());
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
        if ended < 0 && std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return Some(ExitCode::FAILURE);
        }
    }
}
