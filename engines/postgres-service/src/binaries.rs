//! Finds PostgreSQL's programs on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{error::ServiceError, variables::URL_VARIABLE};

/// The programs that make and run a cluster.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) initdb: PathBuf,
    pub(crate) postgres: PathBuf,
}

impl Binaries {
    /// The pair in `UPLIFT_POSTGRES_BIN`, the search path, or the newest of Debian's folders.
    pub(crate) fn find() -> Result<Self, ServiceError> {
        folders()
            .into_iter()
            .map(|folder| Self { initdb: folder.join("initdb"), postgres: folder.join("postgres") })
            .find(|pair| is_program(&pair.initdb) && is_program(&pair.postgres))
            .ok_or_else(|| {
                ServiceError::unavailable(
                    format!("postgres: no server binaries on this machine, and {URL_VARIABLE} is not set"),
                    format!("install PostgreSQL's server package (Debian: postgresql), or set {URL_VARIABLE}"),
                )
            })
    }
}

/// A program of PostgreSQL by name.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    folders().into_iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// A program in the search path.
pub(crate) fn in_search_path(name: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn search_path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("UPLIFT_POSTGRES_BIN").into_iter().map(PathBuf::from).collect();
    // Debian keeps the server's programs out of the search path, in a folder for each version.
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders.extend(search_path());
    folders
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
