//! Counts every sync call of the process by standing in for the C library's functions.
//!
//! This crate defines `fsync`, `fdatasync`, `msync`, `sync_file_range` and `syncfs` itself and forwards to the kernel.
//! The linker prefers these over the C library's, for Rust's std, tokio, and C code that is linked in (SQLite) alike.
//! It cannot see io_uring, writes to files opened with `O_SYNC` or `O_DSYNC`, and raw system calls; [`BLIND_SPOTS`] says
//! so wherever its counts are shown. [`is_live`] tries whether the linker did as expected.

use std::{
    ffi::{c_int, c_uint, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use uplift_model::{
    Histogram,
    trial::{SyncCalls, SyncKind, SyncRecord},
};

use crate::{
    clock, disk_model,
    latency_counts::{BUCKETS, bucket_of, lowest_value_of},
    stage,
};

/// What the probe cannot see.
pub const BLIND_SPOTS: [&str; 3] = ["io_uring", "files opened with O_SYNC or O_DSYNC", "raw system calls"];

const KINDS: usize = SyncKind::ALL.len();

struct Counts {
    calls: AtomicU64,
    errors: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

#[expect(clippy::declare_interior_mutable_const, reason = "the constant only fills the array once")]
const EMPTY: Counts =
    Counts { calls: AtomicU64::new(0), errors: AtomicU64::new(0), latency: [const { AtomicU64::new(0) }; BUCKETS] };

/// All zero, so it takes no memory until a bucket is used.
static COUNTS: [Counts; KINDS] = [EMPTY; KINDS];

#[inline]
fn observe(kind: SyncKind, call: impl FnOnce() -> libc::c_long) -> libc::c_long {
    let start_ns = clock::now_ns();
    let result = call();
    // A failed sync flushed nothing, and sync_file_range does not wait for the device's cache.
    if disk_model::is_active() && result == 0 && kind != SyncKind::SyncFileRange {
        disk_model::hold(start_ns);
    }
    let counts = &COUNTS[kind as usize];
    let took_ns = clock::now_ns() - start_ns;
    stage::waited_for_sync(took_ns);
    counts.latency[bucket_of(took_ns)].fetch_add(1, Ordering::Relaxed);
    if result != 0 {
        counts.errors.fetch_add(1, Ordering::Relaxed);
    }
    // Last, so that a reader that sees the call also sees its latency.
    counts.calls.fetch_add(1, Ordering::Release);
    result
}

/// The C library's `fsync`.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the same call with the same argument that the caller made; errno is set by `syscall`.
    observe(SyncKind::Fsync, || unsafe { libc::syscall(libc::SYS_fsync, fd) }) as c_int
}

/// The C library's `fdatasync`.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: as above.
    observe(SyncKind::Fdatasync, || unsafe { libc::syscall(libc::SYS_fdatasync, fd) }) as c_int
}

/// The C library's `msync`.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn msync(address: *mut c_void, length: usize, flags: c_int) -> c_int {
    // SAFETY: the same call with the same arguments that the caller made.
    let call = || unsafe { libc::syscall(libc::SYS_msync, address, length, flags) };
    // Only MS_SYNC waits for the device.
    (if flags & libc::MS_SYNC == 0 { call() } else { observe(SyncKind::Msync, call) }) as c_int
}

/// The C library's `sync_file_range`.
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(fd: c_int, offset: i64, length: i64, flags: c_uint) -> c_int {
    // SAFETY: as above.
    observe(SyncKind::SyncFileRange, || unsafe { libc::syscall(libc::SYS_sync_file_range, fd, offset, length, flags) })
        as c_int
}

/// The C library's `syncfs`.
#[unsafe(no_mangle)]
pub extern "C" fn syncfs(fd: c_int) -> c_int {
    // SAFETY: as above.
    observe(SyncKind::Syncfs, || unsafe { libc::syscall(libc::SYS_syncfs, fd) }) as c_int
}

/// Calls of every kind since the process began.
pub fn calls() -> u64 {
    COUNTS.iter().map(|counts| counts.calls.load(Ordering::Acquire)).sum()
}

/// Whether the probe is in the way of sync calls: `fsync(-1)` through the C library's name must move the counter. It is
/// tried once in the life of the process, so that the trial is not counted with the target's calls.
pub fn is_live() -> bool {
    static LIVE: OnceLock<bool> = OnceLock::new();
    *LIVE.get_or_init(|| {
        // The name is taken from where every other crate takes it; if the linker had chosen the C library's function,
        // the counter would stand still.
        unsafe extern "C" {
            #[link_name = "fsync"]
            fn libc_fsync(fd: c_int) -> c_int;
        }
        let before = calls();
        // SAFETY: -1 is no descriptor: the call fails with EBADF and touches nothing.
        let result = unsafe { libc_fsync(-1) };
        result == -1 && calls() > before
    })
}

/// The state of all counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    kinds: [KindSnapshot; KINDS],
}

#[derive(Clone, Debug, Default)]
struct KindSnapshot {
    calls: u64,
    errors: u64,
    /// `(bucket, count)` of the buckets in use.
    latency: Vec<(usize, u64)>,
}

/// Reads the counters.
pub fn snapshot() -> Snapshot {
    Snapshot {
        kinds: std::array::from_fn(|kind| {
            let counts = &COUNTS[kind];
            let calls = counts.calls.load(Ordering::Acquire);
            KindSnapshot {
                calls,
                errors: counts.errors.load(Ordering::Relaxed),
                latency: if calls == 0 {
                    Vec::new()
                } else {
                    (0..BUCKETS)
                        .filter_map(|bucket| {
                            let count = counts.latency[bucket].load(Ordering::Relaxed);
                            (count > 0).then_some((bucket, count))
                        })
                        .collect()
                },
            }
        }),
    }
}

impl Snapshot {
    /// Adds what happened between `self` and the later `end` to `record`.
    pub fn add_growth_to(&self, end: &Self, record: &mut SyncRecord) {
        for (index, kind) in SyncKind::ALL.into_iter().enumerate() {
            let (before, after) = (&self.kinds[index], &end.kinds[index]);
            let calls = after.calls - before.calls;
            if calls == 0 {
                continue;
            }
            let entry = record.kinds.entry(kind).or_insert_with(|| SyncCalls {
                calls: 0,
                errors: 0,
                latency: Histogram::new(),
            });
            entry.calls += calls;
            entry.errors += after.errors - before.errors;
            let mut earlier = before.latency.iter().peekable();
            for &(bucket, count) in &after.latency {
                while earlier.next_if(|&&(b, _)| b < bucket).is_some() {}
                let known = earlier.next_if(|&&(b, _)| b == bucket).map_or(0, |&(_, count)| count);
                entry.latency.record_n(lowest_value_of(bucket), count - known);
            }
        }
    }

    /// Calls of every kind.
    pub fn calls(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.calls).sum()
    }
}

/// A record of nothing, with the collector named; or, where the probe is not live, one that says nothing.
pub fn empty_record() -> SyncRecord {
    SyncRecord {
        collector: is_live().then(|| "interposed symbols".to_owned()),
        missing: None,
        blind_spots: BLIND_SPOTS.map(str::to_owned).to_vec(),
        operations: None,
        kinds: Default::default(),
    }
}
