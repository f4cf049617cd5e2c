//! Turns of agents that share one system: one watches, the others begin at an agreed moment.

use std::time::{Duration, Instant};

use uplift_model::{
    protocol::{Reply, Request, Sent, TurnRequest},
    trial::{Failure, TurnRecord},
};

use super::{AgentConnection, phase};
use crate::monotonic::monotonic_ns;

/// Round trips from which the offset of a clock is taken: the fastest tells it best.
const ROUND_TRIPS: u32 = 16;

/// How far the clock of an agent is ahead of the harness's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    pub(crate) offset_ns: i64,
    /// By how much that may be wrong: half of the fastest round trip.
    pub(crate) error_ns: u64,
}

impl ClockOffset {
    /// A moment of the harness's clock by the agent's.
    pub(crate) const fn there(self, here_ns: u64) -> u64 {
        here_ns.saturating_add_signed(self.offset_ns)
    }
}

impl AgentConnection {
    /// How far the agent's clock is ahead of ours.
    pub(crate) fn clock_offset(&mut self) -> Result<ClockOffset, Failure> {
        let mut best: Option<ClockOffset> = None;
        for _ in 0..ROUND_TRIPS {
            let asked_ns = monotonic_ns();
            let now_ns = match self.ask("set-up", &Request::Clock, self.timeout)? {
                Reply::Clock { now_ns } => now_ns,
                other => return Err(self.unexpected("set-up", &other)),
            };
            let answered_ns = monotonic_ns();
            let error_ns = (answered_ns - asked_ns).div_ceil(2);
            if best.is_none_or(|best| error_ns < best.error_ns) {
                let middle_ns = asked_ns + (answered_ns - asked_ns) / 2;
                let offset_ns = i64::try_from(i128::from(now_ns) - i128::from(middle_ns)).unwrap_or(i64::MAX);
                best = Some(ClockOffset { offset_ns, error_ns });
            }
        }
        Ok(best.unwrap_or_default())
    }

    /// Has the agent watch the system through a turn; returns when it is ready for others to begin.
    pub(crate) fn watch(&mut self, request: &TurnRequest) -> Result<(), Failure> {
        self.mark_first(request);
        let phase = phase(request);
        match self.ask(&phase, &Request::Watch(request.clone()), self.timeout)? {
            Reply::Watching => Ok(()),
            other => Err(self.unexpected(&phase, &other)),
        }
    }

    /// Ends what [`AgentConnection::watch`] began; `at_ns` is when the others began, by this agent's clock.
    pub(crate) fn watch_end(&mut self, request: &TurnRequest, at_ns: u64) -> Result<TurnRecord, Failure> {
        let phase = phase(request);
        match self.ask(&phase, &Request::WatchEnd { at_ns }, self.timeout)? {
            Reply::Turn(record) => Ok(record),
            other => Err(self.unexpected(&phase, &other)),
        }
    }

    /// Has the agent begin a turn at a moment of its own clock. Its reply is looked for by [`AgentConnection::sent`].
    pub(crate) fn begin_at(&mut self, request: TurnRequest, at_ns: u64) -> Result<Sending, Failure> {
        self.mark_first(&request);
        let timeout = self.turn_timeout(request.length);
        let sending = Sending { phase: phase(&request), timeout, deadline: Instant::now().checked_add(timeout) };
        self.post(&sending.phase, &Request::TurnAt { turn: request, at_ns })?;
        Ok(sending)
    }

    /// What the agent sent, once it is through; looks for it for so long.
    pub(crate) fn sent(&mut self, sending: &Sending, wait: Duration) -> Result<Option<Sent>, Failure> {
        match self.look(&sending.phase, wait)? {
            Some(Reply::Sent(sent)) => Ok(Some(*sent)),
            Some(other) => Err(self.unexpected(&sending.phase, &other)),
            None if sending.deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                Err(self.too_slow(&sending.phase, sending.timeout))
            }
            None => Ok(None),
        }
    }
}

/// A turn that an agent was told to begin.
pub(crate) struct Sending {
    phase: String,
    timeout: Duration,
    deadline: Option<Instant>,
}
