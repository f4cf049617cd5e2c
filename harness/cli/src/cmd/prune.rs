//! `uplift prune`: removes what killed runs left on this machine outside Docker: the data of trials, and checkouts that
//! `gate --base-ref` was building.
//!
//! Each names the process that it belongs to. What belongs to a process that is alive is never touched, nor is a folder
//! that names nobody in a place that others may use too.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use uplift_engine::{
    optional_file::list_optional,
    owner::{Liveness, OWNER_FILE, Owner},
    store::RUN_FILE,
};

use crate::{
    args::LeftoverArgs, base_build, error::CliError, exit, output::Terminal, revisions::repository::owner_file,
};

/// A folder that a run made.
struct Leftover {
    /// "the data of run 2026…".
    what: String,
    folder: PathBuf,
    /// The file that names its owner.
    owner: PathBuf,
}

/// Does what was asked for.
pub fn run(args: &LeftoverArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let mut found = in_runs(&args.out).map_err(|error| unreadable(&args.out, &error))?;
    if let Some(shared) = &args.data_dir {
        found.extend(in_data_dir(shared).map_err(|error| unreadable(shared, &error))?);
    }
    for checkout in base_build::checkouts() {
        let what = "a checkout of gate --base-ref".to_owned();
        found.push(Leftover { what, owner: owner_file(&checkout), folder: checkout });
    }
    let (mut removed, mut kept, mut failed) = (0, 0, 0);
    let done = if args.dry_run { "would remove" } else { "removed" };
    for leftover in found {
        let Leftover { what, folder, owner } = &leftover;
        let place = folder.display();
        // Asked right before it goes, and not when it was found.
        if let Some(reason) = why_kept(&leftover, args.unknown) {
            kept += 1;
            terminal.print(&format!("kept {what}, {place}: {reason}\n"));
        } else if let Some(Err(error)) = (!args.dry_run).then(|| remove(folder, owner)) {
            failed += 1;
            terminal.print(&format!("could not remove {what}, {place}: {error}\n"));
        } else {
            removed += 1;
            terminal.print(&format!("{done} {what}, {place}\n"));
        }
    }
    let failures = if failed > 0 { format!(", failed {failed}") } else { String::new() };
    terminal.print(&format!("prune: {done} {removed}, kept {kept}{failures}\n"));
    Ok(if failed > 0 { exit::FAILED } else { exit::OK })
}

/// Data in the folders of runs: a run that came to its end has removed them.
fn in_runs(out: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for folder in folders(out)? {
        let data = folder.join("data");
        // A link is no folder of ours: what it leads to is somebody's.
        if folder.join(RUN_FILE).is_file() && fs::symlink_metadata(&data).is_ok_and(|data| data.is_dir()) {
            found.push(Leftover { what: data_of(&folder), owner: data.join(OWNER_FILE), folder: data });
        }
    }
    Ok(found)
}

/// Folders of runs in a `--data-dir`: those that name an owner.
fn in_data_dir(shared: &Path) -> io::Result<Vec<Leftover>> {
    let signed = folders(shared)?.into_iter().filter(|folder| folder.join(OWNER_FILE).is_file());
    Ok(signed.map(|folder| Leftover { what: data_of(&folder), owner: folder.join(OWNER_FILE), folder }).collect())
}

fn data_of(run: &Path) -> String {
    format!("the data of run {}", run.file_name().unwrap_or_default().display())
}

fn folders(place: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = list_optional(place)?.into_iter();
    let mut folders: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// Why a folder stays; `None`: it goes.
fn why_kept(leftover: &Leftover, unknown: bool) -> Option<String> {
    let owner = match Owner::of_file(&leftover.owner) {
        Ok(owner) => owner,
        Err(error) => return Some(format!("could not read whose it is: {error}")),
    };
    let reason = match owner.map(|owner| (owner.life(), owner.process)) {
        Some((Liveness::Alive, process)) => return Some(format!("its run is alive (process {process})")),
        Some((Liveness::Dead, _)) => None,
        Some((Liveness::Unknown(reason), _)) => Some(reason),
        None => Some("it does not say whose it is".to_owned()),
    };
    match reason {
        Some(reason) if !unknown => Some(format!("{reason}; --unknown removes it all the same")),
        // What is mounted is more than the folder: removing would go through it.
        _ => mounted_in(&leftover.folder)
            .map(|mount| format!("`{}` is mounted there; unmount it first: umount {0}", mount.display())),
    }
}

/// The deepest file system that is mounted in a folder or on it.
fn mounted_in(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let table = fs::read("/proc/self/mountinfo").ok()?;
    let mounts = table.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    mounts.map(unescaped).filter(|mount| mount.starts_with(&folder)).max_by_key(|mount| mount.components().count())
}

/// The kernel writes spaces, tabs, line ends and backslashes as a backslash with three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

/// The owner's name goes last: what could not be removed whole is found again.
fn remove(folder: &Path, owner: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path == owner {
            continue;
        }
        match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    fs::remove_dir_all(folder)?;
    match fs::remove_file(owner) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unreadable(place: &Path, error: &io::Error) -> CliError {
    CliError::environment(format!("could not list `{}`: {error}", place.display()), "name a folder that can be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mounts_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescaped(b"/plain\\"), Path::new("/plain\\"));
        assert!(mounted_in(Path::new("/proc")).is_some());
    }
}
