//! One file for each command.

pub mod agent;
pub mod agent_check;
pub mod calibrate;
pub mod compare;
pub mod completions;
pub mod crossover;
pub mod diff;
pub mod docker;
pub mod doctor;
pub mod doctor_fix;
pub mod export;
pub mod gate;
pub mod history;
pub mod init;
pub mod ledger;
pub mod list;
pub mod man;
pub mod new;
pub mod profile;
pub mod report;
pub mod run;
pub mod saturate;
pub mod show;
pub mod sweep;
pub mod verify;
