//! The plan of a run: which variant starts when, in which order turns are taken. All of it follows from one seed.

use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use uplift_model::{fnv1a, scenario::TrialSpec};

/// One block: a fresh agent of each variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlan {
    /// The block's number, from 0.
    pub block: u32,
    /// Seed of load and target: the same for every variant of the block, so that they are asked the same.
    pub seed: u64,
    /// Indices of the variants in the order in which their agents are started.
    pub start_order: Vec<usize>,
    /// For each round the indices of the variants in the order of their turns.
    pub rounds: Vec<Vec<usize>>,
}

/// Plans block `block` of scenario `scenario` for `variants` variants.
///
/// Orders are balanced in cycles: of two variants either starts first in one block of two, of more each stands in each
/// place equally often and after each other one equally often (Williams 1949). Which order comes when within a cycle is
/// random: an order that only alternated would meet a disturbance of the same period always on the same side. Every block
/// and every cycle has a random stream of its own, so a plan does not depend on how many blocks are run.
pub fn plan_block(seed: u64, scenario: &str, block: u32, variants: usize, rounds: u32) -> BlockPlan {
    let stream = |stream: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ fnv1a(scenario.as_bytes()));
        random.set_stream(stream);
        random
    };
    let length = cycle_length(variants);
    let cycle = u64::from(block) / length as u64;
    // Streams of blocks are below 2³³, those of cycles above.
    let starts = cycle_of(&mut stream((1 << 33) + cycle), variants);
    let start_order = starts[block as usize % length].clone();
    let mut random = stream(u64::from(block) + 1);
    let mut orders = Vec::new();
    while orders.len() < rounds as usize {
        orders.extend(cycle_of(&mut random, variants));
    }
    orders.truncate(rounds as usize);
    // 53 bits: the seed survives readers that keep numbers as doubles.
    BlockPlan { block, seed: random.random::<u64>() >> 11, start_order, rounds: orders }
}

/// How many orders balance so many variants.
const fn cycle_length(variants: usize) -> usize {
    match variants {
        0 | 1 => 1,
        even if even % 2 == 0 => even,
        odd => 2 * odd,
    }
}

/// The orders of one cycle: a Williams design whose labels and rows are shuffled.
fn cycle_of(random: &mut ChaCha8Rng, variants: usize) -> Vec<Vec<usize>> {
    let mut labels: Vec<usize> = (0..variants).collect();
    labels.shuffle(random);
    // 0, 1, n−1, 2, n−2, …: neighbours differ by every distance once; the other rows are shifted by one each.
    let first =
        |place: usize| if place % 2 == 1 { place.div_ceil(2) } else { (variants - place / 2) % variants.max(1) };
    let mut rows: Vec<Vec<usize>> = (0..variants.max(1))
        .map(|shift| (0..variants).map(|place| labels[(first(place) + shift) % variants]).collect())
        .collect();
    if variants > 1 && variants % 2 == 1 {
        // Of an odd number every order is needed backwards as well.
        let backwards: Vec<Vec<usize>> = rows.iter().map(|row| row.iter().rev().copied().collect()).collect();
        rows.extend(backwards);
    }
    rows.shuffle(random);
    rows
}

/// Turns as they will be taken: their length, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnShape {
    /// Length in nanoseconds.
    pub turn_ns: u64,
    /// Rounds.
    pub rounds: u32,
}

/// The fewest rounds over which a median is taken.
const ROUNDS_MIN: u32 = 8;
/// The longest turn that the harness chooses by itself.
const TURN_NS_MAX: u64 = 2_000_000_000;

