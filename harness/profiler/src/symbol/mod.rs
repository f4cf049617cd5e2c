//! From addresses to names.

pub mod kernel;
pub mod swift;
pub mod user;

pub use kernel::KernelSymbols;
pub use user::{Function, UserSymbols};
