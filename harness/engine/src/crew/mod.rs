//! The agents of one trial: one that does everything, or one that keeps the system and others that send the load.
//!
//! Senders begin each turn at one agreed moment, after the keeper has read what is read before a turn and before it reads
//! what is read after. Whoever fails ends the trial; that a sender was lost is never taken for a slow system.

mod merge;
mod placement;

use std::time::Duration;

use uplift_model::{
    protocol::{Prepare, Profiled, Role, Sent, TurnLength, TurnRequest},
    trial::{Failure, FailureKind, Measured, TurnRecord},
};

use crate::{
    agent_connection::{AgentConnection, arrived, phase, sharing::ClockOffset},
    monotonic::monotonic_ns,
    sampling::Sampling,
};
use placement::Placement;

/// How long before the agreed moment senders are told of it: they must have read it by then, on a busy machine too.
const LEAD_NS: u64 = 10_000_000;
/// How long the replies of all senders together are looked for at once.
const LOOK: Duration = Duration::from_millis(20);

/// All agents of a trial.
pub(crate) struct Crew {
    keeper: AgentConnection,
    /// Of the keeper.
    clock: ClockOffset,
    senders: Vec<Sender>,
    /// What of the keeper's work is done by processes that it did not start.
    works_elsewhere: Option<String>,
    /// Measured turns so far.
    turns: Vec<TurnRecord>,
    /// Successful operations since sampling began.
    operations: u64,
}

/// An agent that sends a part of the load.
struct Sender {
    agent: Started,
    clock: ClockOffset,
    /// Measured turns as it told them.
    turns: Vec<TurnRecord>,
}

/// An agent that was started, and where.
pub(crate) struct Started {
    pub(crate) link: AgentConnection,
    /// The machine, where it is not the harness's.
    pub(crate) place: Option<String>,
    /// Whether it is a child process of the harness, which shares its clock and its CPUs.
    pub(crate) here: bool,
}

impl Crew {
    /// Prepares the trial of `keeper`, and starts senders by `start` where the load asks for some.
    pub(crate) fn assemble(
        keeper: Started,
        mut prepare: Prepare,
        mut start: impl FnMut(u32) -> Result<Started, Failure>,
    ) -> Result<Self, Failure> {
        let Started { mut link, here, .. } = keeper;
        let of = prepare.load.agents();
        let placement = if here { Placement::here(of) } else { Placement::default() };
        prepare.role = (of > 0).then(|| placement.keeper());
        let ready = link.prepare(prepare.clone())?;
        arrived(ready.check(), "set-up", ())?;
        let mut crew = Self {
            keeper: link,
            clock: ClockOffset::default(),
            senders: Vec::new(),
            works_elsewhere: ready.works_elsewhere,
            turns: Vec::new(),
            operations: 0,
        };
        if of == 0 {
            return Ok(crew);
        }
        let system = ready.system.ok_or_else(|| Failure {
            kind: FailureKind::Settings,
            phase: "set-up".to_owned(),
            message: format!(
                "the target `{}` cannot be driven by several agents; leave `agents` in [load] out",
                prepare.target
            ),
            stderr_tail: String::new(),
            problem: None,
        })?;
        if !here {
            crew.clock = crew.keeper.clock_offset()?;
        }
        for number in 0..of {
            let agent = start(number).map_err(|failure| said_by(number, of, None, failure))?;
            let mut sender = Sender { agent, clock: ClockOffset::default(), turns: Vec::new() };
            let role = Role::Sender { number, of, system: system.clone(), cpus: placement.senders().to_vec() };
            let order = Prepare { role: Some(role), ..prepare.clone() };
            sender.join(order).map_err(|failure| sender.failed(number, of, failure))?;
            crew.senders.push(sender);
        }
        Ok(crew)
    }

