//! The highest rate that a system sustains: whether a queue grows under an open load, and which rate to try next.
//!
//! A rate is sustained where response times do not grow with the time that the load lasts. Above saturation the queue
//! grows by the difference of arrivals and completions, and response times grow linearly (the fluid limit of an
//! overloaded queue); below it they vary around a level, stalls included.

use uplift_model::trial::{Slice, TurnRecord};

use crate::estimate::median;

/// Response times have grown where those of the last third are this many times those of the first …
const GROWTH: f64 = 2.0;
/// … and longer by this share of the window: a difference that no single stall makes.
const GROWTH_SHARE: f64 = 0.02;
/// The longest that arrivals may go on being served after the last one, as a share of the window.
const BACKLOG_SHARE: f64 = 0.10;
/// The fewest slices of a window in which growth can be told.
pub const SLICES_MIN: usize = 9;

/// Whether one trial sustained its rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Its response times did not grow.
    Sustained,
    /// They did, or arrivals were left; in words.
    Diverged(String),
}

impl Finding {
    /// Whether the rate was sustained.
    pub const fn is_sustained(&self) -> bool {
        matches!(self, Self::Sustained)
    }
}

/// Judges one window of an open load of `window_ns`.
///
/// # Errors
/// Where the window is too short to tell.
pub fn examine(turn: &TurnRecord, slices: &[Slice], window_ns: u64) -> Result<Finding, String> {
    if turn.unsent > 0 {
        return Ok(Finding::Diverged(format!("{} arrivals were never sent", turn.unsent)));
    }
    let backlog_ns = turn.wall_ns.saturating_sub(window_ns);
    if backlog_ns as f64 > BACKLOG_SHARE * window_ns as f64 {
        return Ok(Finding::Diverged(format!(
            "it went on for {:.0} ms after the last arrival",
            backlog_ns as f64 / 1e6
        )));
    }
    // A slice in which nothing ended says nothing by itself; what was stalled ends in a later one.
    let longest_ns: Vec<f64> =
        slices.iter().filter(|slice| slice.ok > 0).map(|slice| slice.response_max_ns as f64).collect();
    if slices.len() < SLICES_MIN {
        return Err(format!("{} slices are too few to tell growth; {SLICES_MIN} are needed", slices.len()));
    }
    let third = longest_ns.len() / 3;
    let ends = median(&longest_ns[..third]).zip(median(&longest_ns[longest_ns.len() - third..]));
    let Some((first_ns, last_ns)) = ends else {
        return Ok(Finding::Diverged("in most slices nothing was done".to_owned()));
    };
    if last_ns > GROWTH * first_ns && last_ns - first_ns > GROWTH_SHARE * window_ns as f64 {
        return Ok(Finding::Diverged(format!(
            "the longest response grew from {:.1} ms to {:.1} ms",
            first_ns / 1e6,
            last_ns / 1e6
        )));
    }
    Ok(Finding::Sustained)
}

/// From one rate to the next, while nothing bounds the search on that side: as many steps up to the capacity of a fast
/// system as the precision then takes down to it.
const STRIDE: f64 = 4.0;

/// A search for the highest sustained rate: strides until one rate is sustained and one is not, then tries the geometric
/// middle until both are within the precision.
#[derive(Clone, Debug)]
pub struct Search {
    sustained: Option<f64>,
    diverged: Option<f64>,
    next: f64,
    precision: f64,
    steps_left: u32,
}

impl Search {
    /// A search that begins at `rate` and ends when the interval is at most `precision` (0.1: 10 %) wide, or after
    /// `steps_max` steps.
    pub const fn new(rate: f64, precision: f64, steps_max: u32) -> Self {
        Self { sustained: None, diverged: None, next: rate, precision, steps_left: steps_max }
    }

