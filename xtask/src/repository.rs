//! What checks read: the files that git tracks or would track, and the crates of the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A checkout of this repository.
pub struct Repository {
    root: PathBuf,
    files: Vec<String>,
    members: Vec<String>,
}

impl Repository {
    /// The checkout that this program was built from.
    pub fn here() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Files that are not ignored but not added yet count: a check before a commit must see them.
        let listed = Command::new("git")
            .current_dir(&root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .map_err(|error| format!("could not run git: {error}; install git"))?;
        if !listed.status.success() {
            return Err(format!("could not list files: {}", String::from_utf8_lossy(&listed.stderr).trim()));
        }
        let mut files: Vec<String> = String::from_utf8_lossy(&listed.stdout)
            .split('\0')
            .filter(|file| !file.is_empty() && root.join(file).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        let mut repository = Self { root, files, members: Vec::new() };
        let manifest = repository.toml("Cargo.toml");
        repository.members = strings(&manifest["workspace"]["members"]);
        Ok(repository)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Paths of its files from the root, sorted.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Folders of the workspace's crates.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(String::as_str)
    }

    /// The text of a file; nothing of one that is not text.
    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }

    /// How many bytes a file has.
    pub fn size(&self, file: &str) -> u64 {
        fs::metadata(self.root.join(file)).map_or(0, |metadata| metadata.len())
    }

    /// A TOML file. One that does not parse would have stopped cargo before this program ran.
    pub fn toml(&self, file: &str) -> toml::Table {
        toml::from_str(&self.text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

/// The strings of a TOML array.
pub fn strings(value: &toml::Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
