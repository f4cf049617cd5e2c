//! Change points of a series: the E-divisive method with means (Matteson and James 2014), as it is used on benchmark
//! histories (Daly and others 2020).
//!
//! A segment is divided where the energy distance between its parts is largest, as long as that distance is larger than
//! in nearly all random orders of the segment. The orders come from a fixed seed, so the same series gives the same
//! answer.

use crate::random::Splitmix;

/// Fewer values than this on one side of a change are not a level yet.
pub const SEGMENT_MIN: usize = 3;
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
    let mut open = vec![(0, values.len())];
    let mut random = Splitmix::new(0x5eed);
    while let Some((from, to)) = open.pop() {
        let segment = &values[from..to];
        let Some((split, distance)) = best_split(segment) else { continue };
        let mut shuffled = segment.to_vec();
        let mut as_far = 0u32;
        for _ in 0..PERMUTATIONS {
            random.shuffle(&mut shuffled);
            if best_split(&shuffled).is_some_and(|(_, other)| other >= distance) {
                as_far += 1;
            }
        }
        let p = f64::from(as_far + 1) / f64::from(PERMUTATIONS + 1);
        if p <= ALPHA {
            found.push((from + split, p));
            open.push((from, from + split));
            open.push((from + split, to));
        }
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

/// Where the two parts of a segment differ most, and by how much: mn/(m+n) times the energy distance with exponent 1.
/// Moving one value from the right part to the left one updates all three sums in linear time.
fn best_split(values: &[f64]) -> Option<(usize, f64)> {
    let n = values.len();
    if n < 2 * SEGMENT_MIN {
        return None;
    }
    let distance = |a: usize, b: usize| (values[a] - values[b]).abs();
    let (mut left, mut between) = (0.0, 0.0);
    let mut right: f64 = (0..n).map(|a| (a + 1..n).map(|b| distance(a, b)).sum::<f64>()).sum();
    let mut best: Option<(usize, f64)> = None;
    for split in 1..=n - SEGMENT_MIN {
        let moved = split - 1;
        let to_left: f64 = (0..moved).map(|other| distance(moved, other)).sum();
        let to_right: f64 = (split..n).map(|other| distance(moved, other)).sum();
        left += to_left;
        right -= to_right;
        between += to_right - to_left;
        if split < SEGMENT_MIN {
            continue;
        }
        let (m, k) = (split as f64, (n - split) as f64);
        let energy = 2.0 * between / (m * k) - 2.0 * left / (m * (m - 1.0)) - 2.0 * right / (k * (k - 1.0));
        let scaled = m * k / (m + k) * energy;
        if best.is_none_or(|(_, known)| scaled > known) {
            best = Some((split, scaled));
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
        let energy = |split: usize| {
            let (a, b) = values.split_at(split);
            let mean = |x: &[f64], y: &[f64], pairs: f64| {
                x.iter().flat_map(|p| y.iter().map(move |q| (p - q).abs())).sum::<f64>() / pairs
            };
            let (m, n) = (a.len() as f64, b.len() as f64);
            m * n / (m + n) * (2.0 * mean(a, b, m * n) - mean(a, a, m * (m - 1.0)) - mean(b, b, n * (n - 1.0)))
        };
        let wanted =
            (SEGMENT_MIN..=values.len() - SEGMENT_MIN).max_by(|a, b| energy(*a).total_cmp(&energy(*b))).unwrap();
        let (split, distance) = best_split(&values).unwrap();
        assert_eq!(split, wanted);
        assert!((distance - energy(wanted)).abs() < 1e-9);
    }
}
