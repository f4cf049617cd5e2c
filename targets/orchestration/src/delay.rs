//! Delays as long as they were asked for.
//!
//! tokio's own timers have a resolution of a millisecond and round up: activities of 10 ms that follow one another take
//! 11 each, and the workload would be a tenth smaller than its own ceiling whatever stores it. A timer of the kernel wakes
//! the reactor when it runs out.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    time::Duration,
};

use tokio::io::unix::AsyncFd;

/// Waits for `delay`.
///
/// # Errors
/// When the process has no descriptor left for a timer.
pub async fn delay(delay: Duration) -> io::Result<()> {
    if delay.is_zero() {
        return Ok(());
    }
    let timer = started(delay)?;
    // SAFETY: the descriptor is owned by what is registered, which gives it to nobody and outlives the registration.
    let timer = unsafe { AsyncFd::register(timer) }?;
    // Readable once it has run out.
    timer.readable().await.map(drop)
}

/// A timer of the kernel that runs out once, after `delay`.
fn started(delay: Duration) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and nobody else has it.
    let timer = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let once = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec {
            tv_sec: libc::time_t::try_from(delay.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        },
    };
    // SAFETY: `once` is valid for the call, and the old value is not asked for.
    match unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &once, ptr::null_mut()) } {
        0 => Ok(timer),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Fifty delays of 2 ms one after the other: tokio's timers take 3 ms each.
    #[tokio::test]
    async fn delays_do_not_round_up_to_milliseconds() {
        let mut elapsed = Vec::new();
        for _ in 0..50 {
            let before = Instant::now();
            delay(Duration::from_millis(2)).await.unwrap();
            elapsed.push(before.elapsed());
        }
        elapsed.sort_unstable();
        assert!(elapsed[0] >= Duration::from_millis(2), "{elapsed:?}");
        // A loaded machine may be late now and then, but not mostly.
        assert!(elapsed[10] < Duration::from_micros(2_700), "{elapsed:?}");
        delay(Duration::ZERO).await.unwrap();
    }
}
