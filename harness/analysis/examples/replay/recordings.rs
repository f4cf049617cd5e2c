//! The recordings, and how experiments are drawn from them.

use std::{collections::BTreeMap, io::Read as _};

use flate2::read::GzDecoder;
use rand::{RngExt as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use uplift_analysis::estimate::{mean, median, robust_deviation};

#[derive(Deserialize)]
pub struct Recording {
    design: String,
    workload: String,
    arm: String,
    round: u32,
    block: u32,
    slices: Vec<(u64, u64)>,
}

/// Per block: the log ratio of each round's throughputs, and of the totals; and both rates.
#[derive(Clone)]
pub struct Block {
    pub rounds: f64,
    pub totals: f64,
    /// The same of rounds whose rate is cut to within 3 robust standard deviations of the median of their process.
    pub winsorised: f64,
    pub rates: (f64, f64),
    /// Nanoseconds an operation took in each slice that counts, of both.
    pub slices: (Vec<f64>, Vec<f64>),
    /// Seconds that both took, warm-up included.
    pub seconds: f64,
}

/// Reads them.
pub fn load() -> Vec<Recording> {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("../../tests/data/ab-recordings.jsonl.gz")[..])
        .read_to_string(&mut text)
        .expect("the recordings are gzip text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a recording")).collect()
}

/// The blocks of one arm against A.
pub fn blocks(recordings: &[Recording], design: &str, workload: &str, arm: &str) -> Vec<Block> {
    let of = |wanted: &str| -> BTreeMap<(u32, u32), &Recording> {
        recordings
            .iter()
            .filter(|r| r.design == design && r.workload == workload && r.arm == wanted)
            .map(|r| ((r.round, r.block), r))
            .collect()
    };
    let (baseline, candidate) = (of("A"), of(arm));
    let warmup = if design == "resident-turns" { 1 } else { 2 };
    let rate = |slice: &(u64, u64)| slice.1 as f64 / slice.0 as f64;
    let total = |r: &Recording| {
        let (ns, ops) = r.slices[warmup..].iter().fold((0, 0), |(ns, ops), slice| (ns + slice.0, ops + slice.1));
        ops as f64 / ns as f64
    };
    baseline
        .iter()
        .filter_map(|(key, a)| {
            let b = candidate.get(key)?;
            let rounds: Vec<f64> = a.slices[warmup..]
                .iter()
                .zip(&b.slices[warmup..])
                .filter(|(a, b)| a.1 > 0 && b.1 > 0)
                .map(|(a, b)| (rate(b) / rate(a)).ln())
                .collect();
            let cut = |r: &Recording| -> Option<f64> {
                let rates: Vec<f64> = r.slices[warmup..].iter().map(rate).collect();
                let (center, reach) = (median(&rates)?, 3.0 * robust_deviation(&rates)?);
                mean(&rates.iter().map(|rate| rate.clamp(center - reach, center + reach)).collect::<Vec<_>>())
            };
            let each = |r: &Recording| r.slices[warmup..].iter().filter(|s| s.1 > 0).map(|s| 1.0 / rate(s)).collect();
            let all = |r: &Recording| r.slices.iter().map(|s| s.0).sum::<u64>() as f64 / 1e9;
            Some(Block {
                rounds: median(&rounds)?,
                totals: (total(b) / total(a)).ln(),
                winsorised: (cut(b)? / cut(a)?).ln(),
                rates: (total(a), total(b)),
                slices: (each(a), each(b)),
                seconds: all(a) + all(b),
            })
        })
        .collect()
}

/// Blocks of one experiment, each at most once. Where both arms are the same program, which of them is called the
/// candidate is drawn for each block: then every alarm is a false one, whatever the few recorded blocks happen to hold.
pub fn draw(blocks: &[Block], most: usize, same: bool, random: &mut ChaCha8Rng) -> Vec<Block> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.shuffle(random);
    order
        .into_iter()
        .take(most)
        .map(|index| {
            let block = blocks[index].clone();
            if same && random.random::<bool>() {
                Block {
                    rounds: -block.rounds,
                    totals: -block.totals,
                    winsorised: -block.winsorised,
                    rates: (block.rates.1, block.rates.0),
                    slices: (block.slices.1, block.slices.0),
                    seconds: block.seconds,
                }
            } else {
                block
            }
        })
        .collect()
}
