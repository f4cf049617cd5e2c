//! A copy of `docdb-engine` into which bugs are sown: what a benchmark does not see, and `uplift crash` must find.
//!
//! `build.rs` copies the engine and changes three lines of the fast store; the engine itself has no hook for it.

use std::sync::atomic::{AtomicU8, Ordering};

/// What is wrong with the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Bug {
    /// Nothing: it is the engine as it is.
    #[default]
    None,
    /// Writes are acknowledged before they are synced.
    EarlyAcknowledgement,
    /// A segment is renamed into place, and its directory is not synced.
    NoDirectorySync,
    /// Recovery does not read the checksums of records.
    NoChecksum,
}

static SOWN: AtomicU8 = AtomicU8::new(Bug::None as u8);

/// Sows `bug` into every store of this process.
pub fn sow(bug: Bug) {
    SOWN.store(bug as u8, Ordering::Relaxed);
}

fn is_sown(bug: Bug) -> bool {
    SOWN.load(Ordering::Relaxed) == bug as u8
}

include!(concat!(env!("OUT_DIR"), "/engine/root.rs"));
