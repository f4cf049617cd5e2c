//! Mounts whose owner is gone.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
};

use procfs_core::{FromRead as _, process::Stat};

/// How the source of our mounts begins; number and beginning of the process that serves them follow.
const SOURCE: &str = "uplift-powerfs";

/// The name of this process's mounts.
pub fn own_source() -> String {
    let id = process::id();
    format!("{SOURCE}-{id}-{}", began(id).unwrap_or_default())
}

/// When a process began, in clock ticks since boot: numbers are given again.
fn began(id: u32) -> Option<String> {
    Stat::from_file(format!("/proc/{id}/stat")).ok().map(|stat| stat.starttime.to_string())
}

/// A mount that nobody serves any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is mounted.
    pub at: PathBuf,
}

impl Leftover {
    /// Takes it away.
    ///
    /// # Errors
    /// What the system said.
    pub fn remove(&self) -> io::Result<()> {
        detach(&self.at)
    }
}

/// The mounts of ours whose process is gone.
pub fn leftovers() -> Vec<Leftover> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(abandoned).map(|at| Leftover { at }).collect()
}

/// Where a line of `mountinfo` has a mount of ours whose process is gone.
fn abandoned(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let source = after.split_whitespace().nth(1)?;
    let (id, start) = source.strip_prefix(SOURCE)?.strip_prefix('-')?.split_once('-')?;
    if began(id.parse().ok()?).as_deref() == Some(start) {
        return None;
    }
    Some(PathBuf::from(unescaped(before.split(' ').nth(4)?)))
}

/// `mountinfo` writes blanks and the like as `\040`.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain + rest
}

/// Takes a mount away from its place, at once; it ends when nobody uses it any more.
pub fn detach(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends with zero and outlives the call.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error);
    }
    // Only the helper of FUSE may unmount for who is not root.
    match Command::new("fusermount3").args(["-u", "-z", "--"]).arg(at).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(_) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_processes_that_are_gone_are_left_over() {
        let line =
            |source: &str| format!("36 35 0:40 / /tmp/a\\040b/data rw,nosuid - fuse.uplift {source} rw,user_id=0");
        assert_eq!(abandoned(&line("uplift-powerfs-999999999-1")), Some(PathBuf::from("/tmp/a b/data")));
        assert_eq!(abandoned(&line(&own_source())), None);
        let reused = format!("uplift-powerfs-{}-1", process::id());
        assert!(abandoned(&line(&reused)).is_some(), "another process has the number now");
        assert_eq!(abandoned(&line("sshfs")), None);
        assert_eq!(abandoned("nonsense"), None);
    }
}
