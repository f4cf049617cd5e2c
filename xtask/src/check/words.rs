//! The vocabulary of `CONTRIBUTING.md`: one word for one thing, the field's own.

use crate::repository::Repository;

/// A phrase that is not written here, what is written instead, and the files that may hold it all the same.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("cannot be had", "is not available: why", &[]),
    ("cannot be made", "could not create X: why", &[]),
    ("killed for want of memory", "killed: out of memory", &[]),
    ("secure shell", "SSH", &[]),
    ("filter of system calls", "seccomp", &[]),
    ("cries wolf", "false alarm", &[]),
    ("at the wire", "on the wire", &[]),
    ("ever more seldom", "with back-off", &[]),
    ("Another metric as the one that decides", "Override the primary metric", &[]),
    ("Form of the results", "Output format", &[]),
];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    for file in repository.files().filter(|file| is_written_here(file)) {
        let text = repository.text(file);
        for (number, line) in text.lines().enumerate() {
            for (phrase, better, exempt) in WORDS {
                if line.contains(phrase) && !exempt.contains(&file) {
                    faults.push(format!("{file}:{}: write \"{better}\", not \"{phrase}\"", number + 1));
                }
            }
        }
    }
    faults
}

/// Records and what is drawn from them keep the words of the day on which they were made.
fn is_written_here(file: &str) -> bool {
    let is_text = [".rs", ".md", ".toml", ".sh", ".yml", ".snap"].iter().any(|ending| file.ends_with(ending));
    is_text
        && !file.starts_with("results/reference/")
        && file != "xtask/src/check/words.rs"
        && file != "docs/REPLICATION.md"
}
