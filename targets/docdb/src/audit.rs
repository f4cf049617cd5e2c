//! A store that died under load, opened again and checked against what its clients were told.

use std::{collections::HashMap, sync::Arc};

use docdb_engine::{DocumentStore, Operation, Reply, Request};
use uplift_sdk::{
    Audit, OpenContext, Recovered, TargetError,
    crash_ledger::{Entry, Ledger, State},
};

use crate::{
    open::{engine_error, open_store},
    settings::{Settings, Workload},
    workload::{Held, Model},
};

/// What is left of a store.
pub struct RecoveredStore {
    workload: Workload,
    store: Arc<dyn DocumentStore>,
    clients: usize,
    seed: u64,
}

/// What an id holds: the sequence number of its document, or nothing.
type Content = Option<u64>;

impl RecoveredStore {
    /// Opens what is in the data directory.
    pub fn open(workload: Workload, settings: &Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let (store, _) = open_store(&workload, settings, context, None)?;
        Ok(Self { workload, store, clients: context.load.clients() as usize, seed: context.seed })
    }

    /// What is found under an id; the inner error is a document that nobody wrote.
    fn read(&self, model: &mut Model, id: u64) -> Result<Result<Content, String>, TargetError> {
        let mut found = Vec::new();
        let request = Request { operation: Operation::Read, database: model.database, id, document: b"" };
        match self.store.apply(request, &mut found) {
            Ok(Reply::Done) => {
                let sequence = model.documents.sequence_of(&found);
                let is_own =
                    sequence.is_some_and(|sequence| model.documents.document(id, sequence) == found.as_slice());
                Ok(match sequence {
                    Some(sequence) if is_own => Ok(Some(sequence)),
                    _ => Err(format!("{} bytes that no client wrote", found.len())),
                })
            }
            Ok(_) => Ok(Ok(None)),
            // What cannot be read any more was not lost silently, and is not there either.
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

impl Recovered for RecoveredStore {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let mut audit = Audit { in_flight: ledger.open(), ..Audit::default() };
        let mut documents = 0;
        for index in 0..self.clients {
            let seed = self.seed.wrapping_add(index as u64);
            let mut model = Model::new(&self.workload, index, self.clients, seed);
            model.preload(self.workload.preload);
            let mut by_id: HashMap<u64, Vec<&Entry>> = HashMap::new();
            for entry in ledger.clients.get(index).into_iter().flatten() {
                by_id.entry(entry.key).or_default().push(entry);
            }
            for number in 0..model.held.len() {
                let id = model.id(number);
                let first = match model.held[number] {
                    Held::Document(sequence) => Some(sequence),
                    Held::Nothing | Held::Unknown => None,
                };
                let entries = by_id.remove(&(number as u64)).unwrap_or_default();
                let place = format!("db{} id {id}", model.database + 1);
                match self.read(&mut model, id)? {
                    Ok(content) => {
                        documents += u64::from(content.is_some());
                        judge(&mut audit, &place, first, &entries, content, ledger.cut_ns);
                    }
                    Err(what) => {
                        audit.acknowledged += acknowledged(&entries);
                        audit.wrong += 1;
                        audit.note(|| format!("{place}: {what}"));
                    }
                }
            }
        }
        let counted = self.store.documents().map_err(|error| engine_error("counting the documents", error))?;
        // The document that was written at set-up to count its syncs was deleted again before the load.
        if counted > documents {
            audit.wrong += counted - documents;
            audit.note(|| format!("{documents} documents were read, the store counts {counted}"));
        }
        Ok(audit)
    }
}

fn acknowledged(entries: &[&Entry]) -> u64 {
    entries.iter().filter(|entry| entry.acknowledged_ns().is_some()).count() as u64
}

/// Holds what an id holds against what its client was told, `entries` in their order after `first`.
fn judge(audit: &mut Audit, place: &str, first: Content, entries: &[&Entry], found: Content, cut_ns: u64) {
    let content = |entry: &Entry| (entry.kind != Operation::Delete as u32).then_some(entry.value);
    let newest = entries.iter().rposition(|entry| entry.acknowledged_ns().is_some());
    let told = acknowledged(entries);
    audit.acknowledged += told;
    let last = newest.map_or(first, |newest| content(entries[newest]));
    let after = newest.map_or(0, |newest| newest + 1);
    if found == last || entries[after..].iter().any(|entry| entry.state == State::Open && content(entry) == found) {
        audit.superseded += told.saturating_sub(1);
        return;
    }
    // An older state is what a lost write leaves; the newest that fits loses least.
    let older = (0..after).rev().find(|&index| content(entries[index]) == found).map(|index| index + 1);
    let Some(kept) = older.or((first == found).then_some(0)) else {
        audit.wrong += 1;
        audit.note(|| format!("{place}: {found:?} is found, which was never its content"));
        return;
    };
    let lost: Vec<u64> = entries[kept..].iter().filter_map(|entry| entry.acknowledged_ns()).collect();
    audit.superseded += told - lost.len() as u64;
    audit.note(|| {
        format!("{place}: the document with sequence {last:?} was acknowledged, {found:?} is found (None: no document)")
    });
    for acknowledged_ns in lost {
        audit.note_lost(acknowledged_ns, cut_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: u32 = Operation::Update as u32;
    const DELETE: u32 = Operation::Delete as u32;

    fn entry(kind: u32, value: u64, acknowledged_ns: Option<u64>) -> Entry {
        Entry { kind, key: 0, value, state: acknowledged_ns.map_or(State::Open, State::Acknowledged) }
    }

    fn judged(entries: &[Entry], found: Content) -> Audit {
        let mut audit = Audit::default();
        let entries: Vec<&Entry> = entries.iter().collect();
        judge(&mut audit, "db1 id 0", Some(1), &entries, found, 100);
        audit
    }

    #[test]
    fn every_fate_of_an_id_is_told_apart() {
        let history = [
            entry(UPDATE, 2, Some(10)),
            entry(UPDATE, 3, Some(20)),
            entry(DELETE, 0, Some(30)),
            entry(UPDATE, 5, None),
        ];
        let clean = judged(&history, None);
        assert!(clean.is_clean());
        assert_eq!((clean.acknowledged, clean.superseded), (3, 2));
        assert!(judged(&history, Some(5)).is_clean(), "what was in flight may be there");
        let one = judged(&history, Some(3));
        assert_eq!((one.lost, one.oldest_lost_ns, one.superseded), (1, Some(70), 2));
        let all = judged(&history, Some(1));
        assert_eq!((all.lost, all.oldest_lost_ns, all.verified()), (3, Some(90), 3));
        let wrong = judged(&history, Some(9));
        assert_eq!((wrong.lost, wrong.wrong), (0, 1));
        assert!(judged(&[], Some(1)).is_clean());
        assert_eq!(judged(&[], None).wrong, 1, "what was there before the load is no acknowledged operation");
    }
}
