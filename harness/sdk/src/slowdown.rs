//! A true slowdown of a stated size, to try whether the harness finds it.
//!
//! It is for tests of the harness only: a variant with a slowdown is the same system, made slower by a known amount of
//! real work on the CPU after each operation.

use std::hint::black_box;

use uplift_instrument::clock;

/// Rounds of work between two looks at the clock: some 50 ns.
const ROUNDS: u32 = 16;

/// Makes operations slower by a share of what each of them took.
#[derive(Clone, Copy, Debug)]
pub struct Slowdown {
    share: f64,
    value: u64,
}

impl Slowdown {
    /// A slowdown by `percent` of each operation's own time; 0 is none and costs nothing, not even a look at the clock.
    pub fn new(percent: f64) -> Self {
        Self { share: percent.max(0.0) / 100.0, value: 1 }
    }

    /// Carries out `operation`, then computes on the caller's thread for the slowdown's share of the time it took.
    #[inline]
    pub fn around<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        if self.share == 0.0 {
            return operation();
        }
        let start_ns = clock::now_ns();
        let result = operation();
        let end_ns = clock::now_ns();
        let extra_ns = (end_ns.saturating_sub(start_ns) as f64 * self.share) as u64;
        self.value = injected_slowdown(self.value, end_ns + extra_ns);
        result
    }
}

/// Computes until `until_ns`; the value to go on with. Out of line, so that a profile shows the time under this name.
#[inline(never)]
fn injected_slowdown(mut value: u64, until_ns: u64) -> u64 {
    while clock::now_ns() < until_ns {
        for _ in 0..ROUNDS {
            // A step of xorshift (Marsaglia 2003): each waits for the one before, so that it cannot be left out.
            value ^= value << 13;
            value ^= value >> 7;
            value ^= value << 17;
        }
        black_box(value);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever else the machine does, the whole takes at least its share longer than the operation within.
    #[test]
    fn an_operation_takes_its_share_longer() {
        let mut slowdown = Slowdown::new(50.0);
        for spent_ns in [1_000, 100_000, 2_000_000] {
            let mut inner_ns = 0;
            let start_ns = clock::now_ns();
            slowdown.around(|| {
                let start_ns = clock::now_ns();
                while clock::now_ns() < start_ns + spent_ns {}
                inner_ns = clock::now_ns() - start_ns;
            });
            let outer_ns = clock::now_ns() - start_ns;
            assert!(outer_ns * 2 >= inner_ns * 3, "{inner_ns} ns became {outer_ns} ns");
        }
    }

    #[test]
    fn the_extra_time_is_spent_on_the_cpu() {
        let mut slowdown = Slowdown::new(100.0);
        let before_ns = clock::process_cpu_ns();
        slowdown.around(|| std::thread::sleep(std::time::Duration::from_millis(200)));
        let used_ns = clock::process_cpu_ns() - before_ns;
        // The sleep uses none; beside other threads the work may get as little as a tenth of a CPU.
        assert!(used_ns >= 20_000_000, "{used_ns} ns of CPU time");
    }
}
