//! Looking before the end without paying for it in false alarms: an alpha spending function with exact joint boundaries.
//!
//! The error probability α is spent as information grows: α·t³ at the share t of the planned blocks (Kim and DeMets
//! 1987, power family; exponent 3 is close to O'Brien and Fleming's boundaries: hardly anything early, nearly all at
//! the end). What a look may use follows from the joint distribution of all looks up to it, by numerical integration
//! (Armitage, McPherson and Rowe 1969): experiments that were stopped before are not counted twice, as they would be if
//! each look had its increment to itself. The boundaries are found for normal means and carried over to t statistics by
//! their p values (Jennison and Turnbull 2000, section 3.8); `tests/rule.rs` simulates what comes of that.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use statrs::function::erf::erfc;

use crate::{estimate::normal_quantile, evidence::usable_share};

/// The planned looks, in blocks; between them nobody looks.
pub const LOOKS: [u32; 14] = [6, 8, 11, 15, 20, 27, 36, 48, 64, 85, 113, 151, 201, 268];

const EXPONENT: i32 = 3;

/// Points of the grid on which the density of the running sum is kept; odd, for Simpson's rule.
const GRID: usize = 161;

/// The share of α that is spent when `blocks` of `blocks_max` are done. Few blocks may use a part of theirs only; the
/// rest is left to later looks.
fn spent(blocks: u32, blocks_max: u32) -> f64 {
    let time = f64::from(blocks.min(blocks_max)) / f64::from(blocks_max.max(1));
    time.powi(EXPONENT) * usable(blocks)
}

fn usable(blocks: u32) -> f64 {
    usable_share(blocks as usize)
}

/// Whether the plan has a look at `blocks`: at the planned looks and at the end. A planned look within the last 15 % is
/// left out: it would take most of the error from the end and hardly save time. After the end nobody looks: all is spent.
pub fn is_look(blocks: u32, blocks_max: u32) -> bool {
    blocks == blocks_max || (LOOKS.contains(&blocks) && is_early(blocks, blocks_max))
}

const fn is_early(look: u32, blocks_max: u32) -> bool {
    20 * look <= 17 * blocks_max
}

/// The share of α, the family's error probability for this comparison, at which a decision after `blocks` of at most
/// `blocks_max` blocks may be made. The last look gets all that is left, also when it came early because the budget ran
/// out. Of few blocks the caller uses a part only ([`crate::evidence::Evidence::usable`]).
///
/// The share of a smaller α is smaller: what holds for the strictest member of a family holds for the others.
pub fn share_at(blocks: u32, blocks_max: u32, last: bool, alpha: f64) -> f64 {
    static KNOWN: Mutex<BTreeMap<(u32, u32, bool, u64), f64>> = Mutex::new(BTreeMap::new());
    let blocks = blocks.min(blocks_max);
    let key = (blocks, blocks_max, last, alpha.to_bits());
    if let Some(share) = KNOWN.lock().get(&key) {
        return *share;
    }
    let mut looks: Vec<(u32, f64)> = LOOKS
        .iter()
        .filter(|look| **look < blocks && is_early(**look, blocks_max))
        .map(|&look| (look, alpha * spent(look, blocks_max)))
        .collect();
    let until = if last { usable(blocks) } else { spent(blocks, blocks_max) };
    looks.push((blocks, alpha * until));
    let share = boundaries(&looks).last().map_or(0.0, |nominal| nominal / alpha / usable(blocks));
    KNOWN.lock().insert(key, share);
    share
}

/// The two-sided nominal error probability of each look, given the blocks and the error that may have been spent by then.
/// Together they spend just that, for means of normal values that are looked at again and again.
pub fn boundaries(looks: &[(u32, f64)]) -> Vec<f64> {
    let mut nominal = Vec::with_capacity(looks.len());
    let mut before = 0.0;
    let mut density = Density::start();
    for (index, &(blocks, until)) in looks.iter().enumerate() {
        let now = f64::from(blocks);
        let wanted = (until - before).max(0.0);
        before = until;
        let bound = density.bound(now, wanted);
        nominal.push(upper(bound / now.sqrt()) * 2.0);
        if index + 1 < looks.len() {
            density = density.after(now, bound);
        }
    }
    nominal
}

