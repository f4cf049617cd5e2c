//! Every dependency has a license that `deny.toml` allows, comes from crates.io, and is not banned there.
//!
//! This reads `cargo tree` of the default features and needs no network. `cargo deny check` also reads advisories and
//! what other features bring; the workflow `ci.yml` runs it.

use std::{collections::BTreeSet, process::Command};

use crate::repository::{Repository, strings};

pub fn check(repository: &Repository) -> Vec<String> {
    let rules = repository.toml("deny.toml");
    let allowed = strings(&rules["licenses"]["allow"]);
    let banned: Vec<String> = rules["bans"]["deny"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ban| ban.get("crate")?.as_str().map(str::to_owned))
        .collect();
    let tree = match tree(repository) {
        Ok(tree) => tree,
        Err(fault) => return vec![fault],
    };
    let mut faults = Vec::new();
    // `name v1.2.3 (where, unless crates.io)|license`
    for (package, license) in tree.iter().filter_map(|line| line.split_once('|')) {
        let name = package.split_whitespace().next().unwrap_or_default();
        let license = license.trim_end_matches(" (*)");
        if license.is_empty() {
            faults.push(format!("`{name}` names no license"));
        } else if !is_allowed(license, &allowed) {
            faults.push(format!("`{name}` is licensed {license}, which deny.toml does not allow"));
        }
        if banned.iter().any(|ban| ban == name) {
            faults.push(format!("`{name}` is banned by deny.toml"));
        }
        if package.contains("://") {
            faults.push(format!("`{package}` does not come from crates.io"));
        }
    }
    faults
}

/// The packages of the default build, each once.
fn tree(repository: &Repository) -> Result<BTreeSet<String>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository.root())
        .args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{l}"])
        .output()
        .map_err(|error| format!("could not run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Whether an SPDX expression can be satisfied with these licenses. `/` is how old crates write OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed)
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut is_met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_met |= all_of(words, at, allowed);
    }
    is_met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut is_met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        is_met &= one(words, at, allowed);
    }
    is_met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    if words.get(*at) == Some(&"(") {
        *at += 1;
        let is_met = any_of(words, at, allowed);
        *at += 1;
        return is_met;
    }
    let mut license = words.get(*at).copied().unwrap_or_default().to_owned();
    *at += 1;
    if words.get(*at) == Some(&"WITH") {
        license = format!("{license} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    allowed.contains(&license)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_says() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/GPL-3.0",
            "GPL-3.0 OR (MIT AND Apache-2.0)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(met, &allowed), "{met}");
        }
        for open in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "GPL-3.0 WITH LLVM-exception"] {
            assert!(!is_allowed(open, &allowed), "{open}");
        }
    }
}
