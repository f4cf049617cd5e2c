//! The vocabulary of `CONTRIBUTING.md`: one word for one thing, the field's own.

use crate::repository::Repository;

/// A phrase that is not written here, and what is written instead.
const WORDS: &[(&str, &str)] = &[
    ("cannot be had", "is not available: why"),
    ("could not be had", "is not available: why"),
    ("not to be had", "is not available: why"),
    ("was to be had", "was possible"),
    ("nobody waits for", "was abandoned; no caller waits"),
    ("cannot be made", "could not create X: why"),
    ("is had", "is obtained"),
    ("is amiss", "is wrong"),
    ("held against", "checked against, compared with"),
    ("holds it against", "checks it against"),
    ("hold it against", "check it against"),
    ("for want of one", "because one is missing"),
    ("killed for want of memory", "killed: out of memory"),
    ("secure shell", "SSH"),
    ("filter of system calls", "seccomp"),
    ("cries wolf", "false alarm"),
    ("at the wire", "on the wire"),
    ("ever more seldom", "with back-off"),
    ("verb", "command"),
    ("verbs", "commands"),
    ("processor", "CPU"),
    ("processors", "CPUs"),
    ("telephone", "phone"),
    ("the box", "the container"),
    ("Another metric as the one that decides", "Override the primary metric"),
    ("Form of the results", "Output format"),
];

/// A file that may have a phrase all the same: the key `verb` of `run.json` is a contract.
const EXEMPT: &[(&str, &str)] = &[
    ("harness/model/src/run.rs", "verb"),
    // The story of a record.
    ("harness/report/tests/snapshots/snapshots__weaker-markdown.snap", "held against"),
];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    for file in repository.files().filter(|file| is_written_here(file)) {
        let text = repository.text(file);
        for (number, line) in text.lines().enumerate() {
            for (phrase, better) in WORDS {
                if has(line, phrase) && !EXEMPT.contains(&(file, *phrase)) {
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
        && file != "CONTRIBUTING.md"
}

/// Whether a line holds a phrase as whole words.
fn has(line: &str, phrase: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(phrase)
        .any(|(at, _)| !line[..at].ends_with(is_inside) && !line[at + phrase.len()..].starts_with(is_inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_counts_as_whole_words() {
        assert!(has("each verb of it", "verb"));
        assert!(!has("--verbose", "verb") && !has("adverb", "verb") && !has("multiprocessor", "processor"));
    }
}
