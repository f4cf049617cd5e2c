//! Holds the sync calls of other programs until the modelled disk would have finished them.
//!
//! A program that is started here has the filter of the counting collector, and a notification is answered later: a thread
//! takes the very file that the program syncs (`pidfd_getfd`, so that an error of the disk reaches who has it open), carries
//! the sync out, sleeps until the modelled end and gives the program the result. Where the file cannot be taken, and for
//! `msync`, the call is held first and then let run; the model counts those apart.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    process::{Child, Command},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use libc::c_long;
use parking_lot::Mutex;

use uplift_model::Problem;

use super::{seccomp, spawner::Spawner};
use crate::{clock, disk_model};

static HOLDER: OnceLock<Result<Spawner, Problem>> = OnceLock::new();

/// Starts `command`; where a disk is modelled, so that its sync calls, and those of all its descendants, are held.
///
/// # Errors
/// What the system said, and why calls cannot be held.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    if !disk_model::is_active() {
        return command.spawn();
    }
    match HOLDER.get_or_init(open) {
        Ok(spawner) => spawner.spawn(command),
        Err(why) => Err(io::Error::other(format!(
            "the sync calls of a program cannot be held to a modelled disk: {why}; measure without one"
        ))),
    }
}

/// Whether programs were started whose sync calls are held.
pub fn is_holding() -> bool {
    matches!(HOLDER.get(), Some(Ok(_)))
}

fn open() -> Result<Spawner, Problem> {
    let (spawner, listener) = seccomp::start()?;
    let listener = Arc::new(listener);
    thread::Builder::new()
        .name("sync-holder".to_owned())
        .spawn(move || {
            let pool = Pool::new(Arc::clone(&listener));
            seccomp::listen(&listener, |notification| {
                let call = c_long::from(notification.data.nr);
                let start_ns = clock::now_ns();
                match call {
                    libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_syncfs | libc::SYS_msync => pool.give(Held {
                        id: notification.id,
                        thread: notification.pid,
                        call,
                        descriptor: notification.data.args[0] as RawFd,
                        start_ns,
                    }),
                    _ => seccomp::go_on(&listener, notification.id),
                }
            });
        })
        .map_err(|error| Problem::new("the listener could not be started").because(error.to_string()))?;
    Ok(spawner)
}

/// A call that waits for its answer.
struct Held {
    id: u64,
    /// Of the program's thread.
    thread: u32,
    call: c_long,
    descriptor: RawFd,
    start_ns: u64,
}

/// Threads that answer, as many as there ever were calls at once.
struct Pool {
    listener: Arc<OwnedFd>,
    give: Sender<Held>,
    take: Arc<Mutex<Receiver<Held>>>,
    /// Threads that nothing was given to yet. Whoever gives takes one away.
    idle: Arc<AtomicUsize>,
}

impl Pool {
    fn new(listener: Arc<OwnedFd>) -> Self {
        let (give, take) = mpsc::channel();
        Self { listener, give, take: Arc::new(Mutex::new(take)), idle: Arc::default() }
    }

    fn give(&self, held: Held) {
        let one_less = |idle: usize| idle.checked_sub(1);
        if self.idle.try_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_err() && !self.start() {
            seccomp::go_on(&self.listener, held.id);
            return;
        }
        // The receiver lives as long as this.
        let _ = self.give.send(held);
    }

    fn start(&self) -> bool {
        let (listener, take, idle) = (Arc::clone(&self.listener), Arc::clone(&self.take), Arc::clone(&self.idle));
        let work = move || {
            clock::precise_timers();
            loop {
                let held = take.lock().recv();
                let Ok(held) = held else { return };
                carry_out(&listener, &held);
                idle.fetch_add(1, Ordering::AcqRel);
            }
        };
        thread::Builder::new().name("held-sync".to_owned()).spawn(work).is_ok()
    }
}

fn carry_out(listener: &OwnedFd, held: &Held) {
    let process = process_of(held.thread);
    let file = if held.call == libc::SYS_msync { Err(None) } else { file_of(process, held.descriptor) };
    match file {
        Ok(file) => {
            // SAFETY: the program's own call on its own file, which is open here too.
            let result = unsafe { libc::syscall(held.call, file.as_raw_fd()) };
            if result == 0 {
                disk_model::hold_for(process, held.start_ns);
                seccomp::finish(listener, held.id, 0);
            } else {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
                seccomp::finish(listener, held.id, errno);
            }
        }
        // The program has no such file: it is to be told so by its own call, which flushes nothing.
        Err(Some(libc::EBADF)) => seccomp::go_on(listener, held.id),
        Err(_) => {
            disk_model::hold_for(process, held.start_ns);
            disk_model::note_held_before();
            seccomp::go_on(listener, held.id);
        }
    }
}

/// The process that a thread belongs to.
fn process_of(thread: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(thread)
}

/// An open file of another process; or the number of the error.
fn file_of(process: u32, descriptor: RawFd) -> Result<OwnedFd, Option<i32>> {
    let owned = |result: c_long| {
        if result < 0 {
            return Err(io::Error::last_os_error().raw_os_error());
        }
        // SAFETY: the call has just made this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
    };
    // SAFETY: these calls take numbers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}
