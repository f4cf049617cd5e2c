//! Every target has the same files, so that who knows one finds his way in all.

use crate::repository::Repository;

/// What each target has, and what is in it.
const FILES: [(&str, &str); 5] = [
    ("README.md", "what it measures, its settings and its metrics"),
    ("src/lib.rs", "the factory"),
    ("src/settings.rs", "workload and settings as types"),
    ("src/metrics.rs", "its own metrics"),
    ("src/target.rs", "the system under test: set up, loaded, checked"),
];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    for target in repository.members().filter(|member| member.starts_with("targets/")) {
        for (file, purpose) in FILES {
            if !repository.files().any(|known| known == format!("{target}/{file}")) {
                faults.push(format!("`{target}` has no `{file}`, which is for {purpose}; every target has it"));
            }
        }
    }
    faults
}
