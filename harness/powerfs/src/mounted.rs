//! A disk at a directory.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use crate::{
    Fault, Kept,
    disk::{Disk, Owner},
    filesystem::Requests,
    leftover::{detach, own_source},
    switch::Switch,
};

/// Threads that answer the kernel; those who wait for their death hold one each.
const THREADS: usize = 4;
/// How often an unmount is tried while the last processes end.
const UNMOUNTS: u32 = 100;

/// A disk whose power can be cut. Dropping it takes it away with all that it holds.
#[derive(Debug)]
pub struct PowerFs {
    at: PathBuf,
    switch: Arc<Switch>,
    session: Option<BackgroundSession>,
    guard: Option<Child>,
}

impl PowerFs {
    /// Mounts an empty disk of `bytes_max` bytes at an empty directory.
    ///
    /// # Errors
    /// Where FUSE is not available.
    pub fn mount(at: &Path, bytes_max: u64) -> io::Result<Self> {
        // SAFETY: the calls take nothing and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let switch = Arc::new(Switch::new(Disk::new(bytes_max, Owner { uid, gid })));
        let mut mounted = Self { at: at.canonicalize()?, switch, session: None, guard: None };
        mounted.attach()?;
        mounted.guard = guard(&mounted.at).ok();
        Ok(mounted)
    }

    fn attach(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        // SAFETY: the call takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        config.mount_options = vec![
            MountOption::FSName(own_source()),
            MountOption::Subtype("uplift".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoDev,
            MountOption::NoSuid,
        ];
        // Servers under test give up root; who is not root may share a mount only where the machine says so.
        config.acl = if is_root { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        let requests = Requests { switch: Arc::clone(&self.switch) };
        self.session = Some(fuser::spawn_mount(requests, &self.at, &config)?);
        Ok(())
    }

    /// Takes the disk away from its directory.
    fn detach(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let path = self.at.clone();
        for _ in 0..UNMOUNTS {
            let name = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?;
            // SAFETY: the path is a string that ends with zero and outlives the call.
            if unsafe { libc::umount2(name.as_ptr(), 0) } == 0 {
                return session.join();
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EBUSY) => thread::sleep(Duration::from_millis(2)),
                // Not root: the session knows the helper.
                Some(libc::EPERM) => return session.umount_and_join(),
                _ => break,
            }
        }
        // Somebody still holds it: it goes away from its place, and ends with them.
        detach(&path)?;
        drop(session.guard);
        Ok(())
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.at
    }

    /// Begins the load: everything that is there is durable, and counts begin at zero. At sync call `at_sync` a message
    /// comes, and the call is held until [`PowerFs::release`]; with `power` nothing else is taken from then on either.
    pub fn begin(&self, at_sync: Option<u64>, power: bool, fault: Option<Fault>) -> Receiver<()> {
        // Pages that were stored to through a mapping are in the kernel until they are asked for.
        if let Ok(root) = File::open(&self.at) {
            // SAFETY: the descriptor is the file's own. The C library's function may be one that counts.
            unsafe { libc::syscall(libc::SYS_syncfs, root.as_raw_fd()) };
        }
        let (told, tells) = channel();
        self.switch.begin(at_sync.map(|nth| (nth, power, told)), fault);
        tells
    }

    /// The power goes, now.
    pub fn cut(&self) {
        self.switch.cut();
    }

    /// Answers whoever waits; nothing of it counts.
    pub fn release(&self) {
        self.switch.release();
    }

    /// When the power went, in nanoseconds of the monotonic clock.
    pub fn cut_ns(&self) -> Option<u64> {
        self.switch.state().cut_ns
    }

    /// Sync calls since the load began.
    pub fn syncs(&self) -> u64 {
        self.switch.state().syncs
    }

    /// The power is back: the directory holds what is durable, and of the rest what is kept. With `flip` one bit of one file
    /// is another one.
    ///
    /// # Errors
    /// Where it cannot be mounted again.
    pub fn restore(&mut self, kept: Kept, seed: u64, flip: bool) -> io::Result<()> {
        self.detach()?;
        self.switch.restore(|disk| {
            disk.lose(kept, seed);
            if flip {
                disk.flip(seed);
            }
        });
        self.attach()
    }
}

impl Drop for PowerFs {
    fn drop(&mut self) {
        self.switch.release();
        let _ = self.detach();
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

/// A process that takes the mount away should this one die without doing so.
fn guard(at: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "read _; umount -l \"$0\" 2>/dev/null || fusermount3 -u -z \"$0\""])
        .arg(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for the harness.
        .process_group(0)
        .spawn()
}
