//! What happened while it was measured: events of the timeline by name, and the longest of each with its cause.

use std::collections::BTreeMap;

use uplift_model::trial::Event;

use super::{place, scene::Scene};
use crate::{
    document::{Cell, Column, Record, Section, Table, Text},
    number::{count, nanoseconds},
};

/// The events of one name.
struct Events<'a> {
    count: u64,
    total_ns: u64,
    longest: &'a Event,
}

/// The section of a scenario; empty where nothing happened. Events before the first turn that counts are left out.
pub fn section(scene: &Scene<'_>) -> Section {
    let scenario = &scene.planned.scenario.name;
    let mut section = Section::new(place(scenario, "events"), "What happened").folded();
    let columns = vec![
        Column::words("event"),
        Column::words("variant"),
        Column::figures("count"),
        Column::figures("mean"),
        Column::figures("longest"),
        Column::words("the longest of them"),
    ];
    let mut table = Table::new(format!("What happened: {scenario}"), columns);
    for (variant, trials) in &scene.variants {
        let mut by_name: BTreeMap<&str, Events<'_>> = BTreeMap::new();
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let Some(first) = measured.turns.get(measured.dropped_turns as usize) else { continue };
            for event in measured.events.iter().filter(|event| event.start_ns >= first.start_ns) {
                let events = by_name.entry(&event.name).or_insert(Events { count: 0, total_ns: 0, longest: event });
                events.count += 1;
                events.total_ns += event.duration_ns;
                if event.duration_ns > events.longest.duration_ns {
                    events.longest = event;
                }
            }
        }
        for (name, events) in by_name {
            let cells = vec![
                Text::plain(name).into(),
                Text::plain(*variant).into(),
                Cell::Figure(count(events.count)),
                Cell::Figure(nanoseconds(events.total_ns / events.count)),
                Cell::Figure(nanoseconds(events.longest.duration_ns)),
                Text::plain(&events.longest.detail).into(),
            ];
            table.row(cells).record(Record::scenario(scenario));
        }
    }
    table.legend("Over all trials of a variant, from the first turn that counts on.");
    section.table(table);
    section
}
