//! Sync calls by a seccomp filter that notifies this process: exact for every program, static ones too, without
//! privileges.
//!
//! The thread that starts programs has the filter, and they inherit it. The kernel holds a call of interest until a
//! listener has answered; the answer is always "go on", so nothing changes but the time. The listener never waits for
//! the program: it takes a notification, counts it, and answers.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use libc::{c_long, sock_filter};
use uplift_model::{
    Histogram, Problem,
    trial::{SyncCalls, SyncKind, SyncRecord},
};

use super::{COST_CALLS, SyncCollector, plain_call, spawner::Spawner, timed_calls};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const AUDIT_ARCH: u32 = 0;

/// Where the number, the architecture and the low half of an argument stand in what a filter reads.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const fn argument_at(index: u32) -> u32 {
    16 + 8 * index
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

/// `RWF_DSYNC | RWF_SYNC` of `pwritev2`.
const WRITE_SYNC_FLAGS: u32 = 0x2 | 0x4;

/// What is counted: the kinds of sync call, and what cannot be counted by the call but is noticed.
#[derive(Default)]
struct Counts {
    calls: [AtomicU64; SyncKind::ALL.len()],
    synced_opens: AtomicU64,
    synced_writes: AtomicU64,
    rings: AtomicU64,
}

/// The filter's thread, and what the listener counted.
pub struct Seccomp {
    /// Ends the filter's last holder beside the programs; the listener ends after them.
    spawner: Spawner,
    counts: Arc<Counts>,
    /// Calls that were made to measure the cost.
    own: AtomicU64,
}

impl Seccomp {
    /// Starts the thread with the filter, and the listener.
    pub fn open() -> Result<Self, Problem> {
        let (spawner, listener) = start()?;
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        thread::Builder::new()
            .name("sync-listener".to_owned())
            .spawn(move || {
                listen(&listener, |notification| {
                    count(&counting, c_long::from(notification.data.nr));
                    go_on(&listener, notification.id);
                });
            })
            .map_err(|error| {
                Problem::new("seccomp user notification: the listener could not be started").because(error.to_string())
            })?;
        Ok(Self { spawner, counts, own: AtomicU64::new(0) })
    }
}

/// Starts a thread whose programs have the filter; and the listener's descriptor.
pub(super) fn start() -> Result<(Spawner, OwnedFd), Problem> {
    Spawner::start(|| {
        install().map_err(|error| {
            Problem::new("seccomp user notification")
                .because(error.to_string())
                .fix("use Linux 5.5 or later, and a sandbox around uplift that allows it")
        })
    })
}

const fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

const fn jump(code: u32, value: u32, on: u8, off: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | code | libc::BPF_K) as u16, jt: on, jf: off, k: value }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Lets everything pass but the calls of interest.
fn program() -> Vec<sock_filter> {
    let notify = || statement(RETURN, libc::SECCOMP_RET_USER_NOTIF);
    let allow = || statement(RETURN, libc::SECCOMP_RET_ALLOW);
    let mut filter = vec![
        statement(LOAD, ARCHITECTURE_AT),
        jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0),
        allow(),
        statement(LOAD, NUMBER_AT),
    ];
    let always =
        [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_syncfs, libc::SYS_io_uring_setup];
    for call in always {
        filter.extend([jump(libc::BPF_JEQ, call as u32, 0, 1), notify()]);
    }
    // A call that matters only with one of these bits in an argument.
    #[cfg(target_arch = "x86_64")]
    let open: &[(c_long, u32, u32)] = &[(libc::SYS_open, 1, libc::O_DSYNC as u32)];
    #[cfg(not(target_arch = "x86_64"))]
    let open: &[(c_long, u32, u32)] = &[];
    let with_bits = [
        (libc::SYS_msync, 2, libc::MS_SYNC as u32),
        (libc::SYS_openat, 2, libc::O_DSYNC as u32),
        (libc::SYS_pwritev2, 5, WRITE_SYNC_FLAGS),
    ];
    for &(call, argument, bits) in open.iter().chain(&with_bits) {
        filter.extend([
            jump(libc::BPF_JEQ, call as u32, 0, 4),
            statement(LOAD, argument_at(argument)),
            jump(libc::BPF_JSET, bits, 0, 1),
            notify(),
            allow(),
        ]);
    }
    filter.push(allow());
    filter
}

