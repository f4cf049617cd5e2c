//! The log's next file, filled with zeros before it is needed.
//!
//! A write that makes a file longer changes what the file system knows of it, and each sync then waits for the file
//! system's own journal as well. A write over zeros that are on the disk already changes the content alone.
//!
//! The first file is small, so that a store is open at once, and each later one has twice the bytes of the one before, up
//! to a whole segment: it is ready long before the one that is being written is full.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use engine_disk::{Disk, DiskFile};

use crate::on_panic::OnPanic;

/// The name of the file until it is part of the log.
pub const NAME: &str = "next.seg";
/// Zeros are written in pieces of a page: whoever ends the store need not wait for all of them, and the page cache keeps
/// them in pages of this size, a whole one of which counts as written when a part of it is.
const PIECE_BYTES: usize = 4096;
/// Zeros of the first file.
const FIRST_BYTES: u64 = 2 << 20;

/// A file of zeros.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Makes the next file.
#[derive(Debug)]
pub struct Preparer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Zeros of a file at most; 0 where none is prepared.
    bytes_max: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Prepared>,
    /// Zeros of the next file.
    next_bytes: u64,
    wanted: bool,
    busy: bool,
    stop: bool,
    /// The device was full: its last bytes are for documents, not for zeros.
    given_up: bool,
}

impl Preparer {
    /// Prepares files of at most `bytes_max` zeros in `directory`, the first at once; none where `bytes_max` is 0.
    pub fn new(disk: &Arc<dyn Disk>, directory: &Path, bytes_max: u64) -> Self {
        let next_bytes = FIRST_BYTES.min(bytes_max);
        let state = State { wanted: bytes_max > 0, next_bytes, ..State::default() };
        Self {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            bytes_max,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Zeros of a file at most.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
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
    pub fn take(&self, patience: bool) -> Option<Prepared> {
        let mut state = self.state();
        while patience && (state.wanted || state.busy) && !state.stop {
            state = self.wait(state);
        }
        state.ready.take()
    }

    /// Whether a file is ready.
    pub fn is_ready(&self) -> bool {
        self.state().ready.is_some()
    }

    /// Lets the next file be made: the one before has its own name by now.
    pub fn want(&self) {
        let mut state = self.state();
        if self.bytes_max > 0 && !state.given_up {
            state.wanted = true;
            self.changed.notify_all();
        }
    }

    /// Removes the file that is ready or being made, and makes no more: the device is full. Returns whether there may be
    /// more room now.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        if self.bytes_max == 0 || state.given_up {
            return false;
        }
        state.given_up = true;
        state.wanted = false;
        while state.busy {
            state = self.wait(state);
        }
        state.ready = None;
        drop(state);
        self.changed.notify_all();
        self.discard();
        true
    }

    /// Takes the file's zeros and name away, if it is there.
    fn discard(&self) {
        // It may never have been made. Where it cannot be removed, its bytes may still be given back.
        if let Ok(file) = self.disk.open(&self.path(), false) {
            let _ = file.set_length(0);
        }
        let _ = self.disk.remove(&self.path());
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
        // Who waits for a file is not to wait for a thread that is gone.
        let _panics = OnPanic(|| {
            let mut state = self.state();
            (state.wanted, state.busy, state.given_up) = (false, false, true);
            self.changed.notify_all();
        });
        let mut state = self.state();
        loop {
            while !state.wanted && !state.stop {
                state = self.wait(state);
            }
            if state.stop {
                break;
            }
            (state.wanted, state.busy) = (false, true);
            let bytes = state.next_bytes;
            state.next_bytes = (2 * bytes).min(self.bytes_max);
            drop(state);
            // Without a prepared file the log goes on in one that grows: nothing is lost but time.
            let made = self.make(bytes).ok().flatten();
            if made.is_none() {
                self.discard();
            }
            state = self.state();
            state.ready = made;
            state.busy = false;
            self.changed.notify_all();
        }
        drop(state);
        self.discard();
    }

    /// One file of `bytes` zeros, on the disk; `None` where the store ends or the device is full meanwhile.
    fn make(&self, bytes: u64) -> std::io::Result<Option<Prepared>> {
        let file = self.disk.open(&self.path(), true)?;
        file.set_length(0)?;
        let zeros = [0; PIECE_BYTES];
        let mut at = 0;
        while at < bytes {
            let state = self.state();
            if state.stop || state.given_up {
                return Ok(None);
            }
            drop(state);
            let piece = (bytes - at).min(zeros.len() as u64);
            file.write_all_at(&zeros[..piece as usize], at)?;
            at += piece;
        }
        file.sync_data()?;
        Ok(Some(Prepared { file, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use engine_disk::SimulatedDisk;

    use super::*;

    /// A store is open after a small file, and soon has whole segments.
    #[test]
    fn each_file_has_twice_the_bytes_of_the_one_before() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let directory = Path::new("/s");
        disk.create_directory(directory).unwrap();
        let preparer = Preparer::new(&disk, directory, 3 * FIRST_BYTES);
        thread::scope(|scope| {
            scope.spawn(|| preparer.run());
            for bytes in [FIRST_BYTES, 2 * FIRST_BYTES, 3 * FIRST_BYTES, 3 * FIRST_BYTES] {
                let prepared = preparer.take(true).unwrap();
                assert_eq!((prepared.bytes, prepared.file.length().unwrap()), (bytes, bytes));
                disk.rename(&preparer.path(), &directory.join("taken")).unwrap();
                preparer.want();
            }
            preparer.settle();
            assert!(preparer.is_ready());
            preparer.stop();
        });
        assert_eq!(disk.list(directory).unwrap(), ["taken"]);
    }
}
