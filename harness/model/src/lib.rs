//! The vocabulary of uplift: pure data, shared by every crate of the harness.
//!
//! Nothing here measures, launches, decides or draws. A type is here because it crosses a boundary: from a
//! scenario file into the harness, between the harness and an agent, or from a run on disk to a report.
//! `docs/GLOSSARY.md` has one line for each word.

pub mod arrival;
pub mod bandwidth;
pub mod calibration;
pub mod crash;
pub mod database_durability;
pub mod description;
pub mod disk;
pub mod durability;
pub mod duration;
pub mod file_name;
mod fnv;
pub mod histogram;
pub mod history;
pub mod load_agent;
pub mod metric;
pub mod metric_names;
pub mod objective;
pub mod problem;
pub mod profile;
pub mod protocol;
pub mod registry;
pub mod run;
pub mod sampled;
pub mod saturation;
pub mod scenario;
pub mod screen;
pub mod secret;
pub mod seed;
pub mod setting_value;
pub mod trial;
pub mod verdict;

pub use durability::Durability;
pub use file_name::file_name;
pub use fnv::fnv1a;
pub use histogram::Histogram;
pub use metric::{Better, MetricClass, MetricSpec, Unit};
pub use problem::Problem;
pub use profile::ProfileTrial;
pub use scenario::{Scenario, ScenarioError};
pub use trial::Trial;
pub use verdict::Verdicts;

/// A free-form table of settings or workload parameters, as written in a scenario.
pub type Table = serde_json::Map<String, serde_json::Value>;
