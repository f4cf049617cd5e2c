//! Replays recorded runs through decision rules: how often each cries wolf, and how often it finds a true slowdown.
//!
//! The recordings (`tests/data/ab-recordings.jsonl.gz`) were made on a shared 2-core machine under changing load: a
//! SQLite commit loop ("sql") and a computation ("cpu"); arm A against itself (A2) and against itself made slower by 1,
//! 2, 5 and 10 %. Experiments are drawn from them without replacement, from one seed.
//!
//! `cargo run -p uplift-analysis --example replay` prints the tables of docs/METHODOLOGY.md.

use std::{collections::BTreeMap, io::Read as _};

use flate2::read::GzDecoder;
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use uplift_analysis::{
    DEFAULT_MARGIN, FAMILY_ALPHA,
    estimate::{Location, mean, median, quantile},
    evidence::Evidence,
    rank::hodges_lehmann,
    spending::{is_look, share_at},
};

#[derive(Deserialize)]
struct Recording {
    design: String,
    workload: String,
    arm: String,
    round: u32,
    block: u32,
    slices: Vec<(u64, u64)>,
}

const EXPERIMENTS: u32 = 2_000;
/// Blocks of one experiment: what a budget of a minute pays for.
const BLOCKS: usize = 20;

/// Per block: the log ratio of each round's throughputs, and of the totals; and both rates.
#[derive(Clone)]
struct Block {
    rounds: f64,
    totals: f64,
    rates: (f64, f64),
}

fn load() -> Vec<Recording> {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("../tests/data/ab-recordings.jsonl.gz")[..])
        .read_to_string(&mut text)
        .expect("the recordings are gzip text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a recording")).collect()
}

fn blocks(recordings: &[Recording], design: &str, workload: &str, arm: &str) -> Vec<Block> {
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
            Some(Block { rounds: median(&rounds)?, totals: (total(b) / total(a)).ln(), rates: (total(a), total(b)) })
        })
        .collect()
}

type Rule = fn(&[Block], &mut ChaCha8Rng) -> bool;

/// The rule of the verdicts: the planned looks, trimmed mean of the blocks' medians over rounds, spent
/// error, beyond the margin, in agreement with the Hodges–Lehmann estimate.
fn uplift(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let last = blocks.len();
    looks(last).any(|look| {
        let values: Vec<f64> = blocks[..look].iter().map(|block| block.rounds).collect();
        significant(&values, FAMILY_ALPHA * share_at(look as u32, last as u32, look == last))
    })
}

fn significant(values: &[f64], alpha: f64) -> bool {
    let Some(evidence) = Evidence::of(values) else { return false };
    let center = evidence.location.center;
    evidence.excludes_zero(alpha)
        && center.abs() > DEFAULT_MARGIN.ln_1p()
        && hodges_lehmann(values).is_some_and(|check| check * center > 0.0)
}

fn looks(last: usize) -> impl Iterator<Item = usize> {
    (1..=last).filter(move |blocks| is_look(*blocks as u32, last as u32))
}

/// The same without the guard of the signed-rank test, as the design began.
fn unguarded(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let last = blocks.len();
    looks(last).any(|look| {
        let values: Vec<f64> = blocks[..look].iter().map(|block| block.rounds).collect();
        let alpha = FAMILY_ALPHA * share_at(look as u32, last as u32, look == last);
        Location::of(&values)
            .is_some_and(|location| location.p(0.0) < alpha && location.center.abs() > DEFAULT_MARGIN.ln_1p())
    })
}

fn fixed_threshold(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let (a, b): (Vec<f64>, Vec<f64>) = blocks.iter().map(|block| block.rates).unzip();
    median(&b).zip(median(&a)).is_some_and(|(b, a)| (b / a - 1.0).abs() > 0.05)
}

fn mann_whitney(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    // Normal approximation; the values are continuous, so there are no ties.
    let (a, b): (Vec<f64>, Vec<f64>) = blocks.iter().map(|block| block.rates).unzip();
    let wins = a.iter().map(|a| b.iter().filter(|b| *b > a).count()).sum::<usize>() as f64;
    let (n, m) = (a.len() as f64, b.len() as f64);
    let z = (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    z.abs() > 1.96
}

fn bootstrap(blocks: &[Block], random: &mut ChaCha8Rng) -> bool {
    let values: Vec<f64> = blocks.iter().map(|block| block.totals).collect();
    let means: Vec<f64> = (0..400)
        .map(|_| {
            let drawn: Vec<f64> = (0..values.len()).map(|_| values[random.random_range(0..values.len())]).collect();
            mean(&drawn).unwrap_or(0.0)
        })
        .collect();
    quantile(&means, 0.025).zip(quantile(&means, 0.975)).is_some_and(|(low, high)| low > 0.0 || high < 0.0)
}

fn paired_t(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let values: Vec<f64> = blocks.iter().map(|block| block.totals).collect();
    Location::mean(&values).is_some_and(|location| location.p(0.0) < 0.05)
}

/// The Wilson interval of a rate at 95 % (Wilson 1927).
fn wilson(hits: u32, n: u32) -> (f64, f64) {
    let (n, p, z) = (f64::from(n), f64::from(hits) / f64::from(n), 1.96);
    let center = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
    ((center - half).max(0.0), (center + half).min(1.0))
}

fn main() {
    let recordings = load();
    let rules: [(&str, Rule); 6] = [
        ("this project's rule", uplift),
        ("the same, unguarded", unguarded),
        ("5 % on medians", fixed_threshold),
        ("Mann–Whitney .05", mann_whitney),
        ("paired bootstrap .05", bootstrap),
        ("paired t .05", paired_t),
    ];
    println!("| design | workload | arm | blocks recorded | {} |", rules.map(|rule| rule.0).join(" | "));
    println!("|---|---|---|---:|{}", "---:|".repeat(rules.len()));
    for (design, arms) in
        [("resident-turns", &["A2", "B5"][..]), ("fresh-random-blocks", &["A2", "B1", "B2", "B5", "B10"][..])]
    {
        for workload in ["cpu", "sql"] {
            for arm in arms {
                let blocks = blocks(&recordings, design, workload, arm);
                let mut cells = Vec::new();
                for (_, rule) in &rules {
                    let mut random = ChaCha8Rng::seed_from_u64(20_261_121);
                    let mut hits = 0;
                    for _ in 0..EXPERIMENTS {
                        let drawn = draw(&blocks, *arm == "A2", &mut random);
                        hits += u32::from(rule(&drawn, &mut random));
                    }
                    let (low, high) = wilson(hits, EXPERIMENTS);
                    let rate = f64::from(hits) / f64::from(EXPERIMENTS) * 100.0;
                    cells.push(format!("{rate:.1} % ({:.1}–{:.1})", low * 100.0, high * 100.0));
                }
                println!("| {design} | {workload} | {arm} | {} | {} |", blocks.len(), cells.join(" | "));
            }
        }
    }
}

/// Blocks of one experiment, each at most once. Where both arms are the same program, which of them is called the
/// candidate is drawn for each block: then every alarm is a false one, whatever the few recorded blocks happen to hold.
fn draw(blocks: &[Block], same: bool, random: &mut ChaCha8Rng) -> Vec<Block> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.shuffle(random);
    order
        .into_iter()
        .take(BLOCKS)
        .map(|index| {
            let block = blocks[index].clone();
            if same && random.random::<bool>() {
                Block { rounds: -block.rounds, totals: -block.totals, rates: (block.rates.1, block.rates.0) }
            } else {
                block
            }
        })
        .collect()
}
