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
