//! Blocks of two variants as machines and processes make them, and the whole rule over them: what `simulate` prints and
//! `tests/rule.rs` holds.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    FAMILY_ALPHA,
    evidence::{Evidence, Outcome},
    spending::{is_look, share_at},
};

/// A normal number (Box and Muller 1958).
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Student's t with 3 degrees of freedom: the heavy tails of a shared machine.
fn heavy(random: &mut ChaCha8Rng) -> f64 {
    let chi: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
    normal(random) / (chi / 3.0).sqrt()
}

/// In which blocks the candidate starts first: random pairs, as the plan makes them.
pub fn orders(blocks: usize, random: &mut ChaCha8Rng) -> Vec<bool> {
    (0..blocks.div_ceil(2))
        .flat_map(|_| {
            let first: bool = random.random();
            [first, !first]
        })
        .take(blocks)
        .collect()
}

/// The looks of a comparison of at most so many blocks, each with the error that it may use.
pub fn plan(blocks: usize) -> Vec<(usize, f64)> {
    (6..=blocks)
        .filter(|look| is_look(*look as u32, blocks as u32))
        .map(|look| (look, FAMILY_ALPHA * share_at(look as u32, blocks as u32, look == blocks, FAMILY_ALPHA)))
        .collect()
}

/// What the rule says at the look at which it stops.
pub struct Stop {
    /// Blocks.
    pub look: usize,
    /// The error that this look may use.
    pub alpha: f64,
    /// What was decided.
    pub outcome: Outcome,
    /// From what.
    pub evidence: Evidence,
}

impl Stop {
    /// Whether a change was found.
    pub const fn is_alarm(&self) -> bool {
        matches!(self.outcome, Outcome::Changed { .. })
    }
}

/// The rule over `values`, looks included.
pub fn judged(values: &[f64], first: &[bool], margin: f64, plan: &[(usize, f64)]) -> Stop {
    let mut stop = None;
    for &(look, alpha) in plan {
        let evidence = Evidence::of_ordered(&values[..look], &first[..look]).expect("a look has blocks");
        let outcome = evidence.outcome(alpha, margin, margin, [0.0; 2]);
        stop = Some(Stop { look, alpha, outcome, evidence });
        if outcome != Outcome::Open {
            break;
        }
    }
    stop.expect("a plan has looks")
}

/// Draws the changes of so many blocks, given the order of starts in each.
pub type Draw = fn(usize, &[bool], &mut ChaCha8Rng) -> Vec<f64>;

/// The machine's state as trials follow each other, each correlated by 0.3 with the one before.
fn remembered(random: &mut ChaCha8Rng) -> impl FnMut(&mut ChaCha8Rng) -> f64 + use<> {
    let mut state = normal(random);
    move |random| {
        state = 0.3f64.mul_add(state, 0.91f64.sqrt() * normal(random));
        state
    }
}

/// Blocks of two equal variants, in units of the noise.
pub const EQUAL: [(&str, Draw); 8] = [
    ("normal", |n, _, random| (0..n).map(|_| normal(random)).collect()),
    ("heavy tails (t, 3 degrees of freedom)", |n, _, random| (0..n).map(|_| heavy(random)).collect()),
    ("every other process 3 % slower, noise 0.5 %", |n, _, random| {
        let process = |random: &mut ChaCha8Rng| if random.random() { 0.0 } else { -3.0 } + 0.5 * normal(random);
        (0..n).map(|_| process(random) - process(random)).collect()
    }),
    ("one process of ten 30 % slower, noise 1 %", |n, _, random| {
        let process = |random: &mut ChaCha8Rng| if random.random::<f64>() < 0.1 { -30.0 } else { 0.0 } + normal(random);
        (0..n).map(|_| process(random) - process(random)).collect()
    }),
    ("trials correlated by 0.3 with the trial before", |n, first, random| {
        let mut next = remembered(random);
        let mut block = |candidate_first: &bool| {
            let (one, two) = (next(random), next(random));
            if *candidate_first { one - two } else { two - one }
        };
        first[..n].iter().map(&mut block).collect()
    }),
    ("what the first start brings correlated by 0.3 from block to block", |n, first, random| {
        let mut next = remembered(random);
        first[..n].iter().map(|first| if *first { next(random) } else { -next(random) }).collect()
    }),
    ("the first start reads 3 % more, noise 1.65 %", |n, first, random| {
        (0..n).map(|index| if first[index] { 3.0 } else { -3.0 } + 1.65 * normal(random)).collect()
    }),
    ("the first start reads 3 % less, two kinds of processes, trials correlated by 0.3", |n, first, random| {
        let mut next = remembered(random);
        let mut process = |random: &mut ChaCha8Rng| if random.random() { 0.0 } else { -3.0 } + 0.5 * next(random);
        let mut block = |candidate_first: &bool| {
            let (one, two) = (process(random) - 3.0, process(random));
            if *candidate_first { one - two } else { two - one }
        };
        first[..n].iter().map(&mut block).collect()
    }),
];
