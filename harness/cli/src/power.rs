//! Disks whose power can be cut, where they are available.

use uplift_engine::crash::CuttableDisks;

/// What helps where they cannot.
pub const REMEDY: &str =
    "run as root or install fusermount3 (`apt-get install fuse3`), with /dev/fuse there; `--mode kill` needs neither";

/// Disks of ours.
///
/// # Errors
/// Why there are none.
pub fn disks() -> Result<Box<dyn CuttableDisks>, String> {
    disks_of_this_build()
}

#[cfg(not(feature = "power"))]
fn disks_of_this_build() -> Result<Box<dyn CuttableDisks>, String> {
    Err("this uplift was built without the feature `power`".to_owned())
}

#[cfg(feature = "power")]
use mounted::disks_of_this_build;

#[cfg(feature = "power")]
mod mounted {
    use std::{path::Path, sync::mpsc::Receiver};

    use uplift_engine::{
        crash::{CuttableDisk, CuttableDisks},
        environment,
    };
    use uplift_model::crash::{Fault, FaultKind, Kept};
    use uplift_powerfs::{PowerFs, leftovers};

    use crate::output::note;

    /// A disk may have so much of the machine's memory.
    const MEMORY_SHARE: u64 = 2;

    pub fn disks_of_this_build() -> Result<Box<dyn CuttableDisks>, String> {
        for left in leftovers() {
            match left.remove() {
                Ok(()) => note(&format!("removed the disk at `{}`, which a killed run has left", left.at.display())),
                Err(error) => note(&format!("warning: could not unmount `{}`: {error}", left.at.display())),
            }
        }
        // What is tried tells more than what is looked at.
        let trial = std::env::temp_dir().join(format!("uplift-power-{}", std::process::id()));
        let tried = std::fs::create_dir_all(&trial).and_then(|()| PowerFs::mount(&trial, 1 << 20));
        let tried = tried.map(drop);
        let _ = std::fs::remove_dir(&trial);
        match tried {
            Ok(()) => Ok(Box::new(Mounts)),
            Err(error) => Err(format!("a file system cannot be mounted by FUSE: {error}")),
        }
    }

    struct Mounts;

    impl CuttableDisks for Mounts {
        fn mount(&self, at: &Path) -> Result<Box<dyn CuttableDisk>, String> {
            let bytes_max = environment::memory_bytes().unwrap_or(4 << 30) / MEMORY_SHARE;
            match PowerFs::mount(at, bytes_max) {
                Ok(disk) => Ok(Box::new(Mounted(disk))),
                Err(error) => Err(format!("could not mount a disk at `{}`: {error}", at.display())),
            }
        }
    }

    struct Mounted(PowerFs);

    impl CuttableDisk for Mounted {
        fn begin(&mut self, at_sync: Option<u64>, power: bool, fault: Option<Fault>) -> Receiver<()> {
            self.0.begin(at_sync, power, fault.and_then(of_disk))
        }

        fn cut(&mut self) {
            self.0.cut();
        }

        fn release(&mut self) {
            self.0.release();
        }

        fn cut_ns(&self) -> Option<u64> {
            self.0.cut_ns()
        }

        fn syncs(&self) -> u64 {
            self.0.syncs()
        }

        fn restore(&mut self, kept: Kept, seed: u64, flip: bool) -> Result<(), String> {
            let kept = match kept {
                Kept::Nothing => uplift_powerfs::Kept::Nothing,
                Kept::Everything => uplift_powerfs::Kept::Everything,
                Kept::Part => uplift_powerfs::Kept::Part,
            };
            self.0.restore(kept, seed, flip).map_err(|error| {
                format!("could not mount the disk again at `{}`: {error}", self.0.directory().display())
            })
        }
    }

    /// What the disk does under load; a flipped bit comes after it.
    fn of_disk(fault: Fault) -> Option<uplift_powerfs::Fault> {
        let kind = match fault.kind {
            FaultKind::FailedSync => uplift_powerfs::FaultKind::FailedSync,
            FaultKind::FullDisk => uplift_powerfs::FaultKind::FullDisk,
            FaultKind::ShortWrite => uplift_powerfs::FaultKind::ShortWrite,
            FaultKind::FlippedBit => return None,
        };
        Some(uplift_powerfs::Fault { kind, nth: fault.nth, for_ever: fault.for_ever })
    }
}
