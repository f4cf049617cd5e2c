//! Copies the source of docdb-engine and sows bugs into the copy: each is one place where a line is not reached.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// File, what stands there, and what stands there instead.
const SEEDS: [(&str, &str, &str); 3] = [
    (
        "fast/group/lead.rs",
        "        segment.file.sync_data().map_err(|error| StoreError::io(\"syncing\", &segment.path, &error))?;",
        "        let syncing = || segment.file.sync_data().map_err(|error| StoreError::io(\"syncing\", &segment.path, &error));
        // Every other group is acknowledged before it is synced, with the next one.
        if !crate::is_sown(crate::Bug::EarlyAcknowledgement) || group.is_multiple_of(2) {
            syncing()?;
        }",
    ),
    (
        "fast/segments.rs",
        "        self.disk.sync_directory(&self.directory).map_err(failed)?;
        // One is wanted again",
        "        if !crate::is_sown(crate::Bug::NoDirectorySync) {
            self.disk.sync_directory(&self.directory).map_err(failed)?;
        }
        // One is wanted again",
    ),
    (
        "fast/format.rs",
        "    if hasher.finalize() ^ location_checksum::checksum(u64::from(segment), offset) != u32_at(header, 16) {",
        "    let is_whole = hasher.finalize() ^ location_checksum::checksum(u64::from(segment), offset) == u32_at(header, 16);
    if !is_whole && !crate::is_sown(crate::Bug::NoChecksum) {",
    ),
];

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let original = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../docdb/src");
    println!("cargo:rerun-if-changed={}", original.display());
    let folder = PathBuf::from(env::var("OUT_DIR")?).join("engine");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy(&original, &folder)?;
    for (name, stands, instead) in SEEDS {
        let path = folder.join(name);
        let text = fs::read_to_string(&path)?;
        if text.matches(stands).count() != 1 {
            return Err(
                format!("docdb-engine has changed: `{stands}` is not once in {name}; write the seed anew").into()
            );
        }
        fs::write(path, text.replace(stands, instead))?;
    }
    // The root goes into ours: without its own description, and with the places of its modules.
    let root: Vec<String> = fs::read_to_string(folder.join("lib.rs"))?
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .map(|line| {
            let name = line.trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
            let Some(name) = name else { return line.to_owned() };
            let file = folder.join(format!("{name}.rs"));
            let file = if file.is_file() { file } else { folder.join(name).join("mod.rs") };
            format!("#[path = {:?}]\n{line}", file.display().to_string())
        })
        .collect();
    fs::write(folder.join("root.rs"), root.join("\n"))?;
    Ok(())
}
