//! Holds sync calls back until a modelled disk would have finished them.
//!
//! The real sync comes first; then the thread sleeps until the modelled end, so that waiting takes no CPU time from the
//! target. A sync that the real disk finished later than the model would have is not held and is counted.
//!
//! Calls of this process come from the sync probe, those of programs that were started for it from
//! [`crate::sync_collectors::spawn`]. All of them share the one device.
//!
//! Its lock is std's and not parking_lot's: any thread of the process may sync, bundled C's too, also while its thread-locals
//! are taken down, and std's lock needs none.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use uplift_model::{
    Histogram,
    disk::{DiskInForce, DiskModel, DiskQueue},
};

use crate::{clock, latency_counts::LatencyCounts};

/// Looked at by every sync call: off costs one relaxed load.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static DEVICE: OnceLock<Mutex<Device>> = OnceLock::new();

/// Puts `model` in the way of every later sync call of this process. The draws of its latencies come from `seed`.
///
/// # Errors
/// Where a model is in force already: there is one disk. Where the model needs to know what was written and the kernel does
/// not say.
pub fn activate(model: &DiskModel, seed: u64) -> Result<(), String> {
    let pid = std::process::id();
    let written = written_bytes(pid);
    if model.busy_ns(0).is_some() && written.is_none() {
        return Err(
            "a modelled bandwidth, or operations a second, need `/proc/self/io`, which this kernel does not have; \
                    leave both out"
                .to_owned(),
        );
    }
    // Threads inherit it from the one that starts them. The default slack would be late by a sync of a fast disk.
    clock::precise_timers();
    let mut device = Device::new(model.clone(), seed);
    // What was written before is not the target's.
    device.written.insert(pid, written.unwrap_or_default());
    DEVICE.set(Mutex::new(device)).map_err(|_| "a modelled disk is in force already".to_owned())?;
    ACTIVE.store(true, Ordering::Release);
    Ok(())
}

/// Whether sync calls are held.
#[inline]
pub(crate) fn is_active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Returns when the modelled disk has finished a sync of this process that began at `start_ns`.
#[cold]
pub(crate) fn hold(start_ns: u64) {
    hold_for(std::process::id(), start_ns);
}

/// The same for a sync of process `pid`.
pub(crate) fn hold_for(pid: u32, start_ns: u64) {
    let Some(mut device) = device() else { return };
    let bytes = device.written_since_last(pid);
    let (end_ns, limited) = device.flushes.admit(start_ns, bytes);
    drop(device);
    let real_end_ns = clock::now_ns();
    clock::sleep_until_ns(end_ns);
    let seen_ns = clock::now_ns();
    let Some(mut device) = self::device() else { return };
    device.modelled.record_n(end_ns - start_ns, 1);
    device.observed.record_n(seen_ns - start_ns, 1);
    device.calls += 1;
    device.limited += u64::from(limited);
    device.slower_than_model += u64::from(real_end_ns > end_ns);
}

/// One more sync of another process could only be held before it was carried out.
pub(crate) fn note_held_before() {
    if let Some(mut device) = device() {
        device.held_before += 1;
    }
}

