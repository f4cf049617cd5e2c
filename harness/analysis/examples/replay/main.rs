//! Replays recorded runs through decision rules: how often each raises a false alarm, and how often it finds a true slowdown.
//!
//! The recordings (`tests/data/ab-recordings.jsonl.gz`) were made on a shared 2-core machine under changing load: a
//! SQLite commit loop ("sql") and a computation ("cpu"); arm A against itself (A2) and against itself made slower by 1,
//! 2, 5 and 10 %. Experiments are drawn from them without replacement, from one seed.
//!
//! `cargo run -p uplift-analysis --example replay` prints the tables of docs/METHODOLOGY.md.

mod recordings;
mod rules;
mod times;
mod tools;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::{
    recordings::{Recording, blocks, draw, load},
    rules::{Rule, bootstrap, fixed_threshold, mann_whitney, paired_t, typical, uplift},
};

const EXPERIMENTS: u32 = 2_000;
/// Blocks of one experiment: what a budget of a minute pays for.
const BLOCKS: usize = 20;
const SEED: u64 = 20_261_121;

/// The Wilson interval of a rate at 95 % (Wilson 1927).
fn wilson(hits: u32, n: u32) -> (f64, f64) {
    let (n, p, z) = (f64::from(n), f64::from(hits) / f64::from(n), 1.96);
    let center = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
    ((center - half).max(0.0), (center + half).min(1.0))
}

/// Hits of `EXPERIMENTS` with their interval, in percent.
fn share(hits: u32) -> String {
    let (low, high) = wilson(hits, EXPERIMENTS);
    let rate = f64::from(hits) / f64::from(EXPERIMENTS) * 100.0;
    format!("{rate:.1} % ({:.1}–{:.1})", low * 100.0, high * 100.0)
}

fn main() {
    let recordings = load();
    rules_table(&recordings);
    println!();
    times::table(&recordings);
    println!();
    tools::table(&recordings);
}

fn rules_table(recordings: &[Recording]) {
    let rules: [(&str, Rule); 6] = [
        ("this project's rule", uplift),
        ("the same of median rounds", typical),
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
                let blocks = blocks(recordings, design, workload, arm);
                let mut cells = Vec::new();
                for (_, rule) in &rules {
                    let mut random = ChaCha8Rng::seed_from_u64(SEED);
                    let mut hits = 0;
                    for _ in 0..EXPERIMENTS {
                        let drawn = draw(&blocks, BLOCKS, *arm == "A2", &mut random);
                        hits += u32::from(rule(&drawn, &mut random));
                    }
                    cells.push(share(hits));
                }
                println!("| {design} | {workload} | {arm} | {} | {} |", blocks.len(), cells.join(" | "));
            }
        }
    }
}
