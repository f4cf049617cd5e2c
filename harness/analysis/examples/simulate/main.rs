//! Simulates the whole rule of the verdicts, looks and orders included: false alarms, coverage, power, and what an early
//! stop overstates.
//!
//! `cargo run -p uplift-analysis --example simulate` prints the tables of docs/METHODOLOGY.md; a first argument is the
//! number of experiments of each row. Its seeds are not those with which the rule was calibrated.

mod cases;
mod closed;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    DEFAULT_MARGIN, FAMILY_ALPHA,
    calibrate::clopper_pearson,
    estimate::{mean, median},
    evidence::Outcome,
    power::Rule,
};

use self::{
    cases::{EQUAL, judged, normal, orders, plan},
    closed::{SHAPES, to_error, turns},
};

const SEED: u64 = 20_261_231;
/// The spread of a block in the tables of coverage and early stops.
const DEVIATION: f64 = 0.0165;

fn main() {
    let experiments = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(100_000);
    false_alarms(experiments);
    coverage(experiments);
    power(experiments.min(20_000));
    early_stops(experiments);
    closed_loops();
}

/// A rate with its exact 95 % interval, in percent.
fn share(hits: u32, n: u32) -> String {
    let [low, high] = clopper_pearson(hits, n, 0.05).unwrap_or([0.0, 1.0]);
    format!("{:.2} % ({:.2}–{:.2})", f64::from(hits) / f64::from(n) * 100.0, low * 100.0, high * 100.0)
}

