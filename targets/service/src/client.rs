//! Clients: they draw an operation, send its requests, and judge the answers.

use std::sync::Arc;

use uplift_sdk::{Batch, Client, Outcome, OutcomeKind};

use crate::{
    audit::notes::Notes,
    draws::{Drawn, Draws},
    driver::{Connection, Driver, Fault},
    expect::{CONNECTION, Judge},
    failures::{Failures, Trouble},
    parameters::Sampler,
    pgbench::runner::Runner,
    plan::PlannedOperation,
};

/// How long a client waits where nothing can succeed any more, instead of failing as fast as it can.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// What all clients of a trial share.
pub struct Shared {
    /// Opens connections.
    pub driver: Box<dyn Driver>,
    /// What they choose from.
    pub operations: Vec<PlannedOperation>,
    /// The test of each request.
    pub judges: Vec<Judge>,
    /// What went wrong.
    pub failures: Arc<Failures>,
}

/// A client that sends operations of a scenario.
pub struct RequestClient<'a> {
    shared: &'a Shared,
    index: usize,
    connection: Option<Box<dyn Connection>>,
    draws: Draws,
    /// The operations that are under way.
    batch: Vec<Drawn>,
    /// Where writes are noted, while somebody may kill the service.
    notes: Option<Notes>,
}

impl<'a> RequestClient<'a> {
    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn new(
        shared: &'a Shared,
        samplers: Vec<Sampler>,
        index: usize,
        seed: u64,
        notes: Option<Notes>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            connection: Some(shared.driver.connect(index)?),
            draws: Draws::new(&shared.operations, samplers, seed),
            notes,
            shared,
            index,
            batch: Vec::new(),
        })
    }

    /// Draws one operation: its number and its alternative.
    fn draw(&mut self) -> (usize, usize) {
        let drawn = self.draws.next(&self.shared.operations);
        let both = (drawn.operation, drawn.alternative);
        self.batch.push(drawn);
        both
    }

    /// One operation, its requests one after the other.
    fn single(&mut self) -> Result<(usize, OutcomeKind), (usize, Fault)> {
        let position = self.notes.as_ref().map_or(0, |_| self.draws.position());
        let (number, alternative) = self.draw();
        let operation = &self.shared.operations[number];
        if let (Some(notes), true, Some(drawn)) = (&mut self.notes, operation.writes, self.batch.first()) {
            notes.begin(drawn, position, operation.alternatives[alternative].len());
        }
        let mut result = OutcomeKind::Ok;
        if let Some(connection) = &mut self.connection {
            for &request in &operation.alternatives[alternative] {
                let answer = connection.ask(request, &self.draws.values).map_err(|fault| (number, fault))?;
                result = self.shared.judges[request].of(&answer);
                if let OutcomeKind::Failed(category) = result {
                    note(&self.shared.failures, category, &operation.name, answer.body);
                }
                if result != OutcomeKind::Ok {
                    break;
                }
            }
        }
        if let Some(drawn) = self.batch.first() {
            self.draws.settle(drawn);
        }
        Ok((number, result))
    }

    /// Several operations of one request each, sent together. What became of the batch is what became of its worst.
    fn pipelined(&mut self, operations: u32) -> Result<(usize, OutcomeKind), (usize, Fault)> {
        let mut first = 0;
        for at in 0..operations {
            let (number, alternative) = self.draw();
            if at == 0 {
                first = number;
            }
            if let Some(connection) = &mut self.connection {
                for &request in &self.shared.operations[number].alternatives[alternative] {
                    connection.put(request, &self.draws.values).map_err(|fault| (first, fault))?;
                }
            }
        }
        let Some(connection) = &mut self.connection else { return Ok((first, OutcomeKind::Failed(CONNECTION))) };
        connection.flush().map_err(|fault| (first, fault))?;
        let mut worst = OutcomeKind::Ok;
        for drawn in &self.batch {
            let operation = &self.shared.operations[drawn.operation];
            for &request in &operation.alternatives[drawn.alternative] {
                let answer = connection.take().map_err(|fault| (first, fault))?;
                let result = self.shared.judges[request].of(&answer);
                if let OutcomeKind::Failed(category) = result {
                    note(&self.shared.failures, category, &operation.name, answer.body);
                    worst = result;
                }
            }
            self.draws.settle(drawn);
        }
        Ok((first, worst))
    }
}

fn note(failures: &Failures, category: u8, operation: &str, answer: &[u8]) {
    if !failures.knows(category) {
        let answer = crate::driver::stream::shown(answer);
        let message = if answer.is_empty() { format!("`{operation}`") } else { format!("`{operation}`: {answer}") };
        failures.note(&Trouble { category, message, fatal: false });
    }
}

impl Client for RequestClient<'_> {
    fn operate(&mut self, batch: Batch) -> Outcome {
        if self.shared.failures.has_ended() {
            std::thread::sleep(PAUSE);
            return Outcome::failed(0, CONNECTION);
        }
        if self.connection.is_none() {
            match self.shared.driver.connect(self.index) {
                Ok(connection) => self.connection = Some(connection),
                Err(fault) => {
                    std::thread::sleep(PAUSE);
                    self.shared.failures.note(&Trouble::of_fault(&fault));
                    return Outcome::failed(0, fault.category());
                }
            }
        }
        self.batch.clear();
        let done = if batch.operations <= 1 { self.single() } else { self.pipelined(batch.operations) };
        let (number, result) = done.unwrap_or_else(|(number, fault)| {
            self.connection = None;
            self.shared.failures.note(&Trouble::of_fault(&fault));
            // What was taken of sequences will not be acknowledged, and must not hold up what comes after.
            for drawn in &self.batch {
                self.draws.settle(drawn);
            }
            (number, OutcomeKind::Failed(fault.category()))
        });
        if let Some(notes) = &mut self.notes {
            notes.end(result);
        }
        Outcome { kind: number as u8, group: 0, units: batch.operations.max(1), result }
    }
}

/// A client that carries out scripts of pgbench.
pub struct ScriptClient<'a> {
    /// What carries them out.
    pub runner: Runner,
    /// What went wrong.
    pub failures: &'a Failures,
    /// Where transactions are noted, while somebody may kill the service.
    pub notes: Option<Notes>,
}

impl Client for ScriptClient<'_> {
    fn operate(&mut self, batch: Batch) -> Outcome {
        let mut last = Outcome::ok(0);
        for _ in 0..batch.operations.max(1) {
            if self.failures.has_ended() {
                std::thread::sleep(PAUSE);
                return Outcome::failed(last.kind, CONNECTION);
            }
            if let Some(notes) = &mut self.notes {
                notes.begin_transaction(self.runner.position());
            }
            let (script, ended) = self.runner.run();
            last.kind = script as u8;
            if let Some(notes) = &mut self.notes {
                notes.end(
                    ended.as_ref().map_or_else(|trouble| OutcomeKind::Failed(trouble.category), |()| OutcomeKind::Ok),
                );
            }
            if let Err(trouble) = ended {
                if trouble.category == CONNECTION {
                    std::thread::sleep(PAUSE);
                }
                self.failures.note(&trouble);
                last.result = OutcomeKind::Failed(trouble.category);
            }
        }
        last.of(batch.operations.max(1))
    }
}
