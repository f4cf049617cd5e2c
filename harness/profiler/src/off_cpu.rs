//! From the moments at which threads left and came back to how long each stack waited; pure.

use std::collections::HashMap;

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
}

/// Time away by stack and whether the thread was preempted, in nanoseconds.
///
/// A thread that is away at `end_ns` counts until then. One that was away from the beginning is not known: it has no
/// stack.
pub fn waits(mut switches: Vec<Switch>, end_ns: u64) -> HashMap<(u32, bool), u64> {
    struct Away {
        since_ns: u64,
        stack: u32,
        preempted: bool,
    }
    // Stable: within one processor's ring the order is right even where the clock did not move.
    switches.sort_by_key(|switch| switch.time_ns);
    let mut away: HashMap<u32, Away> = HashMap::new();
    let mut waits = HashMap::new();
    let mut count = |away: Away, until_ns: u64| {
        *waits.entry((away.stack, away.preempted)).or_insert(0) += until_ns.saturating_sub(away.since_ns);
    };
    for switch in switches {
        match switch.what {
            What::Leaves { stack } => {
                // That it came back in between was lost; how long it was away is then not known.
                away.insert(switch.tid, Away { since_ns: switch.time_ns, stack, preempted: false });
            }
            What::Left { preempted } => {
                if let Some(away) = away.get_mut(&switch.tid) {
                    away.preempted = preempted;
                }
            }
            What::Back => {
                if let Some(away) = away.remove(&switch.tid) {
                    count(away, switch.time_ns);
                }
            }
        }
    }
    for (_, still) in away {
        count(still, end_ns);
    }
    waits
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
            // The other processor's ring, read later: out of order.
            at(25, 1, What::Back),
            at(12, 2, What::Leaves { stack: 1 }),
            at(12, 2, What::Left { preempted: true }),
            at(14, 2, What::Back),
            at(30, 1, What::Leaves { stack: 0 }),
            at(30, 1, What::Left { preempted: false }),
        ];
        let waits = waits(switches, 100);
        assert_eq!(waits, HashMap::from([((0, false), 15 + 70), ((1, true), 2)]));
    }

    #[test]
    fn what_was_lost_is_not_made_up() {
        let switches = vec![
            at(1, 1, What::Back),
            at(5, 1, What::Leaves { stack: 0 }),
            at(9, 1, What::Leaves { stack: 1 }),
            at(10, 1, What::Back),
        ];
        assert_eq!(waits(switches, 100), HashMap::from([((1, false), 1)]));
    }
}
