//! When each call of a client began and ended, kept while a profile wants to know which calls were slow.
//!
//! Not recorded in a measured turn: a histogram says how slow calls were, and samples need to know when.

use std::collections::BTreeMap;

/// The most calls that are kept, of all clients together: 128 MiB.
const CALLS_MAX: usize = 8 << 20;

/// One call: when it was sent and when it was done, by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Sent.
    pub start_ns: u64,
    /// Done.
    pub end_ns: u64,
}

impl Call {
    const fn service_ns(self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// The calls of one thread. Noting one does not allocate.
#[derive(Debug)]
pub struct CallLog {
    tid: u32,
    on: bool,
    calls: Vec<Call>,
    missed: u64,
}

impl CallLog {
    /// An empty log of the calling thread.
    pub fn of_this_thread() -> Self {
        // SAFETY: gettid has no preconditions.
        let tid = unsafe { libc::gettid() };
        Self { tid: tid.unsigned_abs(), on: false, calls: Vec::new(), missed: 0 }
    }

    /// A turn begins; `on` says whether its calls are noted, `clients` how many threads share the room.
    pub fn begin(&mut self, on: bool, clients: u32) {
        self.on = on;
        if on && self.calls.capacity() == 0 {
            self.calls.reserve_exact((CALLS_MAX / clients.max(1) as usize).max(1));
        }
    }

    /// Notes a call.
    #[inline]
    pub fn note(&mut self, start_ns: u64, end_ns: u64) {
        if !self.on {
            return;
        }
        if self.calls.len() < self.calls.capacity() {
            self.calls.push(Call { start_ns, end_ns });
        } else {
            self.missed += 1;
        }
    }
}

/// The calls of all threads, each thread's in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    threads: BTreeMap<u32, Vec<Call>>,
    /// Calls that were not noted because there were too many.
    pub missed: u64,
}

/// The slow calls, and all.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// Calls at or above this percentile of service time are slow.
    pub percentile: f64,
    /// That percentile.
    pub threshold_ns: u64,
    /// The slow ones.
    pub slow: Calls,
    /// All.
    pub all: Calls,
}

impl Calls {
    /// Adds what a thread noted and empties its log.
    pub fn absorb(&mut self, log: &mut CallLog) {
        self.missed += std::mem::take(&mut log.missed);
        if !log.calls.is_empty() {
            self.threads.entry(log.tid).or_default().append(&mut log.calls);
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.threads.values().map(|calls| calls.len() as u64).sum()
    }

    /// Sum of their service times.
    pub fn service_ns(&self) -> u64 {
        self.threads.values().flatten().map(|call| call.service_ns()).sum()
    }

    /// Divides at a percentile by the nearest rank: of `n` calls the `n - ⌈p n⌉` slowest, at least one, are above it, and
    /// those as slow as the fastest of them belong to them. `None` where there are no calls.
    pub fn tail(self, percentile: f64) -> Option<Tail> {
        let mut services_ns: Vec<u64> = self.threads.values().flatten().map(|call| call.service_ns()).collect();
        let last = services_ns.len().checked_sub(1)?;
        let rank = ((percentile / 100.0 * services_ns.len() as f64).ceil() as usize).min(last);
        let threshold_ns = *services_ns.select_nth_unstable(rank).1;
        let is_slow = |call: &&Call| call.service_ns() >= threshold_ns;
        let threads =
            self.threads.iter().map(|(&tid, calls)| (tid, calls.iter().filter(is_slow).copied().collect())).collect();
        Some(Tail { percentile, threshold_ns, slow: Self { threads, missed: 0 }, all: self })
    }

    /// Whether the thread was within one of these calls at that moment.
    pub fn holds(&self, tid: u32, at_ns: u64) -> bool {
        self.of_thread(tid, at_ns, at_ns).next().is_some_and(|call| call.start_ns <= at_ns && at_ns < call.end_ns)
    }

    /// How much of a stretch of time of the thread lies within these calls.
    pub fn overlap_ns(&self, tid: u32, from_ns: u64, to_ns: u64) -> u64 {
        self.of_thread(tid, from_ns, to_ns)
            .map(|call| call.end_ns.min(to_ns).saturating_sub(call.start_ns.max(from_ns)))
            .sum()
    }

    /// The thread's calls that end after `from_ns` and begin at `to_ns` at the latest.
    fn of_thread(&self, tid: u32, from_ns: u64, to_ns: u64) -> impl Iterator<Item = Call> {
        let calls = self.threads.get(&tid).map_or(&[][..], Vec::as_slice);
        let first = calls.partition_point(|call| call.end_ns <= from_ns);
        calls[first..].iter().copied().take_while(move |call| call.start_ns <= to_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(tid: u32, calls: &[(u64, u64)]) -> CallLog {
        let calls = calls.iter().map(|&(start_ns, end_ns)| Call { start_ns, end_ns }).collect();
        CallLog { tid, on: true, calls, missed: 1 }
    }

    fn calls() -> Calls {
        let mut calls = Calls::default();
        calls.absorb(&mut log(1, &[(0, 10), (10, 20), (30, 130)]));
        calls.absorb(&mut log(2, &[(0, 15), (15, 25)]));
        calls
    }

    #[test]
    fn the_slowest_calls_are_told_apart() {
        let all = calls();
        assert_eq!((all.count(), all.service_ns(), all.missed), (5, 145, 2));
        let tail = all.clone().tail(80.0).unwrap();
        assert_eq!((tail.threshold_ns, tail.slow.count(), tail.slow.service_ns()), (100, 1, 100));
        assert_eq!(tail.all, all);
        let half = all.tail(50.0).unwrap();
        assert_eq!((half.threshold_ns, half.slow.count()), (15, 2));
        assert_eq!(Calls::default().tail(99.0), None);
    }

    #[test]
    fn a_percentile_beyond_the_last_call_is_the_slowest_one() {
        let tail = calls().tail(99.999).unwrap();
        assert_eq!((tail.threshold_ns, tail.slow.count()), (100, 1));
    }

    #[test]
    fn moments_and_stretches_are_found_in_calls() {
        let calls = calls();
        assert!(calls.holds(1, 0) && calls.holds(1, 19) && !calls.holds(1, 20) && !calls.holds(1, 29));
        assert!(calls.holds(1, 129) && !calls.holds(1, 130) && !calls.holds(3, 5));
        assert_eq!(calls.overlap_ns(1, 5, 40), 5 + 10 + 10);
        assert_eq!(calls.overlap_ns(1, 21, 29), 0);
        assert_eq!(calls.overlap_ns(2, 0, 1_000), 25);
    }

    #[test]
    fn a_full_log_counts_what_it_misses() {
        let mut full = CallLog { tid: 1, on: false, calls: Vec::new(), missed: 0 };
        full.begin(true, u32::MAX);
        assert_eq!(full.calls.capacity(), 1);
        full.note(0, 1);
        full.note(1, 2);
        let mut calls = Calls::default();
        calls.absorb(&mut full);
        assert_eq!((calls.count(), calls.missed), (1, 1));
    }
}
