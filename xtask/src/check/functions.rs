//! No function over a hundred lines outside tests: it does more than one thing, and its parts want names.
//!
//! Clippy's `too_many_lines` counts tests too, where a story may be long; hence this.

use crate::repository::Repository;

/// Lines of a function, its signature and braces included.
const LINES_MAX: usize = 100;

/// Functions that may be longer, and why.
const REASONS: &[(&str, &str, &str)] = &[
    ("targets/docdb/src/metrics.rs", "all", "a list, one metric after the other"),
    ("targets/pipeline/src/metrics.rs", "all", "a list, one metric after the other"),
];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    let is_code = |file: &&str| {
        file.ends_with(".rs") && !["/tests/", "/benches/", "/tests.rs"].iter().any(|part| file.contains(part))
    };
    for file in repository.files().filter(is_code) {
        let text = repository.text(file);
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (name, line, lines) in long(code) {
            if let Some(reason) = REASONS.iter().find(|(path, function, _)| *path == file && *function == name) {
                used.push(reason);
                continue;
            }
            faults.push(format!(
                "{file}:{line}: `{name}` has {lines} lines, at most {LINES_MAX} go without a reason: give its parts names, or add it to REASONS in xtask/src/check/functions.rs"
            ));
        }
    }
    for (file, name, _) in REASONS.iter().filter(|reason| !used.contains(reason)) {
        faults.push(format!("`{name}` of {file} is in REASONS and is not long: remove the line"));
    }
    faults
}

/// Functions of more than [`LINES_MAX`] lines: name, first line, lines. The code is as rustfmt leaves it: the brace that
/// closes a function stands under the beginning of its signature.
fn long(code: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut long = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let closing = format!("{}}}", &line[..indent]);
        let end = lines[index..].iter().position(|line| *line == closing || is_declaration(line, indent));
        let length = end.map_or(0, |end| end + 1);
        if length > LINES_MAX {
            long.push((name.to_owned(), index + 1, length));
        }
    }
    long
}

/// The name of the function that a line begins.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_qualifier = |word: &str| {
        ["const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word == "pub" || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    after.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// Whether this line ends a function without a body, as traits have them.
fn is_declaration(line: &str, indent: usize) -> bool {
    line.ends_with(';') && line.len() - line.trim_start().len() == indent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_is_found_and_a_declaration_is_none() {
        let body = "        step();\n".repeat(LINES_MAX - 1);
        let code = format!(
            "trait T {{\n    fn declared(\n        &self,\n    );\n}}\nimpl T for U {{\n    pub(crate) const fn long() {{\n{body}    }}\n}}\n"
        );
        assert_eq!(long(&code), [("long".to_owned(), 7, LINES_MAX + 1)]);
        let short = code.replacen("        step();\n", "", 1);
        assert!(long(&short).is_empty());
        assert_eq!(function_name("let fn_ = 1;"), None);
        assert_eq!(function_name("f: fn(u32) -> u32,"), None);
    }
}
