//! What a client draws: operations by their weights, and the values of their parameters.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{parameters::Sampler, plan::PlannedOperation, template::Values};

/// An operation that was drawn.
pub struct Drawn {
    /// Its number.
    pub operation: usize,
    /// The number of the alternative.
    pub alternative: usize,
    /// The numbers that it took of sequences, with their parameter.
    pub taken: Vec<(usize, u64)>,
}

/// Draws the operations of one client, in an order that its seed decides.
pub struct Draws {
    samplers: Vec<Sampler>,
    /// The values of the operation that was drawn last.
    pub values: Values,
    random: ChaCha8Rng,
    weights: f64,
}

impl Draws {
    /// Of the client with this seed.
    pub fn new(operations: &[PlannedOperation], samplers: Vec<Sampler>, seed: u64) -> Self {
        Self {
            values: vec![Vec::new(); samplers.len()],
            samplers,
            random: ChaCha8Rng::seed_from_u64(seed),
            weights: operations.iter().map(|operation| operation.weight).sum(),
        }
    }

    /// Where the next operation begins among all random numbers of this client.
    pub fn position(&self) -> u64 {
        self.random.get_word_pos() as u64
    }

    /// The next operation.
    pub fn next(&mut self, operations: &[PlannedOperation]) -> Drawn {
        let number = self.choose(operations);
        let operation = &operations[number];
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
        Drawn { operation: number, alternative, taken }
    }

    /// The operation `number` that began at `position` and took `taken` of its sequence, once more.
    pub fn again(
        &mut self,
        operations: &[PlannedOperation],
        number: usize,
        position: u64,
        taken: u64,
    ) -> Option<Drawn> {
        for &parameter in &operations.get(number)?.parameters {
            if let Some(sequence) = self.samplers[parameter].sequence() {
                sequence.resume_at(taken);
            }
        }
        self.random.set_word_pos(u128::from(position));
        Some(self.next(operations)).filter(|drawn| drawn.operation == number)
    }

    fn choose(&mut self, operations: &[PlannedOperation]) -> usize {
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

    /// What an operation took of sequences is over.
    pub fn settle(&self, drawn: &Drawn) {
        for &(parameter, number) in &drawn.taken {
            if let Some(sequence) = self.samplers[parameter].sequence() {
                sequence.settle(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        parameters::{Share, fnv_hash, samplers_of},
        plan::Plan,
        settings::Protocol,
    };

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
                let samplers = samplers_of(&plan.parameters, Share::default()).unwrap();
                let mut draws = Draws::new(&plan.operations, samplers, 11);
                let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
                for _ in 0..DRAWS {
                    let drawn = draws.next(&plan.operations).operation;
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
