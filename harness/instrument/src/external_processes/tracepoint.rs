//! Counts sync calls of other processes by tracepoints of the kernel.
//!
//! Where the process works on ext4, the tracepoint of that file system is used: it costs nothing elsewhere. Otherwise
//! the tracepoints of the system calls: while they are in use every system call of the machine takes longer by 25 to
//! 120 ns, the same for both variants of a block.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
};

use perf_event_open_sys::{bindings as sys, ioctls, perf_event_open};
use uplift_model::trial::SyncKind;

use super::tree;

/// One kind of call: the tracepoint, and the filter that leaves only this kind.
pub(crate) struct Point {
    pub(crate) kind: SyncKind,
    pub(crate) event: &'static str,
    pub(crate) filter: Option<&'static str>,
}

const EXT4: [Point; 2] = [
    Point { kind: SyncKind::Fsync, event: "ext4/ext4_sync_file_enter", filter: Some("datasync == 0") },
    Point { kind: SyncKind::Fdatasync, event: "ext4/ext4_sync_file_enter", filter: Some("datasync == 1") },
];
/// As the system calls begin: on every file system, whatever comes of them.
pub(crate) const CALLS: [Point; 4] = [
    Point { kind: SyncKind::Fsync, event: "syscalls/sys_enter_fsync", filter: None },
    Point { kind: SyncKind::Fdatasync, event: "syscalls/sys_enter_fdatasync", filter: None },
    Point { kind: SyncKind::SyncFileRange, event: "syscalls/sys_enter_sync_file_range", filter: None },
    Point { kind: SyncKind::Syncfs, event: "syscalls/sys_enter_syncfs", filter: None },
];
/// `statfs` calls ext2, ext3 and ext4 by this number.
const EXT4_MAGIC: i64 = 0xEF53;

/// Open counters: for each kind of call one for every process that was alive, which its children inherit.
#[derive(Debug, Default)]
pub struct SyncCounters {
    counters: Vec<(SyncKind, Vec<OwnedFd>)>,
    ext4: bool,
}

impl SyncCounters {
    /// Opens counters for the processes `roots` and their children.
    ///
    /// # Errors
    /// Why they are not available, and the fix.
    pub fn open(roots: &[u32]) -> Result<Self, String> {
        let ext4 = roots.iter().all(|&pid| works_on_ext4(pid));
        let points: &[Point] = if ext4 { &EXT4 } else { &CALLS };
        let ids = ids(points).map_err(|error| {
            format!(
                "sync calls of processes outside the agent are counted by tracepoints, and their numbers cannot be read: {error}; mount tracefs (mount -t tracefs none /sys/kernel/tracing) and make it readable"
            )
        })?;
        let mut counters = Vec::new();
        for (point, id) in points.iter().zip(ids) {
            let mut events = Vec::new();
            for pid in tree::of(roots) {
                match open(id, pid, point.filter) {
                    Ok(event) => events.push(event),
                    // It has ended since it was listed.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => {
                        return Err(format!(
                            "sync calls of process {pid} cannot be counted by the tracepoint `{}`: {error}; run as root, or set kernel.perf_event_paranoid to -1",
                            point.event
                        ));
                    }
                }
            }
            counters.push((point.kind, events));
        }
        Ok(Self { counters, ext4 })
    }

    /// Calls of each kind so far.
    pub fn read(&self) -> Vec<(SyncKind, u64)> {
        self.counters.iter().map(|(kind, events)| (*kind, events.iter().map(value).sum())).collect()
    }

    /// How the calls are counted.
    pub fn collector(&self) -> &'static str {
        if self.ext4 { "tracepoint ext4:ext4_sync_file_enter" } else { "tracepoints syscalls:sys_enter_*sync*" }
    }

    /// What that cannot see.
    pub fn blind_spots(&self) -> &'static [&'static str] {
        if self.ext4 { &["sync_file_range and syncfs outside the agent"] } else { &["msync outside the agent"] }
    }
}

pub(crate) fn value(event: &OwnedFd) -> u64 {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is valid for the length given.
    let read = unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    if read == count.len() as isize { u64::from_ne_bytes(count) } else { 0 }
}

