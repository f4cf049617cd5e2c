//! Clients: they draw an operation, send its requests, and judge the answers.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uplift_sdk::{Batch, Client, Outcome, OutcomeKind, Samples, TargetError, clock};

use crate::{
    describe::{CLIENT_CPU_NS, CLIENT_CPU_S},
    driver::{self, Connection, Driver, Fault, Options},
    expect::{CONNECTION, Judge},
    failures::{Failures, Trouble},
    parameters::{Sampler, Share, samplers_of},
    pgbench::{Value, Variables, runner::Runner, script::Script},
    plan::{Plan, PlannedOperation},
    settings::Workload,
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

/// Everything from which the clients of an agent are made.
pub struct Clients {
    /// What they share.
    pub shared: Shared,
    samplers: Vec<Sampler>,
    scripts: Arc<Vec<Script>>,
    variables: Variables,
    options: Options,
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
        seed: u64,
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
        Ok(Self {
            shared,
            samplers: samplers_of(&plan.parameters, share).map_err(|(name, why)| TargetError::engine(name, why))?,
            scripts: Arc::new(plan.scripts.clone()),
            variables: variables(workload, seed),
            options: options.clone(),
        })
    }

    /// Client `index` of the whole load, connected.
    ///
    /// # Errors
    /// Why it is not.
    pub fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        let context = || format!("connecting client {index}");
        if self.scripts.is_empty() {
            let client = RequestClient::new(&self.shared, self.samplers.clone(), index, seed);
            return Ok(Box::new(client.map_err(|fault| TargetError::engine(context(), fault))?));
        }
        let mut runner = Runner::new(Arc::clone(&self.scripts), self.options.clone(), &self.variables, index, seed);
        runner.connect().map_err(|fault| TargetError::engine(context(), fault))?;
        Ok(Box::new(ScriptClient { runner, failures: &self.shared.failures }))
    }
}

/// The CPU time of this process, which sends.
pub fn sample_cpu(samples: &mut Samples) {
    let client_ns = clock::process_cpu_ns() as f64;
    samples.counter(CLIENT_CPU_NS, client_ns);
    samples.counter(CLIENT_CPU_S, client_ns / 1e9);
}

fn variables(workload: &Workload, seed: u64) -> Variables {
    let Some(pgbench) = &workload.pgbench else { return Variables::new() };
    let mut variables = Variables::from([
        ("scale".to_owned(), Value::Int(i64::from(pgbench.scale))),
        ("default_seed".to_owned(), Value::Int(seed as i64)),
    ]);
    variables.extend(pgbench.variables.iter().map(|(name, text)| (name.clone(), Value::of_text(text))));
    variables
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
        choose(&self.shared.operations, self.weights, &mut self.random)
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

/// The number of an operation, each as often as its weight among all of them says.
fn choose(operations: &[PlannedOperation], weights: f64, random: &mut ChaCha8Rng) -> usize {
    if operations.len() == 1 {
        return 0;
    }
    let mut left = random.random::<f64>() * weights;
    for (number, operation) in operations.iter().enumerate() {
        left -= operation.weight;
        if left < 0.0 {
            return number;
        }
    }
    operations.len() - 1
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{parameters::fnv_hash, settings::Protocol};

    const DRAWS: u32 = 40_000;

    fn plan(protocol: &str, letter: &str) -> Plan {
        let workload = serde_json::json!({ "protocol": protocol, "ycsb": { "workload": letter, "records": 1000 } });
        Plan::compile(&serde_json::from_value(workload).unwrap()).unwrap()
    }

    /// Whether so many of all draws are a share, within five standard deviations.
    #[track_caller]
    fn is_share(count: u32, share: f64) {
        let expected = f64::from(DRAWS) * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        assert!((f64::from(count) - expected).abs() <= 5.0 * deviation + 1e-9, "{count} of {DRAWS}, share {share}");
    }

    /// `readproportion`, `updateproportion`, … of YCSB's files `workloads/workloada` to `workloadf`.
    #[test]
    fn mixes_are_those_of_ycsb() {
        for (letter, mix) in [
            ("a", vec![("read", 0.5), ("update", 0.5)]),
            ("b", vec![("read", 0.95), ("update", 0.05)]),
            ("c", vec![("read", 1.0)]),
            ("d", vec![("insert", 0.05), ("read", 0.95)]),
            ("e", vec![("insert", 0.05), ("scan", 0.95)]),
            ("f", vec![("read", 0.5), ("read_modify_write", 0.5)]),
        ] {
            for protocol in ["redis", "postgres", "http"] {
                let plan = plan(protocol, letter);
                let weights = plan.operations.iter().map(|operation| operation.weight).sum();
                let mut random = ChaCha8Rng::seed_from_u64(11);
                let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
                for _ in 0..DRAWS {
                    let drawn = choose(&plan.operations, weights, &mut random);
                    *counts.entry(&plan.operations[drawn].name).or_insert(0) += 1;
                }
                assert_eq!(counts.keys().copied().collect::<Vec<_>>(), mix.iter().map(|one| one.0).collect::<Vec<_>>());
                mix.iter().for_each(|&(name, share)| is_share(counts[name], share));
            }
        }
    }

    /// Zipf over 10^10 items, spread over the records by FNV; in D the newest are the most popular; scans of 1 to 100.
    #[test]
    fn keys_and_scans_are_distributed_as_ycsb_says() {
        for letter in ["a", "b", "c", "d", "e", "f"] {
            let plan = plan("redis", letter);
            assert_eq!(plan.protocol, Protocol::Redis);
            let of = |name: &str| plan.parameters.iter().position(|(own, _)| own == name).unwrap();
            let mut samplers = samplers_of(&plan.parameters, Share::default()).unwrap();
            let mut random = ChaCha8Rng::seed_from_u64(3);
            let mut draw = |number: usize| {
                let mut into = Vec::new();
                samplers[number].draw(&mut random, &mut into);
                String::from_utf8(into).unwrap()
            };
            let mut keys: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..DRAWS {
                *keys.entry(draw(of("key"))).or_insert(0) += 1;
            }
            let known: Vec<String> = (0..1000).map(|record| fnv_hash(record).to_string()).collect();
            assert!(keys.keys().all(|key| known.contains(key)), "{letter}: every key is one that was loaded");
            let count = |record: u64| *keys.get(&fnv_hash(record).to_string()).unwrap_or(&0);
            if letter == "d" {
                let zeta: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
                is_share(count(999), 1.0 / zeta);
                is_share(count(998), 0.5f64.powf(0.99) / zeta);
            } else {
                // `ZETAN` of ScrambledZipfianGenerator; all other ranks fall on a record like any other.
                let zeta = 26.469_028_201_783_02;
                for rank in 0..2u32 {
                    let popular = (f64::from(rank) + 1.0).powf(-0.99) / zeta;
                    let record = fnv_hash(u64::from(rank)) % 1000;
                    let share = f64::from(count(record)) / f64::from(DRAWS);
                    assert!(share > popular * 0.9 && share < popular * 1.1 + 0.003, "{letter}: {share} for {popular}");
                }
            }
            let scans: Vec<u64> = (0..2_000).map(|_| draw(of("scan_records")).parse().unwrap()).collect();
            assert!(scans.iter().all(|records| (1..=100).contains(records)));
            let mean = scans.iter().sum::<u64>() as f64 / 2_000.0;
            assert!((mean - 50.5).abs() < 5.0 * 28.9 / 2_000f64.sqrt(), "{mean}");
        }
    }
}
