//! The process that serves one trial: load generators, recorders, and the conversation with the harness.
//!
//! This crate does not know which targets exist, how trials are planned, or what a result means.

pub mod load;
mod part;
pub mod program;
pub mod recorder;
mod serve;
mod session;

pub use program::main;
pub use serve::{read_request, serve};
pub use uplift_instrument::sampler::StackSampler;
