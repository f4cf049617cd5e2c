//! A directory that was made survives a loss of power with all that was missing above it: each name is in a directory that is
//! synced.
//!
//! This binary has a call of its own in place of the C library's, which tells what was synced.

use std::{
    ffi::c_int,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use engine_disk::{Disk as _, RealDisk};

static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// In place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(descriptor: c_int) -> c_int {
    let path = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
    SYNCED.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    0
}

fn synced_by(work: impl FnOnce()) -> Vec<PathBuf> {
    SYNCED.lock().unwrap().clear();
    work();
    std::mem::take(&mut SYNCED.lock().unwrap())
}

#[test]
fn the_names_of_directories_are_synced() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    let directory = home.join("a/b/c");
    let made = synced_by(|| RealDisk.create_directory(&directory).unwrap());
    assert_eq!(made, [home.join("a/b"), home.join("a"), home.clone()]);
    // Who made it may have been killed before the sync.
    let taken = synced_by(|| RealDisk.create_directory(&directory).unwrap());
    assert_eq!(taken, [home.join("a/b")]);
}
