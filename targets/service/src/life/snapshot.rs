//! Data that took long to make, kept beside the trials of a run and copied for each.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use uplift_command::capture::digest_of;

use super::Plan;

/// Where the data of this plan are kept: beside the folders of trials, by what makes them.
pub fn place(trial: &Path, plan: &Plan, load: &str) -> Option<PathBuf> {
    let settings = &plan.variant.settings;
    let made_by = serde_json::to_string(&(
        &plan.workload.service,
        plan.start_line(),
        &settings.init,
        &settings.files,
        &settings.templates,
        &settings.env,
        &plan.variant.own,
        load,
    ))
    .ok()?;
    Some(trial.parent()?.join(format!("snapshot-{}", digest_of(made_by.as_bytes()).trim_start_matches("sha256:"))))
}

/// What is locked while the data at `place` are made.
pub fn lock_file(place: &Path) -> PathBuf {
    place.with_extension("lock")
}

/// Waits until nobody else makes what will be at `place`; the lock ends with the file, or with the process.
pub fn lock(place: &Path) -> io::Result<fs::File> {
    let file = fs::File::create(lock_file(place))?;
    file.lock()?;
    Ok(file)
}

/// Keeps the data in `from` at `place`. Whoever comes second finds what the first one kept.
pub fn keep(from: &Path, place: &Path) -> io::Result<()> {
    let unfinished = place.with_extension(std::process::id().to_string());
    copy(from, &unfinished).and_then(|()| fs::rename(&unfinished, place)).or_else(|error| {
        let _ = fs::remove_dir_all(&unfinished);
        if place.is_dir() { Ok(()) } else { Err(error) }
    })
}

/// Copies a folder with everything in it, and has it written before anything is timed.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_tree(from, to)?;
    let folder = fs::File::open(to)?;
    // SAFETY: a descriptor that is open.
    if unsafe { libc::syncfs(folder.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if metadata.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_tree(&from.join(&name), &to.join(&name))?;
        }
        fs::set_permissions(to, metadata.permissions())?;
    } else if metadata.is_file() {
        // Shares blocks where the file system can.
        fs::copy(from, to)?;
    } else {
        // Sockets and pipes are made anew by who needs them.
        return Ok(());
    }
    let made = fs::symlink_metadata(to)?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_with_everything_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "x").unwrap();
        symlink("b/file", from.join("a/link")).unwrap();
        let _lock = lock(&folder.path().join("snapshot-1")).unwrap();
        let again = fs::File::open(folder.path().join("snapshot-1.lock")).unwrap();
        assert!(again.try_lock().is_err(), "whoever comes second waits");
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let place = folder.path().join("snapshot-1");
        keep(&from, &place).unwrap();
        keep(&from, &place).unwrap();
        let to = folder.path().join("to");
        copy(&place, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/link")).unwrap(), "x");
        assert!(!to.join("socket").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing unfinished is left");
    }
}