/// Puts the filter on the calling thread; returns the listener's descriptor.
fn install() -> io::Result<OwnedFd> {
    if AUDIT_ARCH == 0 {
        return Err(io::Error::other("this architecture is not known"));
    }
    let mut filter = program();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl with these arguments concerns the calling thread; the program is valid for the call, which copies it.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        let set = |flags: libc::c_ulong| {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        // A signal does not take a call away that is being answered, which would be made twice; older kernels do not know it.
        let mut listener = set(flags | WAIT_KILLABLE);
        if listener < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            listener = set(flags);
        }
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        let listener = OwnedFd::from_raw_fd(listener as RawFd);
        libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
        // Whoever waits for an answer is woken on the same CPU, which is faster; older kernels do not know it.
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1u64);
        Ok(listener)
    }
}

/// Calls `each` for every call of interest until no process with the filter is left.
pub(super) fn listen(listener: &OwnedFd, mut each: impl FnMut(&libc::seccomp_notif)) {
    let descriptor = listener.as_raw_fd();
    // A newer kernel may write more than the structure that is known here.
    let mut notification = [0u64; 64];
    loop {
        let mut polled = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut polled, 1, -1) };
        if ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if ready < 0 || polled.revents & libc::POLLIN == 0 {
            return;
        }
        notification.fill(0);
        // SAFETY: the buffer is larger than any notification, aligned, and zeroed as the kernel demands.
        let received = unsafe { libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_RECV, notification.as_mut_ptr()) };
        if received != 0 {
            // The caller was killed meanwhile, or a signal came.
            continue;
        }
        // SAFETY: the kernel has filled it, and it is aligned.
        each(unsafe { &*notification.as_ptr().cast::<libc::seccomp_notif>() });
    }
}

/// Lets call `id` run as if nobody had been asked.
pub(super) fn go_on(listener: &OwnedFd, id: u64) {
    answer(listener, id, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32);
}

/// Gives call `id` its result without running it: 0, or the number of an error.
pub(super) fn finish(listener: &OwnedFd, id: u64, errno: i32) {
    answer(listener, id, -errno, 0);
}

fn answer(listener: &OwnedFd, id: u64, error: i32, flags: u32) {
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: a valid answer. Where the caller is gone there is nobody to tell.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
}

fn count(counts: &Counts, call: c_long) {
    let kind = match call {
        libc::SYS_fsync => Some(SyncKind::Fsync),
        libc::SYS_fdatasync => Some(SyncKind::Fdatasync),
        libc::SYS_msync => Some(SyncKind::Msync),
        libc::SYS_sync_file_range => Some(SyncKind::SyncFileRange),
        libc::SYS_syncfs => Some(SyncKind::Syncfs),
        _ => None,
    };
    let counter = match (kind, call) {
        (Some(kind), _) => &counts.calls[kind as usize],
        (None, libc::SYS_io_uring_setup) => &counts.rings,
        (None, libc::SYS_pwritev2) => &counts.synced_writes,
        (None, _) => &counts.synced_opens,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

impl SyncCollector for Seccomp {
    fn spawn(&self, command: Command) -> io::Result<Child> {
        self.spawner.spawn(command)
    }

    fn record(&self) -> SyncRecord {
        let own = self.own.load(Ordering::Relaxed);
        let kinds: BTreeMap<SyncKind, SyncCalls> = SyncKind::ALL
            .into_iter()
            .map(|kind| {
                let calls = self.counts.calls[kind as usize].load(Ordering::Relaxed);
                (kind, calls - if kind == SyncKind::Fsync { own } else { 0 })
            })
            .filter(|(_, calls)| *calls > 0)
            .map(|(kind, calls)| (kind, SyncCalls { calls, errors: 0, latency: Histogram::new() }))
            .collect();
        let mut blind_spots = vec!["latency and errors of the calls".to_owned(), "files opened by openat2".to_owned()];
        let noticed = [
            (&self.counts.rings, "times io_uring was set up: what it syncs is not counted"),
            (
                &self.counts.synced_opens,
                "files were opened with O_SYNC or O_DSYNC: each write to them syncs, and is not counted",
            ),
            (&self.counts.synced_writes, "writes asked to be synced (pwritev2), and are not counted"),
        ];
        for (counter, what) in noticed {
            let times = counter.load(Ordering::Relaxed);
            if times > 0 {
                blind_spots.push(format!("{times} {what}"));
            }
        }
        SyncRecord {
            collector: Some("seccomp user notification".to_owned()),
            blind_spots,
            kinds,
            ..SyncRecord::default()
        }
    }

    fn cost_ns(&self) -> Result<f64, String> {
        let plain = timed_calls(plain_call);
        let counted = self.spawner.call(|| timed_calls(plain_call)).map_err(|error| error.to_string())?;
        self.own.fetch_add(u64::from(COST_CALLS), Ordering::Relaxed);
        Ok((counted - plain).max(0.0))
    }
}
