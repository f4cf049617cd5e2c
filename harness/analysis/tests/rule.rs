//! The whole rule by simulation: how often it alarms, what it covers and what it finds, looks included. The long runs of
//! the same are `cargo run -p uplift-analysis --example simulate`.

#[path = "../examples/simulate/cases.rs"]
mod cases;
#[path = "../examples/simulate/closed.rs"]
mod closed;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    DEFAULT_MARGIN, FAMILY_ALPHA,
    calibrate::clopper_pearson,
    estimate::{Location, median},
    evidence::Outcome,
    power::Rule,
};

use self::{
    cases::{EQUAL, judged, normal, orders, plan},
    closed::{SHAPES, to_error},
};

/// False alarms of the whole rule, without the margin that makes them rarer still.
#[test]
fn equal_variants_alarm_no_more_than_they_may() {
    const EXPERIMENTS: u32 = 4_000;
    for (name, draw) in EQUAL {
        for blocks in [6, 11, 20, 36] {
            let plan = plan(blocks);
            let mut random = ChaCha8Rng::seed_from_u64(blocks as u64);
            let mut alarms = 0;
            for _ in 0..EXPERIMENTS {
                let first = orders(blocks, &mut random);
                let values = draw(blocks, &first, &mut random);
                alarms += u32::from(judged(&values, &first, 0.0, &plan).is_alarm());
            }
            let [low, _] = clopper_pearson(alarms, EXPERIMENTS, 0.05).unwrap();
            println!("{name}, {blocks} blocks: {alarms} of {EXPERIMENTS}");
            assert!(low <= 0.01, "{name}, {blocks} blocks: {alarms} of {EXPERIMENTS}");
        }
    }
}

/// The interval that is shown covers the truth, where the rule stops and at every look.
#[test]
fn shown_intervals_cover_the_truth() {
    const EXPERIMENTS: u32 = 4_000;
    let (plan, margin) = (plan(20), DEFAULT_MARGIN.ln_1p());
    for truth in [0.0, 0.01, 0.02, 0.03, 0.05] {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (mut missed, mut at_looks) = (0, vec![0; plan.len()]);
        for _ in 0..EXPERIMENTS {
            let first = orders(20, &mut random);
            let values: Vec<f64> = (0..20).map(|_| truth + 0.0165 * normal(&mut random)).collect();
            let holds = |[low, high]: [f64; 2]| low <= truth && truth <= high;
            let stop = judged(&values, &first, margin, &plan);
            missed += u32::from(!holds(stop.evidence.interval(stop.alpha)));
            for (missed, look) in at_looks.iter_mut().zip(&plan) {
                let stop = judged(&values, &first, margin, &[*look]);
                *missed += u32::from(!holds(stop.evidence.interval(stop.alpha)));
            }
        }
        println!("truth {truth}: {missed} missed where it stops, {at_looks:?} at the looks, of {EXPERIMENTS}");
        for missed in at_looks.into_iter().chain([missed]) {
            let [low, _] = clopper_pearson(missed, EXPERIMENTS, 0.05).unwrap();
            assert!(low <= 0.01, "{truth}: {missed}");
        }
    }
}

/// −3 % of the total with a spread of 1.65 % in 20 blocks.
#[test]
fn a_loss_beyond_the_margin_is_found() {
    let (mut random, plan) = (ChaCha8Rng::seed_from_u64(5), plan(20));
    let found = (0..2_000)
        .filter(|_| {
            let first = orders(20, &mut random);
            let values: Vec<f64> = (0..20).map(|_| 0.97f64.ln() + 0.0165 * normal(&mut random)).collect();
            matches!(judged(&values, &first, DEFAULT_MARGIN.ln_1p(), &plan).outcome, Outcome::Changed { up: false, .. })
        })
        .count();
    println!("found in {found} of 2000");
    assert!(found >= 1_900, "{found} of 2000");
}

/// A tenth of the candidate's rounds takes 30 % longer. The typical round hides it; the total must not, nor may a tenth of
/// its processes hide once one of them was seen.
#[test]
fn a_stalling_candidate_is_never_unchanged() {
    let margin = DEFAULT_MARGIN.ln_1p();
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let (mut typical_hides, mut unchanged, mut regressed) = (0, 0, 0);
    for _ in 0..1_000 {
        let first = orders(20, &mut random);
        let (mut totals, mut medians) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let process = 0.0165 * normal(&mut random);
            let (mut time, mut rounds) = ([0.0; 2], Vec::new());
            for _ in 0..40 {
                let own = 0.05f64.mul_add(normal(&mut random), process).exp();
                let slow = if random.random::<f64>() < 0.1 { 1.0 / 0.7 } else { 1.0 };
                let other = (0.05 * normal(&mut random)).exp();
                time[0] += other;
                time[1] += own * slow;
                rounds.push((other / (own * slow)).ln());
            }
            totals.push((time[0] / time[1]).ln());
            medians.push(median(&rounds).unwrap());
        }
        typical_hides += u32::from(Location::typical(&medians).unwrap().center.abs() < margin);
        let outcome = judged(&totals, &first, margin, &plan(20)).outcome;
        unchanged += u32::from(outcome == Outcome::Within);
        regressed += u32::from(matches!(outcome, Outcome::Changed { up: false, .. }));
    }
    println!("typical within the margin: {typical_hides}, unchanged: {unchanged}, regressed: {regressed} of 1000");
    assert!(typical_hides > 900, "the case is the one that a median hides: {typical_hides}");
    assert_eq!(unchanged, 0);
    assert!(regressed >= 950, "{regressed}");

    let mut unchanged = 0;
    for _ in 0..1_000 {
        let first = orders(64, &mut random);
        let mut process = || if random.random::<f64>() < 0.1 { 0.7f64.ln() } else { 0.0 } + 0.005 * normal(&mut random);
        let mut values: Vec<f64> = (0..64).map(|_| process()).collect();
        // A process that was not seen cannot be known.
        values[3] = 0.7f64.ln();
        unchanged += u32::from(judged(&values, &first, margin, &plan(64)).outcome == Outcome::Within);
    }
    assert_eq!(unchanged, 0, "slow processes");
}

