//! The README says with which duroxide this crate was tested: that is the one that it asks for and was built with.

use std::{fs, path::Path};

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// The value of the first `key = "value"` behind `section` in a text of TOML.
fn value<'a>(text: &'a str, section: &str, key: &str) -> &'a str {
    let rest = text.split_once(section).unwrap_or_else(|| panic!("no `{section}`")).1;
    let rest = rest.split_once(&format!("{key} = \"")).unwrap_or_else(|| panic!("no `{key}` behind `{section}`")).1;
    rest.split('"').next().unwrap_or_default()
}

#[test]
fn the_versions_that_were_tested_are_those_of_the_table() {
    let manifest = fs::read_to_string(Path::new(HOME).join("Cargo.toml")).unwrap();
    let readme = fs::read_to_string(Path::new(HOME).join("README.md")).unwrap();
    let row =
        readme.lines().skip_while(|line| !line.starts_with("| this crate |")).nth(2).expect("a table of versions");
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let [_, ours, theirs, tested, _] = cells.as_slice() else { panic!("{row}") };

    let version = env!("CARGO_PKG_VERSION");
    assert!(version.starts_with(&format!("{ours}.")), "the first row is of {ours}, and this is {version}");
    // One version is asked for, as long as only one was tested: the trait of providers grows within 0.1.
    let asked = value(&manifest, "[dependencies]", "duroxide = { version");
    assert_eq!(asked, format!("={theirs}"), "Cargo.toml and the table of the README");
    let dev = value(&manifest, "[dev-dependencies]", "duroxide = { version");
    assert_eq!(dev, asked, "tests are built with what is asked for");
    let root = Path::new(HOME).ancestors().find(|folder| folder.join("Cargo.lock").is_file()).expect("a Cargo.lock");
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    assert_eq!(value(&lock, "name = \"duroxide\"\n", "version"), *theirs, "Cargo.lock and the table of the README");
    assert!(tested.starts_with(theirs) && tested.contains("provider_validations"), "{tested}");
}
