//! What kind of work a stack is: by the kernel's entry point it took, or by the library it is in.
//!
//! Every stack falls into exactly one category. In the kernel the purpose of the system call decides, not the function
//! that happened to run: the scheduler under `fdatasync` is a sync. In user mode the innermost library that is known
//! decides, so that `malloc` called by SQLite is allocation and `memcpy` called by SQLite is SQLite.

use super::{
    Profile, Share,
    folded::{Stack, function, is_kernel},
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// What no rule below knows: the system's own code.
    Application,
    /// Waiting for storage to be durable.
    Sync,
    /// Reading and writing files, and their names.
    FileIo,
    /// SQLite in user mode.
    Sqlite,
    /// Turning values into bytes and back.
    Serialization,
    /// The allocator, mappings and page faults.
    Memory,
    /// Mutexes, condition variables, futex.
    Locks,
    /// Sockets.
    Network,
    /// Wake-ups, timers, async runtimes, threads that are started and ended.
    Scheduler,
    /// Interrupts and everything else in the kernel.
    OtherKernel,
    /// Code that no symbol names.
    Nameless,
    /// Load generator and recorder: not the system's time.
    Harness,
}

impl Category {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Application => "application code",
            Self::Sync => "sync",
            Self::FileIo => "file I/O",
            Self::Sqlite => "SQLite",
            Self::Serialization => "serialization",
            Self::Memory => "allocation and memory",
            Self::Locks => "locks and futex",
            Self::Network => "network",
            Self::Scheduler => "scheduler and runtime",
            Self::OtherKernel => "other kernel",
            Self::Nameless => "code without names",
            Self::Harness => "load generator",
        }
    }
}

/// Where the frames of a thread enter the kernel by a system call.
const SYSTEM_CALL: &[&str] = &["do_syscall_64", "entry_SYSCALL_64", "el0_svc", "invoke_syscall", "do_fast_syscall_32"];

/// Parts of kernel functions' names, in the order in which they decide.
const KERNEL: &[(Category, &[&str])] = &[
    (
        Category::Sync,
        &["fsync", "fdatasync", "syncfs", "sync_file", "sys_sync", "msync", "generic_write_sync", "issue_flush"],
    ),
    (
        Category::Network,
        &["sock_", "inet_", "tcp_", "udp_", "unix_stream", "sys_send", "sys_recv", "sys_connect", "sys_accept"],
    ),
    (Category::Locks, &["futex"]),
    (
        Category::Scheduler,
        &[
            "eventfd_",
            "pipe_write",
            "pipe_read",
            "epoll",
            "sys_poll",
            "sys_ppoll",
            "sys_select",
            "nanosleep",
            "sched_yield",
            "timerfd",
            "signalfd",
        ],
    ),
    (
        Category::FileIo,
        &[
            "vfs_",
            "ext4_",
            "xfs_",
            "btrfs_",
            "overlayfs",
            "sys_write",
            "sys_pwrite",
            "sys_read",
            "sys_pread",
            "sys_open",
            "sys_close",
            "sys_rename",
            "sys_unlink",
            "sys_fallocate",
            "truncate",
            "sys_lseek",
            "newfstat",
            "sys_fcntl",
            "path_openat",
            "filemap_",
            "iomap_",
            "submit_bio",
            "io_uring",
            "sys_statx",
            "sys_mkdir",
            "sys_getdents",
            "getdents",
        ],
    ),
    (
        Category::Memory,
        &["page_fault", "sys_brk", "sys_mmap", "sys_munmap", "sys_madvise", "sys_mprotect", "sys_mremap", "mem_abort"],
    ),
    (Category::Scheduler, &["sys_clone", "sys_exit", "do_exit", "ret_from_fork", "schedule", "[preempted]"]),
];

/// Beginnings of names of the allocator's functions. Nothing of a system runs beneath them.
const ALLOCATOR: &[&str] = &[
    "malloc",
    "free",
    "calloc",
    "realloc",
    "cfree",
    "reallocarray",
    "_int_malloc",
    "_int_free",
    "_int_realloc",
    "sysmalloc",
    "systrim",
    "unlink_chunk",
    "tcache_",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "__libc_malloc",
    "__libc_free",
    "__libc_calloc",
    "__libc_realloc",
    "__rust_alloc",
    "__rust_dealloc",
    "__rust_realloc",
    "__rdl_",
    "__rustc::__r",
    "alloc::alloc::",
    "mi_",
    "je_",
    "_rjem_",
    "sqlite3Malloc",
    "sqlite3MemMalloc",
    "sqlite3_free",
    "sqlite3DbMalloc",
    "sqlite3DbFree",
];

