//! Stalls of one trial, and which of the system's own numbers moved while they lasted.
//!
//! A stall is where a second's throughput is under half of the window's median second; its ends are found in the slices of
//! that second. A number moved where it grew by more than twice of what it grows in as long a time elsewhere, or, where it
//! goes up and down, where it went farther from its usual value than at any other time. Both say what went on at the same
//! time, not what the cause was.

use uplift_model::{
    Unit,
    sampled::NumberSeries,
    trial::{Measured, Slice},
};

use crate::estimate::median;

/// A second is slow below this share of the median second.
const SLOW: f64 = 0.5;
/// What is looked at is a second: single slices have few operations.
const WIDE_NS: u64 = 1_000_000_000;
/// The shortest window, in seconds, of which a median second means something.
const SECONDS_MIN: usize = 5;
/// A number moved where it grew by this many times of what is usual.
const MOVED: f64 = 2.0;
/// The most numbers that are named.
const NAMED_MAX: usize = 4;

/// One stall.
#[derive(Clone, Debug, PartialEq)]
pub struct Stall {
    /// When it began, in nanoseconds since the agent was ready.
    pub start_ns: u64,
    /// How long it lasted.
    pub duration_ns: u64,
    /// Successful operations a second meanwhile.
    pub throughput: f64,
    /// Those of the window's median second.
    pub usual: f64,
    /// The longest response that ended meanwhile.
    pub response_max_ns: u64,
    /// What moved, the most unusual first.
    pub moved: Vec<Moved>,
}

/// A number that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// By how much it grew; of one that goes up and down the value that was farthest from the usual one.
    pub by: f64,
    /// What it usually does in as long a time, or its usual value.
    pub usual: f64,
    /// Whether it only grows.
    pub grows: bool,
    /// Its unit.
    pub unit: Unit,
    /// What goes on while it moves.
    pub means: Option<String>,
    /// How unusual that is.
    weight: f64,
}

/// The stalls of a trial of one window; nothing of one that was cut into turns, or was too short to tell.
pub fn stalls(measured: &Measured) -> Vec<Stall> {
    let slices = window(measured);
    let Some(first) = slices.first() else { return Vec::new() };
    let wide = (WIDE_NS / first.duration_ns.max(1)).max(1) as usize;
    if slices.len() < SECONDS_MIN * wide {
        return Vec::new();
    }
    let second = |slices: &[&Slice]| slices.iter().map(|slice| slice.ok).sum::<u64>() as f64;
    let sums: Vec<f64> = slices.windows(wide).map(second).collect();
    let Some(usual) = median(&sums).filter(|usual| *usual > 0.0) else { return Vec::new() };
    let mut slow = vec![false; slices.len()];
    for (at, _) in sums.iter().enumerate().filter(|(_, sum)| **sum < SLOW * usual) {
        slow[at..at + wide].fill(true);
    }
    let usual_slice = usual / wide as f64;
    let mut found = Vec::new();
    let mut at = 0;
    while at < slices.len() {
        if !slow[at] {
            at += 1;
            continue;
        }
        let end = slow[at..].iter().position(|slow| !slow).map_or(slices.len(), |length| at + length);
        // A slow second begins before the stall and ends after it.
        let is_slow = |slice: &&Slice| (slice.ok as f64) < SLOW * usual_slice;
        let run = &slices[at..end];
        let (from, to) = (run.iter().position(is_slow), run.iter().rposition(is_slow));
        if let (Some(from), Some(to)) = (from, to) {
            found.push(stall(&run[from..=to], usual_slice));
        }
        at = end;
    }
    let spans: Vec<[u64; 2]> = found.iter().map(|stall| [stall.start_ns, stall.start_ns + stall.duration_ns]).collect();
    for stall in &mut found {
        let numbers = measured.sampled.iter().flat_map(|sampled| &sampled.numbers);
        stall.moved = numbers.filter_map(|series| moved(series, stall, &spans)).collect();
        stall.moved.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        stall.moved.truncate(NAMED_MAX);
    }
    found
}

/// The slices of the window; those after it belong to the last operations of a load that has ended.
fn window(measured: &Measured) -> Vec<&Slice> {
    let kept = measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]);
    let [turn] = kept else { return Vec::new() };
    let within = |slice: &&Slice| slice.start_ns + slice.duration_ns <= turn.start_ns + turn.wall_ns;
    measured.slices.iter().filter(within).collect()
}

