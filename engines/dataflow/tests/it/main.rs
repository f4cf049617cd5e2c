//! The engine as a whole: what it answers, keeps and recovers, whatever is taken away from it.

mod acknowledgement;
mod engine;
mod harness;
mod kill;
mod log;
mod power_loss;
mod simulated_vfs;
mod sqlite_durability;
