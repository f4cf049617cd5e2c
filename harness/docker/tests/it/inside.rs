//! What happens inside the container: the launcher starts this binary with the argument `agent`, which is a filter for
//! test names. Outside, where nothing tells it what to be, it does nothing.

use std::{env, fs, thread, time::Duration};

/// The variable that says what to be.
pub const ROLE: &str = "UPLIFT_INSIDE";

/// Past the test harness, which would keep it.
fn tell(text: &str) {
    // SAFETY: the pointer and the length are those of a string that lives.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

#[test]
fn agent() {
    match env::var(ROLE).as_deref() {
        Ok("stubborn") => {
            // SAFETY: SIG_IGN is a valid disposition.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            tell("ready\n");
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
        Ok("busy") => {
            let mut value = 1u64;
            // A stated amount of CPU time, however long the limit lets it take.
            while processor_time_ns() < 200_000_000 {
                value = std::hint::black_box(value.wrapping_mul(31));
            }
            tell("done\n");
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
        Ok("writer") => {
            fs::write("/data/written", [b'x'; 4096]).unwrap();
            let free = env::temp_dir();
            assert_eq!(free.to_str(), Some("/data"), "temporary files are no files of the container's layer");
            tell("written\n");
        }
        _ => {}
    }
}

fn processor_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
