//! A binary that takes part in a run: the same bytes from its first trial to its last.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::PathBuf};

use sha2::{Digest as _, Sha256};
use uplift_model::run::Binary;

/// What the system changes whenever a file is written or replaced: device, inode, size, and when content and inode changed.
type Identity = (u64, u64, u64, [i64; 4]);

/// A binary as it was when the run began.
#[derive(Clone, Debug)]
pub struct PinnedBinary {
    /// Its path.
    pub path: PathBuf,
    /// The first half of the SHA-256 of its bytes.
    pub digest: String,
    identity: Identity,
}

impl PinnedBinary {
    /// The binary at `path` as it is now.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path)?;
        let digest = digest(&path)?;
        Ok(Self { path, digest, identity })
    }

    /// As it stands in the run's record.
    pub fn record(&self) -> Binary {
        Binary { path: self.path.display().to_string(), digest: self.digest.clone() }
    }

    /// Whether it is still the same. Its bytes are read again only where the system says that something was changed.
    ///
    /// # Errors
    /// What is there now instead, in words.
    pub fn verify(&self) -> Result<(), String> {
        let gone = |error: io::Error| format!("it cannot be read any more: {error}");
        if identity(&self.path).map_err(gone)? == self.identity {
            return Ok(());
        }
        let now = digest(&self.path).map_err(gone)?;
        if now == self.digest { Ok(()) } else { Err(format!("its digest was {} and is {now}", self.digest)) }
    }
}

fn identity(path: &std::path::Path) -> io::Result<Identity> {
    let of = fs::metadata(path)?;
    Ok((of.dev(), of.ino(), of.size(), [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]))
}

fn digest(path: &std::path::Path) -> io::Result<String> {
    let hex: String = Sha256::digest(fs::read(path)?)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_another_binary_and_another_date_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        fs::write(&path, "one").unwrap();
        let pinned = PinnedBinary::of(path.clone()).unwrap();
        pinned.verify().unwrap();
        fs::write(&path, "one").unwrap();
        pinned.verify().unwrap();
        fs::write(&path, "two").unwrap();
        assert!(pinned.verify().unwrap_err().contains("and is sha256:"));
        fs::remove_file(&path).unwrap();
        assert!(pinned.verify().unwrap_err().contains("cannot be read any more"));
    }
}
