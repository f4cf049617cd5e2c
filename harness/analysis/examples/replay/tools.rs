//! The decisions of hyperfine, criterion and tango on the recordings, each in the way in which that tool measures.
//!
//! - hyperfine runs one command n times and then the other. It prints "x ± y times faster", y being the standard
//!   deviations of both propagated to the ratio, and ships a script that does Welch's t test at 5 %. Both are readings
//!   of its output that people act on.
//! - criterion measures samples in one process and compares them with the samples that an earlier process stored: a
//!   two-sample t test by a bootstrap of the pooled samples at 5 %, and the 95 % bootstrap interval of the ratio of
//!   means wholly beyond 1 %.
//! - tango takes turns of both in one process and tests the mean of their differences: |z| ≥ 2.6 and more than 0.5 % of
//!   the baseline.
//!
//! A replay is kind to hyperfine and criterion: their runs are taken from blocks in random order, where the drift of the
//! machine between "all of A" and "all of B" is no longer in them.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, StudentsT};
use uplift_analysis::estimate::{mean, median, quantile};

use crate::{
    EXPERIMENTS, SEED,
    recordings::{Block, Recording, blocks, draw},
    rules::{self, Rule},
    share,
};

/// The power that "the same power" means.
const POWER: f64 = 0.95;
/// Resamples of a bootstrap; criterion's default is 100,000, which changes no share here by a digit that is shown.
const RESAMPLES: usize = 1_000;

struct Tool {
    name: &'static str,
    /// The design whose records are measured as the tool measures.
    design: &'static str,
    rule: Rule,
    /// Blocks (pairs of runs) of one decision as the tool comes.
    usual: usize,
    /// How many blocks one decision can have: a tool of one process sees one.
    sizes: &'static [usize],
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "hyperfine, \"± σ\" excludes 1",
        design: "fresh-random-blocks",
        rule: relative_speed,
        usual: 10,
        sizes: &[3, 5, 8, 10, 13, 16],
    },
    Tool {
        name: "hyperfine, its Welch t test",
        design: "fresh-random-blocks",
        rule: welch,
        usual: 10,
        sizes: &[3, 5, 8, 10, 13, 16],
    },
    Tool { name: "criterion", design: "fresh-random-blocks", rule: criterion, usual: 1, sizes: &[1] },
    Tool { name: "tango", design: "resident-turns", rule: tango, usual: 1, sizes: &[1, 2, 4, 8, 16] },
    Tool { name: "uplift", design: "resident-turns", rule: rules::uplift, usual: 20, sizes: &[6, 8, 10, 12, 15, 20] },
];

/// Prints the table: false alarms and power as each tool comes, and the time it needs for the same power.
pub fn table(recordings: &[Recording]) {
    println!(
        "| tool | measures | workload | false alarms | finds 5 % | time of a decision | time to find 5 % in 95 % | false alarms then |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|");
    for tool in &TOOLS {
        for workload in ["cpu", "sql"] {
            let of = |arm: &str| blocks(recordings, tool.design, workload, arm);
            let (same, slower) = (of("A2"), of("B5"));
            let (alarms, _) = replay(tool, &same, tool.usual, true);
            let (found, seconds) = replay(tool, &slower, tool.usual, false);
            let powerful = tool.sizes.iter().find_map(|&size| {
                let (found, seconds) = replay(tool, &slower, size, false);
                (f64::from(found) >= POWER * f64::from(EXPERIMENTS)).then_some((size, seconds))
            });
            let (time, then) = match powerful {
                Some((size, seconds)) => (format!("{seconds:.0} s"), share(replay(tool, &same, size, true).0)),
                None => {
                    let most = tool.sizes.last().copied().unwrap_or_default();
                    let (found, seconds) = replay(tool, &slower, most, false);
                    (format!("not in {seconds:.0} s ({})", share(found)), share(replay(tool, &same, most, true).0))
                }
            };
            println!(
                "| {} | {} | {workload} | {} | {} | {seconds:.0} s | {time} | {then} |",
                tool.name,
                tool.design,
                share(alarms),
                share(found),
            );
        }
    }
}

