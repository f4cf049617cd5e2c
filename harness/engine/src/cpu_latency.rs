//! A limit on how long idle CPUs may take to wake, held while something is measured.
//!
//! A system that mostly waits (for timers, for the disk, for its own threads) pays for every wake-up of a sleeping
//! CPU, in a virtual machine for an exit to the hypervisor besides. That is a property of the machine and of what
//! else it does, and on a shared one it moves from hour to hour. Linux takes requests for the longest that waking may take
//! ("PM QoS", Documentation/power/pm_qos_interface.rst): a device file, written to and kept open. With 0, idle
//! CPUs poll instead of sleeping.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    time::Duration,
};

use uplift_model::{Problem, Scenario};

const DEVICE: &str = "/dev/cpu_dma_latency";

/// A request to the kernel, which ends when this is dropped.
#[derive(Debug)]
pub struct CpuLatency {
    device: File,
}

impl CpuLatency {
    /// Asks that idle CPUs wake within `limit`, in whole microseconds, rounded down.
    ///
    /// # Errors
    /// What the system said, with the fix.
    pub fn hold(limit: Duration) -> Result<Self, Problem> {
        let micros = i32::try_from(limit.as_micros()).unwrap_or(i32::MAX);
        let asked = || {
            let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
            device.write_all_at(&micros.to_ne_bytes(), 0)?;
            Ok(device)
        };
        asked().map(|device| Self { device }).map_err(|error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "run as root, or give the user the right to read and write it",
                _ => {
                    "Linux kernels that manage idle CPUs have it; a container must be given it (`docker run --device`)"
                }
            };
            Problem::new(format!("could not use `{DEVICE}`")).because(error.to_string()).fix(remedy)
        })
    }

    /// The limit in force: the lowest that anybody asks for, read back.
    ///
    /// # Errors
    /// What the system said.
    pub fn in_force(&self) -> io::Result<Duration> {
        let mut micros = [0; size_of::<i32>()];
        self.device.read_exact_at(&mut micros, 0)?;
        // The kernel knows no negative limit.
        Ok(Duration::from_micros(u64::from(i32::from_ne_bytes(micros).unsigned_abs())))
    }
}

/// What the user must know where scenarios ask for a limit that is not available: state and fix.
pub fn warning<'a>(scenarios: impl IntoIterator<Item = &'a Scenario>) -> Option<String> {
    let asking: Vec<&Scenario> =
        scenarios.into_iter().filter(|scenario| scenario.trial.cpu_latency.is_some()).collect();
    let limit = asking.iter().find_map(|scenario| scenario.trial.cpu_latency)?;
    let refused = CpuLatency::hold(limit.0).err()?;
    let names: Vec<&str> = asking.iter().map(|scenario| scenario.name.as_str()).collect();
    Some(format!("`trial.cpu_latency` of {} is not in force, so CPUs that idle may sleep: {refused}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_in_force_while_it_is_held_or_the_remedy_is_said() {
        let limit = Duration::from_micros(7);
        match CpuLatency::hold(limit) {
            Ok(held) => {
                assert!(held.in_force().unwrap() <= limit);
                let stricter = CpuLatency::hold(Duration::ZERO).unwrap();
                assert_eq!(held.in_force().unwrap(), Duration::ZERO, "the lowest counts");
                drop(stricter);
            }
            Err(problem) => assert!(problem.what.contains(DEVICE) && problem.remedy.is_some(), "{problem}"),
        }
    }
}