/// Lengthens turns so that each holds at least `operations_min` operations of the slowest variant and some four per
/// client, and takes fewer rounds to make up for it; of turns of so many operations it takes as many rounds as fit into the
/// block. `slowest_per_second` is what the warm-up showed.
pub fn shape_turns(
    spec: &TrialSpec,
    rounds: u32,
    slowest_per_second: f64,
    operations_min: u64,
    clients: u32,
    variants: u32,
) -> TurnShape {
    let asked_ns = spec.turn.as_nanos().max(1);
    if let (Some(operations), Some(block)) = (spec.turn_operations, spec.block)
        && slowest_per_second > 0.0
    {
        let round_ns = operations as f64 / slowest_per_second * 1e9 * f64::from(variants);
        let fitting = (block.as_nanos() as f64 / round_ns.max(1.0)) as u32;
        return TurnShape { turn_ns: asked_ns, rounds: fitting.clamp(1, rounds.max(1)) };
    }
    if spec.turn_operations.is_some() || slowest_per_second <= 0.0 {
        return TurnShape { turn_ns: asked_ns, rounds };
    }
    let operations = operations_min.max(4 * u64::from(clients)) as f64;
    let needed_ns = (operations / slowest_per_second * 1e9).min(TURN_NS_MAX as f64) as u64;
    if needed_ns <= asked_ns {
        return TurnShape { turn_ns: asked_ns, rounds };
    }
    let total_ns = asked_ns.saturating_mul(u64::from(rounds));
    let fitting = u32::try_from(total_ns / needed_ns).unwrap_or(u32::MAX);
    TurnShape { turn_ns: needed_ns, rounds: fitting.clamp(ROUNDS_MIN.min(rounds), rounds) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plan_follows_from_its_seed_and_is_fair(seed: u64, block in 0u32..500, variants in 1usize..6) {
            let plan = plan_block(seed, "docdb/crud", block, variants, 200);
            prop_assert_eq!(&plan, &plan_block(seed, "docdb/crud", block, variants, 200));
            let everybody: Vec<usize> = (0..variants).collect();
            for round in plan.rounds.iter().chain([&plan.start_order]) {
                let mut sorted = round.clone();
                sorted.sort_unstable();
                prop_assert_eq!(&sorted, &everybody);
            }
            if variants == 2 {
                prop_assert_eq!(plan.rounds.iter().filter(|round| round[0] == 0).count(), 100);
            }
        }

        /// Over a cycle every variant stands in every place, and after every other one, equally often.
        #[test]
        fn start_orders_are_balanced(seed: u64, cycle in 0u32..50, variants in 2usize..8) {
            let length = cycle_length(variants) as u32;
            let mut places = vec![vec![0; variants]; variants];
            let mut after = vec![vec![0; variants]; variants];
            for block in cycle * length..(cycle + 1) * length {
                let order = plan_block(seed, "docdb/crud", block, variants, 1).start_order;
                for (place, &variant) in order.iter().enumerate() {
                    places[variant][place] += 1;
                    if place > 0 {
                        after[order[place - 1]][variant] += 1;
                    }
                }
            }
            let each = length / variants as u32;
            for (variant, counts) in places.iter().enumerate() {
                prop_assert!(counts.iter().all(|count| *count == each), "{:?}", places);
                let others = after[variant].iter().enumerate().filter(|(other, _)| *other != variant);
                prop_assert!(others.map(|(_, count)| *count).all(|count| count == each), "{:?}", after);
            }
        }
    }

    /// Which of two starts first is not known from the pair before: an order that alternated would be.
    #[test]
    fn pairs_of_blocks_are_in_random_order() {
        let first = |pair: u32| plan_block(3, "a/b", 2 * pair, 2, 1).start_order[0];
        let zeros = (0..200).filter(|&pair| first(pair) == 0).count();
        assert!((60..=140).contains(&zeros), "{zeros}");
    }

    #[test]
    fn plans_of_blocks_and_scenarios_differ() {
        let plan = plan_block(1, "a/b", 0, 2, 40);
        assert_ne!(plan.rounds, plan_block(1, "a/b", 1, 2, 40).rounds);
        assert_ne!(plan.seed, plan_block(1, "a/c", 0, 2, 40).seed);
    }

    #[test]
    fn slow_operations_get_longer_turns_and_fewer_rounds() {
        let spec = TrialSpec::default();
        assert_eq!(shape_turns(&spec, 40, 1e6, 20, 1, 2), TurnShape { turn_ns: 25_000_000, rounds: 40 });
        assert_eq!(shape_turns(&spec, 40, 400.0, 20, 1, 2), TurnShape { turn_ns: 50_000_000, rounds: 20 });
        assert_eq!(shape_turns(&spec, 40, 400.0, 20, 30, 2), TurnShape { turn_ns: 300_000_000, rounds: 8 });
        assert_eq!(shape_turns(&spec, 40, 1.0, 20, 1, 2).turn_ns, TURN_NS_MAX);
        // Turns of so many operations: as many rounds as fit into the block, and at least one.
        let block = Some(uplift_model::duration::HumanDuration::from_millis(300));
        let counted = TrialSpec { turn_operations: Some(1), block, ..spec };
        assert_eq!(shape_turns(&counted, 100, 100.0, 20, 1, 2).rounds, 15);
        assert_eq!(shape_turns(&counted, 10, 100.0, 20, 1, 2).rounds, 10);
        assert_eq!(shape_turns(&counted, 100, 0.5, 20, 1, 2).rounds, 1);
        assert_eq!(shape_turns(&TrialSpec { block: None, ..counted }, 100, 0.5, 20, 1, 2).rounds, 100);
    }
}
