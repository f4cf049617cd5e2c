//! No unused dependency: each is named in the sources of the crate that declares it.

use crate::repository::Repository;

/// Dependencies that no source names, and why they are there.
const REASONS: &[(&str, &str, &str)] = &[];

/// Crates whose build copies the sources of another.
const COPIES: &[(&str, &str)] = &[("engines/docdb-seeded", "engines/docdb")];

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used_reasons = Vec::new();
    for member in repository.members() {
        let manifest = repository.toml(&format!("{member}/Cargo.toml"));
        let original = COPIES.iter().find(|(copy, _)| *copy == member).map(|(_, original)| format!("{original}/"));
        let sources: Vec<String> = repository
            .files()
            .filter(|file| {
                let own = file.starts_with(&format!("{member}/"));
                (own || original.as_ref().is_some_and(|original| file.starts_with(original))) && file.ends_with(".rs")
            })
            .map(|file| repository.text(file))
            .collect();
        for name in TABLES.iter().filter_map(|table| manifest.get(*table)?.as_table()).flat_map(|table| table.keys()) {
            if sources.iter().any(|source| names(source, name)) {
                continue;
            }
            match REASONS.iter().find(|(of, dependency, _)| *of == member && dependency == name) {
                Some(reason) => used_reasons.push(reason),
                None => faults.push(format!(
                    "`{member}` declares `{name}` and no source of it names that: remove it, or give a reason in xtask/src/check/dependencies.rs"
                )),
            }
        }
    }
    for reason in REASONS.iter().filter(|reason| !used_reasons.contains(reason)) {
        faults.push(format!("the reason for `{}` in `{}` is stale: remove it", reason.1, reason.0));
    }
    faults
}

/// Whether a source names the crate as the start of a path, or in a `use`.
fn names(source: &str, dependency: &str) -> bool {
    let ident = dependency.replace('-', "_");
    source.match_indices(&ident).any(|(at, _)| {
        let before = source[..at].chars().next_back();
        let after = &source[at + ident.len()..];
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        starts && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_as_a_path() {
        assert!(names("use tempfile::TempDir;", "tempfile"));
        assert!(names("let x = rand_distr::Zipf::new();", "rand-distr"));
        assert!(!names("let tempfile = 3;", "tempfile"));
        assert!(!names("use my_tempfile::X;", "tempfile"));
    }
}
