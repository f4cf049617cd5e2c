//! How many recorded seconds each form of the rule needs to find a true change of 5, 2 and 1 %.
//!
//! The change is put into the blocks of A against the identical A2, whose direction is drawn for each block; blocks are
//! drawn with replacement, since only 32 are recorded of each kind. The margin is left out: what is asked is when the change
//! is seen. Seconds are of turns, warm-up included, of both variants; a process's start, set-up and check come on top.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{FAMILY_ALPHA, estimate::median, evidence::Evidence, spending::share_at};

use crate::{
    EXPERIMENTS, SEED,
    recordings::{Block, Recording, blocks},
    rules::looks,
    share,
};

/// Planned blocks that are tried.
const PLANS: [usize; 14] = [6, 8, 11, 15, 20, 27, 36, 48, 64, 85, 113, 151, 201, 268];
const POWER: f64 = 0.95;

type Value = fn(&Block) -> f64;
/// The share of the error that a look may use.
type Spend = fn(usize, usize) -> f64;

fn exact(look: usize, last: usize) -> f64 {
    share_at(look as u32, last as u32, look == last, FAMILY_ALPHA)
}

/// What each look spends more than the one before, to itself: the conservative sum of the rule before.
fn increments(look: usize, last: usize) -> f64 {
    let spent = |blocks: usize| (blocks as f64 / last as f64).powi(3);
    let before = looks(last).take_while(|earlier| *earlier < look).last().map_or(0.0, spent);
    spent(look) - before
}

const FORMS: [(&str, Value, Spend); 4] = [
    ("totals, exact boundaries: this project's rule", |block| block.totals, exact),
    ("totals, each look its increment", |block| block.totals, increments),
    ("median rounds, exact boundaries", |block| block.rounds, exact),
    ("median rounds, each look its increment", |block| block.rounds, increments),
];

/// Prints the table.
pub fn table(recordings: &[Recording]) {
    println!("| workload | rule | 5 % | 2 % | 1 % | false alarms in 64 blocks |");
    println!("|---|---|---:|---:|---:|---:|");
    for workload in ["cpu", "sql"] {
        let same = blocks(recordings, "resident-turns", workload, "A2");
        for (name, value, spend) in FORMS {
            let cells: Vec<String> =
                [0.05, 0.02, 0.01].into_iter().map(|loss| time(&same, value, spend, loss)).collect();
            let alarms = experiments(&same, 64, value, spend, 0.0).filter(|(found, _)| *found).count() as u32;
            println!("| {workload} | {name} | {} | {} |", cells.join(" | "), share(alarms));
        }
    }
}

/// The planned and the median seconds of the shortest plan that finds a loss often enough.
fn time(recorded: &[Block], value: Value, spend: Spend, loss: f64) -> String {
    for last in PLANS {
        let (found, seconds): (Vec<bool>, Vec<f64>) = experiments(recorded, last, value, spend, loss).unzip();
        let found = found.into_iter().filter(|found| *found).count();
        if found as f64 >= POWER * f64::from(EXPERIMENTS) {
            let each = recorded.iter().map(|block| block.seconds).sum::<f64>() / recorded.len() as f64;
            return format!("{:.0} / {:.0} s", each * last as f64, median(&seconds).unwrap_or_default());
        }
    }
    "more".to_owned()
}

/// For each experiment whether a change was found, and after how many seconds it stopped.
fn experiments(
    recorded: &[Block],
    last: usize,
    value: Value,
    spend: Spend,
    loss: f64,
) -> impl Iterator<Item = (bool, f64)> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
    let plan: Vec<(usize, f64)> = looks(last).map(|look| (look, FAMILY_ALPHA * spend(look, last))).collect();
    (0..EXPERIMENTS).map(move |_| {
        let (mut values, mut seconds) = (Vec::new(), Vec::new());
        for _ in 0..last {
            let block = &recorded[random.random_range(0..recorded.len())];
            let sign = if random.random() { 1.0 } else { -1.0 };
            values.push((-loss).ln_1p() + sign * value(block));
            seconds.push(block.seconds);
        }
        let excludes = |(look, alpha): &&(usize, f64)| {
            Evidence::of(&values[..*look]).is_some_and(|evidence| evidence.excludes_zero(*alpha))
        };
        let stop = plan.iter().find(excludes);
        (stop.is_some(), seconds[..stop.map_or(last, |stop| stop.0)].iter().sum())
    })
}
