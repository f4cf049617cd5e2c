//! What happened when: an event log that a target writes without blocking its work.

use std::sync::Arc;

use parking_lot::Mutex;
use uplift_model::trial::Event;

use crate::clock;

/// The most events that one trial keeps; further ones are counted, not kept.
const EVENTS_MAX: usize = 10_000;

/// A log of timeline events. Clones share one log.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin_ns: u64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    events: Vec<Event>,
    left_out: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new(clock::now_ns())
    }
}

impl EventLog {
    /// A log whose times count from `origin_ns` of [`clock::now_ns`].
    pub fn new(origin_ns: u64) -> Self {
        Self(Arc::new(Shared { origin_ns, entries: Mutex::default() }))
    }

    /// Writes down that `name` went on from `start_ns` to `end_ns` of [`clock::now_ns`].
    pub fn record(&self, name: &str, start_ns: u64, end_ns: u64, detail: impl Into<String>) {
        let mut entries = self.0.entries.lock();
        if entries.events.len() >= EVENTS_MAX {
            entries.left_out += 1;
            return;
        }
        entries.events.push(Event {
            name: name.to_owned(),
            start_ns: start_ns.saturating_sub(self.0.origin_ns),
            duration_ns: end_ns.saturating_sub(start_ns),
            detail: detail.into(),
        });
    }

    /// The events so far, in order of their start. Where some were left out, the last event says how many.
    pub fn events(&self) -> Vec<Event> {
        let entries = self.0.entries.lock();
        let mut events = entries.events.clone();
        events.sort_by_key(|event| event.start_ns);
        if entries.left_out > 0 {
            let start_ns = events.last().map_or(0, |event| event.start_ns);
            let detail = format!("{} further events were not kept", entries.left_out);
            events.push(Event { name: "events left out".to_owned(), start_ns, duration_ns: 0, detail });
        }
        events
    }

    /// The origin of the log's times.
    pub fn origin_ns(&self) -> u64 {
        self.0.origin_ns
    }
}
