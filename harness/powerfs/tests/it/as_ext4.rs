//! Generated sequences of operations have the same results here and on the file system of the temporary folder.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use uplift_powerfs::Kept;

use super::mounted;

const NAMES: [&str; 8] = ["a", "b", "c", "dir", "dir/a", "dir/b", "other", "other/a"];

#[derive(Clone, Debug)]
enum Act {
    Create(usize),
    Write { name: usize, offset: u64, length: usize, flags: i32 },
    Append(usize, usize),
    Direct { name: usize, page: u64 },
    Mapped { name: usize, offset: usize },
    Truncate(usize, u64),
    TruncateOnOpen(usize),
    Allocate { name: usize, offset: i64, length: i64, mode: i32 },
    Read(usize),
    Remove(usize),
    MakeDirectory(usize),
    RemoveDirectory(usize),
    Rename { from: usize, to: usize, flags: u32 },
    Link(usize, usize),
    Symlink(usize, usize),
    ReadLink(usize),
    Copy { from: usize, to: usize, length: usize },
    Sync(usize),
    List(usize),
    Stat(usize),
    Mode(usize, u32),
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    let modes = [
        0,
        libc::FALLOC_FL_KEEP_SIZE,
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        libc::FALLOC_FL_ZERO_RANGE,
    ];
    prop_oneof![
        3 => name.clone().prop_map(Act::Create),
        6 => (name.clone(), 0..30_000u64, 0..9_000usize, prop::sample::select(vec![0, libc::O_DSYNC, libc::O_SYNC]))
            .prop_map(|(name, offset, length, flags)| Act::Write { name, offset, length, flags }),
        2 => (name.clone(), 0..5_000usize).prop_map(|(name, length)| Act::Append(name, length)),
        1 => (name.clone(), 0..6u64).prop_map(|(name, page)| Act::Direct { name, page }),
        2 => (name.clone(), 0..20_000usize).prop_map(|(name, offset)| Act::Mapped { name, offset }),
        2 => (name.clone(), 0..40_000u64).prop_map(|(name, size)| Act::Truncate(name, size)),
        1 => name.clone().prop_map(Act::TruncateOnOpen),
        2 => (name.clone(), 0..20_000i64, 1..20_000i64, prop::sample::select(modes.to_vec()))
            .prop_map(|(name, offset, length, mode)| Act::Allocate { name, offset, length, mode }),
        3 => name.clone().prop_map(Act::Read),
        2 => name.clone().prop_map(Act::Remove),
        2 => name.clone().prop_map(Act::MakeDirectory),
        1 => name.clone().prop_map(Act::RemoveDirectory),
        4 => (name.clone(), name.clone(), prop::sample::select(vec![0, 0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE]))
            .prop_map(|(from, to, flags)| Act::Rename { from, to, flags }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Symlink(from, to)),
        1 => name.clone().prop_map(Act::ReadLink),
        2 => (name.clone(), name.clone(), 1..20_000usize)
            .prop_map(|(from, to, length)| Act::Copy { from, to, length }),
        1 => name.clone().prop_map(Act::Sync),
        1 => name.clone().prop_map(Act::List),
        3 => name.clone().prop_map(Act::Stat),
        1 => (name, 0..0o1000u32).prop_map(|(name, mode)| Act::Mode(name, mode | 0o600)),
    ]
}

