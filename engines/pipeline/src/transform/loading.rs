//! The module of WebAssembly transforms, and what it takes to get it ready.

use std::sync::atomic::AtomicU64;

/// The module, as `module/build.sh` made it.
pub const MODULE: &[u8] = include_bytes!("../../module/connector.wasm");

/// How long modules took to become ready, summed over all of a trial, in nanoseconds.
#[derive(Debug, Default)]
pub struct Loading {
    /// Compiling.
    pub compile_ns: AtomicU64,
    /// Compilations.
    pub compiles: AtomicU64,
    /// Mapping compiled code from the cache.
    pub deserialize_ns: AtomicU64,
    /// Mappings.
    pub deserializes: AtomicU64,
    /// Instantiating.
    pub instantiate_ns: AtomicU64,
}
