//! The built binary, used as users use it.

mod accidents;
mod action;
mod agents;
mod any_program;
mod bench;
mod command;
mod crash;
mod crossover;
mod docker;
mod doctor_fix;
mod engines;
mod faults;
mod installed;
mod long_runs;
mod new_crate;
mod own_engine;
mod own_target;
mod owner;
mod profile;
mod reference_runs;
mod saturate;
mod stored;
mod strangers;
mod throttled_disk;
mod truth;
mod usage;