fn checked(result: i64) -> io::Result<String> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result.to_string()) }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Carries out one act; what it says, or the number of the error.
fn carry_out(root: &Path, act: &Act, step: u8) -> Result<String, Option<i32>> {
    let at = |name: &usize| root.join(NAMES[*name]);
    let done = || "done".to_owned();
    let outcome = match act {
        Act::Create(name) => OpenOptions::new().write(true).create_new(true).mode(0o644).open(at(name)).map(|_| done()),
        Act::Write { name, offset, length, flags } => OpenOptions::new()
            .write(true)
            .custom_flags(*flags)
            .open(at(name))
            .and_then(|file| file.write_all_at(&vec![step; *length], *offset))
            .map(|()| done()),
        Act::Append(name, length) => OpenOptions::new()
            .append(true)
            .open(at(name))
            .and_then(|mut file| io::Write::write_all(&mut file, &vec![step; *length]))
            .map(|()| done()),
        Act::Direct { name, page } => direct(&at(name), *page, step),
        Act::Mapped { name, offset } => mapped(&at(name), *offset, step),
        Act::Truncate(name, size) => writable(&at(name)).and_then(|file| file.set_len(*size)).map(|()| done()),
        Act::TruncateOnOpen(name) => OpenOptions::new().write(true).truncate(true).open(at(name)).map(|_| done()),
        Act::Allocate { name, offset, length, mode } => writable(&at(name)).and_then(|file| {
            // SAFETY: the descriptor is the file's own.
            checked(i64::from(unsafe { libc::fallocate(file.as_raw_fd(), *mode, *offset, *length) }))
        }),
        Act::Read(name) => fs::read(at(name)).map(|bytes| format!("{} {:x}", bytes.len(), digest(&bytes))),
        Act::Remove(name) => fs::remove_file(at(name)).map(|()| done()),
        Act::MakeDirectory(name) => fs::create_dir(at(name)).map(|()| done()),
        Act::RemoveDirectory(name) => fs::remove_dir(at(name)).map(|()| done()),
        Act::Rename { from, to, flags } => {
            let (from, to) = (c_path(&at(from)), c_path(&at(to)));
            let here = libc::AT_FDCWD;
            // SAFETY: both paths are strings that end with zero and outlive the call.
            checked(unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), *flags) })
        }
        Act::Link(from, to) => fs::hard_link(at(from), at(to)).map(|()| done()),
        Act::Symlink(from, to) => symlink(NAMES[*from], at(to)).map(|()| done()),
        Act::ReadLink(name) => fs::read_link(at(name)).map(|target| target.display().to_string()),
        Act::Copy { from, to, length } => File::open(at(from)).and_then(|from| {
            let to = writable(&at(to))?;
            if from.metadata()?.ino() == to.metadata()?.ino() {
                // How overlapping ranges of one file are copied is the file system's own business.
                return Ok(done());
            }
            let null = std::ptr::null_mut();
            // SAFETY: the descriptors are the files' own; null pointers are the files' positions.
            checked(unsafe { libc::copy_file_range(from.as_raw_fd(), null, to.as_raw_fd(), null, *length, 0) as i64 })
        }),
        Act::Sync(name) => File::open(at(name)).and_then(|file| file.sync_all()).map(|()| done()),
        Act::List(name) => fs::read_dir(at(name)).map(|entries| {
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            format!("{names:?}")
        }),
        Act::Stat(name) => fs::symlink_metadata(at(name)).map(|found| described(&found)),
        Act::Mode(name, mode) => {
            fs::set_permissions(at(name), std::os::unix::fs::PermissionsExt::from_mode(*mode)).map(|()| done())
        }
    };
    outcome.map_err(|error| error.raw_os_error())
}

/// One aligned page past the page cache.
fn direct(path: &Path, page: u64, step: u8) -> io::Result<String> {
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path)?;
    file.write_all_at(&Aligned([step; 4096]).0, page * 4096).map(|()| "done".to_owned())
}

/// One byte through a shared mapping, and `msync`.
fn mapped(path: &Path, offset: usize, step: u8) -> io::Result<String> {
    let file = writable(path)?;
    let length = file.metadata()?.len() as usize;
    if offset >= length {
        return Ok("beyond the end".to_owned());
    }
    // SAFETY: a fresh shared mapping of a file that nobody cuts off meanwhile; the byte is within it.
    unsafe {
        let address = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        *address.cast::<u8>().add(offset) = step;
        let synced = libc::msync(address, length, libc::MS_SYNC);
        libc::munmap(address, length);
        checked(i64::from(synced))
    }
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn described(found: &fs::Metadata) -> String {
    // The size of a directory is the file system's own business.
    let size = if found.is_dir() { 0 } else { found.len() };
    format!("{:o} {size} bytes {} links", found.mode(), found.nlink())
}

/// Everything below a folder.
fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() { digest(&fs::read(&path).unwrap()) } else { 0 };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if name == "lost+found" {
                continue;
            }
            lines.push(format!("{name}: {} {content:x}", described(&found)));
            if found.is_dir() {
                todo.push(path);
            }
        }
    }
    lines.sort();
    lines
}

/// Syncs every file and directory.
fn sync_all(root: &Path) {
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        File::open(&path).unwrap().sync_all().unwrap();
        for entry in fs::read_dir(&path).unwrap().flatten() {
            let found = fs::symlink_metadata(entry.path()).unwrap();
            if found.is_dir() {
                todo.push(entry.path());
            } else if found.is_file() {
                File::open(entry.path()).unwrap().sync_all().unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_as_ext4_does(acts in prop::collection::vec(act(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let Some(mut disk) = mounted(&ours) else { return Ok(()) };
        for (step, act) in acts.iter().enumerate() {
            let step = (step % 250) as u8 + 1;
            prop_assert_eq!(carry_out(&ours, act, step), carry_out(&theirs, act, step), "{:?}", act);
        }
        let wanted = tree(&theirs);
        prop_assert_eq!(tree(&ours), wanted.clone());
        // What was synced is there after a loss of power.
        sync_all(&ours);
        disk.cut();
        disk.release();
        disk.restore(Kept::Nothing, 1, false).unwrap();
        prop_assert_eq!(tree(&ours), wanted);
    }
}
