//! One file for each command.

pub mod agent;
pub mod calibrate;
pub mod compare;
pub mod completions;
pub mod crossover;
pub mod diff;
pub mod docker;
pub mod doctor;
pub mod export;
pub mod gate;
pub mod history;
pub mod ledger;
pub mod list;
pub mod profile;
pub mod prune;
pub mod report;
pub mod run;
pub mod saturate;
pub mod show;
pub mod sweep;
pub mod verify;
