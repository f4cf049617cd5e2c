//! What programs allocate: calls and bytes, exactly, and samples of the stacks with which they do.
//!
//! A library that is preloaded stands in for the C library's functions (`preloaded.c`), so that Rust, C and C++ are seen
//! alike and a program that does not have it pays nothing. It writes to a [`Log`]: memory that the processes share with
//! whoever reads it. An agent whose own allocations are wanted begins anew with the library ([`begin_with_library`]) and
//! attaches itself when it is asked to ([`Log::attach_self`]); programs attach when they begin ([`Log::preload_into`]).
//!
//! Not seen: static programs, programs with an allocator of their own, memory that is taken from the kernel (`mmap`), as
//! Go and Java do.

mod record;

use std::{
    ffi::{CStr, CString, OsString},
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use record::{Sample, Space};
use uplift_model::protocol::{ALLOCATIONS_OF_AGENT, ALLOCATIONS_VARIABLE};

/// Compiled by `build.rs` from `preloaded.c`.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/allocations.so"));
/// In the place of the log's name: the process attaches itself, and what it starts is not counted.
const LATER: &str = "later";

/// Words at the beginning of a log, as in `preloaded.c`.
#[derive(Clone, Copy)]
enum Word {
    Loaded,
    Foreign,
    Active,
    Calls,
    Bytes,
    Period,
    Taken,
    Samples,
    Lost,
}
/// The page that holds them.
const HEAD_BYTES: usize = 4096;
/// How large a log with samples may become. It takes no memory until it is written.
const LOG_BYTES: u64 = 1 << 30;
/// Bytes between two samples, at first.
const FIRST_PERIOD: u64 = 256;

/// The log of one stretch.
pub struct Log {
    file: File,
    head: *const AtomicU64,
}

// SAFETY: the head is a shared mapping of atomics that lives as long as the log.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes that loaded the library.
    pub loaded: u64,
    /// Of these, processes with an allocator of their own, which was not seen.
    pub foreign: u64,
    /// Allocations and reallocations.
    pub calls: u64,
    /// The bytes that they asked for.
    pub bytes: u64,
    /// Stacks that were sampled.
    pub samples: u64,
    /// Samples that found no room.
    pub lost: u64,
}

impl Counts {
    /// Why nothing was seen, where that is so.
    pub fn unseen(&self) -> Option<&'static str> {
        if self.loaded == 0 {
            return Some(
                "the library that counts was loaded by no process: the program is static, or runs with other privileges",
            );
        }
        (self.calls == 0 && self.foreign > 0)
            .then_some("the program has an allocator of its own, and what that gives was not seen")
    }
}

/// Memory that has a name for other processes as long as this one lives.
fn memory(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a literal; the descriptor is new.
    unsafe {
        let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(descriptor)) }
    }
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

static LIBRARY_FILE: OnceLock<Result<File, String>> = OnceLock::new();

/// The library, as a file that other processes can load.
fn library() -> Result<PathBuf, String> {
    let written = LIBRARY_FILE.get_or_init(|| {
        let write = || -> io::Result<File> {
            let mut file = memory(c"uplift-allocations")?;
            file.write_all(LIBRARY)?;
            Ok(file)
        };
        write().map_err(|error| format!("the library that counts allocations could not be written: {error}"))
    });
    written.as_ref().map(path_of).map_err(Clone::clone)
}

fn preload(command: &mut Command, log: &str) -> Result<(), String> {
    // What the user preloads stays.
    let named = command.get_envs().find(|(name, _)| *name == "LD_PRELOAD").and_then(|(_, value)| value);
    let before = named.map_or_else(|| std::env::var_os("LD_PRELOAD"), |value| Some(value.to_owned()));
    let mut all = OsString::from(library()?);
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        all.push(":");
        all.push(before);
    }
    command.env("LD_PRELOAD", all).env(ALLOCATIONS_VARIABLE, log);
    Ok(())
}

