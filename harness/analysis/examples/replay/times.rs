//! How many recorded seconds each form of the rule needs to find a true change of 5, 2 and 1 %.
//!
//! The change is put into the blocks of A against the identical A2, whose direction is drawn for each block; blocks are
//! drawn with replacement, since only 32 are recorded of each kind. The margin is left out: what is asked is when the change
//! is seen. Seconds are of turns, warm-up included, of both variants; a process's start, set-up and check come on top.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    FAMILY_ALPHA,
    estimate::{median, normal_quantile},
    evidence::{Evidence, usable_share},
    spending::{boundaries, share_at},
};

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
/// The looks of a plan of so many blocks, each with the share of the error that it may use.
type Plan = fn(usize) -> Vec<(usize, f64)>;

fn exact(last: usize) -> Vec<(usize, f64)> {
    looks(last).map(|look| (look, share_at(look as u32, last as u32, look == last, FAMILY_ALPHA))).collect()
}

/// What each look spends more than the one before, to itself: the conservative sum of the rule before.
fn increments(last: usize) -> Vec<(usize, f64)> {
    let spent = |blocks: usize| (blocks as f64 / last as f64).powi(3);
    let mut before = 0.0;
    looks(last).map(|look| (look, spent(look) - std::mem::replace(&mut before, spent(look)))).collect()
}

/// Exact boundaries of a look after every block, or every twentieth more, of which α·tⁿ may have been spent.
fn dense(last: usize, exponent: i32) -> Vec<(usize, f64)> {
    let mut looks: Vec<usize> =
        std::iter::successors(Some(6), |n| Some(n + n / 20 + usize::from(*n < 20))).take_while(|n| *n < last).collect();
    looks.push(last);
    let usable = usable_share;
    let spent = |look: usize| match look {
        all if all == last => usable(look),
        _ => (look as f64 / last as f64).powi(exponent) * usable(look),
    };
    let wanted: Vec<(u32, f64)> = looks.iter().map(|&look| (look as u32, FAMILY_ALPHA * spent(look))).collect();
    let shares =
        boundaries(&wanted).into_iter().zip(&looks).map(|(nominal, &look)| nominal / FAMILY_ALPHA / usable(look));
    looks.iter().copied().zip(shares).collect()
}

const FORMS: [(&str, Value, Plan); 7] = [
    ("totals, exact boundaries: this project's rule", |block| block.totals, exact),
    ("totals, each look its increment", |block| block.totals, increments),
    ("totals, a look after each block, α·t³", |block| block.totals, |last| dense(last, 3)),
    ("totals, a look after each block, α·t²", |block| block.totals, |last| dense(last, 2)),
    ("winsorised rounds, exact boundaries", |block| block.winsorised, exact),
    ("median rounds, exact boundaries", |block| block.rounds, exact),
    ("median rounds, each look its increment", |block| block.rounds, increments),
];

/// Prints the table.
pub fn table(recordings: &[Recording]) {
    println!("| workload | rule | 5 % | 2 % | 1 % | false alarms in 64 blocks |");
    println!("|---|---|---:|---:|---:|---:|");
    for workload in ["cpu", "sql"] {
        let same = blocks(recordings, "resident-turns", workload, "A2");
        for (name, value, plan) in FORMS {
            let cells: Vec<String> =
                [0.05, 0.02, 0.01].into_iter().map(|loss| time(&same, value, plan, loss)).collect();
            let alarms = experiments(&same, value, &plan(64), 0.0).filter(|(found, _)| *found).count() as u32;
            println!("| {workload} | {name} | {} | {} |", cells.join(" | "), share(alarms));
        }
        for (name, value) in
            [("totals", (|block| block.totals) as Value), ("winsorised rounds", |block| block.winsorised)]
        {
            let cells = [0.05, 0.02, 0.01].map(|loss| least(&same, value, loss));
            println!("| {workload} | {name}: one look, spread known | {} | |", cells.join(" | "));
        }
    }
}

/// The planned and the median seconds of the shortest plan that finds a loss often enough.
fn time(recorded: &[Block], value: Value, plan: Plan, loss: f64) -> String {
    for last in PLANS {
        let (found, seconds): (Vec<bool>, Vec<f64>) = experiments(recorded, value, &plan(last), loss).unzip();
        let found = found.into_iter().filter(|found| *found).count();
        if found as f64 >= POWER * f64::from(EXPERIMENTS) {
            let each = seconds_of(recorded);
            return format!("{:.0} / {:.0} s", each * last as f64, median(&seconds).unwrap_or_default());
        }
    }
    "more".to_owned()
}

fn seconds_of(recorded: &[Block]) -> f64 {
    recorded.iter().map(|block| block.seconds).sum::<f64>() / recorded.len() as f64
}

/// The seconds below which no test finds the loss so often at this error, whatever it looks at within them: those of one
/// look at normal values whose spread is known. And the fewest that any sequential test takes in the mean (Wald 1945).
fn least(recorded: &[Block], value: Value, loss: f64) -> String {
    let variance = recorded.iter().map(|block| value(block).powi(2)).sum::<f64>() / recorded.len() as f64;
    let (missed, alarm) = (1.0 - POWER, FAMILY_ALPHA / 2.0);
    let each = seconds_of(recorded) * variance / (-loss).ln_1p().powi(2);
    let once = (normal_quantile(1.0 - alarm) + normal_quantile(POWER)).powi(2);
    let wald = 2.0 * (POWER * (POWER / alarm).ln() + missed * (missed / (1.0 - alarm)).ln());
    format!("{:.0} / {:.0} s", each * once, each * wald)
}

/// For each experiment whether a change was found, and after how many seconds it stopped.
fn experiments(
    recorded: &[Block],
    value: Value,
    plan: &[(usize, f64)],
    loss: f64,
) -> impl Iterator<Item = (bool, f64)> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
    let last = plan.last().map_or(0, |(look, _)| *look);
    (0..EXPERIMENTS).map(move |_| {
        let (mut values, mut seconds) = (Vec::new(), Vec::new());
        for _ in 0..last {
            let block = &recorded[random.random_range(0..recorded.len())];
            let sign = if random.random() { 1.0 } else { -1.0 };
            values.push((-loss).ln_1p() + sign * value(block));
            seconds.push(block.seconds);
        }
        let excludes = |(look, share): &&(usize, f64)| {
            Evidence::of(&values[..*look]).is_some_and(|evidence| evidence.excludes_zero(FAMILY_ALPHA * share))
        };
        let stop = plan.iter().find(excludes);
        (stop.is_some(), seconds[..stop.map_or(last, |stop| stop.0)].iter().sum())
    })
}
