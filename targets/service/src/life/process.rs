//! A service that is a process of ours: the leader of a session, with whatever it starts.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use procfs_core::{FromRead as _, process::Stat};
use uplift_command::{invocation::in_search_path, run::ending};
use uplift_sdk::{TargetError, TargetErrorKind};

use super::{Home, Janitor, Placeholders, Plan, files};

/// How often the end of a process is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// How often what is left is killed again: it may just have started another.
const SWEEPS_MAX: u32 = 500;

/// The running service.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    pid: u32,
    signal: i32,
    signal_name: String,
    grace: Duration,
}

/// A process that can be started, from a line of the scenario.
fn command(plan: &Plan, home: &Home, line: &str, filled: &Placeholders) -> Result<Command, TargetError> {
    let context = || format!("starting `{line}`");
    let words = files::words(line, plan, filled).map_err(|why| TargetError::engine(context(), why))?;
    let settings = &plan.variant.settings;
    let dir = settings.dir.as_deref().map_or_else(|| home.data.clone(), |dir| PathBuf::from(files::fill(dir, filled)));
    let program = &words[0];
    let found = if program.contains('/') {
        // From uplift's folder, as everything that a scenario names.
        std::path::absolute(program).ok().filter(|path| path.exists())
    } else {
        in_search_path(program, settings.env.get("PATH").map(String::as_str))
    };
    let Some(found) = found else {
        let known = plan.workload.service;
        let name = known.map_or_else(String::new, |known| format!("{}: ", known.name()));
        let package = known.map_or_else(
            || format!("install `{program}`, or name it with its folder in `start`"),
            |known| format!("install it (Debian: {}), or name another program in `start`", known.package()),
        );
        let state = format!("{name}there is no program `{program}` on this machine");
        let missing = known.map_or(program.as_str(), |known| known.name());
        let kind = TargetErrorKind::Unavailable { state, remedy: package };
        return Err(TargetError::new(context(), kind).missing(missing));
    };
    let log = OpenOptions::new().create(true).append(true).open(&home.log);
    let log = log.and_then(|log| Ok((log.try_clone()?, log)));
    let (out, err) = log.map_err(|error| TargetError::new(format!("opening `{}`", home.log.display()), error))?;
    let mut command = Command::new(found);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::null()).stdout(out).stderr(err);
    command.envs(settings.env.iter().map(|(name, value)| (name, files::fill(value, filled))));
    // SAFETY: both calls are async-signal-safe and concern the new process alone: it leads a session, so that signals to
    // our group do not reach it and all that it starts can be found, and it ends with the thread that set the trial up,
    // which is the agent's first.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    Ok(command)
}

/// Runs a line to its end.
pub fn run_once(plan: &Plan, home: &Home, line: &str, filled: &Placeholders) -> Result<(), TargetError> {
    let context = || format!("running `{line}`");
    let status = command(plan, home, line, filled)?.status().map_err(|error| TargetError::new(context(), error))?;
    if status.success() {
        return Ok(());
    }
    let why = format!("it ended with {}", ending(status.into_raw()).1);
    Err(TargetError::engine(context(), super::with_log(&why, &files::log_end(&home.log))))
}

impl Process {
    /// Starts the service.
    pub fn start(
        plan: &Plan,
        home: &Home,
        line: &str,
        filled: &Placeholders,
        janitor: Option<&Janitor>,
    ) -> Result<Self, TargetError> {
        let mut command = command(plan, home, line, filled)?;
        let child = command.spawn().map_err(|error| TargetError::new(format!("starting `{line}`"), error))?;
        let stop = &plan.workload.stop;
        let process = Self {
            pid: child.id(),
            child: Mutex::new(child),
            signal: stop.number().unwrap_or(libc::SIGTERM),
            signal_name: stop.signal.clone(),
            grace: stop.grace.0,
        };
        if let Some(janitor) = janitor {
            janitor.watch(process.pid);
        }
        Ok(process)
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, where it has.
    pub fn has_ended(&self) -> Option<String> {
        let mut child = self.child.lock();
        match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(match ending(status.into_raw()) {
                (Some(0), _) => {
                    "the service ended with exit status 0; it must stay in the foreground, and end when it is told to"
                        .to_owned()
                }
                (_, words) => format!("the service ended with {words}"),
            }),
            Err(error) => Some(format!("the service cannot be waited for: {error}")),
        }
    }

    /// All processes of its session.
    pub fn members(&self) -> Vec<u32> {
        let member = |pid: u32| session_of(pid).is_some_and(|(session, zombie)| session == self.pid && !zombie);
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&pid| member(pid)).collect()
    }

    /// Signals it, waits, and ends what is left.
    pub fn stop(self) -> Result<(), String> {
        let began = Instant::now();
        let mut killed = None;
        if self.has_ended().is_none() {
            // SAFETY: the child is ours and not waited for, so its id is nobody else's.
            unsafe { libc::kill(self.pid as libc::pid_t, self.signal) };
            while self.has_ended().is_none() {
                if began.elapsed() >= self.grace {
                    killed = Some(format!(
                        "the service did not end within {:?} of SIG{} and was killed",
                        self.grace,
                        self.signal_name.trim_start_matches("SIG")
                    ));
                    break;
                }
                thread::sleep(LOOK);
            }
        }
        drop(self);
        killed.map_or(Ok(()), Err)
    }
}

impl Drop for Process {
    /// Whatever is left of the session ends here.
    fn drop(&mut self) {
        for _ in 0..SWEEPS_MAX {
            let left = self.members();
            for &pid in &left {
                // SAFETY: it was just seen as a member of the session that our child leads.
                unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
            }
            let leads = self.has_ended().is_none();
            if left.is_empty() && !leads {
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// The session of a process, and whether it only waits to be waited for.
fn session_of(pid: u32) -> Option<(u32, bool)> {
    let stat = Stat::from_file(format!("/proc/{pid}/stat")).ok()?;
    Some((u32::try_from(stat.session).ok()?, matches!(stat.state, 'Z' | 'X')))
}
