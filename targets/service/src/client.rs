//! Clients: they draw an operation, send its requests, and judge the answers.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_sdk::{Batch, Client, Outcome, OutcomeKind};

use crate::{
    driver::{Connection, Driver, Fault},
    expect::{CONNECTION, Judge},
    failures::{Failures, Trouble},
    parameters::Sampler,
    pgbench::runner::Runner,
    plan::PlannedOperation,
    template::Values,
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

/// An operation that was drawn.
struct Drawn {
    operation: usize,
    alternative: usize,
    /// The numbers that it took of sequences, with their parameter.
    taken: Vec<(usize, u64)>,
}

/// A client that sends operations of a scenario.
pub struct RequestClient<'a> {
    shared: &'a Shared,
    index: usize,
    connection: Option<Box<dyn Connection>>,
    samplers: Vec<Sampler>,
    values: Values,
    random: ChaCha8Rng,
    weights: f64,
    /// The operations that are under way.
    batch: Vec<Drawn>,
}

impl<'a> RequestClient<'a> {
    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn new(shared: &'a Shared, samplers: Vec<Sampler>, index: usize, seed: u64) -> Result<Self, Fault> {
        Ok(Self {
            connection: Some(shared.driver.connect(index)?),
            values: vec![Vec::new(); samplers.len()],
            samplers,
            random: ChaCha8Rng::seed_from_u64(seed),
            weights: shared.operations.iter().map(|operation| operation.weight).sum(),
            shared,
            index,
            batch: Vec::new(),
        })
    }

    fn choose(&mut self) -> usize {
        let operations = &self.shared.operations;
        if operations.len() == 1 {
            return 0;
        }
        let mut left = self.random.random::<f64>() * self.weights;
        for (number, operation) in operations.iter().enumerate() {
            left -= operation.weight;
            if left < 0.0 {
                return number;
            }
        }
        operations.len() - 1
    }

    /// Draws the values of one operation; keeps which numbers of sequences it took.
    fn draw(&mut self, number: usize) -> usize {
        let operation = &self.shared.operations[number];
        let mut taken = Vec::new();
        for &parameter in &operation.parameters {
            if let Some(drawn) = self.samplers[parameter].draw(&mut self.random, &mut self.values[parameter]) {
                taken.push((parameter, drawn));
            }
        }
        let alternative = match operation.alternatives.len() {
            1 => 0,
            several => self.random.random_range(0..several),
        };
        self.batch.push(Drawn { operation: number, alternative, taken });
        alternative
    }

    fn settle(samplers: &[Sampler], taken: &[(usize, u64)]) {
        for &(parameter, number) in taken {
            if let Some(sequence) = samplers[parameter].sequence() {
                sequence.settle(number);
            }
        }
    }

    /// One operation, its requests one after the other.
    fn single(&mut self) -> Result<(usize, OutcomeKind), (usize, Fault)> {
        let number = self.choose();
        let alternative = self.draw(number);
        let operation = &self.shared.operations[number];
        let mut result = OutcomeKind::Ok;
        if let Some(connection) = &mut self.connection {
            for &request in &operation.alternatives[alternative] {
                let answer = connection.ask(request, &self.values).map_err(|fault| (number, fault))?;
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
            Self::settle(&self.samplers, &drawn.taken);
        }
        Ok((number, result))
    }

    /// Several operations of one request each, sent together. What became of the batch is what became of its worst.
    fn pipelined(&mut self, operations: u32) -> Result<(usize, OutcomeKind), (usize, Fault)> {
        let mut first = 0;
        for at in 0..operations {
            let number = self.choose();
            if at == 0 {
                first = number;
            }
            let alternative = self.draw(number);
            if let Some(connection) = &mut self.connection {
                for &request in &self.shared.operations[number].alternatives[alternative] {
                    connection.put(request, &self.values).map_err(|fault| (first, fault))?;
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
            Self::settle(&self.samplers, &drawn.taken);
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
                Self::settle(&self.samplers, &drawn.taken);
            }
            (number, OutcomeKind::Failed(fault.category()))
        });
        Outcome { kind: number as u8, group: 0, units: batch.operations.max(1), result }
    }
}

/// A client that carries out scripts of pgbench.
pub struct ScriptClient<'a> {
    /// What carries them out.
    pub runner: Runner,
    /// What went wrong.
    pub failures: &'a Failures,
}

impl Client for ScriptClient<'_> {
    fn operate(&mut self, batch: Batch) -> Outcome {
        let mut last = Outcome::ok(0);
        for _ in 0..batch.operations.max(1) {
            if self.failures.has_ended() {
                std::thread::sleep(PAUSE);
                return Outcome::failed(last.kind, CONNECTION);
            }
            let (script, ended) = self.runner.run();
            last.kind = script as u8;
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