/// Begins this process anew with the library, where the harness wants to know what it allocates. Comes first in `main`; where
/// it does not succeed the process goes on as it is, and says so when it is asked to count.
pub fn begin_with_library() {
    if std::env::var_os(ALLOCATIONS_VARIABLE).is_none_or(|value| value != ALLOCATIONS_OF_AGENT) {
        return;
    }
    let begin = || -> Result<io::Error, String> {
        let mut arguments = std::env::args_os();
        let mut command = Command::new("/proc/self/exe");
        command.arg0(arguments.next().unwrap_or_default()).args(arguments);
        preload(&mut command, LATER)?;
        if let Some(Ok(file)) = LIBRARY_FILE.get() {
            // The new program loads it by its descriptor, which the library closes.
            // SAFETY: fcntl on a descriptor of this process.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        }
        Ok(command.exec())
    };
    let error = begin().map_or_else(|why| why, |error| error.to_string());
    eprintln!("this agent could not begin with the library that counts allocations: {error}");
}

impl Log {
    /// An empty log, with room for stacks where `sampled`; nothing is counted until [`Self::count`].
    ///
    /// # Errors
    /// What the system said.
    pub fn new(sampled: bool) -> Result<Self, String> {
        let open = || -> io::Result<Self> {
            let file = memory(c"uplift-allocated")?;
            file.set_len(if sampled { LOG_BYTES } else { HEAD_BYTES as u64 })?;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a fresh mapping of a file that is at least so long; it is unmapped when the log is dropped.
            let head = unsafe {
                libc::mmap(std::ptr::null_mut(), HEAD_BYTES, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
            };
            if head == libc::MAP_FAILED {
                Err(io::Error::last_os_error())
            } else {
                Ok(Self { file, head: head.cast() })
            }
        };
        let log = open().map_err(|error| format!("there is no memory to count allocations in: {error}"))?;
        log.word(Word::Taken).store(HEAD_BYTES as u64, Ordering::Relaxed);
        log.word(Word::Period).store(if sampled { FIRST_PERIOD } else { 0 }, Ordering::Relaxed);
        Ok(log)
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: the head holds a page of words, and the mapping lives as long as the log.
        unsafe { &*self.head.add(word as usize) }
    }

    /// Counts from now on, or no more.
    pub fn count(&self, active: bool) {
        self.word(Word::Active).store(u64::from(active), Ordering::SeqCst);
    }

    /// Has the allocations of `command` and of all that it starts counted.
    ///
    /// # Errors
    /// Why that is not possible here.
    pub fn preload_into(&self, command: &mut Command) -> Result<(), String> {
        preload(command, &path_of(&self.file).to_string_lossy())
    }

    /// Has the allocations of this process counted.
    ///
    /// # Errors
    /// Why that is not possible: above all that it was started without the library.
    pub fn attach_self(&self) -> Result<(), String> {
        let path = CString::new(path_of(&self.file).as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the function, where there is one of that name, is the library's: it takes a path and gives a number.
        let error = unsafe {
            let attach = libc::dlsym(libc::RTLD_DEFAULT, c"uplift_allocations_attach".as_ptr());
            if attach.is_null() {
                return Err(
                    "this agent was started without the library that counts allocations: that is done for agents that are child processes of the harness (--launch process) and load the C library"
                        .to_owned(),
                );
            }
            std::mem::transmute::<*mut libc::c_void, extern "C" fn(*const libc::c_char) -> libc::c_int>(attach)(
                path.as_ptr(),
            )
        };
        match error {
            0 => Ok(()),
            error => Err(format!("the log of allocations cannot be opened: {}", io::Error::from_raw_os_error(error))),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let get = |word| self.word(word).load(Ordering::SeqCst);
        Counts {
            loaded: get(Word::Loaded),
            foreign: get(Word::Foreign),
            calls: get(Word::Calls),
            bytes: get(Word::Bytes),
            samples: get(Word::Samples),
            lost: get(Word::Lost),
        }
    }

    /// Reads what was sampled, in the order in which it was written: spaces before samples that are in them.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(&self, mut space: impl FnMut(Space), mut sample: impl FnMut(Sample<'_>)) -> io::Result<()> {
        let end = self.word(Word::Taken).load(Ordering::SeqCst).min(self.file.metadata()?.len());
        record::read(&self.file, HEAD_BYTES as u64..end, &mut space, &mut sample)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.count(false);
        // SAFETY: the mapping is this log's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.head.cast_mut().cast(), HEAD_BYTES) };
    }
}

static OF_CHILDREN: Mutex<Option<Arc<Log>>> = Mutex::new(None);

/// The log for programs that are started from now on; `None`: they are not counted.
pub fn set_of_children(log: Option<Arc<Log>>) {
    *OF_CHILDREN.lock().unwrap_or_else(PoisonError::into_inner) = log;
}

/// The log for programs that are started now.
pub fn of_children() -> Option<Arc<Log>> {
    OF_CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests;
