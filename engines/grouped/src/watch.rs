//! Tells somebody what the writer threads are doing, for measuring where their time goes: with feature `measurement`.

#[cfg(feature = "measurement")]
use std::sync::OnceLock;

#[cfg(feature = "measurement")]
static WATCHER: OnceLock<fn(WriterPhase)> = OnceLock::new();

/// What a writer thread is doing from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterPhase {
    /// Waiting for operations.
    Waiting,
    /// Waiting for more of them to share a commit.
    Gathering,
    /// Carrying out the operations of a transaction.
    Transaction,
    /// Committing it.
    Committing,
    /// Telling those who wait what became of it.
    Telling,
}

/// Lets `watcher` be called, on the writer thread itself, whenever a writer of this process goes on to something else. The
/// first watcher stays.
#[cfg(feature = "measurement")]
pub fn watch_writers(watcher: fn(WriterPhase)) {
    let _ = WATCHER.set(watcher);
}

/// The calling writer thread is `doing` something from now on.
#[inline]
pub(crate) fn now(doing: WriterPhase) {
    #[cfg(feature = "measurement")]
    if let Some(watcher) = WATCHER.get() {
        watcher(doing);
    }
    #[cfg(not(feature = "measurement"))]
    let _ = doing;
}
