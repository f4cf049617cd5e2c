//! Records of several rings in the order of time.
//!
//! A process goes from CPU to CPU, and each CPU has its ring: where its code lies may stand in one ring and a sample of it
//! in another. So records wait until every ring has been read past their time.

use super::record;

/// A record that waits.
pub struct Waiting {
    time_ns: u64,
    /// Whether it comes from a ring of switches.
    pub of_switches: bool,
    /// Kind, misc and body, as the kernel wrote them.
    pub kind: u32,
    /// See [`Self::kind`].
    pub misc: u16,
    /// See [`Self::kind`].
    pub body: Vec<u8>,
}

/// Records that wait.
#[derive(Default)]
pub struct Order {
    waiting: Vec<Waiting>,
    /// When the rings were read last, and the time before.
    read_ns: [u64; 2],
}

impl Order {
    /// The rings are read from now on.
    pub fn begin(&mut self, now_ns: u64) {
        self.read_ns = [now_ns, self.read_ns[0]];
    }

    /// Takes a record.
    pub fn take(&mut self, of_switches: bool, kind: u32, misc: u16, body: &[u8]) {
        let time_ns = record::time_ns(kind, body).unwrap_or(0);
        self.waiting.push(Waiting { time_ns, of_switches, kind, misc, body: body.to_vec() });
    }

    /// Everything that nothing earlier can follow any more, in order; with `all` what is left too. What was written before
    /// the rings were read the time before last has been read.
    pub fn ripe(&mut self, all: bool) -> Vec<Waiting> {
        // Stable: what has the same time stays in the order of its ring.
        self.waiting.sort_by_key(|waiting| waiting.time_ns);
        let until_ns = if all { u64::MAX } else { self.read_ns[1] };
        let ripe = self.waiting.partition_point(|waiting| waiting.time_ns <= until_ns);
        self.waiting.drain(..ripe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perf_event_open_sys::bindings as sys;

    #[test]
    fn records_come_in_order_however_the_rings_are_read() {
        let mut order = Order::default();
        let take = |order: &mut Order, time_ns: u64| {
            let body: Vec<u8> = [0u64, 0, time_ns].iter().flat_map(|word| word.to_ne_bytes()).collect();
            order.take(false, sys::PERF_RECORD_SWITCH, 0, &body);
        };
        let ripe = |order: &mut Order, all| order.ripe(all).iter().map(|one| one.time_ns).collect::<Vec<_>>();
        order.begin(10);
        take(&mut order, 9);
        take(&mut order, 5);
        assert!(ripe(&mut order, false).is_empty());
        order.begin(20);
        // Written while the rings were read before.
        take(&mut order, 11);
        take(&mut order, 8);
        assert_eq!(ripe(&mut order, false), [5, 8, 9]);
        order.begin(30);
        take(&mut order, 30);
        assert_eq!(ripe(&mut order, false), [11]);
        assert_eq!(ripe(&mut order, true), [30]);
    }
}