/// Beginnings of names of locks' functions.
const LOCKS: &[&str] = &[
    "pthread_mutex",
    "__pthread_mutex",
    "___pthread_mutex",
    "pthread_cond",
    "__pthread_cond",
    "___pthread_cond",
    "pthread_rwlock",
    "__pthread_rwlock",
    "___pthread_rwlock",
    "__lll_lock",
    "lll_mutex",
    "parking_lot",
    "lock_api::",
    "std::sys::sync::",
    "std::sync::mutex",
    "std::sync::poison",
    "std::sync::rwlock",
    "std::sync::condvar",
    "tokio::sync::batch_semaphore",
    "tokio::sync::mutex",
    "tokio::sync::rwlock",
    "lock_contended",
];

/// Parts of names by the library they belong to; the innermost frame that matches decides.
const LIBRARIES: &[(Category, &[&str])] = &[
    (
        Category::Serialization,
        &[
            "serde::",
            "serde_core::",
            "serde_json::",
            "bincode::",
            "rmp_serde::",
            "rmp::",
            "prost::",
            "ciborium::",
            "postcard::",
            "rkyv::",
            "flatbuffers::",
            "arrow_ipc::",
            "arrow_json::",
            "parquet::encodings",
            "parquet::thrift",
            "simd_json::",
            "itoa::",
            "ryu::",
            "zmij::",
        ],
    ),
    (Category::Sqlite, &["sqlite3", "libsqlite3_sys::", "rusqlite::", "sqlx_sqlite::"]),
    (
        Category::Network,
        &[
            "hyper::",
            "h2::",
            "tokio::net::",
            "socket2::",
            "std::net::",
            "rustls::",
            "tokio_postgres::",
            "sqlx_postgres::",
        ],
    ),
    (Category::FileIo, &["std::fs::", "std::sys::fs::", "tokio::fs::", "std::io::buffered", "tempfile::"]),
];

/// Libraries that only lead to other code: they count where they run themselves.
const RUNTIME: &[&str] = &[
    "tokio::",
    "futures_util::",
    "futures_core::",
    "futures_executor::",
    "mio::",
    "crossbeam",
    "rayon_core::",
    "async_io::",
    "std::thread::",
    "parking::",
    "async_task::",
    "async_executor::",
    "smol::",
];
/// Libraries that do whatever their caller is there for.
const NEUTRAL: &[&str] = &["core::", "alloc::", "std::", "hashbrown::", "memchr::", "bytes::", "compiler_builtins::"];
/// The harness itself; `uplift_target::` is in profiles that were recorded before that crate was divided.
const HARNESS: &[&str] = &[
    "uplift_agent::",
    "uplift_instrument::",
    "uplift_sdk::",
    "uplift_target::",
    "uplift_profiler::",
    "hdrhistogram::",
];

/// What kind of work the stack is.
pub fn of_stack(stack: &Stack) -> Category {
    if stack.in_kernel() { of_kernel(&stack.frames) } else { of_user(&stack.frames) }
}

/// What a stack with which a thread left its CPU waits for. Where the load generator itself waits, for the end of
/// a turn or for the next operation's time, that is told apart.
pub fn of_wait(stack: &Stack) -> Category {
    let user: Vec<&str> =
        stack.frames.iter().skip(1).filter(|frame| !is_kernel(frame)).map(|frame| function(frame)).collect();
    match owner(user.iter().rev().copied()) {
        Some(name) if begins(name, HARNESS) => Category::Harness,
        _ => of_stack(stack),
    }
}

/// The innermost function whose path says whose it is. A function without a path is C's or was inlined: it works for who
/// called it.
pub(super) fn owner<'a>(mut innermost_first: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    innermost_first.find_map(|name| {
        let name = path(name);
        // What stands in type arguments is not the function's own path.
        let own = name.split('<').next().unwrap_or(name);
        (own.contains("::") && !begins(name, NEUTRAL)).then_some(name)
    })
}

