//! Loads the data of a workload, before anything is timed.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use uplift_sdk::TargetError;

use crate::{
    driver::{self, AnswerKind, Options, Request},
    parameters::{Sampler, samplers},
    plan::{Plan, load_request},
    settings::{LoadStep, QueryMode},
    template::Values,
};

/// Requests that are sent together.
const PIPELINED: u64 = 100;
/// The longest that one step may take: an index is built in one statement.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3600);

/// What is drawn for the data, in the order in which they are loaded.
pub struct LoadDraws {
    names: Vec<String>,
    samplers: Vec<Sampler>,
    random: ChaCha8Rng,
    values: Values,
}

impl LoadDraws {
    /// Of one seed.
    ///
    /// # Errors
    /// A parameter that cannot be drawn.
    pub fn new(plan: &Plan, seed: u64) -> Result<Self, String> {
        let samplers = samplers(&plan.parameters).map_err(|(name, why)| format!("{name}: {why}"))?;
        let values = vec![Vec::new(); samplers.len() + 1];
        Ok(Self { names: plan.load_names(), samplers, random: ChaCha8Rng::seed_from_u64(seed), values })
    }

    /// The numbers of the values that a step uses.
    pub fn used(&self, step: &LoadStep) -> Vec<usize> {
        let is_used = |&number: &usize| {
            let place = format!("{{{}}}", self.names[number]);
            step.headers.values().chain([&step.send]).chain(&step.body).any(|text| text.contains(&place))
        };
        (1..self.names.len()).filter(is_used).collect()
    }

    /// The values of request `n` of a step.
    pub fn next(&mut self, used: &[usize], n: u64) -> &Values {
        self.values[0] = n.to_string().into_bytes();
        for &number in used {
            self.samplers[number - 1].draw(&mut self.random, &mut self.values[number]);
        }
        &self.values
    }
}

/// Sends every step over one connection, whose settings (`SET synchronous_commit = off`) hold for it alone.
///
/// # Errors
/// The step that was refused, and why.
pub fn load(plan: &Plan, options: &Options, seed: u64) -> Result<u64, TargetError> {
    if plan.load.is_empty() {
        return Ok(0);
    }
    let requests: Vec<Request> = plan.load.iter().map(load_request).collect();
    let context = |index: usize| format!("loading data, step {} (`{}`)", index + 1, shortened(&requests[index].send));
    let options = Options { timeout: TIMEOUT, query_mode: QueryMode::Prepared, ..options.clone() };
    let driver = driver::open(plan.protocol, &requests, &plan.load_names(), &options)
        .map_err(|why| TargetError::engine("loading data", why))?;
    let mut connection = driver.connect(0).map_err(|fault| TargetError::engine("loading data", fault))?;
    let mut draws = LoadDraws::new(plan, seed).map_err(|why| TargetError::engine("loading data", why))?;
    let mut sent = 0;
    for (index, step) in plan.load.iter().enumerate() {
        let used = draws.used(step);
        let mut next = 0;
        while next < step.count {
            let together = PIPELINED.min(step.count - next);
            let failed = |fault: driver::Fault| TargetError::engine(context(index), fault);
            for n in next..next + together {
                connection.put(index, draws.next(&used, n)).map_err(failed)?;
            }
            connection.flush().map_err(failed)?;
            for _ in 0..together {
                let answer = connection.take().map_err(failed)?;
                let refused = match answer.kind {
                    AnswerKind::Ok | AnswerKind::Empty | AnswerKind::Status(200..300) => None,
                    AnswerKind::Status(status) => Some(format!("status {status}")),
                    AnswerKind::Refused | AnswerKind::Conflict => {
                        Some(String::from_utf8_lossy(answer.body).into_owned())
                    }
                };
                if let Some(why) = refused {
                    return Err(TargetError::engine(context(index), why));
                }
            }
            next += together;
        }
        sent += step.count;
    }
    Ok(sent)
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
