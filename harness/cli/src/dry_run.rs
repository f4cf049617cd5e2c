//! `--dry-run`: what a run would measure, and how long that would take at most. Nothing is started or written.

use std::time::Duration;

use uplift_engine::runner::BLOCKS_MIN;
use uplift_model::{
    run::PlannedScenario,
    scenario::{Interleave, TrialSpec},
};
use uplift_report::document::{Cell, Column, Document, Section, Table, Text};

/// How long something takes, in seconds as people write them.
fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 10.0 => format!("{short:.1} s"),
        long if long < 120.0 => format!("{long:.0} s"),
        longer => format!("{} min {:02.0} s", (longer / 60.0) as u64, longer % 60.0),
    }
}

/// The time for which one variant is under load in one block; `None` where that follows from a number of operations.
fn loaded(trial: &TrialSpec) -> Option<Duration> {
    match trial.interleave {
        Interleave::Trials => Some(trial.warmup.0 + trial.window.0),
        Interleave::Turns if trial.turn_operations.is_some() => None,
        Interleave::Turns => Some(trial.warmup.0 + trial.turn.0 * trial.rounds),
    }
}

fn block(planned: &PlannedScenario) -> String {
    let trial = &planned.scenario.trial;
    match (loaded(trial), trial.turn_operations) {
        (Some(each), _) => seconds(each * planned.variants.len() as u32),
        (None, operations) => {
            let operations = operations.unwrap_or_default();
            let word = if operations == 1 { "operation" } else { "operations" };
            format!("{} turns of {operations} {word}", trial.rounds)
        }
    }
}

/// The plan; `share` is the time of each scenario where its number of blocks follows from the data.
pub fn document(planned: &[PlannedScenario], profiled: bool, share: Duration, total: Duration) -> Document {
    let mut section = Section::new("plan", "Plan").untitled().brief();
    let columns = vec![
        Column::words("scenario"),
        Column::words("variants"),
        Column::words("blocks"),
        Column::words("load of a block"),
        Column::words("time"),
    ];
    let mut table = Table::new("What would be measured", columns).brief();
    let mut known = Some(Duration::ZERO);
    for one in planned {
        let (blocks, most) = match one.blocks {
            Some(blocks) => {
                let loaded = loaded(&one.scenario.trial).map(|each| each * one.variants.len() as u32 * blocks);
                known = known.zip(loaded).map(|(sum, more)| sum + more);
                let most = loaded.map_or_else(
                    || "what its operations take".to_owned(),
                    |loaded| format!("{} and set-ups", seconds(loaded)),
                );
                (blocks.to_string(), most)
            }
            None => {
                known = None;
                (format!("from {BLOCKS_MIN}, until decided"), format!("at most {}", seconds(share)))
            }
        };
        let variants = one.variants.join(", ");
        table.row(vec![
            Text::plain(&one.scenario.name).into(),
            Text::plain(variants).into(),
            blocks.into(),
            block(one).into(),
            Cell::from(most),
        ]);
    }
    section.table(table);
    let count = if planned.len() == 1 { "1 scenario".to_owned() } else { format!("{} scenarios", planned.len()) };
    let time = match known {
        Some(loaded) => format!("{} under load, with start, set-up and check of each trial on top", seconds(loaded)),
        None => format!("at most about {}", seconds(total)),
    };
    section.prose(format!("{count}, {time}{}.", if profiled { ", and profile trials" } else { "" })).brief();
    section
        .prose(
            "Nothing was started or written. Whether a service that a scenario needs is there is found out when the scenario begins: one that is missing skips it, with the reason and the fix.",
        )
        .brief();
    Document::of(section)
}