/// Experiments in which the tool sees a difference, and the median time that one takes.
fn replay(tool: &Tool, recorded: &[Block], size: usize, same: bool) -> (u32, f64) {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let (mut hits, mut times) = (0, Vec::new());
    for _ in 0..EXPERIMENTS {
        let drawn = draw(recorded, size, same, &mut random);
        hits += u32::from((tool.rule)(&drawn, &mut random));
        // This project's rule ends when it is decided; the others take what they were told to take.
        let used =
            if tool.name == "uplift" { rules::decided_after(&drawn).unwrap_or(drawn.len()) } else { drawn.len() };
        times.push(drawn[..used].iter().map(|block| block.seconds).sum());
    }
    (hits, median(&times).unwrap_or_default())
}

/// The mean time of an operation in each run, of both.
fn times(blocks: &[Block]) -> (Vec<f64>, Vec<f64>) {
    blocks.iter().map(|block| (1.0 / block.rates.0, 1.0 / block.rates.1)).unzip()
}

/// Mean and variance (n − 1).
fn moments(values: &[f64]) -> (f64, f64) {
    let center = mean(values).unwrap_or_default();
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (center, squares / (values.len().max(2) - 1) as f64)
}

fn relative_speed(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let (a, b) = times(blocks);
    let ((a, a_var), (b, b_var)) = (moments(&a), moments(&b));
    let ratio = a.max(b) / a.min(b);
    ratio - ratio * (a_var / (a * a) + b_var / (b * b)).sqrt() > 1.0
}

fn welch(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let (a, b) = times(blocks);
    let n = a.len() as f64;
    let ((a, a_var), (b, b_var)) = (moments(&a), moments(&b));
    let (a_part, b_part) = (a_var / n, b_var / n);
    let t = (a - b) / (a_part + b_part).sqrt();
    let freedom = (a_part + b_part).powi(2) / ((a_part * a_part + b_part * b_part) / (n - 1.0));
    StudentsT::new(0.0, 1.0, freedom).is_ok_and(|law| 2.0 * law.sf(t.abs()) < 0.05)
}

fn t_statistic(a: &[f64], b: &[f64]) -> f64 {
    let ((a_mean, a_var), (b_mean, b_var)) = (moments(a), moments(b));
    (a_mean - b_mean) / (a_var / a.len() as f64 + b_var / b.len() as f64).sqrt()
}

fn criterion(blocks: &[Block], random: &mut ChaCha8Rng) -> bool {
    let Some((baseline, new)) = blocks.first().map(|block| &block.slices) else { return false };
    let pool: Vec<f64> = baseline.iter().chain(new).copied().collect();
    let mut draw =
        |from: &[f64], n: usize| -> Vec<f64> { (0..n).map(|_| from[random.random_range(0..from.len())]).collect() };
    let seen = t_statistic(new, baseline);
    let beyond =
        (0..RESAMPLES).filter(|_| t_statistic(&draw(&pool, new.len()), &draw(&pool, baseline.len())) > seen).count();
    let p = 2.0 * beyond.min(RESAMPLES - beyond) as f64 / RESAMPLES as f64;
    if p >= 0.05 {
        return false;
    }
    let changes: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| Some(mean(&draw(new, new.len()))? / mean(&draw(baseline, baseline.len()))? - 1.0))
        .collect();
    let limits = quantile(&changes, 0.025).zip(quantile(&changes, 0.975));
    limits.is_some_and(|(low, high)| low > 0.01 || high < -0.01)
}

fn tango(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let pairs = blocks.iter().flat_map(|block| block.slices.0.iter().zip(&block.slices.1));
    let (baseline, difference): (Vec<f64>, Vec<f64>) = pairs.map(|(a, b)| (*a, b - a)).unzip();
    let (center, variance) = moments(&difference);
    let z = center / (variance / difference.len() as f64).sqrt();
    z.abs() >= 2.6 && mean(&baseline).is_some_and(|baseline| (center / baseline).abs() > 0.005)
}