fn device() -> Option<MutexGuard<'static, Device>> {
    Some(DEVICE.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes that process `pid` made the kernel bring to storage since it began.
fn written_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// What the model has done so far; `None` where there is none.
pub fn in_force() -> Option<DiskInForce> {
    let mut device = device()?;
    let histogram = |counts: &mut LatencyCounts| {
        let mut histogram = Histogram::new();
        counts.take().add_to(&mut histogram);
        histogram
    };
    let (modelled, observed) = (histogram(&mut device.modelled), histogram(&mut device.observed));
    let Device { calls, slower_than_model, limited, held_before, .. } = *device;
    Some(DiskInForce { calls, slower_than_model, limited, held_before, modelled, observed })
}

struct Device {
    flushes: Flushes,
    modelled: LatencyCounts,
    observed: LatencyCounts,
    calls: u64,
    slower_than_model: u64,
    limited: u64,
    held_before: u64,
    /// Bytes written at the last sync of each process. A process that ended and one that has its number count from 0.
    written: BTreeMap<u32, u64>,
}

impl Device {
    fn new(model: DiskModel, seed: u64) -> Self {
        Self {
            flushes: Flushes { model, random: seed, current_end_ns: 0, next_end_ns: None, free_ns: 0 },
            limited: 0,
            held_before: 0,
            written: BTreeMap::new(),
            modelled: LatencyCounts::default(),
            observed: LatencyCounts::default(),
            calls: 0,
            slower_than_model: 0,
        }
    }
}

impl Device {
    /// Bytes that `pid` wrote since its last sync; 0 where the model does not ask.
    fn written_since_last(&mut self, pid: u32) -> u64 {
        if self.flushes.model.busy_ns(0).is_none() {
            return 0;
        }
        let written = written_bytes(pid).unwrap_or_default();
        let before = self.written.insert(pid, written).unwrap_or_default();
        if written >= before { written - before } else { written }
    }
}

/// The queue of the device: when a sync that arrives now will be done. Knows no clock.
struct Flushes {
    model: DiskModel,
    random: u64,
    /// End of the flush under way, or of the last one.
    current_end_ns: u64,
    /// End of the flush that those who wait share; only where flushes merge.
    next_end_ns: Option<u64>,
    /// When the device can take the next operation; only where bandwidth or operations a second are limited.
    free_ns: u64,
}

impl Flushes {
    /// The end of a sync that arrives at `now_ns`, before which `bytes` bytes were written, and whether it waited for
    /// bandwidth or for its turn among the operations a second.
    fn admit(&mut self, now_ns: u64, bytes: u64) -> (u64, bool) {
        let Some((transfer_ns, busy_ns)) = self.model.busy_ns(bytes) else { return (self.flush(now_ns), false) };
        let begin_ns = now_ns.max(self.free_ns);
        self.free_ns = begin_ns + busy_ns;
        let limited = begin_ns > now_ns || transfer_ns > 0;
        (self.flush(begin_ns + transfer_ns), limited)
    }

    /// The end of a flush that arrives at `now_ns`. Arrivals of several threads may be slightly out of order.
    fn flush(&mut self, now_ns: u64) -> u64 {
        if self.model.queue == DiskQueue::Serial {
            self.current_end_ns = now_ns.max(self.current_end_ns) + self.latency_ns();
            return self.current_end_ns;
        }
        if let Some(next_end_ns) = self.next_end_ns
            && now_ns >= self.current_end_ns
        {
            // The flush that others waited for has begun.
            (self.current_end_ns, self.next_end_ns) = (next_end_ns, None);
        }
        if now_ns >= self.current_end_ns {
            self.current_end_ns = now_ns + self.latency_ns();
            return self.current_end_ns;
        }
        match self.next_end_ns {
            Some(end_ns) => end_ns,
            None => {
                let end_ns = self.current_end_ns + self.latency_ns();
                self.next_end_ns = Some(end_ns);
                end_ns
            }
        }
    }

    fn latency_ns(&mut self) -> u64 {
        let (a, b) = (self.uniform(), self.uniform());
        // Box and Muller 1958; 1 - a is above 0.
        let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        self.model.latency_ns(a, normal)
    }

    /// In [0, 1): SplitMix64 (Steele, Lea, Flood 2014).
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn thread_cpu_ns() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    fn flushes(text: &str) -> Flushes {
        Device::new(text.parse().unwrap(), 1).flushes
    }

    #[test]
    fn a_serial_device_finishes_one_flush_after_the_other() {
        let mut device = flushes("sync=4ms,queue=serial");
        let ends: Vec<u64> = [0, 1, 2, 20].into_iter().map(|ms| device.flush(ms * MS) / MS).collect();
        assert_eq!(ends, [4, 8, 12, 24]);
    }

    #[test]
    fn flushes_that_wait_are_merged() {
        let mut device = flushes("sync=4ms");
        // The first runs alone; three that come meanwhile share the next; one that comes during that shares the third.
        let ends: Vec<u64> = [0, 1, 2, 3, 5, 6, 13].into_iter().map(|ms| device.flush(ms * MS) / MS).collect();
        assert_eq!(ends, [4, 8, 8, 8, 12, 12, 17]);
    }

    #[test]
    fn an_idle_device_starts_at_once_also_after_a_merged_flush() {
        let mut device = flushes("sync=4ms");
        assert_eq!(device.flush(0), 4 * MS);
        assert_eq!(device.flush(MS), 8 * MS);
        assert_eq!(device.flush(100 * MS), 104 * MS);
    }

    #[test]
    fn operations_a_second_space_syncs_and_bandwidth_holds_them() {
        let mut device = flushes("sync=4ms,iops=100");
        let ends: Vec<_> = [0, 1, 2, 100].map(|ms| device.admit(ms * MS, 0)).to_vec();
        let expected = [(4, false), (14, true), (24, true), (104, false)];
        assert_eq!(ends, expected.map(|(ms, limited)| (ms * MS, limited)));
        let mut device = flushes("sync=4ms,bandwidth=1MB/s");
        assert_eq!(device.admit(0, 0), (4 * MS, false), "nothing was written");
        assert_eq!(device.admit(10 * MS, 20_000), (34 * MS, true), "20 ms of transfer, then the flush");
        assert_eq!(device.admit(11 * MS, 1_000), (38 * MS, true), "after the transfer before it, with the next flush");
    }

    /// The bound is wide, since what matters is that waiting does not spin: 60 ms of waiting take no 30 ms of CPU time.
    #[test]
    fn waiting_takes_no_cpu_time() {
        activate(&"20ms".parse().unwrap(), 1).unwrap();
        assert!(activate(&"20ms".parse().unwrap(), 1).unwrap_err().contains("in force already"));
        let (start_ns, cpu_ns) = (clock::now_ns(), thread_cpu_ns());
        for _ in 0..3 {
            hold(clock::now_ns());
        }
        assert!(clock::now_ns() - start_ns >= 60 * MS);
        assert!(thread_cpu_ns() - cpu_ns < 30 * MS);
        let seen = in_force().unwrap();
        assert_eq!(seen.calls, 3);
        assert!(seen.observed.min() >= seen.modelled.min());
    }

    #[test]
    fn drawn_latencies_have_the_median_and_the_p99_of_the_model() {
        let mut device = flushes("sync=4ms,sync_p99=20ms");
        let mut draws: Vec<u64> = (0..20_000).map(|_| device.latency_ns()).collect();
        draws.sort_unstable();
        let near = |index: usize, ms: f64| {
            let seen = draws[index] as f64 / MS as f64;
            assert!((seen / ms - 1.0).abs() < 0.06, "{seen} ms, wanted {ms}");
        };
        near(10_000, 4.0);
        near(19_800, 20.0);
    }
}
