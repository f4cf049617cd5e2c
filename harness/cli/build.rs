//! Puts the scenario files into the binary: those of the folder `scenarios`, which is the repository's.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("scenarios");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut found = Vec::new();
    collect(&root, &root, &mut found)?;
    found.sort();
    let mut text = "/// The scenario folder: paths and texts.\nconst SCENARIOS: &[(&str, &str)] = &[\n".to_owned();
    for (name, path) in found {
        let _ = writeln!(text, "    ({name:?}, include_str!({path:?})),");
    }
    text.push_str("];\n");
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("scenarios.rs"), text)
}

/// Scenarios, rules, and the documents that claims are from.
fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let wanted = path.extension().is_some_and(|ending| ending == "toml" || ending == "md");
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if wanted && !hidden {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.push((name, path.display().to_string()));
        }
    }
    Ok(())
}
