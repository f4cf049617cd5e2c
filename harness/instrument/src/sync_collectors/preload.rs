//! Sync calls by a library that is preloaded: exact for programs that call the C library dynamically, with latencies.

use std::{
    ffi::{CString, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use uplift_model::{
    Histogram, Problem,
    trial::{SyncCalls, SyncKind, SyncRecord},
};

use super::{SyncCollector, plain_call, timed_calls};
use crate::latency_counts::{BUCKETS, lowest_value_of};

/// Compiled by `build.rs` from `preloaded.c`.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preloaded.so"));
/// Words of the shared file for one kind of call.
const WORDS_EACH: usize = 2 + BUCKETS;

/// The library and the file that it counts into.
pub struct Preload {
    library: PathBuf,
    counts: PathBuf,
}

impl Preload {
    /// Writes both into `folder`.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let library = folder.join("uplift-syncs.so");
        let counts = folder.join("uplift-syncs.counts");
        let unwritable = |path: &Path, error: io::Error| {
            Problem::new(format!("preloaded library: `{}` could not be written", path.display()))
                .because(error.to_string())
                .fix("give trials a folder that can be written with --data-dir")
        };
        fs::write(&library, LIBRARY).map_err(|error| unwritable(&library, error))?;
        new_counts(&counts).map_err(|error| unwritable(&counts, error))?;
        Ok(Self { library, counts })
    }

    fn words(&self, file: &mut File, from: usize, count: usize) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; count * 8];
        file.seek(SeekFrom::Start(from as u64 * 8))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect())
    }

    fn read(&self) -> io::Result<SyncRecord> {
        let mut file = File::open(&self.counts)?;
        let loaded = self.words(&mut file, 0, 1)?[0];
        if loaded == 0 {
            return Ok(SyncRecord {
                missing: Some(
                    "the preloaded library was loaded by no process: the program is static, or runs with other privileges; count with --sync-collector seccomp".to_owned(),
                ),
                ..SyncRecord::default()
            });
        }
        let mut record = SyncRecord {
            collector: Some("preloaded library".to_owned()),
            blind_spots: [
                "static programs among the descendants",
                // Neither the library nor the counts may be theirs to open.
                "descendants that run as another user",
                "raw system calls",
                "io_uring",
                "files opened with O_SYNC or O_DSYNC",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..SyncRecord::default()
        };
        for (index, kind) in SyncKind::ALL.into_iter().enumerate() {
            let first = 1 + index * WORDS_EACH;
            let head = self.words(&mut file, first, 2)?;
            if head[0] == 0 {
                continue;
            }
            let mut latency = Histogram::new();
            for (bucket, count) in self.words(&mut file, first + 2, BUCKETS)?.into_iter().enumerate() {
                if count > 0 {
                    latency.record_n(lowest_value_of(bucket), count);
                }
            }
            record.kinds.insert(kind, SyncCalls { calls: head[0], errors: head[1], latency });
        }
        Ok(record)
    }
}

fn new_counts(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.set_len(((1 + SyncKind::ALL.len() * WORDS_EACH) * 8) as u64)
}

impl SyncCollector for Preload {
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        // What the user preloads stays.
        let named = command.get_envs().find(|(name, _)| *name == "LD_PRELOAD").and_then(|(_, value)| value);
        let before = named.map_or_else(|| std::env::var_os("LD_PRELOAD"), |value| Some(value.to_owned()));
        let mut preload = OsString::from(&self.library);
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            preload.push(":");
            preload.push(before);
        }
        command.env("LD_PRELOAD", preload).env("UPLIFT_SYNC_COUNTS", &self.counts);
        command.spawn()
    }

    fn record(&self) -> SyncRecord {
        self.read().unwrap_or_else(|error| SyncRecord {
            missing: Some(format!("`{}` cannot be read: {error}", self.counts.display())),
            ..SyncRecord::default()
        })
    }

    fn cost_ns(&self) -> Result<f64, String> {
        let scratch = self.counts.with_extension("cost");
        new_counts(&scratch).map_err(|error| format!("`{}` could not be written: {error}", scratch.display()))?;
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string());
        let (library, counts) = (path(&self.library)?, path(&scratch)?);
        // SAFETY: the library is ours: it has these functions with these types, and nothing in it runs on its own.
        let counted = unsafe {
            let loaded = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            if loaded.is_null() {
                return Err(format!("`{}` could not be loaded", self.library.display()));
            }
            let (attach, fsync) =
                (libc::dlsym(loaded, c"uplift_sync_attach".as_ptr()), libc::dlsym(loaded, c"fsync".as_ptr()));
            if attach.is_null() || fsync.is_null() {
                return Err(format!("`{}` lacks its functions", self.library.display()));
            }
            let attach = std::mem::transmute::<*mut libc::c_void, extern "C" fn(*const libc::c_char)>(attach);
            let fsync = std::mem::transmute::<*mut libc::c_void, extern "C" fn(libc::c_int) -> libc::c_int>(fsync);
            attach(counts.as_ptr());
            timed_calls(|| libc::c_long::from(fsync(-1)))
        };
        let _ = fs::remove_file(&scratch);
        Ok((counted - timed_calls(plain_call)).max(0.0))
    }
}
