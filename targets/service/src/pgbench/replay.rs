//! What a transaction drew, once more and without a server.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    Variables, evaluate,
    runner::{choose, first_variables},
    script::{Command, Script},
};

/// The transactions of one client.
pub struct Replay {
    scripts: Arc<Vec<Script>>,
    variables: Variables,
    random: ChaCha8Rng,
}

impl Replay {
    /// Of client `index`.
    pub fn new(scripts: Arc<Vec<Script>>, given: &Variables, index: usize, seed: u64) -> Self {
        Self { scripts, variables: first_variables(given, index, seed), random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The script of the transaction that began at `position`, and its variables.
    ///
    /// # Errors
    /// An expression that has no value, or a script whose course depends on answers.
    pub fn transaction(&mut self, position: u64) -> Result<(usize, &Variables), String> {
        self.random.set_word_pos(u128::from(position));
        let chosen = choose(&self.scripts, &mut self.random);
        for located in &self.scripts[chosen].commands {
            match &located.command {
                Command::Set(name, expr) => {
                    let value = evaluate(expr, &self.variables, &mut self.random)?;
                    self.variables.insert(name.clone(), value);
                }
                Command::Sql(sql) if sql.into.is_none() => {}
                _ => {
                    return Err(format!(
                        "line {} of `{}` depends on more than chance",
                        located.line, self.scripts[chosen].origin
                    ));
                }
            }
        }
        Ok((chosen, &self.variables))
    }
}
