//! An agent as a child process, leader of a process group of its own.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    io::{self, Read, Write},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use uplift_model::{
    protocol::{ALLOCATIONS_OF_AGENT, ALLOCATIONS_VARIABLE},
    trial::{Failure, FailureKind},
};

use super::{
    AgentHandle, Exit, Launch, LaunchOrder,
    family::{self, Family, Leftovers, MARK, Memory},
};
use crate::sides;

/// How much of stderr is kept.
const STDERR_TAIL_BYTES: usize = 8 << 10;

/// How long the end of stderr is waited for when the agent and all that it started are gone.
const STDERR_END_TIMEOUT: Duration = Duration::from_secs(1);
/// Looking at all processes takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 20;

/// Starts agents as child processes: `<binary> agent`.
#[derive(Clone, Debug, Default)]
pub struct ProcessLauncher {
    left: Arc<Mutex<LeftBehind>>,
}

/// Processes that outlived their agent, by name.
#[derive(Debug, Default)]
struct LeftBehind {
    ended: BTreeMap<String, u32>,
    alive: Vec<String>,
}

impl Launch for ProcessLauncher {
    fn name(&self) -> &'static str {
        "process"
    }

    fn start(&self, order: &LaunchOrder) -> Result<Box<dyn AgentHandle>, Failure> {
        // The link of the running process and not its path: a build that replaces the file in the middle of a run
        // must not change what is measured.
        let binary = order.binary.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let mut command = Command::new(&binary);
        let mark = family::new_mark();
        command.arg("agent").env(MARK, &mark).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if order.counts_allocations {
            command.env(ALLOCATIONS_VARIABLE, ALLOCATIONS_OF_AGENT);
        }
        let data_dir = spoken(&mut command, &binary, &order.data_dir)?;
        // SAFETY: prctl is async-signal-safe and touches only the new process.
        unsafe {
            command.pre_exec(|| {
                // When the harness dies by SIGKILL, its agents go with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(|error| {
            failure(format!("could not start `{} agent`: {error}{}", binary.display(), remedy(&error)))
        })?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take();
        let family = RefCell::new(Watched {
            family: Family::new(child.id(), mark),
            others: Memory::default(),
            next_look: Instant::now(),
        });
        let mut handle = ProcessHandle {
            child,
            family,
            data_dir,
            tail: Arc::clone(&tail),
            reader: None,
            exit: None,
            killed: false,
            left: Arc::clone(&self.left),
        };
        if let Some(stderr) = stderr {
            let reader = thread::Builder::new().name("agent-stderr".to_owned()).spawn(move || keep_tail(stderr, &tail));
            // Where it fails, dropping the handle ends the agent.
            handle.reader = Some(reader.map_err(|error| {
                failure(format!("a thread that reads the agent's stderr cannot be started: {error}{}", remedy(&error)))
            })?);
        }
        Ok(Box::new(handle))
    }

    fn warnings(&self) -> Vec<String> {
        let left = self.left.lock();
        let mut warnings = Vec::new();
        if !left.ended.is_empty() {
            let names: Vec<String> = left.ended.iter().map(|(name, count)| format!("{count} × `{name}`")).collect();
            warnings.push(format!(
                "processes that agents had started outlived them and were ended: {}; a target must end what it starts before its report",
                names.join(", ")
            ));
        }
        if !left.alive.is_empty() {
            warnings.push(format!(
                "processes that agents had started outlived them and cannot be ended: {}; end them yourself",
                left.alive.join(", ")
            ));
        }
        warnings
    }
}

/// The data directory as the conversation, which is text, can say it: where the path is not text, as a name in the
/// agent's working directory.
fn spoken(command: &mut Command, binary: &Path, data_dir: &Path) -> Result<String, Failure> {
    if let Some(text) = data_dir.to_str() {
        return Ok(text.to_owned());
    }
    match (data_dir.parent(), data_dir.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) if binary.is_absolute() => {
            command.current_dir(parent);
            Ok(name.to_owned())
        }
        _ => Err(failure(format!(
            "the data directory `{}` has a path that is not UTF-8, and the agent cannot be told of it; name another with --data-dir",
            data_dir.display()
        ))),
    }
}

fn failure(message: String) -> Failure {
    Failure {
        kind: FailureKind::Launch,
        phase: "launch".to_owned(),
        message,
        stderr_tail: String::new(),
        problem: None,
    }
}

