//! Exit codes. They are a contract: scripts rely on them.

/// All is well.
pub const OK: u8 = 0;
/// The gate found a regression.
pub const REGRESSION: u8 = 1;
/// The command line or a scenario is wrong.
pub const USAGE: u8 = 2;
/// The gate could not decide, and `--strict` was given.
pub const INCONCLUSIVE: u8 = 3;
/// Something that must be equal differs.
pub const INCOMPARABLE: u8 = 4;
/// A target or the environment failed.
pub const FAILED: u8 = 5;
/// The user interrupted the run; what was measured is kept.
pub const INTERRUPTED: u8 = 130;