/// The density of the running sum of standard normal values over all experiments that were not stopped.
struct Density {
    time: f64,
    points: Vec<f64>,
    /// Density times the weight of the point in Simpson's rule.
    mass: Vec<f64>,
}

impl Density {
    fn start() -> Self {
        Self { time: 0.0, points: vec![0.0], mass: vec![1.0] }
    }

    /// The probability that the sum lies beyond ±`bound` at `time`, and was not stopped before.
    fn beyond(&self, time: f64, bound: f64) -> f64 {
        let step = (time - self.time).sqrt();
        let both = |point: f64| upper((bound - point) / step) + upper((bound + point) / step);
        self.points.iter().zip(&self.mass).map(|(point, mass)| mass * both(*point)).sum()
    }

    /// The bound beyond which just `wanted` lies.
    fn bound(&self, time: f64, wanted: f64) -> f64 {
        // Without the looks before, it would have to lie as far out as this; with them it is never farther.
        let mut high = -normal_quantile((wanted / 2.0).max(1e-300)) * time.sqrt();
        let mut low = 0.0;
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if self.beyond(time, middle) > wanted { low = middle } else { high = middle }
        }
        high
    }

    fn after(&self, time: f64, bound: f64) -> Self {
        let step = (time - self.time).sqrt();
        let width = 2.0 * bound / (GRID - 1) as f64;
        let points: Vec<f64> = (0..GRID).map(|index| width.mul_add(index as f64, -bound)).collect();
        let mass = points
            .iter()
            .enumerate()
            .map(|(index, point)| {
                let weight = match index {
                    0 => 1.0,
                    last if last == GRID - 1 => 1.0,
                    odd if odd % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                let arrived = self.points.iter().zip(&self.mass).map(|(from, mass)| {
                    let z = (point - from) / step;
                    mass * (-z * z / 2.0).exp()
                });
                let density = arrived.sum::<f64>() / (step * std::f64::consts::TAU.sqrt());
                density * weight * width / 3.0
            })
            .collect();
        Self { time, points, mass }
    }
}

/// The upper tail of the standard normal distribution.
fn upper(z: f64) -> f64 {
    erfc(z / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pocock's bound for five looks at 5 % is the same at each, 2.413, and O'Brien and Fleming's is 2.040·√(5/k)
    /// (Jennison and Turnbull 2000, tables 2.1 and 2.3): spending what those spend must give those bounds.
    #[test]
    fn published_boundaries_are_found() {
        for (bounds, tolerance) in
            [([2.413; 5], 2e-3), ([1.0, 2.0, 3.0, 4.0, 5.0].map(|k: f64| 2.040 * (5.0 / k).sqrt()), 2e-3)]
        {
            let mut density = Density::start();
            let (mut spent, mut looks) = (0.0, Vec::new());
            for (index, bound) in bounds.into_iter().enumerate() {
                let blocks = 10 * (index as u32 + 1);
                let at = bound * f64::from(blocks).sqrt();
                spent += density.beyond(f64::from(blocks), at);
                looks.push((blocks, spent));
                density = density.after(f64::from(blocks), at);
            }
            assert!((spent - 0.05).abs() < 2e-4, "{spent}");
            for (nominal, bound) in boundaries(&looks).into_iter().zip(bounds) {
                assert!((normal_quantile(nominal / 2.0) + bound).abs() < tolerance, "{nominal} {bound}");
            }
        }
    }

    /// One look has everything; more looks leave the last one less, but more than the increments would.
    #[test]
    fn later_looks_get_more_than_their_increments() {
        assert!(
            (share_at(20, 20, true, 0.01) - {
                let before = f64::from(15u32).powi(3) / 8000.0;
                1.0 - before
            }) > 0.1
        );
        assert!(share_at(11, 11, true, 0.01) > 0.85, "looks of few blocks spend hardly anything");
        assert!(share_at(20, 20, true, 0.001) < share_at(20, 20, true, 0.01));
        assert!(!is_look(21, 20) && is_look(20, 20));
    }
}
