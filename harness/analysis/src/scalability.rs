//! The Universal Scalability Law over a sweep of clients: X(N) = λN / (1 + σ(N − 1) + κN(N − 1)).
//!
//! λ is what one client does alone, σ the share of work that cannot run beside other work (contention), κ what every pair
//! of clients costs (coherency). With κ > 0 throughput has a peak at √((1 − σ) / κ) clients (Gunther, *Guerrilla Capacity
//! Planning*, 2007, chapter 4).
//!
//! The law is fitted to the logarithm of throughput, one value for each number of clients: the mean over its trials. What
//! is left over is then the law's error as much as noise, and intervals are from it: trials of one number of clients agree
//! with each other however wrong the law is, and would make the intervals too narrow.

use crate::estimate::{mean, t_quantile};

/// Confidence of every interval.
pub const LEVEL: f64 = 0.95;
/// The fewest numbers of clients: three parameters, and something left over to tell the error from.
pub const POINTS_MIN: usize = 4;
/// A prediction goes no further beyond the largest number of clients than this factor.
pub const REACH: f64 = 2.0;

/// A parameter with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// The estimate.
    pub value: f64,
    /// Its interval.
    pub interval: [f64; 2],
}

impl Parameter {
    /// Whether it is told apart from 0.
    pub fn is_told_from_zero(&self) -> bool {
        self.interval[0] > 0.0 || self.interval[1] < 0.0
    }
}

/// The law, fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Throughput of one client alone.
    pub lambda: Parameter,
    /// Contention.
    pub sigma: Parameter,
    /// Coherency.
    pub kappa: Parameter,
    /// Number of clients, and what was measured ÷ what the law says − 1.
    pub residuals: Vec<(f64, f64)>,
    /// By how much the law misses the largest number of clients when it is fitted without it; absent with too few numbers.
    pub forecast_error: Option<f64>,
    /// Root of the mean squared residual, with the degrees of freedom taken off.
    pub error: f64,
    theta: [f64; 3],
    covariance: [[f64; 3]; 3],
    t: f64,
    range: [f64; 2],
}

/// Where throughput is greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peak {
    /// At so many clients, with so much throughput.
    At {
        /// How many clients.
        clients: Parameter,
        /// How much throughput.
        throughput: Parameter,
    },
    /// Beyond what may be predicted from this range.
    OutOfReach,
    /// κ is not told apart from 0: there may be none.
    NotTold,
}

/// Why nothing is fitted, or predicted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScalabilityError {
    /// Too few numbers of clients.
    #[error("the law has three parameters, so at least {POINTS_MIN} numbers of clients are needed; there are {0}")]
    TooFew(usize),
    /// A throughput that has no logarithm.
    #[error("with {0} clients nothing was done")]
    NothingDone(f64),
    /// The measurements determine no law.
    #[error("the law does not fit: throughput does not depend on the number of clients in the way that it says")]
    NoFit,
    /// A prediction beyond its reach.
    #[error("{clients} clients lie beyond {reach} times the largest number that was measured, {largest}")]
    TooFar {
        /// What was asked for.
        clients: f64,
        /// The reach.
        reach: f64,
        /// The end of the range.
        largest: f64,
    },
}

/// Number of clients, and what each trial did.
pub type Measured<'a> = (f64, &'a [f64]);

