//! A slowdown whose size is known, for testing the harness: more processor time for each operation.

use std::hint::black_box;

use uplift_target::{Batch, Client, Outcome, clock};

/// Multiplications between two looks at the clock: some 30 ns.
const STEPS: u32 = 16;

/// A client that computes on after each operation, for a share of the time that the operation took.
///
/// In a closed loop of one client the throughput is exactly 1 / (1 + share) of what it was, whatever the operation
/// waits for. With more clients than processors the computing also takes processor time from the others.
#[derive(Debug)]
pub struct Slowed<C> {
    client: C,
    share: f64,
}

impl<C> Slowed<C> {
    /// `client`, slower by `percent`; 0 adds no work, not even a look at the clock.
    pub fn new(client: C, percent: f64) -> Self {
        Self { client, share: percent / 100.0 }
    }
}

impl<C: Client> Client for Slowed<C> {
    #[inline]
    fn operate(&mut self, batch: Batch) -> Outcome {
        if self.share <= 0.0 {
            return self.client.operate(batch);
        }
        let start_ns = clock::now_ns();
        let outcome = self.client.operate(batch);
        let took_ns = clock::now_ns() - start_ns;
        injected_slowdown((took_ns as f64 * self.share) as u64);
        outcome
    }
}

/// Computes for `duration_ns`. Out of line, so that a profile shows the time under this name.
#[inline(never)]
pub fn injected_slowdown(duration_ns: u64) {
    let end_ns = clock::now_ns() + duration_ns;
    let mut value = end_ns | 1;
    while clock::now_ns() < end_ns {
        for _ in 0..STEPS {
            value = black_box((value ^ (value >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as long as it is told by the clock.
    struct Waits(u64);

    impl Client for Waits {
        fn operate(&mut self, _: Batch) -> Outcome {
            clock::sleep_until_ns(clock::now_ns() + self.0);
            Outcome::ok(0)
        }
    }

    #[test]
    fn the_slowdown_is_a_share_of_the_operations_own_time() {
        let mut client = Slowed::new(Waits(2_000_000), 50.0);
        for _ in 0..5 {
            let (start_ns, start_cpu_ns) = (clock::now_ns(), clock::process_cpu_ns());
            client.operate(Batch { operations: 1 });
            let (took_ns, cpu_ns) = (clock::now_ns() - start_ns, clock::process_cpu_ns() - start_cpu_ns);
            assert!(took_ns >= 3_000_000, "{took_ns}");
            assert!(cpu_ns > 0, "it computes, it does not sleep");
        }
    }
}