fn begins(name: &str, list: &[&str]) -> bool {
    list.iter().any(|start| name.starts_with(start))
}

fn of_kernel(frames: &[String]) -> Category {
    let kernel: Vec<&str> = frames.iter().filter(|frame| is_kernel(frame)).map(|frame| function(frame)).collect();
    // Without kernel symbols every frame is called the same.
    if kernel.iter().all(|name| *name == "[kernel]") {
        return Category::Nameless;
    }
    let interrupt = |name: &&&str| name.starts_with("asm_sysvec") || name.starts_with("asm_common_interrupt");
    if kernel.first().as_ref().is_some_and(interrupt) {
        return Category::OtherKernel;
    }
    KERNEL
        .iter()
        .find(|(_, parts)| kernel.iter().any(|name| parts.iter().any(|part| name.contains(part))))
        .map_or(Category::OtherKernel, |(category, _)| *category)
}

fn of_user(frames: &[String]) -> Category {
    // The first is the thread's name.
    let names: Vec<&str> = frames.iter().skip(1).rev().map(|frame| function(frame)).collect();
    if names.iter().any(|name| begins(name, ALLOCATOR)) {
        return Category::Memory;
    }
    if names.iter().any(|name| begins(path(name), LOCKS)) {
        return Category::Locks;
    }
    let library = names.iter().find_map(|name| {
        LIBRARIES
            .iter()
            .find(|(_, parts)| parts.iter().any(|part| names_library(name, part)))
            .map(|(category, _)| *category)
    });
    if let Some(category) = library {
        return category;
    }
    match owner(names.iter().copied()) {
        Some(name) if begins(name, HARNESS) => Category::Harness,
        Some(name) if begins(name, RUNTIME) => Category::Scheduler,
        // A stripped binary's frames are called after its file.
        None if !names.is_empty() && names.iter().all(|name| name.starts_with('[')) => Category::Nameless,
        // What std does by itself to start, park and end threads.
        None if names.iter().any(|name| begins(path(name), RUNTIME)) => Category::Scheduler,
        _ => Category::Application,
    }
}

/// A name without what stands before its path: `<&mut serde_json::Value as …>` → `serde_json::Value as …`.
fn path(name: &str) -> &str {
    let mut rest = name;
    loop {
        let next = rest.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
        let next = ["dyn ", "mut ", "impl ", "const "].iter().find_map(|word| next.strip_prefix(word)).unwrap_or(next);
        if next.len() == rest.len() {
            return rest;
        }
        rest = next;
    }
}

/// Whether the name's own path or the trait that it implements is the library's; what stands in its type arguments is
/// not asked: a queue of serde values is a queue.
fn names_library(name: &str, part: &str) -> bool {
    path(name).starts_with(part) || name.split_once(" as ").is_some_and(|(_, of)| of.starts_with(part))
}

/// A category with its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CategoryShare {
    /// The category.
    pub category: Category,
    /// Its share of all samples.
    pub share: Share,
    /// CPU time for each operation, in nanoseconds; `None` where no operation succeeded.
    pub ns_per_operation: Option<f64>,
}

/// Every category that was sampled, the largest first.
pub fn categories(profile: &Profile) -> Vec<CategoryShare> {
    let mut rows: Vec<CategoryShare> = count(&profile.stacks)
        .into_iter()
        .map(|(category, samples)| CategoryShare {
            category,
            share: Share::of(samples, profile.samples),
            ns_per_operation: profile.ns_per_operation(samples),
        })
        .collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.share.samples), row.category));
    rows
}

/// Counts by category.
pub fn count(stacks: &[Stack]) -> std::collections::BTreeMap<Category, u64> {
    let mut counts = std::collections::BTreeMap::new();
    for stack in stacks {
        *counts.entry(of_stack(stack)).or_insert(0) += stack.count;
    }
    counts
}

/// Share of samples that were in a system call.
pub fn syscall_share(profile: &Profile) -> Share {
    let in_call = |stack: &&Stack| {
        stack
            .frames
            .iter()
            .any(|frame| is_kernel(frame) && SYSTEM_CALL.iter().any(|entry| function(frame).starts_with(entry)))
    };
    Share::of(profile.stacks.iter().filter(in_call).map(|stack| stack.count).sum(), profile.samples)
}

