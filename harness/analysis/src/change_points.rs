//! Change points of a series: the E-divisive method with means (Matteson and James 2014), as it is used on benchmark
//! histories (Daly and others 2020).
//!
//! A segment is divided where the energy distance between its parts is largest, as long as that distance is larger than
//! in nearly all random orders of the segment. The orders come from a fixed seed, so the same series gives the same
//! answer.

use crate::random::Splitmix;

/// Fewer values than this on one side of a change are not a level yet.
pub const SEGMENT_MIN: usize = 3;
/// What chance does is looked for down to single values, as in the published method: it divides best near the ends, and a
/// change must be clearer than that.
const CHANCE_MIN: usize = 1;
/// The error probability of one division.
const ALPHA: f64 = 0.01;
const PERMUTATIONS: u32 = 499;

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// The index of the first value of the new level.
    pub index: usize,
    /// Its p value by permutation.
    pub p: f64,
    /// Mean of the segment before it.
    pub before: f64,
    /// Mean of the segment after it.
    pub after: f64,
}

/// The change points of `values`, in their order.
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    let mut found: Vec<(usize, f64)> = Vec::new();
    let mut bounds = vec![0, values.len()];
    let mut random = Splitmix::new(0x5eed);
    while let Some((split, distance)) = best_of(values, &bounds, SEGMENT_MIN) {
        // Orders are random within each segment: what was found before stays found.
        let mut shuffled = values.to_vec();
        let mut as_far = 0u32;
        for _ in 0..PERMUTATIONS {
            for segment in bounds.windows(2) {
                random.shuffle(&mut shuffled[segment[0]..segment[1]]);
            }
            as_far += u32::from(best_of(&shuffled, &bounds, CHANCE_MIN).is_some_and(|(_, other)| other >= distance));
        }
        let p = f64::from(as_far + 1) / f64::from(PERMUTATIONS + 1);
        if p > ALPHA {
            break;
        }
        found.push((split, p));
        bounds.push(split);
        bounds.sort_unstable();
    }
    found.sort_by_key(|(index, _)| *index);
    let mean = |from: usize, to: usize| values[from..to].iter().sum::<f64>() / (to - from) as f64;
    (0..found.len())
        .map(|nth| {
            let (index, p) = found[nth];
            let from = nth.checked_sub(1).map_or(0, |before| found[before].0);
            let to = found.get(nth + 1).map_or(values.len(), |next| next.0);
            ChangePoint { index, p, before: mean(from, index), after: mean(index, to) }
        })
        .collect()
}