    /// Processes of this machine that are the agents' but no children of the harness.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let senders = self.senders.iter().flat_map(|sender| sender.agent.link.processes());
        self.keeper.processes().into_iter().chain(senders).collect()
    }

    /// What of the system's work is done by processes that its agent did not start, where there are any.
    pub(crate) fn works_elsewhere(&self) -> Option<&str> {
        self.works_elsewhere.as_deref()
    }

    /// Keeps an agent that does everything, and what it started, on these CPUs.
    pub(crate) fn keep_on(&mut self, cpus: &[u32]) -> Result<(), Failure> {
        self.keeper.keep_on(cpus)
    }

    /// Takes a turn.
    pub(crate) fn turn(&mut self, request: &TurnRequest) -> Result<TurnRecord, Failure> {
        if self.senders.is_empty() {
            self.begin_turn(request)?;
            return self.end_turn(request);
        }
        let record = self.turn_together(request)?;
        Ok(self.note(request, record))
    }

    /// Begins a turn of an agent that does everything, which [`Self::end_turn`] waits for.
    pub(crate) fn begin_turn(&mut self, request: &TurnRequest) -> Result<(), Failure> {
        self.keeper.begin_turn(request)
    }

    /// Waits for the end of the turn that was begun.
    pub(crate) fn end_turn(&mut self, request: &TurnRequest) -> Result<TurnRecord, Failure> {
        let record = self.keeper.end_turn(request)?;
        Ok(self.note(request, record))
    }

    fn note(&mut self, request: &TurnRequest, record: TurnRecord) -> TurnRecord {
        if request.measured {
            self.turns.push(record.clone());
        }
        self.operations += record.ok;
        record
    }

    fn turn_together(&mut self, request: &TurnRequest) -> Result<TurnRecord, Failure> {
        self.keeper.watch(request)?;
        let at_ns = monotonic_ns() + LEAD_NS;
        let sent = self.send(request, at_ns);
        // The keeper knows best what became of the system when all that senders know is that it does not answer.
        let kept = self.keeper.watch_end(request, self.clock.there(at_ns));
        match (sent, kept) {
            (Ok(sent), Ok(kept)) => Ok(merge::turn(kept, &sent)),
            (Err(failure), Ok(_)) => Err(failure),
            (Err(failure), Err(_)) if failure.kind != FailureKind::Target => Err(failure),
            (_, Err(failure)) => Err(failure),
        }
    }

    /// Has every sender send its part of a turn from `at_ns` of the harness's clock on.
    fn send(&mut self, request: &TurnRequest, at_ns: u64) -> Result<Vec<Sent>, Failure> {
        let of = self.senders.len() as u32;
        let mut under_way = Vec::new();
        for (number, sender) in self.senders.iter_mut().enumerate() {
            let length = share(request.length, number as u64, u64::from(of));
            let part = TurnRequest { length, ..request.clone() };
            let begun = sender.agent.link.begin_at(part, sender.clock.there(at_ns));
            under_way.push(begun.map_err(|failure| sender.failed(number as u32, of, failure))?);
        }
        let mut sent: Vec<Option<Sent>> = self.senders.iter().map(|_| None).collect();
        while sent.iter().any(Option::is_none) {
            let waiting = sent.iter().filter(|one| one.is_none()).count() as u32;
            for (number, sender) in self.senders.iter_mut().enumerate() {
                if sent[number].is_some() {
                    continue;
                }
                let looked = sender.agent.link.sent(&under_way[number], LOOK / waiting.max(1));
                let looked = looked.map_err(|failure| sender.failed(number as u32, of, failure))?;
                let Some(one) = looked else { continue };
                arrived(one.record.check(), &phase(request), ())?;
                if request.measured {
                    sender.turns.push(one.record.clone());
                }
                sent[number] = Some(one);
            }
        }
        Ok(sent.into_iter().flatten().collect())
    }

    /// Starts sampling the stacks of the system; returns the sampler's name and warnings.
    pub(crate) fn profile_start(&mut self, sampling: Sampling) -> Result<(String, Vec<String>), Failure> {
        self.operations = 0;
        self.keeper.profile_start(sampling)
    }

    /// Stops sampling.
    pub(crate) fn profile_stop(&mut self) -> Result<Profiled, Failure> {
        let mut profiled = self.keeper.profile_stop()?;
        if !self.senders.is_empty() {
            profiled.operations = self.operations;
        }
        Ok(profiled)
    }

    /// Ends the trial in order: the senders, then the keeper, which drains and checks.
    pub(crate) fn finish(&mut self, drop_turns: u32) -> Result<Measured, Failure> {
        let of = self.senders.len() as u32;
        let mut reports = Vec::new();
        for (number, sender) in self.senders.iter_mut().enumerate() {
            let report = sender.agent.link.finish(drop_turns);
            let mut report = report.map_err(|failure| sender.failed(number as u32, of, failure))?;
            let same = report.turns == sender.turns && report.dropped_turns == drop_turns;
            let numbers = report.check_numbers().and_then(|()| {
                same.then_some(()).ok_or_else(|| "its turns are not those that it told of before".to_owned())
            });
            arrived(numbers, "report", ()).map_err(|failure| sender.failed(number as u32, of, failure))?;
            for agent in &mut report.load_agents {
                agent.place.clone_from(&sender.agent.place);
                agent.clock_offset_ns = sender.clock.offset_ns - self.clock.offset_ns;
                agent.clock_error_ns = sender.clock.error_ns + self.clock.error_ns;
            }
            reports.push(report);
        }
        let mut measured = self.keeper.finish(drop_turns)?;
        if !reports.is_empty() {
            let held = !measured.system_cpus.is_empty();
            measured = merge::measured(measured, self.turns.clone(), reports);
            measured.load_agents.iter_mut().for_each(|agent| agent.held = held);
        }
        Ok(measured)
    }
}

impl Sender {
    fn join(&mut self, order: Prepare) -> Result<(), Failure> {
        self.agent.link.prepare(order)?;
        if !self.agent.here {
            self.clock = self.agent.link.clock_offset()?;
        }
        Ok(())
    }

    fn failed(&self, number: u32, of: u32, failure: Failure) -> Failure {
        said_by(number, of, self.agent.place.as_deref(), failure)
    }
}

/// The failure of a sender, with its name.
fn said_by(number: u32, of: u32, place: Option<&str>, failure: Failure) -> Failure {
    let at = place.map_or_else(String::new, |place| format!(" on {place}"));
    Failure { message: format!("load agent {} of {of}{at}: {}", number + 1, failure.message), ..failure }
}

/// The part of a turn that is counted in operations; time is the same for all.
fn share(length: TurnLength, number: u64, of: u64) -> TurnLength {
    match length {
        TurnLength::Nanoseconds(_) => length,
        TurnLength::Operations(all) => TurnLength::Operations(all / of + u64::from(number < all % of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_turns_are_divided_without_a_rest() {
        for (all, of) in [(100, 4), (7, 3), (2, 5)] {
            let sum: u64 = (0..of)
                .map(|number| match share(TurnLength::Operations(all), number, of) {
                    TurnLength::Operations(part) => part,
                    TurnLength::Nanoseconds(_) => 0,
                })
                .sum();
            assert_eq!(sum, all);
        }
    }
}
