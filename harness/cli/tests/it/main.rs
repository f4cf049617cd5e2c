//! The built binary, used as users use it.

mod accidents;
mod bench;
mod command;
mod crossover;
mod docker;
mod engines;
mod faults;
mod long_runs;
mod own_engine;
mod own_target;
mod owner;
mod profile;
mod reference_runs;
mod saturate;
mod stored;
mod strangers;
mod truth;
mod usage;
