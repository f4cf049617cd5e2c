//! Rounds that the machine disturbed, told by evidence from outside: what the hypervisor took meanwhile.
//!
//! A verdict is about totals, and a total is moved by every stall, also by one that is the machine's. Those may be set
//! aside, for both variants at once, by evidence that does not depend on the variant, and never by their own result.

use statrs::distribution::{Beta, ContinuousCDF as _};
use uplift_model::trial::TurnRecord;

use crate::pairing::{Pair, kept};

/// A turn is disturbed where the hypervisor took more than this part of one CPU's time meanwhile.
const STEAL_SHARE: f64 = 0.1;
/// Where more of the rounds than this are disturbed, that is the machine as it is, and no round is set aside.
const SHARE_MAX: f64 = 0.25;
/// The p value below which disturbances depend on the variant: then they may be its doing, and no round is set aside.
const DEPENDENCE: f64 = 0.01;

/// Whether the hypervisor took time from a turn.
pub fn is_disturbed(turn: &TurnRecord) -> bool {
    turn.steal_ns.is_some_and(|steal_ns| steal_ns as f64 > STEAL_SHARE * turn.wall_ns as f64)
}

/// Sets the disturbed rounds of all pairs aside, where that may be done, and says what was done.
pub fn set_aside(pairs: &mut [Pair<'_>]) -> Option<String> {
    let (mut all, mut either, mut own) = (0u32, 0u32, [0u32; 2]);
    for pair in pairs.iter() {
        for a in kept(pair.baseline) {
            let Some(b) = kept(pair.candidate).iter().find(|b| b.index == a.index) else { continue };
            let disturbed = [is_disturbed(a), is_disturbed(b)];
            all += 1;
            either += u32::from(disturbed[0] || disturbed[1]);
            for (count, disturbed) in own.iter_mut().zip(disturbed) {
                *count += u32::from(disturbed);
            }
        }
    }
    if either == 0 {
        return None;
    }
    let what = format!("the hypervisor took more than a tenth of a CPU from {either} of {all} rounds");
    if f64::from(either) > SHARE_MAX * f64::from(all) {
        return Some(format!("{what}: too many to be set aside; they are in the totals"));
    }
    if sign_p(own) < DEPENDENCE {
        return Some(format!(
            "{what}, and from the turns of one variant more often ({} of the baseline, {} of the candidate): that may be its own doing, so none was set aside",
            own[0], own[1]
        ));
    }
    for pair in pairs {
        pair.sets_aside = true;
    }
    Some(format!("{what}: they were set aside for both variants"))
}

/// The exact two-sided p value of the sign test.
fn sign_p([a, b]: [u32; 2]) -> f64 {
    let (less, n) = (f64::from(a.min(b)), f64::from(a + b));
    // P(at most `less` of n fair coins).
    let tail = Beta::new(less + 1.0, n - less).map_or(1.0, |beta| beta.sf(0.5));
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.stats.binomtest(k, n).pvalue.
    #[test]
    fn the_sign_test_is_exact() {
        for (counts, p) in [([0, 8], 0.007_812_5), ([3, 12], 0.035_156_25), ([5, 5], 1.0), ([0, 1], 1.0)] {
            assert!((sign_p(counts) - p).abs() < 1e-9, "{counts:?}: {}", sign_p(counts));
        }
    }
}
