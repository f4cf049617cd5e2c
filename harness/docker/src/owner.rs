//! The labels by which a thing on an Engine names the run and the process that it belongs to.

pub use uplift_engine::owner::{Liveness, Owner};

/// The label that names the run.
pub const RUN_LABEL: &str = "uplift.run";
/// The label that names the process.
pub const OWNER_LABEL: &str = "uplift.owner";