    /// The rate to try next; `None` where the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        let narrow = match (self.sustained, self.diverged) {
            (Some(low), Some(high)) => high <= low * (1.0 + self.precision),
            _ => false,
        };
        (!narrow && self.steps_left > 0).then_some(self.next)
    }

    /// The rate that was tried was sustained, or not.
    pub fn tell(&mut self, sustained: bool) {
        self.steps_left = self.steps_left.saturating_sub(1);
        if sustained {
            self.sustained = Some(self.next);
        } else {
            self.diverged = Some(self.next);
        }
        self.choose();
    }

    /// The highest sustained rate was not sustained after all; `lower`, below it, was.
    pub fn retract(&mut self, lower: Option<f64>) {
        (self.sustained, self.diverged) = (lower, self.sustained);
        self.choose();
    }

    fn choose(&mut self) {
        self.next = match (self.sustained, self.diverged) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * STRIDE,
            (None, Some(high)) => high / STRIDE,
            (None, None) => self.next,
        };
    }

    /// How many rates are left to try at most; `None` while the search is open to one side.
    pub fn steps_left_max(&self) -> Option<u32> {
        let (low, high) = (self.sustained?, self.diverged?);
        // Each step halves the interval's logarithm.
        let halvings = ((high / low).ln() / self.precision.ln_1p()).log2().ceil().max(0.0);
        Some((halvings as u32).min(self.steps_left))
    }

    /// The highest rate that was sustained and the lowest above it that was not; each absent where there was none.
    pub const fn interval(&self) -> (Option<f64>, Option<f64>) {
        (self.sustained, self.diverged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_NS: u64 = 3_000_000_000;
    const SLICE_NS: u64 = 100_000_000;

    fn turn(wall_ns: u64, unsent: u64) -> TurnRecord {
        TurnRecord {
            index: 0,
            start_ns: 0,
            wall_ns,
            attempts: 1,
            ok: 1,
            nothing: 0,
            failed: 0,
            unsent,
            response_p50_ns: None,
            response_max_ns: None,
            cpu_ns: 0,
            sync_calls: 0,
            quiesce_ns: 0,
            busy_ns: None,
            clients: None,
            window_ns: None,
            steal_ns: None,
            ratios: std::collections::BTreeMap::new(),
        }
    }

    /// Slices of a queue with `capacity` under `rate` arrivals a second: the fluid limit, over a base of 5 ms, with a
    /// stall of 300 ms in every tenth slice.
    fn slices(rate: f64, capacity: f64) -> Vec<Slice> {
        (0..30)
            .map(|index| {
                let elapsed_s = (f64::from(index) + 0.5) / 10.0;
                let queue_s = ((rate - capacity) / capacity * elapsed_s).max(0.0);
                let stall_s = if index % 10 == 5 { 0.3 } else { 0.0 };
                Slice {
                    start_ns: index as u64 * SLICE_NS,
                    duration_ns: SLICE_NS,
                    ok: 1,
                    response_max_ns: ((0.005 + queue_s + stall_s) * 1e9) as u64,
                }
            })
            .collect()
    }

    #[test]
    fn stalls_are_not_divergence_and_growth_is() {
        let examine = |rate| examine(&turn(WINDOW_NS, 0), &slices(rate, 1000.0), WINDOW_NS).unwrap();
        assert!(examine(500.0).is_sustained());
        assert!(examine(1000.0).is_sustained());
        assert!(!examine(1050.0).is_sustained());
        assert!(!examine(3000.0).is_sustained());
    }

    #[test]
    fn what_is_left_over_is_divergence() {
        let calm = slices(500.0, 1000.0);
        assert!(!examine(&turn(WINDOW_NS, 1), &calm, WINDOW_NS).unwrap().is_sustained());
        assert!(!examine(&turn(WINDOW_NS * 12 / 10, 0), &calm, WINDOW_NS).unwrap().is_sustained());
        assert!(examine(&turn(WINDOW_NS, 0), &calm[..5], WINDOW_NS).is_err());
        let dead = vec![Slice { start_ns: 0, duration_ns: SLICE_NS, ok: 0, response_max_ns: 0 }; 30];
        assert!(!examine(&turn(WINDOW_NS, 0), &dead, WINDOW_NS).unwrap().is_sustained());
    }

    #[test]
    fn the_search_closes_in_from_either_side() {
        for start in [10.0, 700.0, 1_000_000.0] {
            let mut search = Search::new(start, 0.05, 100);
            let mut steps = 0;
            while let Some(rate) = search.next_rate() {
                let left_max = search.steps_left_max();
                search.tell(rate <= 1234.0);
                steps += 1;
                if let (Some(before), Some(after)) = (left_max, search.steps_left_max()) {
                    assert!(after < before, "{after} after {before}");
                }
            }
            assert_eq!(search.steps_left_max(), Some(0));
            let (Some(low), Some(high)) = search.interval() else { panic!("both sides were seen") };
            assert!(low <= 1234.0 && 1234.0 < high && high <= low * 1.05, "{low} {high}");
            assert!(steps < 30, "{steps}");
        }
        let mut search = Search::new(1.0, 0.05, 3);
        while search.next_rate().is_some() {
            search.tell(true);
        }
        assert_eq!(search.interval(), (Some(16.0), None), "a search that is cut short says what it has");
        assert_eq!(search.steps_left_max(), None);

        search.retract(Some(4.0));
        assert_eq!(search.interval(), (Some(4.0), Some(16.0)), "what was sustained by mistake bounds the search");
        search.retract(None);
        assert_eq!(search.interval(), (None, Some(4.0)));
    }
}
