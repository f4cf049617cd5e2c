//! Calls that fail.

use std::{collections::BTreeMap, io};

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opening a file that is made by it. Nothing is made.
    Create,
    /// A write. The first half of its bytes is written.
    Write,
    /// A change of a file's length. Nothing is changed.
    SetLength,
    /// A sync of a file. Its pages are dropped: they can still be read, no later sync writes them, and every later sync
    /// says that it succeeded, as Linux has it.
    Sync,
    /// A sync of a directory. The names are as unsynced as before; a later sync that succeeds makes them safe.
    SyncDirectory,
    /// A change of a name. Nothing is changed.
    Rename,
    /// A removal. Nothing is removed.
    Remove,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Create, Self::Write, Self::SetLength, Self::Sync, Self::SyncDirectory, Self::Rename, Self::Remove];
}

/// Calls of one kind that fail with an input/output error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub call: Call,
    /// The first that fails; the first call of the kind since the disk was made has number 0.
    pub first: u64,
    /// Whether all later ones fail too.
    pub for_ever: bool,
}

impl Fault {
    /// Call number `first` fails, later ones succeed.
    pub const fn once(call: Call, first: u64) -> Self {
        Self { call, first, for_ever: false }
    }

    /// Call number `first` and all later ones fail.
    pub const fn for_ever(call: Call, first: u64) -> Self {
        Self { call, first, for_ever: true }
    }

    const fn strikes(self, call: Call, number: u64) -> bool {
        self.call as u8 == call as u8 && (number == self.first || self.for_ever && number > self.first)
    }
}

/// What was called how often, and what is to fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) planned: Vec<Fault>,
    calls: BTreeMap<Call, u64>,
}

impl Faults {
    /// How often `call` was called.
    pub(super) fn calls(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call.
    ///
    /// # Errors
    /// Where it is to fail.
    pub(super) fn call(&mut self, call: Call) -> io::Result<()> {
        let count = self.calls.entry(call).or_insert(0);
        let number = *count;
        *count += 1;
        if self.planned.iter().any(|fault| fault.strikes(call, number)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
}
