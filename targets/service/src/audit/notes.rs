//! What a client notes of its operations: where it was among its random numbers, of which everything else follows.

use uplift_sdk::{
    OutcomeKind,
    crash_ledger::{End, LedgerWriter},
};

use crate::{
    draws::Drawn,
    expect::{CONFLICT, REFUSED},
    settings::Protocol,
};

/// The ledger of one client.
pub struct Notes {
    ledger: LedgerWriter,
    /// Whether what the service refuses has changed nothing.
    refusals_change_nothing: bool,
    /// How many requests the operation that is under way has.
    requests: Option<usize>,
}

impl Notes {
    /// Of a client that speaks `protocol`.
    pub fn new(ledger: LedgerWriter, protocol: Protocol) -> Self {
        let refusals_change_nothing = matches!(protocol, Protocol::Redis | Protocol::Postgres);
        Self { ledger, refusals_change_nothing, requests: None }
    }

    /// An operation of `requests` requests is about to be sent.
    pub fn begin(&mut self, drawn: &Drawn, position: u64, requests: usize) {
        let taken = drawn.taken.first().map_or(0, |(_, number)| *number);
        self.ledger.begin(drawn.operation as u32, position, taken);
        self.requests = Some(requests);
    }

    /// A transaction of a script is about to begin.
    pub fn begin_transaction(&mut self, position: u64) {
        self.ledger.begin(0, position, 0);
        self.requests = Some(1);
    }

    /// The operation that was begun, if one was, is over.
    pub fn end(&mut self, result: OutcomeKind) {
        let Some(requests) = self.requests.take() else { return };
        let whole = self.refusals_change_nothing && requests == 1;
        self.ledger.end(match result {
            OutcomeKind::Ok => End::Acknowledged,
            OutcomeKind::NoOp(_) | OutcomeKind::Failed(REFUSED | CONFLICT) if whole => End::Refused,
            OutcomeKind::NoOp(_) | OutcomeKind::Failed(_) => End::Unknown,
        });
    }
}
