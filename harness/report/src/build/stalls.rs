//! Stalls of a window, and what the system counted meanwhile; what asking it for its numbers took.

use uplift_analysis::{
    estimate::median,
    stalls::{Moved, Stall, causes, stalls},
};
use uplift_model::{Trial, Unit, sampled::Sampled};

use super::{place, scene::Scene};
use crate::{
    document::{Cell, Column, NoteKind, Record, Section, Table, Text},
    number::{nanoseconds, with_unit},
};

/// The section of a scenario whose system told its own numbers; empty for others.
pub fn section(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "stalls"), "Stalls").brief().untitled();
    let columns = vec![
        Column::words("variant"),
        Column::figures("block"),
        Column::figures("began at"),
        Column::figures("lasted"),
        Column::figures("throughput"),
        Column::figures("usual"),
        Column::figures("longest response"),
        Column::words("what moved"),
    ];
    let mut table = Table::new(format!("Stalls: {name}"), columns);
    for (variant, trials) in &scene.variants {
        let found: Vec<(&Trial, Stall)> = trials
            .iter()
            .filter_map(|trial| Some((*trial, trial.measured.as_ref().filter(|measured| measured.sampled.is_some())?)))
            .flat_map(|(trial, measured)| stalls(measured).into_iter().map(move |stall| (trial, stall)))
            .collect();
        if found.is_empty() {
            continue;
        }
        let only: Vec<&Stall> = found.iter().map(|(_, stall)| stall).collect();
        section.note(NoteKind::Remark, format!("`{variant}`: {}", sentence(&only, trials.len())));
        for (trial, stall) in &found {
            let begin = trial.measured.as_ref().and_then(|m| m.turns.get(m.dropped_turns as usize));
            let at_ns = stall.start_ns.saturating_sub(begin.map_or(0, |turn| turn.start_ns));
            let cells = vec![
                Text::plain(*variant).into(),
                Cell::Figure(trial.block.to_string()),
                Cell::Figure(nanoseconds(at_ns)),
                Cell::Figure(nanoseconds(stall.duration_ns)),
                Cell::Figure(with_unit(stall.throughput, Unit::OpsPerSecond)),
                Cell::Figure(with_unit(stall.usual, Unit::OpsPerSecond)),
                Cell::Figure(nanoseconds(stall.response_max_ns)),
                Text::plain(stall.moved.iter().map(words).collect::<Vec<_>>().join(", ")).into(),
            ];
            table.row(cells).record(Record::scenario(name));
        }
    }
    table.legend(
        "A stall: less than half of the median second's throughput. What moved grew by more than twice of what it grows in as long a time elsewhere; it went on at the same time, which does not make it the cause.",
    );
    section.table(table);
    let asked = scene.variants.iter().flat_map(|(_, trials)| trials).filter_map(|trial| trial.measured.as_ref());
    if let Some(cost) = cost(&asked.filter_map(|measured| measured.sampled.as_ref()).collect::<Vec<_>>()) {
        section.prose(cost);
    }
    section
}

/// `checkpoints_timed +1`
fn words(moved: &Moved) -> String {
    let value = with_unit(moved.by, moved.unit);
    if moved.grows { format!("{} +{value}", moved.name) } else { format!("{} at {value}", moved.name) }
}

/// `2 stalls of 1.2 s: in both a checkpoint was running (checkpoints_timed +1, buffers_checkpoint +812)`
fn sentence(found: &[&Stall], trials: usize) -> String {
    let durations: Vec<f64> = found.iter().map(|stall| stall.duration_ns as f64).collect();
    let typical = with_unit(median(&durations).unwrap_or(0.0), Unit::Nanoseconds);
    let over = if trials > 1 { format!(" in {trials} trials") } else { String::new() };
    let what = match found.len() {
        1 => format!("1 stall of {typical}{over}"),
        several => format!("{several} stalls of {typical} at the median{over}"),
    };
    let mut clauses: Vec<(&str, Vec<&&Stall>)> = Vec::new();
    for stall in found {
        for cause in causes(stall) {
            match clauses.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, members)) => members.push(stall),
                None => clauses.push((cause, vec![stall])),
            }
        }
    }
    clauses.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let clauses: Vec<String> = clauses
        .iter()
        .map(|(cause, members)| {
            let which = match (members.len(), found.len()) {
                (1, 1) => "meanwhile".to_owned(),
                (2, 2) => "in both".to_owned(),
                (some, all) if some == all => format!("in all {all}"),
                (some, all) => format!("in {some} of {all}"),
            };
            let moved = members[0].moved.iter().filter(|moved| moved.means.as_deref() == Some(cause));
            format!("{which} {cause} ({})", moved.map(words).collect::<Vec<_>>().join(", "))
        })
        .collect();
    if clauses.is_empty() {
        format!("{what}; none of the numbers that explain a stall moved more than usual")
    } else {
        format!("{what}: {}", clauses.join("; "))
    }
}

fn cost(sampled: &[&Sampled]) -> Option<String> {
    let samples: u64 = sampled.iter().map(|one| one.samples).sum();
    let asking_ns: u64 = sampled.iter().map(|one| one.asking_ns).sum();
    let longest_ns = sampled.iter().map(|one| one.asking_max_ns).max()?;
    (samples > 0).then(|| {
        format!(
            "The system was asked for its own numbers {samples} times under load, every {}, over connections of its own: \
             {} for each answer, {} for the slowest. That work is part of what was measured, the same for all variants.",
            nanoseconds(sampled[0].every_ns),
            nanoseconds(asking_ns / samples),
            nanoseconds(longest_ns),
        )
    })
}
