//! The file layer of our own engines: the real disk, or a simulated one that forgets what was not synced.
//!
//! This crate knows files and their loss, and nothing of engines or benchmarks.
//!
//! An engine that writes through [`Disk`] can be tested against every power loss that its own sequence of writes and
//! syncs allows: [`SimulatedDisk`] keeps the sequence, and [`SimulatedDisk::after_power_loss`] makes the disk that a
//! loss at any point of it would have left.

mod note;
mod real;
mod simulated;

use std::{fmt, io, path::Path, sync::Arc};

pub use note::{read_note, remove_note, write_note};
pub use real::RealDisk;
pub use simulated::{Call, Fault, Loss, SimulatedDisk};

/// A directory tree that files are kept in. Paths are taken as they are.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens `path` for reading and writing; makes it where it is missing and `create` says so. A new file's name
    /// survives a power loss only after [`Disk::sync_directory`] of its directory.
    ///
    /// # Errors
    /// What the system says; `NotFound` without `create`.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of the files and directories in `directory`, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes `directory` and what is missing above it, so that their names survive a power loss.
    ///
    /// # Errors
    /// What the system says.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// Gives the file `from` the name `to`, in place of what had it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file `path`.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `directory` survive a power loss.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Locks `path`, a file that is made where it is missing and holds nothing, until the answer is dropped or the process
    /// ends: two owners of the same files would write over each other.
    ///
    /// # Errors
    /// `WouldBlock` where somebody has the lock, in this process or another; else what the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// A lock that somebody has.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// An open file. All offsets are in bytes from its beginning.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` from `offset`; returns how many bytes there were, less than asked for at the end only.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; a gap before it reads as zeros.
    ///
    /// # Errors
    /// What the system says; how much was written is then unknown.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and length survive a power loss.
    ///
    /// # Errors
    /// What the system says; what was written since the last sync must then be taken for lost.
    fn sync_data(&self) -> io::Result<()>;

    /// Says that `length` bytes from `offset` on, which are synced, will not be read soon, so that the system need not
    /// keep them in memory. A hint, without consequence for what is read or survives.
    fn release(&self, offset: u64, length: u64) {
        let _ = (offset, length);
    }

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file or extends it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Reads exactly `buffer.len()` bytes from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before; else what the system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// All of the file from its beginning.
    ///
    /// # Errors
    /// What the system says.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length()?).map_err(io::Error::other)?];
        let read = self.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