/// Fits the law.
///
/// # Errors
/// Too little to fit it to, or measurements that it does not describe.
pub fn fit(points: &[Measured<'_>]) -> Result<Fit, ScalabilityError> {
    let mut logs = Vec::new();
    for (clients, throughputs) in points {
        let each: Vec<f64> = throughputs.iter().map(|throughput| throughput.ln()).collect();
        let log = mean(&each).filter(|log| log.is_finite()).ok_or(ScalabilityError::NothingDone(*clients))?;
        logs.push((*clients, log));
    }
    logs.sort_by(|a, b| a.0.total_cmp(&b.0));
    if logs.len() < POINTS_MIN {
        return Err(ScalabilityError::TooFew(logs.len()));
    }
    let theta = least_squares(&logs).ok_or(ScalabilityError::NoFit)?;
    let freedom = (logs.len() - 3) as f64;
    let squares: f64 = logs.iter().map(|(clients, log)| (log - predicted(theta, *clients)).powi(2)).sum();
    let variance = squares / freedom;
    let covariance = inverse(&normal_matrix(theta, &logs)).ok_or(ScalabilityError::NoFit)?;
    let covariance = covariance.map(|row| row.map(|value| value * variance));
    let t = t_quantile(f64::midpoint(1.0, LEVEL), freedom);
    let half = |index: usize| t * covariance[index][index].max(0.0).sqrt();
    let plain = |index: usize| Parameter {
        value: theta[index],
        interval: [theta[index] - half(index), theta[index] + half(index)],
    };
    let lambda = plain(0);
    // Without the last point as many must be left as a fit needs.
    let forecast_error = logs.split_last().filter(|(_, rest)| rest.len() >= POINTS_MIN).and_then(|(last, rest)| {
        let error = (last.1 - predicted(least_squares(rest)?, last.0)).exp() - 1.0;
        error.is_finite().then_some(error)
    });
    Ok(Fit {
        lambda: Parameter { value: lambda.value.exp(), interval: lambda.interval.map(f64::exp) },
        sigma: plain(1),
        kappa: plain(2),
        residuals: logs.iter().map(|(clients, log)| (*clients, (log - predicted(theta, *clients)).exp_m1())).collect(),
        forecast_error,
        error: variance.sqrt(),
        theta,
        covariance,
        t,
        range: [logs[0].0, logs[logs.len() - 1].0],
    })
}

impl Fit {
    /// The largest number of clients that something is said about.
    pub fn reach(&self) -> f64 {
        self.range[1] * REACH
    }

    /// Throughput with `clients`, and the interval of the law's curve there.
    ///
    /// # Errors
    /// Where that is further away than [`REACH`].
    pub fn at(&self, clients: f64) -> Result<Parameter, ScalabilityError> {
        if clients > self.reach() {
            return Err(ScalabilityError::TooFar { clients, reach: REACH, largest: self.range[1] });
        }
        Ok(self.of(predicted(self.theta, clients), gradient(self.theta, clients)))
    }

    /// Where throughput is greatest.
    pub fn peak(&self) -> Peak {
        let [_, sigma, kappa] = self.theta;
        if self.kappa.interval[0] <= 0.0 {
            return Peak::NotTold;
        }
        let clients = ((1.0 - sigma) / kappa).sqrt();
        if !clients.is_finite() || clients > self.reach() {
            return Peak::OutOfReach;
        }
        // ln N* = (ln(1 − σ) − ln κ) / 2. At the peak the curve is level, so its height has the curve's own gradient.
        let slope = [0.0, -0.5 / (1.0 - sigma), -0.5 / kappa];
        Peak::At {
            clients: self.of(clients.ln(), slope),
            throughput: self.of(predicted(self.theta, clients), gradient(self.theta, clients)),
        }
    }

    /// A value from its logarithm and how that moves with the parameters (the delta method).
    fn of(&self, log: f64, slope: [f64; 3]) -> Parameter {
        let spread: f64 =
            (0..3).map(|i| (0..3).map(|j| slope[i] * self.covariance[i][j] * slope[j]).sum::<f64>()).sum();
        let half = self.t * spread.max(0.0).sqrt();
        Parameter { value: log.exp(), interval: [(log - half).exp(), (log + half).exp()] }
    }
}

/// What the law divides by.
fn divisor([_, sigma, kappa]: [f64; 3], clients: f64) -> f64 {
    1.0 + sigma * (clients - 1.0) + kappa * clients * (clients - 1.0)
}

/// The logarithm of throughput; the first parameter is the logarithm of λ.
fn predicted(theta: [f64; 3], clients: f64) -> f64 {
    theta[0] + clients.ln() - divisor(theta, clients).ln()
}

fn gradient(theta: [f64; 3], clients: f64) -> [f64; 3] {
    let divisor = divisor(theta, clients);
    [1.0, -(clients - 1.0) / divisor, -clients * (clients - 1.0) / divisor]
}

fn normal_matrix(theta: [f64; 3], logs: &[(f64, f64)]) -> [[f64; 3]; 3] {
    let mut matrix = [[0.0; 3]; 3];
    for (clients, _) in logs {
        let slope = gradient(theta, *clients);
        for (row, own) in matrix.iter_mut().zip(slope) {
            for (cell, other) in row.iter_mut().zip(slope) {
                *cell += own * other;
            }
        }
    }
    matrix
}

/// The parameters with the least squared error of the logarithm. They may be negative: noise around 0 is on both sides of
/// it, and throughput that grows faster than the clients has a negative σ.
fn least_squares(logs: &[(f64, f64)]) -> Option<[f64; 3]> {
    let squares = |theta: [f64; 3]| -> f64 {
        // Where the divisor is not positive the law says nothing.
        let sum: f64 = logs.iter().map(|(clients, log)| (log - predicted(theta, *clients)).powi(2)).sum();
        if sum.is_nan() { f64::INFINITY } else { sum }
    };
    let mut theta = start(logs)
        .filter(|theta| squares(*theta).is_finite())
        .unwrap_or_else(|| [logs[0].1 - logs[0].0.ln(), 0.01, 0.000_01]);
    let mut best = squares(theta);
    for _ in 0..200 {
        let mut towards = [0.0; 3];
        for (clients, log) in logs {
            let residual = log - predicted(theta, *clients);
            for (sum, slope) in towards.iter_mut().zip(gradient(theta, *clients)) {
                *sum += slope * residual;
            }
        }
        let step = multiply(&inverse(&normal_matrix(theta, logs))?, towards);
        // Halved until it leads downhill (Gauss and Newton, damped).
        let next = (0..40).map(|halvings| 0.5f64.powi(halvings)).find_map(|part| {
            let next = [0, 1, 2].map(|index| theta[index] + part * step[index]);
            let sum = squares(next);
            (sum < best).then_some((next, sum))
        });
        let Some((next, sum)) = next else { break };
        let done = best - sum <= 1e-14 * best;
        (theta, best) = (next, sum);
        if done {
            break;
        }
    }
    best.is_finite().then_some(theta)
}

/// Near the solution: N / X is linear in 1 / λ, σ / λ and κ / λ. Each equation is divided by N / X, so that it counts as
/// the relative error does.
fn start(logs: &[(f64, f64)]) -> Option<[f64; 3]> {
    let mut matrix = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (clients, log) in logs {
        let weight = log.exp() / clients;
        let terms = [weight, weight * (clients - 1.0), weight * clients * (clients - 1.0)];
        for ((row, sum), own) in matrix.iter_mut().zip(&mut right).zip(terms) {
            *sum += own;
            for (cell, other) in row.iter_mut().zip(terms) {
                *cell += own * other;
            }
        }
    }
    let [one, sigma, kappa] = multiply(&inverse(&matrix)?, right);
    (one > 0.0).then(|| [-one.ln(), sigma / one, kappa / one])
}

fn multiply(matrix: &[[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(cell, value)| cell * value).sum())
}

/// The inverse by cofactors, of a matrix whose rows and columns are first brought to one size: the parameters differ by
/// orders of magnitude. `None` where it has none.
fn inverse(matrix: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let size = [0, 1, 2].map(|index| matrix[index][index].sqrt());
    if size.iter().any(|size| !size.is_finite() || *size <= 0.0) {
        return None;
    }
    let even = |row: usize, column: usize| matrix[row][column] / (size[row] * size[column]);
    let cofactor = |row: usize, column: usize| {
        let (r, c) = ([(row + 1) % 3, (row + 2) % 3], [(column + 1) % 3, (column + 2) % 3]);
        even(r[0], c[0]) * even(r[1], c[1]) - even(r[0], c[1]) * even(r[1], c[0])
    };
    let determinant: f64 = (0..3).map(|column| even(0, column) * cofactor(0, column)).sum();
    (determinant.abs() > 1e-13).then(|| {
        [0, 1, 2].map(|row| [0, 1, 2].map(|column| cofactor(column, row) / determinant / (size[row] * size[column])))
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::estimate::normal_quantile;

    const CLIENTS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

    fn law(lambda: f64, sigma: f64, kappa: f64, clients: f64) -> f64 {
        lambda * clients / (1.0 + sigma * (clients - 1.0) + kappa * clients * (clients - 1.0))
    }

    fn fitted(values: &[(f64, Vec<f64>)]) -> Result<Fit, ScalabilityError> {
        let points: Vec<Measured<'_>> = values.iter().map(|(clients, each)| (*clients, each.as_slice())).collect();
        fit(&points)
    }

    /// Three trials of each number of clients, with normal noise of the logarithm.
    fn noisy(truth: [f64; 3], noise: f64, seed: u64) -> Vec<(f64, Vec<f64>)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let [lambda, sigma, kappa] = truth;
        CLIENTS
            .iter()
            .map(|&clients| {
                let mut one = || {
                    let normal = normal_quantile(random.random_range(1e-9..1.0 - 1e-9));
                    law(lambda, sigma, kappa, clients) * (noise * normal).exp()
                };
                (clients, vec![one(), one(), one()])
            })
            .collect()
    }

    fn near(value: f64, wanted: f64, tolerance: f64) {
        assert!((value - wanted).abs() <= tolerance * wanted.abs().max(1e-9), "{value} is not {wanted}");
    }

    #[test]
    fn known_parameters_are_recovered_exactly_without_noise() {
        for (lambda, sigma, kappa) in [
            (1000.0, 0.05, 0.002),
            (40.0, 0.4, 1e-5),
            (1e6, 0.0, 0.0001),
            (10.0, 0.03, 0.0),
            (995.6, 0.02671, 0.000769),
        ] {
            let fit = fitted(&noisy([lambda, sigma, kappa], 0.0, 1)).unwrap();
            near(fit.lambda.value, lambda, 1e-6);
            assert!((fit.sigma.value - sigma).abs() < 1e-7 && (fit.kappa.value - kappa).abs() < 1e-8, "{fit:?}");
            assert!(fit.error < 1e-6 && fit.forecast_error.unwrap().abs() < 1e-5, "{fit:?}");
        }
        let fit = fitted(&noisy([1000.0, 0.05, 0.002], 0.0, 1)).unwrap();
        let Peak::At { clients, throughput } = fit.peak() else { panic!("{fit:?}") };
        near(clients.value, (0.95f64 / 0.002).sqrt(), 1e-6);
        near(throughput.value, law(1000.0, 0.05, 0.002, clients.value), 1e-6);
        near(fit.at(128.0).unwrap().value, law(1000.0, 0.05, 0.002, 128.0), 1e-6);
    }

    #[test]
    fn intervals_cover_known_parameters_under_noise() {
        let truth = [1000.0, 0.05, 0.001];
        let mut covered = [0; 5];
        const FITS: u64 = 300;
        for seed in 0..FITS {
            let fit = fitted(&noisy(truth, 0.03, seed)).unwrap();
            let within = |parameter: Parameter, truth: f64| {
                u32::from(parameter.interval[0] <= truth && truth <= parameter.interval[1])
            };
            covered[0] += within(fit.lambda, truth[0]);
            covered[1] += within(fit.sigma, truth[1]);
            covered[2] += within(fit.kappa, truth[2]);
            let peak = ((1.0 - truth[1]) / truth[2]).sqrt();
            covered[3] += match fit.peak() {
                Peak::At { clients, .. } => within(clients, peak),
                Peak::OutOfReach | Peak::NotTold => 1,
            };
            covered[4] += within(fit.at(128.0).unwrap(), law(truth[0], truth[1], truth[2], 128.0));
        }
        for covered in covered {
            let share = f64::from(covered) / FITS as f64;
            assert!(share > 0.91, "an interval of 95 % covers in {share}");
        }
    }

    #[test]
    fn no_coherency_means_no_peak_and_reach_is_limited() {
        let mut told = 0;
        for seed in 0..200 {
            let fit = fitted(&noisy([1000.0, 0.1, 0.0], 0.03, seed)).unwrap();
            told += u32::from(fit.kappa.is_told_from_zero());
            assert!(matches!(fit.at(129.0), Err(ScalabilityError::TooFar { .. })));
        }
        assert!(told <= 20, "{told} of 200 fits saw a coherency that is not there");
        // A peak at 300 clients, measured up to 64.
        let fit = fitted(&noisy([1000.0, 0.01, 0.000_011], 0.0, 1)).unwrap();
        assert_eq!(fit.peak(), Peak::OutOfReach);
        assert!(fit.kappa.is_told_from_zero());
    }

    #[test]
    fn what_the_law_does_not_describe_is_said() {
        let few = noisy([1000.0, 0.05, 0.001], 0.0, 1)[..3].to_vec();
        assert_eq!(fitted(&few), Err(ScalabilityError::TooFew(3)));
        let mut dead = noisy([1000.0, 0.05, 0.001], 0.0, 1);
        dead[3].1[1] = 0.0;
        assert_eq!(fitted(&dead), Err(ScalabilityError::NothingDone(8.0)));
        // A collapse that no smooth curve follows: the error is large, and the forecast fails.
        let mut cliff = noisy([1000.0, 0.0, 0.0], 0.0, 1);
        cliff[6].1 = vec![500.0; 3];
        let fit = fitted(&cliff).unwrap();
        assert!(fit.error > 0.2 && fit.forecast_error.unwrap() < -0.9, "{fit:?}");
        // Throughput that does not depend on the clients at all is contention alone.
        let flat: Vec<(f64, Vec<f64>)> = CLIENTS.iter().map(|&clients| (clients, vec![700.0; 3])).collect();
        near(fitted(&flat).unwrap().sigma.value, 1.0, 1e-6);
    }
}
