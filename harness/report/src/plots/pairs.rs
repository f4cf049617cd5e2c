//! Pair by pair, for those who doubt: the ratio of each pair that the verdict was made from, in the order of the run.

use uplift_analysis::{
    metrics,
    pairing::{Pair, kept, pairs},
};
use uplift_model::{Better, MetricClass, Trial, run::PlannedScenario, trial::TurnRecord};

use super::{
    Plot,
    canvas::{Align, Ink, fitting, sheet},
    chart::{TEXT, WIDTH},
};
use crate::number::change;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 62.0;
const HEIGHT: f64 = 200.0;
/// More turns than this are too many dots to be told apart: then a dot is a block.
const TURNS_MAX: usize = 600;
/// Fewer pairs show nothing that the interval does not.
const PAIRS_MIN: usize = 3;
/// Changes on the axis.
const TICKS: [f64; 16] =
    [-0.9, -0.75, -0.5, -0.25, -0.1, -0.05, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0, 9.0, 99.0, 999.0, 9999.0];

/// A pair: its place in the run, and the logarithm of candidate against baseline.
struct Dot {
    at: f64,
    ratio: f64,
}

/// The throughput of each pair of turns, or of each pair of blocks; `None` where there are too few.
pub fn plot(planned: &PlannedScenario, trials: &[Trial], baseline: &str, candidate: &str) -> Option<Plot> {
    let name = &planned.scenario.name;
    let pairs = pairs(trials, name, baseline, candidate);
    let turns: Vec<Dot> = pairs.iter().enumerate().flat_map(|(block, pair)| of_turns(block, pair)).collect();
    let by_turn = turns.len() > pairs.len() && turns.len() <= TURNS_MAX;
    let (dots, metric, better) = if by_turn {
        (turns, "throughput", Better::Higher)
    } else {
        (
            pairs.iter().enumerate().filter_map(|(block, pair)| of_block(block, pair, planned)).collect(),
            primary(planned),
            better(planned, trials),
        )
    };
    if dots.len() < PAIRS_MIN {
        return None;
    }
    let ends = dots.iter().fold([0.0f64; 2], |[low, high], dot| [low.min(dot.ratio), high.max(dot.ratio)]);
    let span = (ends[1] - ends[0]).max(0.02);
    let (low, high) = (ends[0] - span * 0.06, ends[1] + span * 0.06);
    let blocks = pairs.len() as f64;
    let across = |at: f64| LEFT + at / blocks * (WIDTH - RIGHT - LEFT);
    let up = |ratio: f64| TOP + HEIGHT - (ratio - low) / (high - low) * HEIGHT;
    let svg = sheet(WIDTH, TOP + HEIGHT + 48.0, |canvas| {
        let title = fitting(&format!("Pair by pair: {name}"), 15.0, WIDTH - 24.0);
        canvas.bold(&title, (12.0, 16.0), 15.0, Align::Left, Ink::Text);
        let label = format!("{metric} · {} · {candidate} against {baseline}", good(better));
        let label = fitting(&label, TEXT, WIDTH - 24.0);
        canvas.text(&label, (12.0, 38.0), TEXT, Align::Left, Ink::Text);
        let mut taken = vec![up(0.0)];
        canvas.line(&[(LEFT, up(0.0)), (WIDTH - RIGHT, up(0.0))], Ink::Text, 1.0);
        canvas.text("0", (LEFT - 6.0, up(0.0)), TEXT, Align::Right, Ink::Text);
        for tick in TICKS {
            let y = up(f64::ln_1p(tick));
            if !(TOP..=TOP + HEIGHT).contains(&y) || taken.iter().any(|other| (other - y).abs() < TEXT + 4.0) {
                continue;
            }
            taken.push(y);
            canvas.line(&[(LEFT, y), (WIDTH - RIGHT, y)], Ink::Grid, 0.5);
            canvas.text(&word(tick), (LEFT - 6.0, y), TEXT, Align::Right, Ink::Text);
        }
        for dot in &dots {
            canvas.disc((across(dot.at), up(dot.ratio)), if by_turn { 2.0 } else { 4.0 }, Ink::Series(1), false);
        }
        canvas.text(
            &format!(
                "blocks in the order of the run, 1 to {} · one dot is one pair of {}",
                pairs.len(),
                if by_turn { "turns" } else { "blocks" }
            ),
            (WIDTH / 2.0, TOP + HEIGHT + 22.0),
            TEXT,
            Align::Center,
            Ink::Text,
        );
    });
    let above = dots.iter().filter(|dot| dot.ratio > 0.0).count();
    let description = format!(
        "{metric} of {candidate} against {baseline} in each pair: above 0 in {above} of {} pairs, from {} to {}.",
        dots.len(),
        change(ends_of(&dots)[0].exp_m1(), MetricClass::Time),
        change(ends_of(&dots)[1].exp_m1(), MetricClass::Time)
    );
    Some(Plot::new(name, "pairs", svg, description))
}

fn ends_of(dots: &[Dot]) -> [f64; 2] {
    dots.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], dot| [low.min(dot.ratio), high.max(dot.ratio)])
}

fn word(tick: f64) -> String {
    if tick >= 4.0 { format!("×{:.0}", 1.0 + tick) } else { format!("{:+}\u{2009}%", tick * 100.0) }
}

const fn good(better: Better) -> &'static str {
    match better {
        Better::Higher => "↑ higher is better",
        Better::Lower => "↓ lower is better",
        Better::Neither => "neither direction is better",
    }
}

/// Which direction of the metric that decides is the good one.
fn better(planned: &PlannedScenario, trials: &[Trial]) -> Better {
    let own = trials.iter().filter(|trial| trial.scenario == planned.scenario.name);
    let found = own.filter_map(|trial| metrics::named(trial, planned, primary(planned))).next();
    found.map_or(Better::Neither, |value| value.spec.better)
}

fn primary(planned: &PlannedScenario) -> &str {
    &planned.scenario.primary
}

/// The turns that both variants took in the same round; within a block they stand in the order of the rounds.
fn of_turns(block: usize, pair: &Pair<'_>) -> Vec<Dot> {
    let rate = |turn: &TurnRecord| (turn.ok > 0 && turn.base_ns() > 0.0).then(|| turn.ok as f64 / turn.base_ns());
    let rounds = kept(pair.baseline).last().map_or(1, |turn| turn.index + 1);
    kept(pair.baseline)
        .iter()
        .filter_map(|own| {
            let other = kept(pair.candidate).iter().find(|other| other.index == own.index)?;
            let ratio = (rate(other)? / rate(own)?).ln();
            Some(Dot { at: block as f64 + (f64::from(own.index) + 0.5) / f64::from(rounds), ratio })
        })
        .collect()
}

fn of_block(block: usize, pair: &Pair<'_>, planned: &PlannedScenario) -> Option<Dot> {
    let value = |trial| metrics::named(trial, planned, primary(planned))?.value.ok().filter(|value: &f64| *value > 0.0);
    let ratio = (value(pair.candidate)? / value(pair.baseline)?).ln();
    Some(Dot { at: block as f64 + 0.5, ratio })
}