/// Share of samples that were in the kernel, system calls, faults and interrupts together.
pub fn kernel_share(profile: &Profile) -> Share {
    let inside = profile.stacks.iter().filter(|stack| stack.in_kernel()).map(|stack| stack.count).sum();
    Share::of(inside, profile.samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn category(line: &str) -> Category {
        of_stack(&Stack { frames: line.split(';').map(str::to_owned).collect(), count: 1 })
    }

    #[test]
    fn the_purpose_of_a_system_call_decides() {
        let call = "client;docdb::commit;do_syscall_64_[k];";
        for (rest, wanted) in [
            ("__x64_sys_fdatasync_[k];ext4_sync_file_[k];schedule_[k];finish_task_switch_[k]", Category::Sync),
            ("__x64_sys_write_[k];vfs_write_[k];ext4_file_write_iter_[k];copy_page_[k]", Category::FileIo),
            ("__x64_sys_write_[k];vfs_write_[k];eventfd_write_[k]", Category::Scheduler),
            ("__x64_sys_write_[k];vfs_write_[k];sock_write_iter_[k];tcp_sendmsg_[k]", Category::Network),
            ("__x64_sys_futex_[k];futex_wait_[k];schedule_[k]", Category::Locks),
            ("__x64_sys_munmap_[k];unmap_region_[k]", Category::Memory),
            ("__x64_sys_getpid_[k]", Category::OtherKernel),
        ] {
            assert_eq!(category(&format!("{call}{rest}")), wanted, "{rest}");
        }
        assert_eq!(category("c;f;[kernel]_[k];[kernel]_[k]"), Category::Nameless);
        assert_eq!(category("c;f;asm_exc_page_fault_[k];handle_mm_fault_[k]"), Category::Memory);
        assert_eq!(category("c;f;asm_sysvec_apic_timer_interrupt_[k];schedule_[k]"), Category::OtherKernel);
    }

    #[test]
    fn the_innermost_library_decides_in_user_mode() {
        for (line, wanted) in [
            ("client;docdb::scan", Category::Application),
            ("client;[cut];[stripped]", Category::Nameless),
            ("client;docdb::scan;core::iter::fold;memcpy", Category::Application),
            ("client;docdb::put;sqlite3_step;sqlite3VdbeExec;memcpy", Category::Sqlite),
            ("client;docdb::put;sqlite3_step;sqlite3VdbeExec;malloc;_int_malloc", Category::Memory),
            ("client;<docdb::Doc as serde::Serialize>::serialize;memcpy", Category::Serialization),
            ("client;serde_json::to_vec;<alloc::vec::Vec<u8>>::extend", Category::Serialization),
            ("client;docdb::Queue<serde_json::Value>::push", Category::Application),
            ("client;tokio::runtime::task::poll;docdb::write", Category::Application),
            ("worker;tokio::runtime::task::poll;tokio::runtime::scheduler::steal;core::mem::swap", Category::Scheduler),
            ("client;docdb::write;parking_lot::raw_mutex::lock_slow", Category::Locks),
            ("client;<uplift_agent::load::Pool>::spawn;clock_gettime", Category::Harness),
            ("client;<uplift_agent::load::Pool>::spawn;docdb::write;hot_[i]", Category::Application),
        ] {
            assert_eq!(category(line), wanted, "{line}");
        }
    }

    #[test]
    fn waiting_of_the_load_generator_is_told_from_the_systems() {
        let wait = |line: &str| of_wait(&Stack { frames: line.split(';').map(str::to_owned).collect(), count: 1 });
        let futex = "do_syscall_64_[k];__x64_sys_futex_[k];schedule_[k]";
        let harness = format!(
            "client;uplift_agent::load::Pool::serve;wait<docdb::Gate>_[i];<std::sys::sync::condvar::Condvar>::wait;syscall;{futex}"
        );
        assert_eq!(wait(&harness), Category::Harness);
        let system =
            format!("client;uplift_agent::load::Pool::serve;docdb::commit;std::sync::mutex::lock;syscall;{futex}");
        assert_eq!(wait(&system), Category::Locks);
    }
}
