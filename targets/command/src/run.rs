//! One run of one process: started, watched, waited for, and everything that it left behind ended.
//!
//! The agent adopts orphans (it is their subreaper), so that what a program starts in the background is waited for, or
//! ended and named. While the run lasts this thread waits for its end and for what it prints, in one `poll`.

use std::{
    fs,
    io::{self, Read},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    process::{Child, Command},
    time::Duration,
};

use uplift_sdk::{clock, model::protocol::GUARD_NAME, sync_collectors};

use crate::capture::Captured;

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// The longest that it may take.
    pub timeout: Duration,
    /// Whether what it prints on standard output will be looked at.
    pub keeps_stdout: bool,
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    /// From before the process was started until it was seen to have ended.
    pub wall_ns: u64,
    /// As `wait` gives it.
    pub status: i32,
    /// What the process and all its descendants used.
    pub used: Used,
    /// Standard output, where it was a pipe.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Descendants that were alive when it had ended; they were ended too.
    pub left_behind: Vec<String>,
    /// Whether it was ended because it took too long.
    pub timed_out: bool,
}

/// What processes used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// CPU time in user mode.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
    /// Peak of resident memory of the largest of them.
    pub peak_memory_bytes: u64,
    /// Page faults without reading.
    pub minor_faults: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
    /// Bytes that read calls returned; `None` where the kernel does not tell.
    pub read_bytes: Option<u64>,
    /// Bytes read from storage.
    pub storage_read_bytes: Option<u64>,
}

impl Used {
    fn add(&mut self, usage: &libc::rusage) {
        let nanos = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
        self.user_ns += nanos(usage.ru_utime);
        self.system_ns += nanos(usage.ru_stime);
        self.peak_memory_bytes = self.peak_memory_bytes.max(usage.ru_maxrss as u64 * 1024);
        self.minor_faults += usage.ru_minflt as u64;
        self.major_faults += usage.ru_majflt as u64;
        self.voluntary_switches += usage.ru_nvcsw as u64;
        self.involuntary_switches += usage.ru_nivcsw as u64;
    }
}

/// Makes orphans of this process's descendants its children, and lets it go without a controlling terminal, so that a
/// program that asks at the terminal fails instead of stopping for ever.
pub fn prepare_agent() {
    // Before this process adopts orphans: the guard must not become its child.
    guard_group();
    // SAFETY: prctl with these arguments touches only the calling process; the path is a literal; the descriptor is
    // new and closed here.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        let terminal = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if terminal >= 0 {
            libc::ioctl(terminal, libc::TIOCNOTTY);
            libc::close(terminal);
        }
    }
}

/// Starts a process that ends the agent's process group when the agent is gone: where the harness is killed its agent goes
/// with it, and the program that it runs would stay.
fn guard_group() {
    let mut ends = [0; 2];
    // SAFETY: these calls take no pointer but that of the two descriptors. After a fork the child calls only what may be
    // called then. The group is the agent's own, and the guard is in it, so its number is nobody else's.
    unsafe {
        if libc::getpgrp() != libc::getpid() || libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return;
        }
        let [closed_at_the_end, held] = ends;
        match libc::fork() {
            0 => {
                // Named before it exists: nobody sees the guard under another name.
                libc::prctl(libc::PR_SET_NAME, GUARD_NAME.as_ptr());
                if libc::fork() != 0 {
                    libc::_exit(0);
                }
                // Whoever waits for the end of the agent's streams must not wait for the guard.
                libc::dup2(closed_at_the_end, 0);
                if libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) != 0 {
                    for descriptor in 1..1024 {
                        libc::close(descriptor);
                    }
                }
                let mut byte = 0u8;
                while libc::read(0, (&raw mut byte).cast(), 1) < 0 && *libc::__errno_location() == libc::EINTR {}
                libc::kill(-libc::getpgrp(), libc::SIGKILL);
                libc::_exit(0);
            }
            between if between > 0 => {
                libc::waitpid(between, std::ptr::null_mut(), 0);
                libc::close(closed_at_the_end);
            }
            _ => {
                libc::close(closed_at_the_end);
                libc::close(held);
            }
        }
    }
}

