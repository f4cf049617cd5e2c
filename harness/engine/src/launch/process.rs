//! An agent as a child process, leader of a process group of its own.

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use uplift_model::trial::{Failure, FailureKind};

use super::{AgentHandle, Exit, Launch, LaunchOrder};

/// How much of stderr is kept.
const STDERR_TAIL_BYTES: usize = 8 << 10;

/// Starts agents as child processes: `<binary> agent`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessLauncher;

impl Launch for ProcessLauncher {
    fn name(&self) -> &'static str {
        "process"
    }

    fn start(&self, order: &LaunchOrder) -> Result<Box<dyn AgentHandle>, Failure> {
        // The link of the running process and not its path: a build that replaces the file in the middle of a run
        // must not change what is measured.
        let binary = order.binary.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let mut command = Command::new(&binary);
        command.arg("agent").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: prctl is async-signal-safe and touches only the new process.
        unsafe {
            command.pre_exec(|| {
                // When the harness dies by SIGKILL, its agents go with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(|error| Failure {
            kind: FailureKind::Launch,
            phase: "launch".to_owned(),
            message: format!("could not start `{} agent`: {error}", binary.display()),
            stderr_tail: String::new(),
        })?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let reader = child.stderr.take().map(|stderr| {
            let tail = Arc::clone(&tail);
            thread::spawn(move || keep_tail(stderr, &tail))
        });
        Ok(Box::new(ProcessHandle {
            child,
            data_dir: order.data_dir.to_string_lossy().into_owned(),
            tail,
            reader,
            exit: None,
        }))
    }
}

fn keep_tail(mut stderr: impl Read, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(read) = stderr.read(&mut buffer) {
        if read == 0 {
            return;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..read]);
        let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }
}

struct ProcessHandle {
    child: Child,
    data_dir: String,
    tail: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<JoinHandle<()>>,
    exit: Option<Exit>,
}

impl AgentHandle for ProcessHandle {
    fn take_streams(&mut self) -> (Box<dyn Write + Send>, Box<dyn Read + Send>) {
        let input = self.child.stdin.take().expect("the streams are taken once");
        let output = self.child.stdout.take().expect("the streams are taken once");
        (Box::new(input), Box::new(output))
    }

    fn data_dir(&self) -> String {
        self.data_dir.clone()
    }

    fn memory_bytes(&self) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        // SAFETY: sysconf with a valid name has no preconditions.
        Some(pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
    }

    fn stderr_tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn kill(&mut self) {
        if self.exit.is_none() {
            // SAFETY: the group is the child's own (process_group(0)), and the child is not reaped yet, so its id is
            // not anybody else's.
            unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        }
    }

    fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        // The leader is waited for but not reaped, so that its group can still be named: whatever the agent left
        // behind in its group ends with it.
        // SAFETY: a zeroed siginfo is valid, the id is the child's.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, self.child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT);
        }
        self.kill();
        let exit = match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Err(_) => Exit::Unknown,
        };
        self.exit = Some(exit.clone());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        exit
    }
}

impl Drop for ProcessHandle {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}