pub(crate) fn open(id: u64, pid: u32, filter: Option<&str>) -> io::Result<OwnedFd> {
    let mut attributes = sys::perf_event_attr {
        type_: sys::PERF_TYPE_TRACEPOINT,
        size: size_of::<sys::perf_event_attr>() as u32,
        config: id,
        ..Default::default()
    };
    attributes.set_inherit(1);
    attributes.set_disabled(u64::from(filter.is_some()));
    // SAFETY: the attributes are initialised and say their own size; the descriptor is new and nobody else's.
    let event = unsafe {
        let descriptor =
            perf_event_open(&raw mut attributes, pid as libc::pid_t, -1, -1, sys::PERF_FLAG_FD_CLOEXEC.into());
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(descriptor)
    };
    if let Some(filter) = filter {
        let filter = CString::new(filter)?;
        // SAFETY: the descriptor is a tracepoint event, the filter a C string that outlives the call.
        let failed = unsafe {
            ioctls::SET_FILTER(event.as_raw_fd(), filter.as_ptr().cast_mut()) < 0
                || ioctls::ENABLE(event.as_raw_fd(), 0) < 0
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// Whether the working directory of `pid` is on ext4: a database server's is that of its data.
fn works_on_ext4(pid: u32) -> bool {
    let Ok(path) = CString::new(PathBuf::from(format!("/proc/{pid}/cwd")).as_os_str().as_bytes()) else { return false };
    // SAFETY: an all-zero statfs is valid, and is written by the call below.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a valid pointer.
    unsafe { libc::statfs(path.as_ptr(), &raw mut found) == 0 && found.f_type as i64 == EXT4_MAGIC }
}

/// The kernel's numbers of the tracepoints. Where tracefs is mounted nowhere it is mounted where nobody else sees it.
pub(crate) fn ids(points: &[Point]) -> io::Result<Vec<u64>> {
    let mounted = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(Path::new);
    if let Some(root) = mounted.into_iter().find(|root| root.join("events").is_dir()) {
        return ids_below(root, points);
    }
    thread::scope(|scope| {
        // A thread of its own: it leaves the file system name space of the process, and takes the mount away with it.
        let private = scope.spawn(|| {
            let root = Path::new("/sys/kernel/tracing");
            // SAFETY: unshare concerns the calling thread; the strings are literals and outlive the calls.
            let failed = unsafe {
                libc::unshare(libc::CLONE_NEWNS) < 0
                    || libc::mount(
                        c"none".as_ptr(),
                        c"/".as_ptr(),
                        std::ptr::null(),
                        libc::MS_REC | libc::MS_PRIVATE,
                        std::ptr::null(),
                    ) < 0
                    || libc::mount(
                        c"none".as_ptr(),
                        c"/sys/kernel/tracing".as_ptr(),
                        c"tracefs".as_ptr(),
                        0,
                        std::ptr::null(),
                    ) < 0
            };
            if failed { Err(io::Error::last_os_error()) } else { ids_below(root, points) }
        });
        private.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looked for them ended")))
    })
}

fn ids_below(root: &Path, points: &[Point]) -> io::Result<Vec<u64>> {
    points
        .iter()
        .map(|point| {
            let path = root.join("events").join(point.event).join("id");
            let text = fs::read_to_string(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))?;
            text.trim().parse().map_err(io::Error::other)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        process::{Command, Stdio},
    };

    use super::*;

    /// A child that syncs a file in a child of its own when it is told to.
    #[test]
    fn every_sync_call_of_a_process_and_its_children_is_counted() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let script = "echo ready; read go; for i in 1 2 3; do dd if=/dev/zero of=f bs=16 count=1 conv=fsync status=none; \
                      dd if=/dev/zero of=f bs=16 count=1 conv=fdatasync status=none; done; echo done; read end";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let counters = SyncCounters::open(&[child.id()]);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "done");
        let counted = counters.as_ref().map(SyncCounters::read);
        stdin.write_all(b"end\n").unwrap();
        child.wait().unwrap();
        match counted {
            Ok(counted) => {
                let of = |kind| counted.iter().find(|(k, _)| *k == kind).map(|(_, calls)| *calls);
                assert_eq!((of(SyncKind::Fsync), of(SyncKind::Fdatasync)), (Some(3), Some(3)));
            }
            Err(reason) => {
                // Without the right to trace there is a reason with a fix, and root on this kernel has the right.
                assert!(reason.contains("tracefs") || reason.contains("perf_event_paranoid"), "{reason}");
                eprintln!("skipped: {reason}");
            }
        }
    }
}
