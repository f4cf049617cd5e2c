//! From the moments at which threads left and came back to how long each stack waited; pure.

use std::collections::{BTreeMap, HashMap};

/// Something that happened to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// When.
    pub time_ns: u64,
    /// The thread.
    pub tid: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is about to leave, with this stack.
    Leaves {
        /// Index of the stack.
        stack: u32,
    },
    /// It left.
    Left {
        /// Though it could have gone on.
        preempted: bool,
    },
    /// It came back.
    Back,
    /// It has ended, and waits for nothing any more.
    Gone,
}

/// A stretch of time that a thread was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// The thread.
    pub tid: u32,
    /// Index of the stack with which it left.
    pub stack: u32,
    /// Whether it left though it could have gone on.
    pub preempted: bool,
    /// When it left.
    pub from_ns: u64,
    /// When it came back.
    pub to_ns: u64,
}

/// Every stretch that a thread was away, in the order in which they ended.
///
/// A thread that is away at `end_ns` counts until then. One that was away from the beginning is not known: it has no
/// stack.
pub fn stretches(mut switches: Vec<Switch>, end_ns: u64) -> Vec<Away> {
    // Stable: within one CPU's ring the order is right even where the clock did not move.
    switches.sort_by_key(|switch| switch.time_ns);
    let mut away: BTreeMap<u32, Away> = BTreeMap::new();
    let mut stretches = Vec::new();
    for Switch { time_ns, tid, what } in switches {
        match what {
            What::Leaves { stack } => {
                // That it came back in between was lost; how long it was away is then not known.
                away.insert(tid, Away { tid, stack, preempted: false, from_ns: time_ns, to_ns: end_ns });
            }
            What::Left { preempted } => {
                if let Some(away) = away.get_mut(&tid) {
                    away.preempted = preempted;
                }
            }
            What::Gone => {
                away.remove(&tid);
            }
            What::Back => stretches.extend(away.remove(&tid).map(|away| Away { to_ns: time_ns, ..away })),
        }
    }
    stretches.extend(away.into_values());
    stretches
}

/// Time by stack and whether the thread was preempted, in nanoseconds; `time_ns` says how much of a stretch counts.
pub fn waits(stretches: &[Away], time_ns: impl Fn(&Away) -> u64) -> HashMap<(u32, bool), u64> {
    let mut waits = HashMap::new();
    for away in stretches {
        *waits.entry((away.stack, away.preempted)).or_insert(0) += time_ns(away);
    }
    waits
}

/// The length of a stretch.
pub const fn whole(away: &Away) -> u64 {
    away.to_ns.saturating_sub(away.from_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time_ns: u64, tid: u32, what: What) -> Switch {
        Switch { time_ns, tid, what }
    }

    #[test]
    fn time_away_is_counted_for_the_stack_that_left() {
        let switches = vec![
            at(10, 1, What::Leaves { stack: 0 }),
            at(10, 1, What::Left { preempted: false }),
            // The other CPU's ring, read later: out of order.
            at(25, 1, What::Back),
            at(12, 2, What::Leaves { stack: 1 }),
            at(12, 2, What::Left { preempted: true }),
            at(14, 2, What::Back),
            at(30, 1, What::Leaves { stack: 0 }),
            at(30, 1, What::Left { preempted: false }),
        ];
        let waits = waits(&stretches(switches, 100), whole);
        assert_eq!(waits, HashMap::from([((0, false), 15 + 70), ((1, true), 2)]));
    }

    #[test]
    fn a_thread_that_has_ended_waits_for_nothing() {
        let switches = vec![at(5, 1, What::Leaves { stack: 0 }), at(6, 1, What::Gone)];
        assert!(waits(&stretches(switches, 100), whole).is_empty());
    }

    #[test]
    fn what_was_lost_is_not_made_up() {
        let switches = vec![
            at(1, 1, What::Back),
            at(5, 1, What::Leaves { stack: 0 }),
            at(9, 1, What::Leaves { stack: 1 }),
            at(10, 1, What::Back),
        ];
        assert_eq!(waits(&stretches(switches, 100), whole), HashMap::from([((1, false), 1)]));
    }
}
