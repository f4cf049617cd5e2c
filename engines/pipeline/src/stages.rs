//! The stages that a worker's time is booked on.

/// Names, in the order of the constants.
pub const NAMES: [&str; 20] = [
    "connect",
    "query",
    "fetch",
    "checksum",
    "encode",
    "compress",
    "send",
    "receive",
    "decompress",
    "decode",
    "module compile",
    "module deserialize",
    "module instantiate",
    "plan",
    "transform",
    "encode rows",
    "flush",
    "commit",
    "close",
    "others",
];

/// Reaching the destination or the source's server.
pub const CONNECT: usize = 0;
/// Asking the source's server.
pub const QUERY: usize = 1;
/// Taking rows from the source.
pub const FETCH: usize = 2;
/// Hashing rows.
pub const CHECKSUM: usize = 3;
/// Writing Arrow IPC.
pub const ENCODE: usize = 4;
/// Compressing frames.
pub const COMPRESS: usize = 5;
/// Handing a frame to a channel: at work where there was room, waiting where there was none.
pub const SEND: usize = 6;
/// Taking a frame from a channel: at work where one was there, waiting where none was.
pub const RECEIVE: usize = 7;
/// Decompressing frames.
pub const DECOMPRESS: usize = 8;
/// Reading Arrow IPC.
pub const DECODE: usize = 9;
/// Compiling the transform's module.
pub const COMPILE: usize = 10;
/// Mapping the compiled module from its cache.
pub const DESERIALIZE: usize = 11;
/// Instantiating it.
pub const INSTANTIATE: usize = 12;
/// Planning the transform's SQL.
pub const PLAN: usize = 13;
/// Transforming a batch.
pub const TRANSFORM: usize = 14;
/// Writing rows in the destination's format.
pub const ENCODE_ROWS: usize = 15;
/// Handing rows to the destination.
pub const FLUSH: usize = 16;
/// Committing.
pub const COMMIT: usize = 17;
/// Closing the destination.
pub const CLOSE: usize = 18;
/// Waiting until the other workers have ended.
pub const OTHERS: usize = 19;
