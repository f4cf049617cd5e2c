//! One file for each check.

mod circles;
mod crates;
mod dependencies;
mod documents;
mod functions;
mod licenses;
mod sizes;
mod words;

use crate::repository::Repository;

/// A check: the faults that it found.
pub type Check = fn(&Repository) -> Vec<String>;

/// All checks, by name.
pub const ALL: &[(&str, Check)] = &[
    ("sizes", sizes::check),
    ("crates", crates::check),
    ("dependencies", dependencies::check),
    ("licenses", licenses::check),
    ("circles", circles::check),
    ("functions", functions::check),
    ("documents", documents::check),
    ("words", words::check),
];