/// The best division of all segments between `bounds` into parts of `least` values and more.
fn best_of(values: &[f64], bounds: &[usize], least: usize) -> Option<(usize, f64)> {
    let segments = bounds.windows(2).filter_map(|segment| {
        let (split, distance) = best_split(&values[segment[0]..segment[1]], least)?;
        Some((segment[0] + split, distance))
    });
    segments.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Where a segment divides best: the first value of the new level, and how far apart the two parts are: mn/(m+n) times
/// the energy distance with exponent 1. The right part may end before the segment does, so that a level that returns to
/// what it was is seen against what it was, and not against a mixture. All sums are carried along: the time is quadratic.
fn best_split(values: &[f64], least: usize) -> Option<(usize, f64)> {
    let n = values.len();
    if n < 2 * least {
        return None;
    }
    let distance = |a: usize, b: usize| (values[a] - values[b]).abs();
    // Sums of distances within the first `end` values, for each `end`; and within `from..end`, for each `from`.
    let mut within_first = vec![0.0; n + 1];
    let mut within_last = vec![0.0; n];
    let mut best: Option<(usize, f64)> = None;
    for end in 1..=n {
        let newest = end - 1;
        let mut to_newest = 0.0;
        for from in (0..newest).rev() {
            to_newest += distance(from, newest);
            within_last[from] += to_newest;
        }
        within_first[end] = within_last[0];
        for split in least..=end.saturating_sub(least) {
            let (m, k) = (split as f64, (end - split) as f64);
            let (left, right) = (within_first[split], within_last[split]);
            let between = within_first[end] - left - right;
            // A single value has no distances.
            let among = |sum: f64, count: f64| if count > 1.0 { 2.0 * sum / (count * (count - 1.0)) } else { 0.0 };
            let energy = 2.0 * between / (m * k) - among(left, m) - among(right, k);
            let scaled = m * k / (m + k) * energy;
            if best.is_none_or(|(_, known)| scaled > known) {
                best = Some((split, scaled));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut random = Splitmix::new(seed);
        // The sum of twelve uniform numbers is nearly normal.
        let uniform = |random: &mut Splitmix| random.below(1 << 20) as f64 / f64::from(1 << 20);
        (0..n).map(|_| (0..12).map(|_| uniform(&mut random)).sum::<f64>() - 6.0).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let mut values = noise(60, 1);
        for value in &mut values[25..] {
            *value += 4.0;
        }
        let found = change_points(&values);
        assert_eq!(found.iter().map(|point| point.index).collect::<Vec<_>>(), [25]);
        assert!(found[0].after - found[0].before > 3.0);
    }

    #[test]
    fn up_and_down_are_two_changes() {
        let mut values = noise(90, 2);
        for value in &mut values[30..60] {
            *value += 5.0;
        }
        let found: Vec<usize> = change_points(&values).iter().map(|point| point.index).collect();
        // One value of noise may fall to the other side.
        assert!(matches!(found[..], [29..=31, 59..=61]), "{found:?}");
    }

    #[test]
    fn noise_alone_hardly_ever_changes() {
        let alarms = (0..60).filter(|seed| !change_points(&noise(30, 100 + seed)).is_empty()).count();
        // At 1 % each, four of sixty come once in three hundred times.
        assert!(alarms <= 4, "{alarms}");
        assert!(change_points(&[1.0; 50]).is_empty());
        assert!(change_points(&[1.0, 2.0]).is_empty());
    }

    /// The sums that are carried along are those of the definition.
    #[test]
    fn the_best_split_is_that_of_the_definition() {
        let values = noise(17, 3);
        let energy = |split: usize, end: usize| {
            let (a, b) = values[..end].split_at(split);
            let mean = |x: &[f64], y: &[f64], pairs: f64| {
                x.iter().flat_map(|p| y.iter().map(move |q| (p - q).abs())).sum::<f64>() / pairs
            };
            let (m, n) = (a.len() as f64, b.len() as f64);
            m * n / (m + n) * (2.0 * mean(a, b, m * n) - mean(a, a, m * (m - 1.0)) - mean(b, b, n * (n - 1.0)))
        };
        let all = (2 * SEGMENT_MIN..=values.len())
            .flat_map(|end| (SEGMENT_MIN..=end - SEGMENT_MIN).map(move |split| (split, end)));
        let (wanted, end) = all.max_by(|a, b| energy(a.0, a.1).total_cmp(&energy(b.0, b.1))).unwrap();
        let (split, distance) = best_split(&values, SEGMENT_MIN).unwrap();
        assert_eq!(split, wanted);
        assert!((distance - energy(wanted, end)).abs() < 1e-9);
    }

    #[derive(serde::Deserialize)]
    struct Answer {
        name: String,
        values: Vec<f64>,
        first: usize,
        distance: f64,
        changes: Vec<usize>,
    }

    /// Apache Otava divides these series at the same places, by the same distance (`tests/fixtures/otava_answers.py`).
    #[test]
    fn change_points_are_those_of_otava() {
        let answers: Vec<Answer> = serde_json::from_str(include_str!("../tests/fixtures/otava_answers.json")).unwrap();
        assert_eq!(answers.len(), 8);
        for Answer { name, values, first, distance, changes } in answers {
            let (split, ours) = best_split(&values, SEGMENT_MIN).unwrap();
            // In noise it may split off fewer values than are a level here.
            if !changes.is_empty() {
                assert_eq!(split, first, "{name}");
                assert!((ours / distance - 1.0).abs() < 1e-9, "{name}: {ours} is not {distance}");
            }
            let found: Vec<usize> = change_points(&values).iter().map(|point| point.index).collect();
            assert_eq!(found, changes, "{name}");
        }
    }
}
