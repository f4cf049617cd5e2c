//! Why a store could not carry out a request.

use std::{io, path::Path};

/// A request or an opening that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct StoreError {
    /// What was being done, and to which file.
    pub context: String,
    /// What went wrong.
    pub kind: StoreErrorKind,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// Nothing was done: the database's queue is at its limit.
    #[error("queue full: {limit} requests wait already; send it again later")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// Nothing was done: the request breaks a rule.
    #[error("{0}")]
    Refused(String),
    /// Stored bytes are not what was written.
    #[error("corrupt at byte {offset}: {what}; restore the file from a copy")]
    Corrupt {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The system said no.
    #[error("{message}")]
    Io {
        /// The system's kind.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// An earlier write or sync failed, so what is on disk is unknown; the store takes no more writes.
    #[error("the store takes no writes since an earlier one failed ({0}); open it again")]
    Failed(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The engine beneath said no.
    #[error("{0}")]
    Engine(String),
    /// The engine is not part of this build.
    #[error("{state}; {remedy}")]
    Unavailable {
        /// What is not there.
        state: String,
        /// What the user can do.
        remedy: String,
    },
}

impl StoreError {
    /// An error with its context.
    pub fn new(context: impl Into<String>, kind: StoreErrorKind) -> Self {
        Self { context: context.into(), kind }
    }

    /// The system said no to `what` on the file `path`.
    pub fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(
            format!("{what} `{}`", path.display()),
            StoreErrorKind::Io { kind: error.kind(), message: error.to_string() },
        )
    }

    /// What requests are told after `self` ended the store.
    pub(crate) fn after(&self) -> Self {
        Self::new(self.context.clone(), StoreErrorKind::Failed(self.kind.to_string()))
    }

    /// A thread of the store panicked while it was `doing` something.
    pub(crate) fn panicked(doing: &str) -> Self {
        Self::engine(doing, "its thread panicked; what it said is on the standard error output")
    }

    /// The file `path` is corrupt.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::new(format!("reading `{}`", path.display()), StoreErrorKind::Corrupt { offset, what: what.into() })
    }

    /// The engine beneath said no.
    pub fn engine(context: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::new(context, StoreErrorKind::Engine(error.to_string()))
    }
}
