//! The log's next file, filled with zeros before it is needed.
//!
//! A write that makes a file longer changes what the file system knows of it, and each sync then waits for the file
//! system's own journal as well. A write over zeros that are on the disk already changes the content alone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use uplift_target::disk::{Disk, DiskFile};

/// The name of the file until it is part of the log.
pub const NAME: &str = "next.seg";
/// Zeros are written in pieces of a page: whoever ends the store need not wait for all of them, and the page cache keeps
/// them in pages of this size, a whole one of which counts as written when a part of it is.
const PIECE_BYTES: usize = 4096;

/// Makes the next file.
#[derive(Debug)]
pub struct Preparer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Zeros of each file; 0 where none is prepared.
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Arc<dyn DiskFile>>,
    wanted: bool,
    busy: bool,
    stop: bool,
}

impl Preparer {
    /// Prepares files of `bytes` zeros in `directory`, the first at once; none where `bytes` is 0.
    pub fn new(disk: &Arc<dyn Disk>, directory: &Path, bytes: u64) -> Self {
        let state = State { wanted: bytes > 0, ..State::default() };
        Self {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            bytes,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of the file until it is part of the log.
    pub fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// The file that is ready; with `patience` also one that will be soon.
    pub fn take(&self, patience: bool) -> Option<Arc<dyn DiskFile>> {
        let mut state = self.state();
        while patience && (state.wanted || state.busy) && !state.stop {
            state = self.wait(state);
        }
        state.ready.take()
    }

    /// Lets the next file be made: the one before has its own name by now.
    pub fn want(&self) {
        if self.bytes > 0 {
            self.state().wanted = true;
            self.changed.notify_all();
        }
    }

    /// Returns when no file is being made.
    pub fn settle(&self) {
        let mut state = self.state();
        while (state.wanted || state.busy) && !state.stop {
            state = self.wait(state);
        }
    }

    /// Ends [`Self::run`].
    pub fn stop(&self) {
        self.state().stop = true;
        self.changed.notify_all();
    }

    /// Makes files whenever one is wanted, until [`Self::stop`]; then removes the one that was not used.
    pub fn run(&self) {
        let mut state = self.state();
        loop {
            while !state.wanted && !state.stop {
                state = self.wait(state);
            }
            if state.stop {
                break;
            }
            (state.wanted, state.busy) = (false, true);
            drop(state);
            // Without a prepared file the log goes on in one that grows: nothing is lost but time.
            let made = self.make().ok().flatten();
            state = self.state();
            state.ready = made;
            state.busy = false;
            self.changed.notify_all();
        }
        drop(state);
        // It may never have been made.
        let _ = self.disk.remove(&self.path());
    }

    /// One file of zeros, on the disk; `None` where the store ends meanwhile.
    fn make(&self) -> std::io::Result<Option<Arc<dyn DiskFile>>> {
        let file = self.disk.open(&self.path(), true)?;
        file.set_length(0)?;
        let zeros = [0; PIECE_BYTES];
        let mut at = 0;
        while at < self.bytes {
            if self.state().stop {
                return Ok(None);
            }
            let piece = (self.bytes - at).min(zeros.len() as u64);
            file.write_all_at(&zeros[..piece as usize], at)?;
            at += piece;
        }
        file.sync_data()?;
        Ok(Some(file))
    }
}
