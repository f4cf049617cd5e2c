//! One client's requests, each answer checked against what was acknowledged before.

use std::sync::{Arc, atomic::Ordering};

use docdb_engine::{DocumentStore, Operation, Reply, Request, StoreErrorKind, stages, wire::RemoteStore};
use parking_lot::Mutex;
use uplift_sdk::{
    Batch, Client, Outcome, OutcomeKind,
    crash_ledger::{End, LedgerWriter},
    slowdown::Slowdown,
    stage::thread as span,
};

use crate::{
    settings::Engine,
    target::{DocDb, lock},
    workload::{Draw, Held, Model},
};

/// Indices of the reasons for which an operation does nothing.
pub mod nothing {
    pub const CONFLICT: u8 = 0;
    pub const NOT_FOUND: u8 = 1;
    pub const NAMES: [&str; 2] = ["conflict", "not found"];
}

/// Indices of the failure categories.
pub mod failure {
    pub const QUEUE_FULL: u8 = 0;
    pub const REFUSED: u8 = 1;
    pub const CORRUPT: u8 = 2;
    pub const IO: u8 = 3;
    pub const ENGINE: u8 = 4;
    pub const WRONG_ANSWER: u8 = 5;
    pub const NAMES: [&str; 6] = ["queue full", "refused", "corrupt", "io", "engine", "wrong answer"];
}

/// How a client reaches the store.
pub enum Way {
    Direct(Arc<dyn DocumentStore>),
    Remote(Arc<RemoteStore>),
}

/// A client of the load, with the ids that are its own.
pub struct DocClient<'a> {
    pub target: &'a DocDb,
    pub model: &'a Mutex<Model>,
    pub way: Way,
    pub draw: Draw,
    pub slowdown: Slowdown,
    pub document: Vec<u8>,
    pub ledger: Option<LedgerWriter>,
}

impl Client for DocClient<'_> {
    fn operate(&mut self, _: Batch) -> Outcome {
        let _request = span::process(stages::REQUEST);
        let (operation, number) = self.draw.next();
        // The model is this client's own; the lock only lets the check see it afterwards.
        let mut model = lock(self.model);
        let model = &mut *model;
        let (id, database) = (model.id(number), model.database);
        let sequence = model.sequence + 1;
        let text = if operation.has_document() { model.documents.document(id, sequence) } else { b"".as_slice() };
        let request = Request { operation, database, id, document: text };
        let Self { target, way, slowdown, document, ledger, .. } = self;
        // Reads leave nothing behind that could be lost.
        let mut ledger = ledger.as_mut().filter(|_| operation != Operation::Read);
        if let Some(ledger) = &mut ledger {
            ledger.begin(operation as u32, number as u64, if operation.has_document() { sequence } else { 0 });
        }
        let result = slowdown.around(|| match way {
            Way::Direct(store) => {
                // Our own stores have stages inside.
                let opaque = !matches!(target.settings.engine, Engine::Docdb | Engine::Fast);
                let _engine = opaque.then(|| span::process(stages::ENGINE));
                store.apply(request, document)
            }
            Way::Remote(store) => {
                let _answer = span::wait(stages::ANSWER);
                store.call(request, document)
            }
        });
        if let Some(ledger) = ledger {
            ledger.end(match &result {
                Ok(Reply::Done) => End::Acknowledged,
                Ok(Reply::Conflict | Reply::NotFound) => End::Refused,
                Err(error) if matches!(category(&error.kind), failure::QUEUE_FULL | failure::REFUSED) => End::Refused,
                Err(_) => End::Unknown,
            });
        }
        let held = model.held[number];
        let kind = match result {
            Ok(reply) if !agrees(held, operation, reply) => {
                model.note_wrong(|| format!("{operation:?} of id {id}, which holds {held:?}, was answered {reply:?}"));
                model.held[number] = Held::Unknown;
                OutcomeKind::Failed(failure::WRONG_ANSWER)
            }
            Ok(Reply::Done) => self.done(model, operation, number, sequence),
            Ok(Reply::Conflict) => OutcomeKind::NoOp(nothing::CONFLICT),
            Ok(Reply::NotFound) => {
                model.held[number] = Held::Nothing;
                OutcomeKind::NoOp(nothing::NOT_FOUND)
            }
            Err(error) => {
                let category = category(&error.kind);
                // A request that was turned away changed nothing; any other failure leaves open what happened.
                if operation != Operation::Read && !matches!(category, failure::QUEUE_FULL | failure::REFUSED) {
                    model.held[number] = Held::Unknown;
                    model.sequence = sequence;
                }
                OutcomeKind::Failed(category)
            }
        };
        Outcome { kind: operation as u8, group: database as u8, units: 1, result: kind }
    }
}

impl DocClient<'_> {
    /// Notes a request that was carried out; a read is compared with what was last acknowledged.
    fn done(&self, model: &mut Model, operation: Operation, number: usize, sequence: u64) -> OutcomeKind {
        match operation {
            Operation::Read => {
                let id = model.id(number);
                if let Held::Document(sequence) = model.held[number]
                    && model.documents.document(id, sequence) != self.document.as_slice()
                {
                    model.note_wrong(|| format!("the document read for id {id} is not the last one acknowledged"));
                    return OutcomeKind::Failed(failure::WRONG_ANSWER);
                }
                return OutcomeKind::Ok;
            }
            Operation::Create | Operation::Update => {
                model.sequence = sequence;
                model.held[number] = Held::Document(sequence);
            }
            Operation::Delete => model.held[number] = Held::Nothing,
        }
        self.target.writes.fetch_add(1, Ordering::Relaxed);
        OutcomeKind::Ok
    }
}

/// Whether an answer fits what the id holds.
fn agrees(held: Held, operation: Operation, reply: Reply) -> bool {
    match held {
        Held::Unknown => true,
        Held::Nothing => reply == if operation == Operation::Create { Reply::Done } else { Reply::NotFound },
        Held::Document(_) => match operation {
            Operation::Create => reply == Reply::Conflict,
            Operation::Read | Operation::Update | Operation::Delete => reply == Reply::Done,
        },
    }
}

fn category(kind: &StoreErrorKind) -> u8 {
    match kind {
        StoreErrorKind::QueueFull { .. } => failure::QUEUE_FULL,
        StoreErrorKind::Refused(_) => failure::REFUSED,
        StoreErrorKind::Corrupt { .. } => failure::CORRUPT,
        StoreErrorKind::Io { .. } => failure::IO,
        StoreErrorKind::Failed(_)
        | StoreErrorKind::Closed
        | StoreErrorKind::Engine(_)
        | StoreErrorKind::Unavailable { .. } => failure::ENGINE,
    }
}
