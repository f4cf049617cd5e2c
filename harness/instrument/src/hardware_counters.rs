//! Counters of the CPU for a program and all its descendants, by `perf_event_open`, where the machine has them.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use perf_event_open_sys::{bindings as sys, perf_event_open};

/// What is counted: name, type and number for the kernel.
pub type Event = (&'static str, u32, u64);

/// The events of a CPU that are counted.
pub const EVENTS: [Event; 4] = [
    ("instructions", sys::PERF_TYPE_HARDWARE, sys::PERF_COUNT_HW_INSTRUCTIONS as u64),
    ("cycles", sys::PERF_TYPE_HARDWARE, sys::PERF_COUNT_HW_CPU_CYCLES as u64),
    ("cache_misses", sys::PERF_TYPE_HARDWARE, sys::PERF_COUNT_HW_CACHE_MISSES as u64),
    ("branch_misses", sys::PERF_TYPE_HARDWARE, sys::PERF_COUNT_HW_BRANCH_MISSES as u64),
];

/// One event, counted for the programs that the calling thread starts from now on, from their `exec` on.
#[derive(Debug)]
pub struct Counter {
    event: OwnedFd,
}

/// What a counter shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The count; a program that has not ended is not in it.
    pub count: u64,
    /// How long it was wanted.
    pub enabled_ns: u64,
    /// How long it really counted; less where there are more events than the CPU can count at a time.
    pub running_ns: u64,
}

impl Counter {
    /// Opens the counter on the calling thread, whose own work is not counted.
    ///
    /// # Errors
    /// Why it is not available: "no PMU on this machine", or what forbids it.
    pub fn open((name, type_, config): Event) -> Result<Self, String> {
        let attempt = |exclude_kernel: bool| -> io::Result<OwnedFd> {
            let mut attributes = sys::perf_event_attr {
                type_,
                size: size_of::<sys::perf_event_attr>() as u32,
                config,
                read_format: u64::from(sys::PERF_FORMAT_TOTAL_TIME_ENABLED | sys::PERF_FORMAT_TOTAL_TIME_RUNNING),
                ..Default::default()
            };
            attributes.set_inherit(1);
            attributes.set_disabled(1);
            attributes.set_enable_on_exec(1);
            attributes.set_exclude_kernel(u64::from(exclude_kernel));
            attributes.set_exclude_hv(1);
            // SAFETY: the attributes are initialised and say their own size; the descriptor is new and nobody else's.
            unsafe {
                let event = perf_event_open(&raw mut attributes, 0, -1, -1, sys::PERF_FLAG_FD_CLOEXEC.into());
                if event < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(event)) }
            }
        };
        // Without privileges user mode alone may be counted; that is what is compared then, on both sides.
        let opened = attempt(false).or_else(|error| match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => attempt(true),
            _ => Err(error),
        });
        match opened {
            Ok(event) => Ok(Self { event }),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => "no PMU on this machine".to_owned(),
                Some(libc::EACCES | libc::EPERM) => {
                    format!("{name} may not be counted: {error}; set kernel.perf_event_paranoid to 2 or less")
                }
                _ => format!("{name} cannot be counted: {error}"),
            }),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(&self) -> io::Result<Reading> {
        let mut words = [0u64; 3];
        // SAFETY: the buffer is valid for the length given.
        let read = unsafe { libc::read(self.event.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
        if read == size_of_val(&words) as isize {
            Ok(Reading { count: words[0], enabled_ns: words[1], running_ns: words[2] })
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Reading {
    /// What was counted between `before` and this, extended to the whole time where the CPU counted in turns.
    pub fn since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count)? as f64;
        let (enabled, running) =
            (self.enabled_ns.checked_sub(before.enabled_ns)?, self.running_ns.checked_sub(before.running_ns)?);
        (running > 0).then(|| count * enabled as f64 / running as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A software event goes the same way as one of the hardware, and there is always one.
    #[test]
    fn a_program_and_its_children_are_counted_and_the_caller_is_not() {
        let task_clock = ("task-clock", sys::PERF_TYPE_SOFTWARE, sys::PERF_COUNT_SW_TASK_CLOCK as u64);
        let counter = match Counter::open(task_clock) {
            Ok(counter) => counter,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
        };
        let before = counter.read().unwrap();
        std::hint::black_box((0..3_000_000u64).fold(0, |sum, n| sum ^ std::hint::black_box(n)));
        assert_eq!(counter.read().unwrap().count, before.count, "the caller's own work is not counted");
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        // Beside tests that use perf events too, a run now and then is not counted at all, which is no wrong value: it is
        // reported as absent.
        let once = |script: &str| {
            let before = counter.read().unwrap();
            assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
            counter.read().unwrap().since(before)
        };
        let of = |script: &str| (0..50).find_map(|_| once(script)).expect("one of fifty runs is counted");
        let (own, both) = (of(busy), of(&format!("sh -c '{busy}'; {busy}")));
        assert!(both > 1.3 * own, "{both} ns with a child against {own} ns");
    }

    #[test]
    fn what_is_not_there_has_a_reason() {
        for event in EVENTS {
            match Counter::open(event) {
                Ok(counter) => drop(counter.read().unwrap()),
                Err(reason) => assert!(reason.contains("PMU") || reason.contains("counted"), "{reason}"),
            }
        }
    }

    #[test]
    fn a_counter_that_ran_in_turns_is_extended() {
        let before = Reading { count: 100, enabled_ns: 10, running_ns: 10 };
        let after = Reading { count: 300, enabled_ns: 50, running_ns: 20 };
        assert_eq!(after.since(before), Some(800.0));
        assert_eq!(after.since(after), None);
    }
}
