//! A sync that fails, at every number, and then a loss of power: what was acknowledged is there.
//!
//! This binary has calls of its own in place of the C library's, which SQLite is linked with. They keep for each file what is
//! on the disk: a sync that succeeds brings the bytes that were written since the last one, a sync that fails loses them, and
//! no later one brings them unless they are written again, as Linux has it.

use std::{
    collections::BTreeMap,
    ffi::{c_int, c_void},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duroxide::providers::{Provider as _, TagFilter, WorkItem};
use duroxide_grouped::{GroupedProvider, Options, Synchronous};

const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// A file as the disk has it, and what was written to it since it was last synced or that was tried.
#[derive(Default)]
struct File {
    durable: Vec<u8>,
    written: Vec<Range<usize>>,
}

struct Disk {
    files: BTreeMap<PathBuf, File>,
    syncs: u64,
    /// The numbers of the syncs that fail.
    failing: (u64, u64),
}

static DISK: Mutex<Disk> = Mutex::new(Disk { files: BTreeMap::new(), syncs: 0, failing: (0, 0) });

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path_of(descriptor: c_int) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()
}

fn fail() -> c_int {
    // SAFETY: the location is the calling thread's own.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

fn sync(descriptor: c_int) -> c_int {
    let Some(path) = path_of(descriptor).filter(|path| path.is_file()) else { return 0 };
    let Ok(content) = fs::read(&path) else { return fail() };
    let mut disk = disk();
    let number = disk.syncs;
    disk.syncs += 1;
    let fails = (disk.failing.0..disk.failing.1).contains(&number);
    let file = disk.files.entry(path).or_default();
    let written = std::mem::take(&mut file.written);
    if fails {
        return fail();
    }
    file.durable.resize(content.len(), 0);
    for range in written {
        let range = range.start.min(content.len())..range.end.min(content.len());
        file.durable[range.clone()].copy_from_slice(&content[range]);
    }
    0
}

fn note_written(descriptor: c_int, offset: i64, bytes: isize) {
    if bytes > 0
        && let Some(path) = path_of(descriptor).filter(|path| path.is_file())
    {
        let start = offset as usize;
        disk().files.entry(path).or_default().written.push(start..start + bytes as usize);
    }
}

/// In place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(descriptor)
}

/// In place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(descriptor)
}

/// In place of the C library's.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, length: usize) -> isize {
    // SAFETY: the call takes numbers only.
    let offset = unsafe { libc::lseek(descriptor, 0, libc::SEEK_CUR) };
    // SAFETY: the caller's promise is what the system call needs.
    let written = unsafe { libc::syscall(libc::SYS_write, descriptor, bytes, length) as isize };
    if offset >= 0 {
        note_written(descriptor, offset, written);
    }
    written
}

/// In place of the C library's.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(descriptor: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise is what the system call needs.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, bytes, length, offset) as isize };
    note_written(descriptor, offset, written);
    written
}

/// In place of the C library's.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(descriptor: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise is the same.
    unsafe { pwrite(descriptor, bytes, length, offset) }
}

fn open(directory: &Path) -> GroupedProvider {
    let options = Options { synchronous: Synchronous::Full, hand_ahead: false, ..Options::default() };
    GroupedProvider::open(directory, options).unwrap()
}

fn activity(number: u64) -> WorkItem {
    WorkItem::ActivityExecute {
        instance: format!("i-{number}"),
        execution_id: 1,
        id: number,
        name: "Test".to_owned(),
        input: "x".repeat(500),
        session_id: None,
        tag: None,
    }
}

/// The files of `directory` as a loss of power now would leave them.
fn after_power_loss(directory: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    // Not while the disk is locked: writing asks for it.
    let files: Vec<_> = {
        let disk = disk();
        let of = |(path, file): (&PathBuf, &File)| {
            // Names are taken for synced: what was removed stays so. The index of the log is memory.
            let is_left = path.exists() && !path.to_string_lossy().ends_with("-shm");
            let name = path.strip_prefix(directory).ok().filter(|_| is_left)?;
            Some((name.to_owned(), file.durable.clone()))
        };
        disk.files.iter().filter_map(of).collect()
    };
    for (name, content) in files {
        fs::write(left.path().join(name), content).unwrap();
    }
    left
}

/// Enqueues and fetches, which is committed without a sync, until `rounds` are over. Returns what was acknowledged.
async fn work(provider: &GroupedProvider, first: u64, rounds: u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for number in first..first + rounds {
        if provider.enqueue_for_worker(activity(number)).await.is_ok() {
            acknowledged.push(number);
        }
        for _ in 0..2 {
            let _ = provider.fetch_work_item(FOREVER, Duration::ZERO, None, &TagFilter::default()).await;
        }
    }
    acknowledged
}

async fn check(directory: &Path, acknowledged: &[u64], place: &str) {
    let left = after_power_loss(directory);
    let provider = open(left.path());
    let mut found = Vec::new();
    while let Some((item, ..)) =
        provider.fetch_work_item(FOREVER, Duration::ZERO, None, &TagFilter::default()).await.unwrap()
    {
        let WorkItem::ActivityExecute { id, .. } = item else { panic!("{item:?}") };
        found.push(id);
    }
    let lost: Vec<_> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "{place}: {lost:?} of {acknowledged:?} were acknowledged and are lost");
}

#[tokio::test]
async fn a_sync_that_fails_loses_nothing_that_was_acknowledged() {
    const ROUNDS: u64 = 12;
    let mut served_afterwards = 0;
    for number in 0..20 {
        for for_ever in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let home = directory.path().canonicalize().unwrap();
            disk().failing = (0, 0);
            let provider = open(&home);
            let first = disk().syncs + number;
            disk().failing = (first, if for_ever { u64::MAX } else { first + 1 });
            let acknowledged = work(&provider, 0, ROUNDS).await;
            let place = format!("sync {number} fails, for ever: {for_ever}");
            check_healed(&home, &acknowledged, &place).await;
            if acknowledged.len() as u64 >= ROUNDS - 1 {
                served_afterwards += u64::from(!for_ever);
            }
            assert!(!for_ever || acknowledged.len() as u64 <= number, "{place}: acknowledged without a sync");
            drop(provider);
        }
    }
    assert!(served_afterwards > 0, "where the log can be begun anew, the shard goes on");
}

/// The check itself works on a disk that does not fail.
async fn check_healed(home: &Path, acknowledged: &[u64], place: &str) {
    let failing = std::mem::take(&mut disk().failing);
    check(home, acknowledged, place).await;
    disk().failing = failing;
}
