//! Pure functions from records to verdicts: estimators, intervals, corrections, and what they decide.
//!
//! It knows the model alone, and not how records were taken, where they lie or how a verdict is shown. Nothing here reads a
//! clock, a file or a random number: the same records give the same verdicts, byte for byte.
//! `docs/METHODOLOGY.md` says why each rule is what it is and how it fared on recorded runs.

pub mod calibrate;
pub mod change_points;
pub mod claims;
pub mod correction;
pub mod crash;
pub mod crossover;
pub mod deterministic_counter;
pub mod diff;
pub mod disturbance;
pub mod estimate;
pub mod evidence;
pub mod gate;
pub mod history;
pub mod insight;
pub mod judge;
pub mod ledger;
pub mod load_agents;
pub mod metrics;
pub mod modelled_disk;
pub mod objective_search;
pub mod pairing;
pub mod power;
pub mod profile;
pub mod proportion;
pub mod random;
pub mod replication;
pub mod saturation;
pub mod scalability;
pub mod settings;
pub mod shape;
pub mod spending;
pub mod stalls;
pub mod sweep;
pub mod warmup;
pub mod warning;

pub use judge::{Decision, decided, judge, judge_pair, screen::screens};

/// Family-wise error over the primary metrics of a report, and over the secondary metrics of a scenario.
pub const FAMILY_ALPHA: f64 = 0.01;

/// The margin within which a metric that depends on time counts as unchanged, where nothing else is known.
pub const DEFAULT_MARGIN: f64 = 0.02;

/// The fewest blocks for a verdict.
pub const BLOCKS_MIN: usize = 5;
