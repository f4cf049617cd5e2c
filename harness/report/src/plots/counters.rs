//! Throughput and the system's own numbers on one axis of time: what it counted when throughput fell.

use uplift_analysis::{pairing::kept, stalls::stalls};
use uplift_model::{Trial, Unit, sampled::NumberSeries};

use super::{
    Plot,
    meanwhile::{Strip, draw_strips},
};
use crate::number::with_unit;

/// The most numbers that have a strip.
const NUMBERS_MAX: usize = 6;

/// The first trial of each variant: means over several would hide what happened once. `None` where nothing was sampled.
pub fn plot(scenario: &str, variants: &[(&str, Vec<&Trial>)]) -> Option<Plot> {
    let firsts: Vec<Option<&Trial>> =
        variants.iter().map(|(_, trials)| trials.iter().min_by_key(|trial| trial.block).copied()).collect();
    let chosen = chosen(&firsts);
    if chosen.is_empty() {
        return None;
    }
    // The window alone: what was counted before it is not on the axis of throughput.
    let windows: Vec<Option<[u64; 2]>> = firsts
        .iter()
        .map(|trial| match kept((*trial)?) {
            [turn] => Some([turn.start_ns, turn.start_ns + turn.wall_ns]),
            _ => None,
        })
        .collect();
    let last_s = windows.iter().flatten().map(|[begin, end]| (end - begin) as f64 / 1e9).fold(0.0, f64::max);
    if last_s <= 0.0 {
        return None;
    }
    let mut strips = vec![strip("operations a second · ↑", Unit::OpsPerSecond, throughput(&firsts, &windows))];
    for name in chosen {
        let number = |trial: &Trial| numbers(trial).iter().find(|number| number.name == name).cloned();
        let Some(example) = firsts.iter().flatten().find_map(|trial| number(trial)) else { continue };
        let unit = match (example.grows, example.unit) {
            (true, Unit::Bytes) => Unit::BytesPerSecond,
            (true, _) => Unit::CountPerSecond,
            (false, unit) => unit,
        };
        let lines = firsts.iter().zip(&windows).map(|(trial, window)| {
            let series = (*trial).and_then(number).zip(*window);
            series.map(|(series, window)| line(&series, window)).unwrap_or_default()
        });
        let words = if example.grows { format!("{name}, growth") } else { name.clone() };
        strips.push(strip(&words, unit, lines.collect()));
    }
    let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
    let label = "seconds since the window began, each strip from 0 · neither direction is better";
    let svg = draw_strips(&format!("What it counted meanwhile: {scenario}"), &names, &strips, last_s, label);
    let words: Vec<&str> = strips.iter().map(|strip| strip.words.as_str()).collect();
    let description = format!(
        "Over {last_s:.0} s of the first trial of each variant: {}. The system told its own numbers itself.",
        words.join("; ")
    );
    Some(Plot::new(scenario, "counters", svg, description))
}

fn numbers(trial: &Trial) -> &[NumberSeries] {
    trial.measured.as_ref().and_then(|measured| measured.sampled.as_ref()).map_or(&[], |sampled| &sampled.numbers)
}

/// Those that moved in a stall first, then those that mean something, then the others; none that never moves.
fn chosen(firsts: &[Option<&Trial>]) -> Vec<String> {
    let trials = || firsts.iter().flatten();
    let stalled: Vec<String> = trials()
        .filter_map(|trial| trial.measured.as_ref())
        .flat_map(stalls)
        .flat_map(|stall| stall.moved)
        .map(|moved| moved.name)
        .collect();
    let moves = |number: &NumberSeries| number.points.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let mut found: Vec<(u8, String)> = Vec::new();
    for number in trials().flat_map(|trial| numbers(trial)).filter(|number| moves(number)) {
        let rank = match (stalled.contains(&number.name), number.means.is_some()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        if !found.iter().any(|(_, name)| *name == number.name) {
            found.push((rank, number.name.clone()));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.truncate(NUMBERS_MAX);
    found.into_iter().map(|(_, name)| name).collect()
}

fn strip(name: &str, unit: Unit, lines: Vec<Vec<(f64, f64)>>) -> Strip {
    let most = lines.iter().flatten().map(|(_, value)| *value).fold(0.0f64, f64::max);
    Strip { words: format!("{name} · up to {}", with_unit(most, unit)), lines, most: most.max(f64::MIN_POSITIVE) }
}

/// Growth a second between two readings, or the value, over the seconds of the window.
fn line(series: &NumberSeries, [begin, end]: [u64; 2]) -> Vec<(f64, f64)> {
    let second = |at: u64| at.saturating_sub(begin) as f64 / 1e9;
    let within: Vec<(u64, f64)> = series.points.iter().copied().filter(|(at, _)| (begin..=end).contains(at)).collect();
    if !series.grows {
        return within.into_iter().map(|(at, value)| (second(at), value)).collect();
    }
    within
        .windows(2)
        .filter(|pair| pair[1].0 > pair[0].0)
        .map(|pair| {
            let growth = (pair[1].1 - pair[0].1) / ((pair[1].0 - pair[0].0) as f64 / 1e9);
            (second(u64::midpoint(pair[0].0, pair[1].0)), growth.max(0.0))
        })
        .collect()
}

/// Operations a second, in bins as long as the time between two readings.
fn throughput(firsts: &[Option<&Trial>], windows: &[Option<[u64; 2]>]) -> Vec<Vec<(f64, f64)>> {
    let line = |trial: &Trial, [begin, end]: [u64; 2]| -> Vec<(f64, f64)> {
        let Some(measured) = &trial.measured else { return Vec::new() };
        let every_ns = measured.sampled.as_ref().map_or(1_000_000_000, |sampled| sampled.every_ns);
        let slices: Vec<_> = measured.slices.iter().filter(|slice| slice.start_ns + slice.duration_ns <= end).collect();
        let join = slices.first().map_or(1, |slice| (every_ns / slice.duration_ns.max(1)).max(1)) as usize;
        slices
            .chunks(join)
            .map(|chunk| {
                let ns: u64 = chunk.iter().map(|slice| slice.duration_ns).sum();
                let ok: u64 = chunk.iter().map(|slice| slice.ok).sum();
                let middle = chunk[0].start_ns.saturating_sub(begin) + ns / 2;
                (middle as f64 / 1e9, ok as f64 / (ns.max(1) as f64 / 1e9))
            })
            .collect()
    };
    firsts
        .iter()
        .zip(windows)
        .map(|(trial, window)| trial.zip(*window).map(|(trial, window)| line(trial, window)).unwrap_or_default())
        .collect()
}
