//! The end of an agent in the middle of its work, and the audit of what it left.

use std::{sync::mpsc::TryRecvError, time::Duration};

use uplift_model::{
    protocol::{AuditOrder, Audited, RECOVERY_PHASE, Reply, Request, TurnRequest},
    trial::{Failure, FailureKind},
};

use super::{AgentConnection, WATCH_EVERY};

/// The phase of a load that is to be cut short.
pub const LOAD_PHASE: &str = "load before the cut";

impl AgentConnection {
    /// Lets the agent work until `due` says that it is to die (it is asked over and over with the longest time that it may
    /// wait before it answers), then kills it with everything that it started. `killed` is called when the signal is sent and
    /// before the end is waited for.
    ///
    /// # Errors
    /// What went wrong before the cut; the agent is dead then as well.
    pub fn cut_short(
        mut self,
        request: TurnRequest,
        mut due: impl FnMut(Duration) -> bool,
        killed: impl FnOnce(),
    ) -> Result<(), Failure> {
        let outcome = self.work_until(&request, &mut due);
        self.handle.kill();
        killed();
        self.handle.wait();
        outcome.map_err(|failure| Failure { stderr_tail: self.handle.stderr_tail(), ..failure })
    }

    fn work_until(&mut self, request: &TurnRequest, due: &mut dyn FnMut(Duration) -> bool) -> Result<(), Failure> {
        let failure = |kind, message: String| Failure {
            kind,
            phase: LOAD_PHASE.to_owned(),
            message,
            stderr_tail: String::new(),
            problem: None,
        };
        let mut line = serde_json::to_vec(&Request::Turn(request.clone()))
            .map_err(|error| failure(FailureKind::Protocol, format!("could not write a request: {error}")))?;
        line.push(b'\n');
        let _ = self.requests.as_ref().map(|requests| requests.send(line));
        while !due(WATCH_EVERY) {
            match self.replies.try_recv() {
                // A pipeline may be through with all of its work before the cut.
                Ok(Ok(Reply::Turn(_))) => return Ok(()),
                Ok(Ok(Reply::Failed(failed))) => return Err(failed),
                Ok(Ok(_)) => return Err(failure(FailureKind::Protocol, "the agent answered out of turn".to_owned())),
                Ok(Err(message)) => return Err(failure(FailureKind::Protocol, message)),
                Err(TryRecvError::Disconnected) => {
                    return Err(failure(FailureKind::Crashed, "the agent ended before the cut".to_owned()));
                }
                Err(TryRecvError::Empty) => {}
            }
            if self.handle.has_ended() {
                return Err(failure(FailureKind::Crashed, "the agent ended before the cut".to_owned()));
            }
            if self.interrupt.is_set() {
                return Err(failure(FailureKind::Interrupted, "the run was interrupted".to_owned()));
            }
        }
        Ok(())
    }

    /// Has what is left of a target opened and checked against its ledger.
    ///
    /// # Errors
    /// What the target or the agent said; of phase [`RECOVERY_PHASE`] where it does not open.
    pub fn audit(&mut self, mut order: AuditOrder) -> Result<Audited, Failure> {
        order.prepare.data_dir = self.handle.data_dir();
        match self.ask(RECOVERY_PHASE, &Request::Audit(Box::new(order)), self.timeout)? {
            Reply::Audited(audited) => Ok(audited),
            other => Err(self.unexpected(RECOVERY_PHASE, &other)),
        }
    }
}
