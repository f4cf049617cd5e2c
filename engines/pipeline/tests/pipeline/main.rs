//! The pipeline from end to end, and everything that can go wrong with it.

mod arrival;
mod bench;
mod faults;
mod kill;
#[cfg(feature = "wasm")]
mod module;
mod postgres;
mod sql;
mod table;
