//! What must hold for any data: permutation, scale, symmetry; and coverage by simulation.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    deterministic_counter::{self, Strict},
    estimate::{Location, median, median_interval},
};

fn values(least: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0f64, least..40)
}

proptest! {
    #[test]
    fn order_does_not_matter(values in values(2), seed: u64) {
        let mut shuffled = values.clone();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, random.random_range(0..=index));
        }
        let (a, b) = (Location::typical(&values).unwrap(), Location::typical(&shuffled).unwrap());
        prop_assert!((a.center - b.center).abs() < 1e-12 && (a.error - b.error).abs() < 1e-12);
        prop_assert_eq!(median(&values), median(&shuffled));
        prop_assert_eq!(median_interval(&values, 0.9), median_interval(&shuffled, 0.9));
    }

    #[test]
    fn units_do_not_matter(values in values(3), factor in 0.001..1000.0f64) {
        let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
        let (a, b) = (Location::typical(&values).unwrap(), Location::typical(&scaled).unwrap());
        prop_assert!((a.center * factor - b.center).abs() <= 1e-9 * factor);
        prop_assert!((a.p(0.0) - b.p(0.0)).abs() < 1e-6);
    }

    #[test]
    fn swapping_the_variants_turns_the_sign(values in values(3)) {
        let turned: Vec<f64> = values.iter().map(|value| -value).collect();
        let (a, b) = (Location::typical(&values).unwrap(), Location::typical(&turned).unwrap());
        prop_assert!((a.center + b.center).abs() < 1e-12);
        let ([low, high], [other_low, other_high]) = (a.interval(0.01), b.interval(0.01));
        prop_assert!((low + other_high).abs() < 1e-9 && (high + other_low).abs() < 1e-9);
    }

    #[test]
    fn an_interval_excludes_zero_where_its_p_value_is_below_alpha(values in values(3), alpha in 0.001..0.2f64) {
        let location = Location::typical(&values).unwrap();
        prop_assume!(location.error > 1e-9);
        let [low, high] = location.interval(alpha);
        let p = location.p(0.0);
        prop_assume!((p - alpha).abs() > 1e-6);
        prop_assert_eq!(low > 0.0 || high < 0.0, p < alpha);
    }

    #[test]
    fn identical_counters_are_the_same(value in 0.1..1e6f64, n in 5usize..20) {
        prop_assert_eq!(deterministic_counter::compare(&vec![value; n], &vec![value; n]), Strict::Same);
        prop_assert!(matches!(deterministic_counter::compare(&vec![value; n], &vec![value * 1.01; n]), Strict::Differ(Some(_))));
    }
}

/// The interval of a median has a width however many values there are: near 2,000 values, 0.5ⁿ is no number.
#[test]
fn intervals_of_medians_shrink_with_the_root() {
    let width = |n: usize| {
        let values: Vec<f64> = (0..n).map(|index| index as f64 / n as f64).collect();
        let [low, high] = median_interval(&values, 0.95).unwrap();
        assert!(low < 0.5 && 0.5 < high);
        high - low
    };
    for n in [100, 999, 1_001, 2_000, 50_000] {
        let wanted = 1.96 / (n as f64).sqrt();
        assert!((width(n) / wanted - 1.0).abs() < 0.1, "{n}: {} is not {wanted}", width(n));
    }
}

/// A normal number (Box and Muller 1958).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Student's t with 3 degrees of freedom: the heavy tails of a shared machine.
fn heavy(random: &mut ChaCha8Rng) -> f64 {
    let chi: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
    normal(random) / (chi / 3.0).sqrt()
}

/// The share of 20,000 experiments in which the 95 % interval misses the truth must be near 5 %, also with heavy tails,
/// where intervals may be wide but not wrong.
#[test]
fn intervals_cover_the_truth() {
    const EXPERIMENTS: u32 = 20_000;
    for n in [5, 6, 9, 10, 15, 30] {
        for (name, draw) in [("normal", normal as fn(&mut ChaCha8Rng) -> f64), ("heavy", heavy)] {
            let mut random = ChaCha8Rng::seed_from_u64(n as u64);
            let mut missed = 0;
            for _ in 0..EXPERIMENTS {
                let values: Vec<f64> = (0..n).map(|_| 0.03 + 0.05 * draw(&mut random)).collect();
                let [low, high] = Location::typical(&values).unwrap().interval(0.05);
                missed += u32::from(!(low..=high).contains(&0.03));
            }
            let rate = f64::from(missed) / f64::from(EXPERIMENTS);
            // Trimmed means of few values are known to cover a little less than they say (Wilcox 2012), 6.6 % missed
            // instead of 5 with 10 values, which leave six. Heavy tails may only make the interval wider.
            assert!((0.02..=0.07).contains(&rate), "{n} {name}: missed {rate}");
        }
    }
}
