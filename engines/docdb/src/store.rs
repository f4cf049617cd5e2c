//! What every document store can do.

use crate::{error::StoreError, statistics::Statistics};

/// The longest document that a store takes, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// Threads that fill a store.
const LOAD_THREADS: usize = 32;

/// A store of JSON documents under numeric ids, in numbered databases.
///
/// Calls may come from many threads at once. Operations on one id take effect in one order, the same for all readers.
pub trait DocumentStore: Send + Sync {
    /// Carries out one request. A read puts the document into `document`, replacing what it held; other requests leave
    /// it empty. An `Ok` of a write means that the write has the durability that the store's settings promise.
    ///
    /// # Errors
    /// [`StoreError`]; whether a write took place is then unknown, unless the kind says that it did not.
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError>;

    /// Makes everything acknowledged so far durable and returns when no background work is left. A store that owes nothing
    /// and works only when it is asked need not say so.
    ///
    /// # Errors
    /// When that failed: acknowledged writes may be lost.
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Creates many documents at once, ids with documents, and returns when they are durable. For filling an empty store;
    /// how is the store's own business.
    ///
    /// # Errors
    /// The first that failed.
    fn load(&self, database: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        // Many threads, so that a store that syncs for many at once can do so.
        let threads = LOAD_THREADS.min(documents.len().max(1));
        std::thread::scope(|scope| {
            let loaders: Vec<_> = documents
                .chunks(documents.len().div_ceil(threads).max(1))
                .map(|part| {
                    scope.spawn(move || {
                        let mut none = Vec::new();
                        part.iter().try_for_each(|(id, document)| {
                            let request = Request { operation: Operation::Create, database, id: *id, document };
                            self.apply(request, &mut none).map(drop)
                        })
                    })
                })
                .collect();
            loaders.into_iter().try_for_each(|loader| {
                loader.join().unwrap_or_else(|_| Err(StoreError::engine("loading documents", "a loader panicked")))
            })
        })?;
        self.settle()
    }

    /// Counters and gauges; none where the store keeps none.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    /// How many documents there are, over all databases.
    ///
    /// # Errors
    /// What reading the store said.
    fn documents(&self) -> Result<u64, StoreError>;
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Store a document under an id that has none.
    Create = 0,
    /// Get the document of an id.
    Read = 1,
    /// Replace the document of an id.
    Update = 2,
    /// Remove the document of an id.
    Delete = 3,
}

impl Operation {
    /// All operations, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Create, Self::Read, Self::Update, Self::Delete];

    /// The operation with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether a document comes with it.
    pub const fn has_document(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What to do.
    pub operation: Operation,
    /// In which database; they are numbered from 0.
    pub database: u16,
    /// The document's id.
    pub id: u64,
    /// The document, JSON text, of a create or an update; empty of the others.
    pub document: &'a [u8],
}

/// What became of a request that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    /// It was done.
    Done = 0,
    /// Nothing was created: the id has a document.
    Conflict = 1,
    /// The id has no document.
    NotFound = 2,
}

/// What opening a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Documents that are there.
    pub documents: u64,
    /// Log records that were read.
    pub records: u64,
    /// Bytes of log that were read.
    pub log_bytes: u64,
    /// Bytes at the end of a log, behind its last whole record, that could not be read and were dropped: never completed,
    /// or damaged since.
    pub dropped_bytes: u64,
    /// Logs that were not closed in order: where they ended is known from themselves alone.
    pub unclosed_logs: u64,
    /// Documents that were written again to the data file.
    pub rewritten: u64,
}

impl Recovery {
    /// Adds what another part of the store found.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.records += other.records;
        self.log_bytes += other.log_bytes;
        self.dropped_bytes += other.dropped_bytes;
        self.unclosed_logs += other.unclosed_logs;
        self.rewritten += other.rewritten;
    }
}
