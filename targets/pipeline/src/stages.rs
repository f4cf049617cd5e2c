//! The stages that a worker's time is booked on.

/// Names, in the order of the constants.
pub const NAMES: [&str; 19] = [
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
/// Waiting for room in a channel.
pub const SEND: usize = 6;
/// Waiting for a frame from a channel.
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
/// Transforming a batch.
pub const TRANSFORM: usize = 13;
/// Writing rows in the destination's format.
pub const ENCODE_ROWS: usize = 14;
/// Handing rows to the destination.
pub const FLUSH: usize = 15;
/// Committing.
pub const COMMIT: usize = 16;
/// Closing the destination.
pub const CLOSE: usize = 17;
/// Waiting until the other workers have ended.
pub const OTHERS: usize = 18;
