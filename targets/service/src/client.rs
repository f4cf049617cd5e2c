//! Clients: they draw an operation, send its requests, and judge the answers.

use std::{path::PathBuf, sync::Arc};

use uplift_sdk::{Batch, Client, OpenContext, Outcome, OutcomeKind, Samples, TargetError, clock, ledger_of};

use crate::{
    audit::notes::Notes,
    draws::{Drawn, Draws},
    driver::{self, Connection, Driver, Fault, Options},
    expect::{CONNECTION, Judge},
    failures::{Failures, Trouble},
    metrics::{CLIENT_CPU_NS, CLIENT_CPU_S},
    parameters::{Sampler, Share, samplers_of},
    pgbench::{Pgbench, Variables, runner::Runner, script::Script},
    plan::{Plan, PlannedOperation},
    settings::{Protocol, Workload},
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

/// Everything from which the clients of an agent are made.
pub struct Clients {
    /// What they share.
    pub shared: Shared,
    samplers: Vec<Sampler>,
    scripts: Arc<Vec<Script>>,
    variables: Variables,
    options: Options,
    protocol: Protocol,
    /// Where they note what they are told.
    ledger: Option<PathBuf>,
}

impl Clients {
    /// For a service that is reached by `options`.
    ///
    /// # Errors
    /// Requests or parameters that make no sense.
    pub fn new(
        workload: &Workload,
        plan: &Plan,
        options: &Options,
        context: &OpenContext,
        share: Share,
    ) -> Result<Self, TargetError> {
        let opening = |why: String| TargetError::engine("compiling requests", why);
        let judges =
            plan.requests.iter().map(|request| request.expect.judge()).collect::<Result<_, _>>().map_err(opening)?;
        let shared = Shared {
            driver: driver::open(plan.protocol, &plan.requests, &plan.names(), options).map_err(opening)?,
            operations: plan.operations.clone(),
            judges,
            failures: Arc::new(Failures::default()),
        };
        let given = |pgbench: &Pgbench| pgbench.given_variables(context.seed);
        Ok(Self {
            shared,
            samplers: samplers_of(&plan.parameters, share).map_err(|(name, why)| TargetError::engine(name, why))?,
            scripts: Arc::new(plan.scripts.clone()),
            variables: workload.pgbench.as_ref().map_or_else(Variables::new, given),
            options: options.clone(),
            protocol: plan.protocol,
            ledger: context.ledger.clone(),
        })
    }

    /// Client `index` of the whole load, connected.
    ///
    /// # Errors
    /// Why it is not.
    pub fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let context = || format!("connecting client {index}");
        let notes = ledger_of(self.ledger.as_deref(), index)?.map(|ledger| Notes::new(ledger, self.protocol));
        if self.scripts.is_empty() {
            let client = RequestClient::new(&self.shared, self.samplers.clone(), index, seed, notes);
            return Ok(Box::new(client.map_err(|fault| TargetError::engine(context(), fault))?));
        }
        let mut runner = Runner::new(Arc::clone(&self.scripts), self.options.clone(), &self.variables, index, seed);
        runner.connect().map_err(|fault| TargetError::engine(context(), fault))?;
        Ok(Box::new(ScriptClient { runner, failures: &self.shared.failures, notes }))
    }
}

/// The CPU time of this process, which sends.
pub fn sample_cpu(samples: &mut Samples) {
    let client_ns = clock::process_cpu_ns() as f64;
    samples.counter(CLIENT_CPU_NS, client_ns);
    samples.counter(CLIENT_CPU_S, client_ns / 1e9);
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
        let answer = driver::stream::shown(answer);
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
