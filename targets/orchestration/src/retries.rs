//! Counts what duroxide says of its retries: it has no counters, only tracing events.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

/// Operations that were tried again after an error that duroxide calls retryable.
pub static RETRIES: AtomicU64 = AtomicU64::new(0);
/// Errors among them that say that the database was locked.
pub static LOCK_ERRORS: AtomicU64 = AtomicU64::new(0);
/// Time that dispatchers were told to sleep because of them, in milliseconds.
pub static BACKOFF_MS: AtomicU64 = AtomicU64::new(0);

/// Starts counting. An agent serves one trial, so the process's subscriber is free; where it is not (in tests), the
/// counts go on from where they are.
pub fn install() {
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(RetryLayer));
}

struct RetryLayer;

impl<S: Subscriber> Layer<S> for RetryLayer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("duroxide")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        // "Error fetching … (retryable, attempt 3): …, backing off 800ms"
        let fetch = said.text.contains("(retryable, attempt");
        // message "… failed; retrying" with a field backoff_ms
        let acknowledge = said.text.contains("failed; retrying");
        if !fetch && !acknowledge {
            return;
        }
        RETRIES.fetch_add(1, Ordering::Relaxed);
        if said.text.contains("locked") {
            LOCK_ERRORS.fetch_add(1, Ordering::Relaxed);
        }
        let told = said.text.split("backing off ").nth(1).and_then(|rest| rest.split("ms").next()?.parse().ok());
        BACKOFF_MS.fetch_add(said.backoff_ms.or(told).unwrap_or(0), Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Said {
    text: String,
    backoff_ms: Option<u64>,
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "backoff_ms" {
            self.backoff_ms = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.text, " {value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wording is duroxide's own; a new version that changes it must be noticed.
    #[test]
    fn the_words_of_duroxide_are_understood() {
        install();
        let before = (RETRIES.load(Ordering::Relaxed), BACKOFF_MS.load(Ordering::Relaxed));
        tracing::warn!(target: "duroxide::runtime", "Error fetching work item (retryable, attempt {}): {:?}, backing off {}ms", 2, "Database locked: x", 400);
        tracing::warn!(target: "duroxide::runtime", attempts = 1, backoff_ms = 20u64, error = %"x", "ack_orchestration_item failed; retrying");
        tracing::warn!(target: "duroxide::runtime", "something else");
        assert_eq!(RETRIES.load(Ordering::Relaxed) - before.0, 2);
        assert_eq!(BACKOFF_MS.load(Ordering::Relaxed) - before.1, 420);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(source).unwrap();
        assert!(lock.contains("name = \"duroxide\"\nversion = \"0.1.32\""), "the words were read from 0.1.32");
    }
}
