//! What happened while it was measured: events of the timeline by name, and the longest of each with its cause.

use std::collections::BTreeMap;

use uplift_model::{Trial, trial::Event};

use crate::{
    markdown::{escape, header, row},
    number::{count, nanoseconds},
};

/// The events of one name.
struct Events<'a> {
    count: u64,
    total_ns: u64,
    longest: &'a Event,
}

/// The section of a scenario's document, given the trials of each variant; empty where nothing happened. Events before
/// the first turn that counts are left out.
pub(crate) fn markdown(trials: &[(&str, Vec<&Trial>)]) -> String {
    let mut rows = Vec::new();
    for (variant, trials) in trials {
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
            rows.push(vec![
                escape(name),
                (*variant).to_owned(),
                count(events.count),
                nanoseconds(events.total_ns / events.count),
                nanoseconds(events.longest.duration_ns),
                escape(&events.longest.detail),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("### What happened\n\n");
    header(&["event", "variant", "count", "mean", "longest", "the longest of them"], &mut text);
    for cells in &rows {
        row(cells, &mut text);
    }
    text.push_str("\nOver all trials of a variant, from the first turn that counts on.\n\n");
    text
}