/// The power that is printed is that of the rule as it runs, to 5 points.
#[test]
fn printed_power_is_that_of_the_rule() {
    const EXPERIMENTS: u32 = 2_000;
    let margin = DEFAULT_MARGIN.ln_1p();
    for (deviation, blocks, change) in [
        (0.0165, 6, 0.04),
        (0.0165, 8, 0.05),
        (0.03, 11, 0.04),
        (0.03, 20, 0.04),
        (0.06, 36, 0.04),
        (0.03, 20, 0.03),
        (0.1, 64, 0.05),
    ] {
        let rule = Rule { deviation, alpha: FAMILY_ALPHA, margin };
        let plan = plan(blocks);
        let rate = |truth: f64, hit: fn(&Outcome) -> bool| {
            let mut random = ChaCha8Rng::seed_from_u64(13);
            let hits = (0..EXPERIMENTS).filter(|_| {
                let first = orders(blocks, &mut random);
                let values: Vec<f64> = (0..blocks).map(|_| truth + deviation * normal(&mut random)).collect();
                hit(&judged(&values, &first, margin, &plan).outcome)
            });
            hits.count() as f64 / f64::from(EXPERIMENTS)
        };
        let finds = rate(change, |outcome| matches!(outcome, Outcome::Changed { up: true, .. }));
        let shows = rate(0.0, |outcome| *outcome == Outcome::Within);
        println!(
            "{deviation} {blocks} {change}: finds {finds} ({}), shows {shows} ({})",
            rule.finds(blocks, change),
            rule.shows_none(blocks)
        );
        assert!((finds - rule.finds(blocks, change)).abs() < 0.05, "{deviation} {blocks} {change}");
        assert!((shows - rule.shows_none(blocks)).abs() < 0.05, "{deviation} {blocks}");
        let least = rule.minimum_detectable(blocks, 0.8);
        assert!(least > margin && (rule.finds(blocks, least) - 0.8).abs() < 1e-6);
    }
    // A change of just the margin is found half the time at most, however many blocks there are.
    let rule = Rule { deviation: 0.0165, alpha: FAMILY_ALPHA, margin };
    assert!(rule.finds(1_000, margin) < 0.51 && rule.blocks(6, 0.8, |rule, n| rule.finds(n, 2.0 * margin)).is_some());
}

/// What is found early reads too large, and the corrected change reads too much as often as too little.
#[test]
fn an_early_stop_is_corrected() {
    let (plan, margin, truth) = (plan(20), DEFAULT_MARGIN.ln_1p(), 0.03);
    let mut random = ChaCha8Rng::seed_from_u64(21);
    let (mut read, mut corrected) = (Vec::new(), Vec::new());
    for _ in 0..8_000 {
        let first = orders(20, &mut random);
        let values: Vec<f64> = (0..20).map(|_| truth + 0.0165 * normal(&mut random)).collect();
        let stop = judged(&values, &first, margin, &plan);
        if stop.look <= 8 && stop.is_alarm() {
            read.push(stop.evidence.location.center);
            corrected.push(stop.evidence.corrected_for_stop(stop.alpha, margin));
        }
    }
    let (read, corrected) = (median(&read).unwrap(), median(&corrected).unwrap());
    println!("read {read:.4}, corrected {corrected:.4}");
    assert!(read > 1.1 * truth && (corrected - truth).abs() < 0.5 * (read - truth), "{read} {corrected}");
}

/// Closed turns of several clients that end when the last one does: operations ÷ wall time reads the shape of the latencies,
/// clients × operations ÷ summed busy time the rate, to a thousandth. So many turns are drawn that chance has less than half
/// of that thousandth as its standard error.
#[test]
fn the_rate_of_a_turn_does_not_depend_on_the_shape_of_latencies() {
    for (seed, clients) in [1, 8, 30].into_iter().enumerate() {
        for shape in SHAPES {
            let found = to_error(0.0004, clients, shape, 400 + seed as u64);
            let name = shape.0;
            println!("{name}, {clients} clients: {:.5}, by wall time {:.4}", found.rate, found.by_wall);
            assert!((0.999..=1.001).contains(&found.rate), "{name}, {clients} clients: {}", found.rate);
            assert!(clients == 1 || name == "constant" || found.by_wall < 0.9, "{name}: {}", found.by_wall);
        }
    }
}