/// How often the rule calls a difference between equals, without the margin that makes that rarer still.
fn false_alarms(experiments: u32) {
    const BLOCKS: [usize; 7] = [6, 8, 11, 15, 20, 36, 64];
    println!("| two equal variants | {} |", BLOCKS.map(|blocks| format!("{blocks} blocks")).join(" | "));
    println!("|---|{}", "---:|".repeat(BLOCKS.len()));
    for (index, (name, draw)) in EQUAL.into_iter().enumerate() {
        let cells = BLOCKS.map(|blocks| {
            let plan = plan(blocks);
            let mut random = ChaCha8Rng::seed_from_u64(SEED + (100 * index + blocks) as u64);
            let mut alarms = 0;
            for _ in 0..experiments {
                let first = orders(blocks, &mut random);
                let values = draw(blocks, &first, &mut random);
                alarms += u32::from(judged(&values, &first, 0.0, &plan).is_alarm());
            }
            share(alarms, experiments)
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// How often the shown interval holds the truth: at each look, and where the rule stops.
fn coverage(experiments: u32) {
    const BLOCKS: usize = 20;
    let (plan, margin) = (plan(BLOCKS), DEFAULT_MARGIN.ln_1p());
    let heads: Vec<String> = plan.iter().map(|(look, _)| format!("look at {look}")).collect();
    println!("\n| blocks | true change | where it stops | {} |", heads.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(plan.len() + 1));
    for (index, (name, draw)) in EQUAL.into_iter().enumerate() {
        for truth in [0.0, 0.01, 0.02, 0.03, 0.05] {
            let mut random = ChaCha8Rng::seed_from_u64(SEED + 7_000 + (1_000.0 * truth) as u64 + 100 * index as u64);
            let (mut held, mut at_looks) = (0, vec![0; plan.len()]);
            for _ in 0..experiments {
                let first = orders(BLOCKS, &mut random);
                let values: Vec<f64> =
                    draw(BLOCKS, &first, &mut random).into_iter().map(|value| truth + 0.01 * value).collect();
                let holds = |[low, high]: [f64; 2]| low <= truth && truth <= high;
                let stop = judged(&values, &first, margin, &plan);
                held += u32::from(holds(stop.evidence.interval(stop.alpha)));
                for (held, look) in at_looks.iter_mut().zip(&plan) {
                    let stop = judged(&values, &first, margin, &[*look]);
                    *held += u32::from(holds(stop.evidence.interval(stop.alpha)));
                }
            }
            let cells: Vec<String> = at_looks.into_iter().map(|held| share(held, experiments)).collect();
            println!("| {name} | {:+.0} % | {} | {} |", truth * 100.0, share(held, experiments), cells.join(" | "));
        }
    }
}

/// The power that is printed beside that of the rule.
fn power(experiments: u32) {
    let margin = DEFAULT_MARGIN.ln_1p();
    println!(
        "\n| spread of a block | blocks | true change | found | printed | shown to be none, at no change | printed |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for (row, (deviation, blocks, change)) in [
        (0.0165, 6, 0.04),
        (0.0165, 8, 0.05),
        (DEVIATION, 20, 0.03),
        (0.03, 11, 0.04),
        (0.03, 20, 0.04),
        (0.03, 36, 0.03),
        (0.06, 36, 0.04),
        (0.1, 64, 0.05),
    ]
    .into_iter()
    .enumerate()
    {
        let rule = Rule { deviation, alpha: FAMILY_ALPHA, margin };
        let plan = plan(blocks);
        let rate = |truth: f64, wanted: fn(&Outcome) -> bool| {
            let mut random = ChaCha8Rng::seed_from_u64(SEED + 9_000 + row as u64);
            (0..experiments)
                .filter(|_| {
                    let first = orders(blocks, &mut random);
                    let values: Vec<f64> = (0..blocks).map(|_| truth + deviation * normal(&mut random)).collect();
                    wanted(&judged(&values, &first, margin, &plan).outcome)
                })
                .count() as u32
        };
        println!(
            "| {:.2} % | {blocks} | {:+.0} % | {} | {:.1} % | {} | {:.1} % |",
            deviation * 100.0,
            change * 100.0,
            share(rate(change, |outcome| matches!(outcome, Outcome::Changed { up: true, .. })), experiments),
            rule.finds(blocks, change) * 100.0,
            share(rate(0.0, |outcome| *outcome == Outcome::Within), experiments),
            rule.shows_none(blocks) * 100.0,
        );
    }
}

/// What a change that is found at one look reads in the mean, and in the median after the correction.
fn early_stops(experiments: u32) {
    let margin = DEFAULT_MARGIN.ln_1p();
    println!(
        "\n| true change | stopped at | of all | read in the mean | read in the median | corrected, in the median |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for truth in [0.02, 0.03, 0.05] {
        let plan = plan(20);
        let mut random = ChaCha8Rng::seed_from_u64(SEED + 11_000 + (1_000.0 * truth) as u64);
        let mut stops: Vec<(usize, f64, f64)> = Vec::new();
        for _ in 0..experiments {
            let first = orders(20, &mut random);
            let values: Vec<f64> = (0..20).map(|_| truth + DEVIATION * normal(&mut random)).collect();
            let stop = judged(&values, &first, margin, &plan);
            if let Outcome::Changed { up: true, .. } = stop.outcome {
                let corrected = stop.evidence.corrected_for_stop(stop.alpha, margin);
                stops.push((stop.look, stop.evidence.location.center, corrected));
            }
        }
        for &(look, _) in &plan {
            let (read, corrected): (Vec<f64>, Vec<f64>) =
                stops.iter().filter(|stop| stop.0 == look).map(|stop| (stop.1, stop.2)).unzip();
            let (Some(center), Some(middle), Some(corrected)) = (mean(&read), median(&read), median(&corrected)) else {
                continue;
            };
            println!(
                "| {:+.0} % | {look} | {:.1} % | {:+.2} % | {:+.2} % | {:+.2} % |",
                truth * 100.0,
                read.len() as f64 / f64::from(experiments) * 100.0,
                center * 100.0,
                middle * 100.0,
                corrected * 100.0
            );
        }
    }
}

/// What closed turns read whose latencies differ in shape, where 1 is right: over very many turns, and as the mean of the
/// logarithms of blocks, which is what a verdict is about.
fn closed_loops() {
    const ERROR: f64 = 0.0002;
    const BLOCKS: u64 = 4_000;
    println!(
        "\n| latencies | clients | clients × operations ÷ busy time | operations ÷ wall time | mean of ln, blocks of 40 turns | of 8 turns |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (index, shape) in SHAPES.into_iter().enumerate() {
        for clients in [1, 8, 30] {
            let seed = SEED + 13_000 + 100 * index as u64 + u64::from(clients);
            let all = to_error(ERROR, clients, shape, seed);
            let blocks = [40, 8].map(|count| {
                let mut random = ChaCha8Rng::seed_from_u64(seed + count);
                let logs: Vec<f64> =
                    (0..BLOCKS).map(|_| turns(count, clients, shape.1, &mut random).rate.ln()).collect();
                mean(&logs).unwrap_or(f64::NAN)
            });
            println!(
                "| {} | {clients} | {:.4} (± {:.4}) | {:.3} | {:+.2} % | {:+.2} % |",
                shape.0,
                all.rate,
                2.0 * if shape.2 > 0.0 { ERROR } else { 0.0 },
                all.by_wall,
                100.0 * blocks[0],
                100.0 * blocks[1]
            );
        }
    }
}
