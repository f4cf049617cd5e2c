//! Opens perf events on threads.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use perf_event_open_sys::{bindings as sys, ioctls, perf_event_open};

/// What an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CPU time of a thread: a sample every so many nanoseconds that it runs.
    CpuClock {
        /// The period.
        period_ns: u64,
    },
    /// A thread leaves the CPU: a sample each time, and a record when it comes back.
    ContextSwitch,
}

/// How much may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whether samples in the kernel, and kernel frames, are allowed.
    pub kernel: bool,
    /// Bytes of the user stack that each sample copies; a multiple of 8.
    pub stack_bytes: u32,
    /// Whether what processes start, map and end is told too.
    pub processes: bool,
}

/// The registers that unwinding needs, as bits of `sample_regs_user` (`asm/perf_regs.h`), in the order in which the kernel
/// writes them: ascending. Frame pointer, stack pointer, instruction pointer.
#[cfg(target_arch = "x86_64")]
pub const REGISTERS: [u32; 3] = [6, 7, 8];
/// The registers that unwinding needs: frame pointer, link register, stack pointer, program counter.
#[cfg(target_arch = "aarch64")]
pub const REGISTERS: [u32; 4] = [29, 30, 31, 32];

/// What every sample holds; [`super::record`] reads it in this order.
const SAMPLE_TYPE: u64 = (sys::PERF_SAMPLE_TID
    | sys::PERF_SAMPLE_TIME
    | sys::PERF_SAMPLE_CALLCHAIN
    | sys::PERF_SAMPLE_REGS_USER
    | sys::PERF_SAMPLE_STACK_USER) as u64;

fn attributes(kind: Kind, scope: Scope) -> sys::perf_event_attr {
    let mut attributes = sys::perf_event_attr {
        type_: sys::PERF_TYPE_SOFTWARE,
        size: size_of::<sys::perf_event_attr>() as u32,
        sample_type: SAMPLE_TYPE,
        sample_regs_user: REGISTERS.iter().map(|register| 1 << register).sum(),
        sample_stack_user: scope.stack_bytes,
        clockid: libc::CLOCK_MONOTONIC,
        ..Default::default()
    };
    match kind {
        // A period and not a frequency: the software clock is exact, and a frequency would be bounded by a limit that the
        // kernel lowers by itself on a loaded machine.
        Kind::CpuClock { period_ns } => {
            attributes.config = sys::PERF_COUNT_SW_CPU_CLOCK.into();
            attributes.__bindgen_anon_1.sample_period = period_ns;
            attributes.set_comm(1);
            let processes = u64::from(scope.processes);
            attributes.set_comm_exec(processes);
            attributes.set_mmap(processes);
            attributes.set_mmap2(processes);
            attributes.set_task(processes);
        }
        Kind::ContextSwitch => {
            attributes.config = sys::PERF_COUNT_SW_CONTEXT_SWITCHES.into();
            attributes.__bindgen_anon_1.sample_period = 1;
            attributes.set_context_switch(1);
        }
    }
    attributes.set_disabled(1);
    attributes.set_inherit(1);
    attributes.set_exclude_kernel(u64::from(!scope.kernel));
    attributes.set_exclude_hv(1);
    attributes.set_exclude_callchain_kernel(u64::from(!scope.kernel));
    attributes.set_sample_id_all(1);
    attributes.set_use_clockid(1);
    attributes.set_watermark(1);
    attributes.__bindgen_anon_2.wakeup_watermark = 256 << 10;
    attributes
}

/// Opens an event on thread `tid` (0: the calling one) while it runs on CPU `cpu`; threads that it starts inherit
/// the event. It is opened disabled.
///
/// # Errors
/// What the kernel said.
pub fn open(kind: Kind, scope: Scope, tid: libc::pid_t, cpu: i32) -> io::Result<OwnedFd> {
    let mut attributes = attributes(kind, scope);
    // A kernel before 6.0 does not count what an event lost, and refuses to be asked for it.
    for read_format in [sys::PERF_FORMAT_LOST.into(), 0] {
        attributes.read_format = read_format;
        // SAFETY: the attributes are initialised and say their own size; the descriptor is new and nobody else's.
        let descriptor =
            unsafe { perf_event_open(&raw mut attributes, tid, cpu, -1, sys::PERF_FLAG_FD_CLOEXEC.into()) };
        if descriptor >= 0 {
            // SAFETY: as above.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

/// Records of an event that found its ring full; `None` where the kernel does not count them.
pub fn lost(event: &OwnedFd) -> Option<u64> {
    // The event's count, then its losses (`struct read_format`).
    let mut values = [0u64; 2];
    // SAFETY: the array is as long as said.
    let read = unsafe { libc::read(event.as_raw_fd(), values.as_mut_ptr().cast(), size_of_val(&values)) };
    (read.unsigned_abs() == size_of_val(&values)).then_some(values[1])
}

/// Makes `event` write to the ring of `owner`, which must be of the same CPU.
///
/// # Errors
/// What the kernel said.
pub fn redirect(event: &OwnedFd, owner: &OwnedFd) -> io::Result<()> {
    // SAFETY: both descriptors are perf events.
    check(unsafe { ioctls::SET_OUTPUT(event.as_raw_fd(), owner.as_raw_fd()) })
}

/// Starts an event.
///
/// # Errors
/// What the kernel said.
pub fn enable(event: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is a perf event.
    check(unsafe { ioctls::ENABLE(event.as_raw_fd(), 0) })
}

/// Stops an event.
///
/// # Errors
/// What the kernel said.
pub fn disable(event: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is a perf event.
    check(unsafe { ioctls::DISABLE(event.as_raw_fd(), 0) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The CPUs that are online.
pub fn cpus() -> Vec<i32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let listed = parse_list(text.trim());
    if !listed.is_empty() {
        return listed;
    }
    // SAFETY: sysconf with a valid name has no preconditions.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    (0..i32::try_from(count).unwrap_or(1).max(1)).collect()
}

/// `0-3,8` → 0, 1, 2, 3, 8; empty where it is no such list.
fn parse_list(text: &str) -> Vec<i32> {
    let range = |part: &str| -> Option<Vec<i32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?..=last.parse().ok()?).collect())
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().unwrap_or_default().concat()
}

/// Lets the process have as many open files as it may: a thread needs one event for each CPU.
pub fn raise_file_limit() {
    // SAFETY: both calls read or fill the structure.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(parse_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_list("5"), [5]);
        assert!(parse_list("").is_empty());
        assert!(parse_list("a-b").is_empty());
    }
}
