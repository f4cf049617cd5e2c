//! Distributions, hashes and permutations of pgbench.
//!
//! Hashes and permutations give pgbench's own numbers, which a test holds against the program. Random numbers have its
//! distributions; the numbers themselves come of the trial's seed.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// The smallest parameter of a gaussian.
pub const GAUSSIAN_MIN: f64 = 2.0;
/// The smallest parameter of a zipfian.
pub const ZIPFIAN_MIN: f64 = 1.001;
/// The largest.
pub const ZIPFIAN_MAX: f64 = 1000.0;

/// Above 0, up to 1.
fn above_zero(random: &mut ChaCha8Rng) -> f64 {
    1.0 - random.random::<f64>()
}

/// From `from` to `to`, the first most often.
pub fn exponential(from: i64, to: i64, parameter: f64, random: &mut ChaCha8Rng) -> i64 {
    let cut = (-parameter).exp();
    let uniform = above_zero(random);
    let scaled = -(cut + (1.0 - cut) * uniform).ln() / parameter;
    from + ((to - from + 1) as f64 * scaled) as i64
}

/// From `from` to `to`, the middle most often.
pub fn gaussian(from: i64, to: i64, parameter: f64, random: &mut ChaCha8Rng) -> i64 {
    let deviations = loop {
        // Box and Muller 1958.
        let normal =
            (-2.0 * above_zero(random).ln()).sqrt() * (2.0 * std::f64::consts::PI * random.random::<f64>()).sin();
        if normal >= -parameter && normal < parameter {
            break normal;
        }
    };
    let scaled = (deviations + parameter) / (parameter * 2.0);
    from + ((to - from + 1) as f64 * scaled) as i64
}

/// From `from` to `to` by Zipf's law, the first most often: Devroye, "Non-Uniform Random Variate Generation", p. 550.
pub fn zipfian(from: i64, to: i64, parameter: f64, random: &mut ChaCha8Rng) -> i64 {
    let items = to - from + 1;
    if items <= 1 {
        return from;
    }
    let b = 2f64.powf(parameter - 1.0);
    loop {
        let (u, v) = (above_zero(random), random.random::<f64>());
        let x = u.powf(-1.0 / (parameter - 1.0)).floor();
        let t = (1.0 + 1.0 / x).powf(parameter - 1.0);
        if v * x * (t - 1.0) / (b - 1.0) <= t / b && x <= items as f64 {
            return from - 1 + x as i64;
        }
    }
}

/// FNV-1a of the eight bytes, lowest first.
pub fn hash_fnv1a(value: i64, seed: i64) -> i64 {
    let hash = value.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325u64 ^ seed as u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash as i64
}

/// MurmurHash2 (64A) of the eight bytes.
pub fn hash_murmur2(value: i64, seed: i64) -> i64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const ROTATION: u32 = 47;
    let mut hash = seed as u64 ^ 8u64.wrapping_mul(MULTIPLIER);
    let mut key = (value as u64).wrapping_mul(MULTIPLIER);
    key ^= key >> ROTATION;
    key = key.wrapping_mul(MULTIPLIER);
    hash = (hash ^ key).wrapping_mul(MULTIPLIER);
    hash ^= hash >> ROTATION;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> ROTATION)) as i64
}

/// xoroshiro128**, as PostgreSQL seeds it.
struct Generator(u64, u64);

impl Generator {
    fn new(seed: i64) -> Self {
        let mut state = seed as u64;
        let mut mixed = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self(mixed(), mixed())
    }

    fn next(&mut self) -> u64 {
        let (first, mixed) = (self.0, self.1 ^ self.0);
        self.0 = first.rotate_left(24) ^ mixed ^ (mixed << 16);
        self.1 = mixed.rotate_left(37);
        first.wrapping_mul(5).rotate_left(7).wrapping_mul(9)
    }

    /// From 0 to `largest`.
    fn up_to(&mut self, largest: u64) -> u64 {
        if largest == 0 {
            return 0;
        }
        loop {
            let drawn = self.next() >> largest.leading_zeros();
            if drawn <= largest {
                return drawn;
            }
        }
    }
}

/// The place of `value` in a permutation of the numbers below `size` that `seed` makes.
pub fn permute(value: i64, size: i64, seed: i64) -> i64 {
    if size < 2 {
        return 0;
    }
    let mut state = Generator::new(seed);
    let size = size as u64;
    let mut v = (value as u64) % size;
    // The largest power of two that is not larger than the size.
    let bits = size.ilog2();
    let mask = (1u64 << bits) - 1;
    let round = |v: u64, m: u64, r: u64| {
        let v = (v.wrapping_mul(m) ^ r) & mask;
        ((v << 1) & mask) | (v >> (bits - 1))
    };
    for _ in 0..6 {
        let (m, r) = ((state.next() & mask) | 1, state.next() & mask);
        if v <= mask {
            v = round(v, m, r);
        }
        let (m, r) = ((state.next() & mask) | 1, state.next() & mask);
        let t = size - 1 - v;
        if t <= mask {
            v = size - 1 - round(t, m, r);
        }
        let r = state.up_to(size - 1);
        v = (v.wrapping_add(r)) % size;
    }
    v as i64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_permutation_has_each_number_once() {
        for size in [1, 2, 3, 17, 100, 1024] {
            let mut seen: Vec<i64> = (0..size).map(|value| permute(value, size, 42)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..size).collect::<Vec<i64>>());
        }
    }

    #[test]
    fn distributions_lie_where_they_should() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let draws: Vec<i64> = (0..20_000).map(|_| gaussian(1, 100, 4.0, &mut random)).collect();
        let middle = draws.iter().filter(|&&value| (26..=75).contains(&value)).count() as f64 / 20_000.0;
        // Within two standard deviations: the documentation says "about 95 % in the middle half" for parameter 4.
        assert!((middle - 0.9545).abs() < 0.01, "{middle}");
        let draws: Vec<i64> = (0..20_000).map(|_| exponential(1, 100, 10.0, &mut random)).collect();
        let first = draws.iter().filter(|&&value| value <= 10).count() as f64 / 20_000.0;
        // 1 - exp(-parameter / 10), but for the cut at the end.
        assert!((first - 0.632).abs() < 0.02, "{first}");
        let draws: Vec<i64> = (0..20_000).map(|_| zipfian(1, 100, 2.0, &mut random)).collect();
        let ratio = draws.iter().filter(|&&v| v == 1).count() as f64 / draws.iter().filter(|&&v| v == 2).count() as f64;
        assert!((3.5..4.5).contains(&ratio), "1 is (2/1)^2 times as frequent as 2: {ratio}");
        for draws in [
            (0..2_000).map(|_| gaussian(5, 9, 2.0, &mut random)).collect::<Vec<i64>>(),
            (0..2_000).map(|_| exponential(5, 9, 0.1, &mut random)).collect(),
            (0..2_000).map(|_| zipfian(5, 9, 1.001, &mut random)).collect(),
        ] {
            assert!(draws.iter().all(|value| (5..=9).contains(value)));
        }
    }
}
