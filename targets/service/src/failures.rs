//! What went wrong among the clients: the first sentence of each kind, and whatever ends the trial.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::{driver::Fault, expect::FAILURES};

/// Why an operation failed.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Index into the failure categories.
    pub category: u8,
    /// A sentence.
    pub message: String,
    /// Whether it makes no sense to go on.
    pub fatal: bool,
}

impl Trouble {
    /// Of a connection.
    pub fn of_fault(fault: &Fault) -> Self {
        let fatal = matches!(fault, Fault::Garbage(_) | Fault::Denied(_));
        Self { category: fault.category(), message: fault.to_string(), fatal }
    }
}

/// What went wrong in one trial.
#[derive(Debug, Default)]
pub struct Failures {
    ended: AtomicBool,
    fatal: Mutex<Option<String>>,
    first: Mutex<BTreeMap<u8, String>>,
    known: [AtomicBool; FAILURES.len()],
}

impl Failures {
    /// Notes it.
    pub fn note(&self, trouble: &Trouble) {
        if trouble.fatal {
            self.end(trouble.message.clone());
        }
        let known = self.known.get(usize::from(trouble.category));
        if known.is_none_or(|known| !known.swap(true, Ordering::Relaxed)) {
            let mut first = self.first.lock();
            first.entry(trouble.category).or_insert_with(|| trouble.message.clone());
        }
    }

    /// Whether a failure of this kind has been noted: then its sentence need not be made.
    pub fn knows(&self, category: u8) -> bool {
        self.known.get(usize::from(category)).is_some_and(|known| known.load(Ordering::Relaxed))
    }

    /// Ends the trial, for this reason.
    pub fn end(&self, why: String) {
        self.fatal.lock().get_or_insert(why);
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the trial is to end.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Why.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }

    /// The first failure of each kind, in words; empty where nothing failed.
    pub fn summary(&self) -> String {
        let first = self.first.lock();
        let of = |(category, message): (&u8, &String)| {
            format!("first `{}`: {message}", FAILURES.get(usize::from(*category)).unwrap_or(&"failure"))
        };
        first.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}
