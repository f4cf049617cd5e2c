//! Whose a container is, as `uplift docker prune` reads it: a test of the command line compares both.

use std::{fs, process};

use procfs_core::{FromRead as _, process::Stat};

/// The label that names the run.
pub(crate) const RUN_LABEL: &str = "uplift.run";
/// The label that names the process.
pub(crate) const OWNER_LABEL: &str = "uplift.owner";

/// The running process: a digest of its machine, the boot, the namespace of its number, the number, and when it began in
/// clock ticks since boot.
pub fn label() -> String {
    let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let identity =
        [line("/etc/machine-id"), line("/proc/sys/kernel/hostname")].into_iter().find(|text| !text.is_empty());
    let namespace = fs::read_link("/proc/self/ns/pid").map(|name| name.display().to_string()).unwrap_or_default();
    let start_ticks = Stat::from_file("/proc/self/stat").map_or(0, |stat| stat.starttime);
    format!(
        "{:016x} {} {} {} {start_ticks}",
        fnv1a(format!("uplift owner {}", identity.unwrap_or_default()).as_bytes()),
        line("/proc/sys/kernel/random/boot_id"),
        namespace.replace(['[', ']', ':'], ""),
        process::id(),
    )
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
