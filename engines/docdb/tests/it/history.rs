//! What a store was told and what it answered, checked against what it holds.

use std::collections::BTreeMap;

use docdb_engine::{DocumentStore, Operation, Reply, Request};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

pub const DATABASES: u16 = 2;
pub const IDS: u64 = 4;

/// For each id what it may hold: what was last acknowledged, and what was asked for since and answered with an error.
#[derive(Clone, Debug, Default)]
pub struct History {
    possible: BTreeMap<(u16, u64), Vec<Option<Vec<u8>>>>,
    /// Requests that were acknowledged.
    pub acknowledged: usize,
    number: usize,
}

impl History {
    fn of(&mut self, key: (u16, u64)) -> &mut Vec<Option<Vec<u8>>> {
        self.possible.entry(key).or_insert_with(|| vec![None])
    }

    /// Makes `count` random writes; those that fail may or may not have been done.
    pub fn write(&mut self, store: &dyn DocumentStore, count: usize, seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..count {
            self.number += 1;
            let key = (random.random_range(0..DATABASES), random.random_range(0..IDS));
            let text = format!("{{\"n\":{},\"x\":\"{}\"}}", self.number, "y".repeat(random.random_range(0..40)));
            // Where it is not known whether there is a document, whatever is done is one of these two.
            let operation = match (self.of(key).last().is_some_and(Option::is_some), random.random_range(0..4)) {
                (false, _) => Operation::Create,
                (true, 0) => Operation::Delete,
                (true, _) => Operation::Update,
            };
            let document = if operation.has_document() { text.as_bytes() } else { b"" };
            let wanted = operation.has_document().then(|| text.clone().into_bytes());
            let request = Request { operation, database: key.0, id: key.1, document };
            match store.apply(request, &mut Vec::new()) {
                Ok(Reply::Done) => {
                    *self.of(key) = vec![wanted];
                    self.acknowledged += 1;
                }
                // It was found to be otherwise than the last request asked for: so that one was not done.
                Ok(Reply::Conflict) => self.of(key).retain(Option::is_some),
                Ok(Reply::NotFound) => self.of(key).retain(Option::is_none),
                Err(_) => self.of(key).push(wanted),
            }
        }
    }

    /// Gives every id a document of its own, whatever it held.
    pub fn write_all(&mut self, store: &dyn DocumentStore, ids: u64) {
        for key in (0..DATABASES).flat_map(|database| (0..ids).map(move |id| (database, id))) {
            let text = format!("{{\"last\":\"{key:?}\"}}").into_bytes();
            let request = Request { operation: Operation::Create, database: key.0, id: key.1, document: &text };
            if store.apply(request, &mut Vec::new()).unwrap() == Reply::Conflict {
                let update = Request { operation: Operation::Update, ..request };
                assert_eq!(store.apply(update, &mut Vec::new()).unwrap(), Reply::Done);
            }
            *self.of(key) = vec![Some(text)];
        }
    }

    /// Holds the store against what it may hold; from then on that is what it does hold.
    #[track_caller]
    pub fn check(&mut self, store: &dyn DocumentStore, place: &str) {
        let mut found = Vec::new();
        for (&(database, id), possible) in &mut self.possible {
            let request = Request { operation: Operation::Read, database, id, document: b"" };
            let reply = store.apply(request, &mut found).unwrap_or_else(|error| panic!("{place}: {error}"));
            let there = (reply == Reply::Done).then(|| found.clone());
            assert!(
                possible.contains(&there),
                "{place}: id {id} of {database} holds {:?}, of {possible:?}",
                there.map(|text| String::from_utf8_lossy(&text).into_owned())
            );
            *possible = vec![there];
        }
    }
}
