//! A file system in memory whose power can be cut.
//!
//! Programs work on it as they are: it is mounted by FUSE, without libfuse. What they synced is durable, as POSIX has it: a
//! file's bytes and length by `fsync` or `fdatasync` of the file (or `msync`, or `O_SYNC`), a name by `fsync` of its
//! directory. When the power goes, everything else is kept, lost, or kept in part, drawn from a seed.
//!
//! All of it lies in the memory of the process that mounted it. This crate knows nothing of what is tried on it.

mod content;
mod disk;
mod filesystem;
mod image;
mod leftover;
mod mounted;
mod names;
mod switch;

pub use leftover::{Leftover, leftovers};
pub use mounted::PowerFs;
pub use switch::{Fault, FaultKind};

/// What is kept of that which was not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Some pages of files and some entries of directories.
    Part,
}
