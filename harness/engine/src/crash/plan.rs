//! When cuts come and what they leave: all of it follows from the run's seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_model::crash::{CutMode, CutPoint, Kept};

/// The earliest cut: earlier there is nothing to lose.
const EARLIEST: Duration = Duration::from_millis(2);

/// One cut before it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPlan {
    /// Its number, from 0.
    pub number: u32,
    /// The seed of data, load and what is left.
    pub seed: u64,
    /// When it comes.
    pub point: CutPoint,
    /// What the disk keeps; `None`: the machine lives on.
    pub kept: Option<Kept>,
}

/// What is planned for.
#[derive(Clone, Copy, Debug)]
pub struct Planning {
    /// The run's seed.
    pub seed: u64,
    /// What dies.
    pub mode: CutMode,
    /// The latest cut.
    pub within: Duration,
    /// Whether sync calls can be waited for.
    pub sees_syncs: bool,
    /// The first so many cuts come at the first, second, third … sync.
    pub every_sync: u32,
}

/// Cut `number`. `syncs` is how many sync calls the load was seen to make until the latest cut, 0 where that is not known yet.
pub fn plan_cut(planning: &Planning, number: u32, syncs: u64) -> CutPlan {
    let mode = planning.mode as u64;
    let mixed = planning.seed ^ (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (mode << 61);
    let mut random = ChaCha8Rng::seed_from_u64(mixed);
    // 53 bits: the seed survives readers that keep numbers as doubles.
    let seed = random.random::<u64>() >> 11;
    let latest_ns = planning.within.max(EARLIEST * 2).as_nanos() as u64;
    let after = CutPoint::After(random.random_range(EARLIEST.as_nanos() as u64..latest_ns));
    let at_sync = random.random_range(1..=syncs.max(1));
    let point = if number < planning.every_sync {
        CutPoint::Sync(u64::from(number) + 1)
    } else if planning.sees_syncs && syncs > 0 && number % 2 == 1 {
        CutPoint::Sync(at_sync)
    } else {
        after
    };
    let kept = (planning.mode == CutMode::Power).then(|| match random.random_range(0..6u32) {
        0 | 1 => Kept::Nothing,
        2 => Kept::Everything,
        _ => Kept::Part,
    });
    CutPlan { number, seed, point, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_cuts_and_every_sync_comes_first() {
        let planning = Planning {
            seed: 7,
            mode: CutMode::Power,
            within: Duration::from_millis(300),
            sees_syncs: true,
            every_sync: 5,
        };
        let cuts: Vec<CutPlan> = (0..200).map(|number| plan_cut(&planning, number, 1_000)).collect();
        assert_eq!(cuts, (0..200).map(|number| plan_cut(&planning, number, 1_000)).collect::<Vec<_>>());
        for (number, cut) in (1u64..).zip(&cuts[..5]) {
            assert_eq!(cut.point, CutPoint::Sync(number));
        }
        let later = &cuts[5..];
        let at_syncs = later.iter().filter(|cut| matches!(cut.point, CutPoint::Sync(1..=1_000))).count();
        assert_eq!(at_syncs, 98, "every other one comes at a sync");
        for kept in [Kept::Nothing, Kept::Everything, Kept::Part] {
            let share = cuts.iter().filter(|cut| cut.kept == Some(kept)).count();
            assert!(share > 15, "{kept:?}: {share}");
        }
        let killed = Planning { mode: CutMode::Kill, sees_syncs: false, every_sync: 0, ..planning };
        let cut = plan_cut(&killed, 3, 1_000);
        assert!(matches!(cut.point, CutPoint::After(2_000_000..300_000_000)) && cut.kept.is_none(), "{cut:?}");
        assert_ne!(cut.seed, cuts[3].seed);
    }
}