fn stall(slices: &[&Slice], usual_slice: f64) -> Stall {
    let (first, last) = (slices[0], slices[slices.len() - 1]);
    let duration_ns = last.start_ns + last.duration_ns - first.start_ns;
    let ok: u64 = slices.iter().map(|slice| slice.ok).sum();
    Stall {
        start_ns: first.start_ns,
        duration_ns,
        throughput: ok as f64 / (duration_ns as f64 / 1e9),
        usual: usual_slice / (first.duration_ns as f64 / 1e9),
        // What was stalled ends when the stall does, which is in its last slice or right after it.
        response_max_ns: slices.iter().map(|slice| slice.response_max_ns).max().unwrap_or(0),
        moved: Vec::new(),
    }
}

/// What a number did during a stall, where that is unusual.
fn moved(series: &NumberSeries, stall: &Stall, spans: &[[u64; 2]]) -> Option<Moved> {
    let points = &series.points;
    let [begin, end] = [stall.start_ns, stall.start_ns + stall.duration_ns];
    // From the last reading before it to the first after it: a reading that stalls itself comes late.
    let from = points.iter().rposition(|(at, _)| *at <= begin).unwrap_or(0);
    let to = points.iter().position(|(at, _)| *at >= end).unwrap_or(points.len().checked_sub(1)?);
    if to <= from {
        return None;
    }
    let touches = |a: u64, b: u64| spans.iter().any(|[begin, end]| a < *end && b > *begin);
    let elsewhere: Vec<&[(u64, f64)]> = points.windows(2).filter(|pair| !touches(pair[0].0, pair[1].0)).collect();
    let (by, usual, weight) = if series.grows {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        let rates: Vec<f64> =
            elsewhere.iter().map(|pair| (pair[1].1 - pair[0].1) / seconds(pair[0].0, pair[1].0).max(1e-9)).collect();
        let usual = median(&rates).unwrap_or(0.0).max(0.0) * seconds(points[from].0, points[to].0);
        let by = points[to].1 - points[from].1;
        if by <= 0.0 || by <= MOVED * usual {
            return None;
        }
        // What never grows otherwise is the most telling.
        (by, usual, if usual > 0.0 { by / usual } else { f64::INFINITY })
    } else {
        let calm: Vec<f64> = elsewhere.iter().flat_map(|pair| [pair[0].1, pair[1].1]).collect();
        let usual = median(&calm)?;
        let farthest = |values: &mut dyn Iterator<Item = f64>| {
            values.map(|value| (value, (value - usual).abs())).max_by(|a, b| a.1.total_cmp(&b.1))
        };
        let (by, far) = farthest(&mut points[from..=to].iter().map(|(_, value)| *value))?;
        let far_elsewhere = farthest(&mut calm.iter().copied()).map_or(0.0, |(_, far)| far);
        // Sizes wander; only what is far beyond that says something.
        if far <= MOVED * far_elsewhere || far <= 0.1 * usual.abs() {
            return None;
        }
        (by, usual, if far_elsewhere > 0.0 { far / far_elsewhere } else { f64::INFINITY })
    };
    let (name, means) = (series.name.clone(), series.means.clone());
    Some(Moved { name, by, usual, grows: series.grows, unit: series.unit, means, weight })
}

