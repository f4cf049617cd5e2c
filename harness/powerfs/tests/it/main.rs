//! The mounted file system: as ext4 until the power goes, and what is left after it.

mod as_ext4;
mod power;
mod programs;

use std::path::Path;

use uplift_powerfs::PowerFs;

/// A disk at `at`; `None`, with the reason printed, where FUSE is not available and nobody requires it.
fn mounted(at: &Path) -> Option<PowerFs> {
    match PowerFs::mount(at, 1 << 30) {
        Ok(disk) => Some(disk),
        Err(error) => {
            let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|word| word.trim() == "fuse"), "FUSE is required: {error}");
            println!("skipped: no FUSE here ({error}); run as root, or install fusermount3, with /dev/fuse there");
            None
        }
    }
}