/// Runs what `spawn` starts and returns when nothing of it is left.
///
/// # Errors
/// What the system said when the process could not be started.
pub fn run(watch: Watch, spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Ended> {
    let start_ns = clock::now_ns();
    let mut child = spawn()?;
    let pid = child.id() as libc::pid_t;
    let pidfd = open_pidfd(pid)?;
    let mut streams = [
        child.stdout.take().map(|stream| OwnedFd::from(stream).into()),
        child.stderr.take().map(|stream| OwnedFd::from(stream).into()),
    ]
    .map(|stream: Option<fs::File>| stream.inspect(|stream| unblock(stream.as_raw_fd())));
    let mut captured = [Captured::new(watch.keeps_stdout), Captured::new(false)];
    let deadline_ns = start_ns.saturating_add(u64::try_from(watch.timeout.as_nanos()).unwrap_or(u64::MAX));
    let mut timed_out = false;
    while !wait_for(&pidfd, &mut streams, &mut captured, deadline_ns) {
        if !timed_out && clock::now_ns() >= deadline_ns {
            timed_out = true;
            kill_all(&[pid as u32]);
        }
        if timed_out {
            // Ended by a signal that nothing can catch: the end comes by itself.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let wall_ns = clock::now_ns() - start_ns;
    let mut used = Used::default();
    // The process is not waited for yet, so its numbers can still be read.
    (used.read_bytes, used.storage_read_bytes) = bytes_read(pid);
    let status = reap(pid, &mut used);
    let left_behind = end_orphans(&mut used);
    for (stream, captured) in streams.iter_mut().zip(&mut captured) {
        drain(stream, captured);
    }
    let [stdout, stderr] = captured;
    Ok(Ended { wall_ns, status, used, stdout, stderr, left_behind, timed_out })
}

fn open_pidfd(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: the process is a child that is not waited for, so its id is its own; the descriptor is new.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if descriptor < 0 {
            let error = io::Error::last_os_error();
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
            return Err(error);
        }
        Ok(OwnedFd::from_raw_fd(descriptor as RawFd))
    }
}

fn unblock(descriptor: RawFd) {
    // SAFETY: fcntl on a descriptor of this process.
    unsafe { libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK) };
}

/// What is read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// Waits for the end or for output. `true`: the process has ended.
fn wait_for(
    pidfd: &OwnedFd,
    streams: &mut [Option<fs::File>; 2],
    captured: &mut [Captured; 2],
    deadline_ns: u64,
) -> bool {
    // A negative descriptor is passed over.
    let of = |descriptor: RawFd| libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let stream = |index: usize| of(streams[index].as_ref().map_or(-1, |stream| stream.as_raw_fd()));
    let mut polled = [of(pidfd.as_raw_fd()), stream(0), stream(1)];
    let left_ns = deadline_ns.saturating_sub(clock::now_ns());
    let timeout_ms = libc::c_int::try_from(left_ns.div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the array is valid for its length.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) };
    if polled[0].revents != 0 {
        return true;
    }
    for (index, (stream, captured)) in streams.iter_mut().zip(captured).enumerate() {
        if polled[index + 1].revents != 0 {
            drain(stream, captured);
        }
    }
    false
}

/// Reads what is there; at the end of the stream it is given up.
fn drain(stream: &mut Option<fs::File>, captured: &mut Captured) {
    let mut buffer = [0; BUFFER_BYTES];
    while let Some(open) = stream {
        match open.read(&mut buffer) {
            Ok(0) => *stream = None,
            Ok(read) => {
                if captured.bytes == 0 && read == BUFFER_BYTES {
                    // A program that prints much: a larger pipe wakes this thread less often. Where it may not grow it stays
                    // as it is. Most programs print little, and each run would pay for it.
                    // SAFETY: fcntl on a descriptor of this process.
                    unsafe { libc::fcntl(open.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
                }
                captured.take(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn bytes_read(pid: libc::pid_t) -> (Option<u64>, Option<u64>) {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/io")) else { return (None, None) };
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok());
    (field("rchar"), field("read_bytes"))
}

fn reap(pid: libc::pid_t, used: &mut Used) -> i32 {
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid.
    while unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return status;
        }
    }
    used.add(&usage);
    status
}

/// Waits for orphans that have ended, and ends those that have not; returns the names of these.
fn end_orphans(used: &mut Used) -> Vec<String> {
    let mut named = Vec::new();
    loop {
        // SAFETY: an all-zero rusage is valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let mut status = 0;
        // Blocking once they were sent their end: nothing else can happen to them.
        let options = if named.is_empty() { libc::WNOHANG } else { 0 };
        // SAFETY: both pointers are valid.
        match unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) } {
            0 => {
                let mut alive = children();
                alive.sort_unstable();
                if named.is_empty() {
                    named.extend(alive.iter().map(|&pid| name_of(pid)));
                }
                if named.is_empty() {
                    // The kernel does not list children; without their ids they cannot be ended.
                    return vec!["a process whose name the kernel does not tell".to_owned()];
                }
                kill_all(&alive);
            }
            reaped if reaped > 0 => {
                used.add(&usage);
                if !named.is_empty() {
                    // Its own children are ours now.
                    kill_all(&children());
                }
            }
            _ => return named,
        }
    }
}

/// The children of this process, and theirs.
fn children() -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    let mut open = vec![std::process::id()];
    while let Some(pid) = open.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let found = text.split_whitespace().filter_map(|child| child.parse::<u32>().ok());
            for child in found.filter(|child| !all.contains(child)).collect::<Vec<_>>() {
                all.push(child);
                open.push(child);
            }
        }
    }
    all
}

fn name_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let line = line.trim();
    if line.is_empty() {
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .map_or_else(|_| format!("process {pid}"), |comm| comm.trim().to_owned())
    } else {
        line.chars().take(80).collect()
    }
}

fn kill_all(pids: &[u32]) {
    for &pid in pids {
        // SAFETY: descendants of this process that nobody else waits for: their ids are their own until then.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
    }
}

/// How a process ended, in words; `None`: with exit status `code`.
pub fn ending(status: i32) -> (Option<i32>, String) {
    if libc::WIFEXITED(status) {
        let code = libc::WEXITSTATUS(status);
        return (Some(code), format!("exit status {code}"));
    }
    let signal = libc::WTERMSIG(status);
    let name = match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    };
    (None, format!("signal {signal}{name}"))
}

/// Starts `command` in the calling thread; on a modelled disk, from the one whose programs are held to it.
pub fn spawn(command: Command) -> io::Result<Child> {
    sync_collectors::spawn(command)
}