/// What went on during a stall, as clauses; each once.
pub fn causes(stall: &Stall) -> Vec<&str> {
    let mut causes: Vec<&str> = Vec::new();
    for means in stall.moved.iter().filter_map(|moved| moved.means.as_deref()) {
        if !causes.contains(&means) {
            causes.push(means);
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial of 20 s with 100 operations in each slice, but in the spans that stall.
    fn measured(stalled: &[(u64, u64)], numbers: Vec<NumberSeries>) -> Measured {
        let slices: Vec<serde_json::Value> = (0..200)
            .map(|index: u64| {
                let ok = if stalled.iter().any(|&(from, to)| (from..to).contains(&index)) { 3 } else { 90 + index % 20 };
                serde_json::json!({ "start_ns": 5_000_000_000 + index * 100_000_000, "duration_ns": 100_000_000, "ok": ok,
                    "response_max_ns": if ok == 3 { 900_000_000 } else { 5_000_000 } })
            })
            .collect();
        let text = serde_json::json!({
            "effective": {}, "durability": "none", "setup_ns": 0, "dropped_turns": 0, "operations": [], "counters": {},
            "gauges": {}, "resources": { "wall_ns": 0, "cpu_user_ns": 0, "cpu_system_ns": 0, "voluntary_switches": 0,
                "involuntary_switches": 0, "major_faults": 0, "cores": 2 },
            "syncs": { "collector": null, "kinds": {} }, "slices": slices,
            "turns": [{ "index": 0, "start_ns": 5_000_000_000u64, "wall_ns": 20_000_000_000u64, "attempts": 1, "ok": 1,
                "nothing": 0, "failed": 0, "unsent": 0, "cpu_ns": 0, "sync_calls": 0, "quiesce_ns": 0 }],
            "idle": { "wall_ns": 0, "cpu_ns": 0, "sync_calls": 0 }, "drain": { "duration_ns": 0, "owed": 0 },
            "check": { "passed": true, "checked": 1, "detail": "" },
            "sampled": { "every_ns": 1_000_000_000, "samples": 21, "asking_ns": 1, "asking_max_ns": 1, "numbers": numbers },
        });
        serde_json::from_value(text).unwrap()
    }

    fn series(name: &str, grows: bool, means: Option<&str>, value: impl Fn(u64) -> f64) -> NumberSeries {
        let points = (0..=20).map(|second| (5_000_000_000 + second * 1_000_000_000, value(second))).collect();
        NumberSeries { name: name.into(), unit: Unit::Count, grows, means: means.map(Into::into), points }
    }

    #[test]
    fn stalls_are_found_with_what_moved_then() {
        // A checkpoint from second 7 to 9, and again from 15 to 16.
        let wrote = |second: u64| 812.0 * (second.clamp(7, 9) - 7) as f64 + 500.0 * (second.clamp(15, 16) - 15) as f64;
        let numbers = vec![
            series("checkpoints_timed", true, Some("a checkpoint was running"), |second| {
                f64::from(second > 7) + f64::from(second > 15)
            }),
            series("buffers_checkpoint", true, Some("a checkpoint was running"), wrote),
            // It goes on as it always does.
            series("wal_bytes", true, None, |second| 1e6 * second as f64),
            series("saving", false, Some("a snapshot was saved"), |second| f64::from(second == 8)),
            series("memory", false, None, |second| 1e6 + 1e3 * (second % 3) as f64),
        ];
        let found = stalls(&measured(&[(74, 86), (152, 158)], numbers));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!((found[0].start_ns, found[0].duration_ns), (12_400_000_000, 1_200_000_000));
        assert_eq!(found[1].duration_ns, 600_000_000);
        assert_eq!((found[0].throughput, found[0].response_max_ns), (30.0, 900_000_000));
        assert!((found[0].usual - 1000.0).abs() < 50.0);
        let names = |stall: &Stall| stall.moved.iter().map(|moved| (moved.name.clone(), moved.by)).collect::<Vec<_>>();
        assert_eq!(
            names(&found[0]),
            [("checkpoints_timed".to_owned(), 1.0), ("buffers_checkpoint".into(), 1624.0), ("saving".into(), 1.0)]
        );
        assert_eq!(names(&found[1]), [("checkpoints_timed".to_owned(), 1.0), ("buffers_checkpoint".into(), 500.0)]);
        assert_eq!(causes(&found[1]), ["a checkpoint was running"]);
        assert_eq!(causes(&found[0]), ["a checkpoint was running", "a snapshot was saved"]);
    }

    #[test]
    fn an_even_load_has_no_stall_and_a_short_one_says_nothing() {
        assert!(stalls(&measured(&[], Vec::new())).is_empty());
        // A single slow slice is no slow second.
        assert!(stalls(&measured(&[(40, 42)], Vec::new())).is_empty());
        let mut short = measured(&[(10, 25)], Vec::new());
        short.slices.truncate(40);
        assert!(stalls(&short).is_empty());
        let mut dead = measured(&[(0, 200)], Vec::new());
        dead.slices.iter_mut().for_each(|slice| slice.ok = 0);
        assert!(stalls(&dead).is_empty());
        // Without numbers a stall is still a stall.
        assert_eq!(stalls(&measured(&[(0, 15)], Vec::new()))[0].moved, []);
    }
}