/// What helps where the system refuses a process or a thread.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "; a limit on processes is reached: raise it with `ulimit -u`, or end other processes"
        }
        io::ErrorKind::OutOfMemory => "; the machine has no memory left for another process",
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            "; a limit on open files is reached: raise it with `ulimit -n`"
        }
        _ => "",
    }
}

fn keep_tail(mut stderr: impl Read, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(read) = stderr.read(&mut buffer) {
        if read == 0 {
            return;
        }
        let mut tail = tail.lock();
        tail.extend(&buffer[..read]);
        let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }
}

/// Keeps every thread of a process on these CPUs. A thread inherits them from the one that starts it, so that one that
/// is not seen yet was started by one that was not kept yet: looked again until nothing is new.
fn keep_all_threads(process: u32, cpus: &[u32]) -> io::Result<()> {
    let mut kept = BTreeSet::new();
    loop {
        let before = kept.len();
        // A process that has ended needs no CPUs.
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Ok(()) };
        let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for thread in threads.collect::<Vec<u32>>() {
            if kept.insert(thread) {
                sides::keep(thread, cpus)?;
            }
        }
        if kept.len() == before {
            return Ok(());
        }
    }
}

struct ProcessHandle {
    child: Child,
    family: RefCell<Watched>,
    data_dir: String,
    tail: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<JoinHandle<()>>,
    exit: Option<Exit>,
    killed: bool,
    left: Arc<Mutex<LeftBehind>>,
}

/// The agent's family and what was last seen of it.
struct Watched {
    family: Family,
    others: Memory,
    next_look: Instant,
}

impl ProcessHandle {
    /// Whether the leader has ended; it is not reaped, so that its group can still be named. With `wait`, once it has.
    fn leader_ended(&self, wait: bool) -> bool {
        let options = libc::WEXITED | libc::WNOWAIT | if wait { 0 } else { libc::WNOHANG };
        // SAFETY: a zeroed siginfo is valid, the id is the child's, and its field is what waitid fills.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, self.child.id(), &raw mut info, options) == 0 && info.si_pid() != 0
        }
    }

    fn note(&self, leftovers: Leftovers) {
        let mut left = self.left.lock();
        for name in leftovers.ended {
            *left.ended.entry(name).or_default() += 1;
        }
        left.alive.extend(leftovers.alive);
    }
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
        let leader = family::memory(self.child.id())?;
        let mut watched = self.family.borrow_mut();
        let begun = Instant::now();
        // All processes of the machine are looked at, which takes its time: no more than a small share of all of it.
        if begun >= watched.next_look {
            watched.others = watched.family.memory_of_others();
            watched.next_look = Instant::now() + begun.elapsed() * LOOK_SHARE;
        }
        Some(leader.and(watched.others).bytes())
    }

    fn keep_on(&mut self, cpus: &[u32]) -> Result<(), String> {
        let members = self.family.get_mut().family.members();
        for member in members {
            keep_all_threads(member, cpus)
                .map_err(|error| format!("process {member} cannot be kept on the CPUs {cpus:?}: {error}"))?;
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.exit.is_some() || self.leader_ended(false)
    }

    fn stderr_tail(&self) -> String {
        let tail = self.tail.lock();
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn kill(&mut self) {
        if self.exit.is_none() {
            self.killed = true;
            let group = -(self.child.id() as libc::pid_t);
            // All at once: clients stop, then servers in sessions of their own die, before they lose the parent by whom they
            // are found and before any goes on with what it still has to write, then the agent.
            // SAFETY: the group is the child's own (process_group(0)), and the child is not reaped yet, so its id is
            // not anybody else's.
            unsafe { libc::kill(group, libc::SIGSTOP) };
            self.family.get_mut().family.kill_others();
            // SAFETY: as above.
            unsafe { libc::kill(group, libc::SIGKILL) };
        }
    }

    fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        self.leader_ended(true);
        let killed = self.killed;
        // Whatever the agent left behind ends with it, in its group or not.
        let mut leftovers = self.family.get_mut().family.end();
        if killed {
            leftovers.ended.clear();
        }
        self.note(leftovers);
        let exit = match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Err(_) => Exit::Unknown,
        };
        self.exit = Some(exit.clone());
        // Somebody may hold stderr open whom the harness does not know.
        let deadline = Instant::now() + STDERR_END_TIMEOUT;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
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
