//! What a request's time is booked on, on whichever thread it is spent.

/// Names, in the order of the constants.
pub const NAMES: [&str; 14] = [
    "request",
    "engine",
    "answer",
    "queue",
    "validate",
    "lock",
    "index",
    "data file",
    "log write",
    "sync",
    "sync wait",
    "gather",
    "reply",
    "compact",
];

/// What the client does by itself: drawing a request, and comparing the answer.
pub const REQUEST: usize = 0;
/// What a store does that has no stage of its own.
pub const ENGINE: usize = 1;
/// Waiting for a worker, or a server, to answer.
pub const ANSWER: usize = 2;
/// Waiting for something to do.
pub const QUEUE: usize = 3;
/// Looking whether a request is well-formed.
pub const VALIDATE: usize = 4;
/// Waiting for a lock.
pub const LOCK: usize = 5;
/// Asking or changing the index.
pub const INDEX: usize = 6;
/// Reading or writing documents.
pub const DATA_FILE: usize = 7;
/// Encoding records and handing them to the log's file or to the group that is being filled.
pub const LOG_WRITE: usize = 8;
/// Syncing a file.
pub const SYNC: usize = 9;
/// Waiting for somebody else's sync.
pub const SYNC_WAIT: usize = 10;
/// Waiting for more to share a sync.
pub const GATHER: usize = 11;
/// Handing an answer over.
pub const REPLY: usize = 12;
/// Rewriting old segments, and checkpoints.
pub const COMPACT: usize = 13;
