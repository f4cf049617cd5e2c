//! Starts agents in containers of a Docker Engine: the binary that runs, in a container with limits.
//!
//! The image is made in memory from the agent's binary and its shared libraries, so host and container run the same
//! code and nothing is compiled or pulled. Data never lie in the container's own layer. What a trial leaves behind
//! is removed with it; what a killed harness leaves behind carries labels by which [`prune`](prune::prune) finds it.
//!
//! Only this crate knows the Engine's API. It decides nothing about results and knows no target.

pub mod arguments;
pub mod engine;
pub mod error;
pub mod image;
pub mod inventory;
pub mod launcher;
pub mod libraries;
pub mod owner;
pub mod prune;
pub mod statistics;
pub mod swarm;

mod container;
mod hold;
mod streams;
mod tunnel;

pub use arguments::{ArgumentError, ContainerArgs, parse_size};
pub use engine::{Engine, Facts};
pub use error::{DockerError, DockerErrorKind};
pub use launcher::{DockerLauncher, DockerOptions};
pub use statistics::metrics;
pub use swarm::SwarmLauncher;
