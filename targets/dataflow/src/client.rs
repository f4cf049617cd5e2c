//! Clients of the workload: who votes for what, and what was acknowledged.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dataflow_engine::{
    engine::{Engine, Packets},
    row::{Vote, user},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};
use uplift_sdk::{
    Batch, Client, Outcome, OutcomeKind,
    crash_ledger::{End, LedgerWriter},
    slowdown::Slowdown,
};

use crate::settings::{Distribution, Workload};

/// Kinds of operation, by index.
pub mod kind {
    /// A vote.
    pub const VOTE: u8 = 0;
    /// A read of the view.
    pub const READ: u8 = 1;
    /// A recovery.
    pub const RECOVER: u8 = 2;
    /// Their names.
    pub const NAMES: [&str; 3] = ["vote", "read", "recover"];
}

/// Failure categories, by index.
pub mod failure {
    /// A shard failed.
    pub const SHARD: u8 = 0;
    /// An article of the set-up was not in the view.
    pub const MISSING_ARTICLE: u8 = 1;
    /// A recovery did not bring back what was there.
    pub const RECOVERY: u8 = 2;
    /// Their names.
    pub const NAMES: [&str; 3] = ["shard failed", "article missing", "recovery incomplete"];
}

/// What one client was told.
#[derive(Debug, Default)]
pub struct Tally {
    /// Votes 0 to this were acknowledged.
    pub acknowledged: AtomicU64,
    /// Whether a packet failed, after which the client votes no more.
    pub failed: AtomicBool,
}

/// Draws articles as the workload says.
#[derive(Clone, Debug)]
pub struct Articles {
    random: ChaCha8Rng,
    count: u32,
    zipf: Option<Zipf<f64>>,
}

impl Articles {
    /// Draws for `workload` from `seed`.
    pub fn new(workload: &Workload, seed: u64) -> Self {
        let zipf = match workload.distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(
                Zipf::new(f64::from(workload.articles), workload.zipf_exponent)
                    .expect("validated: at least one article and a positive exponent"),
            ),
        };
        Self { random: ChaCha8Rng::seed_from_u64(seed), count: workload.articles, zipf }
    }

    /// The next article.
    #[inline]
    pub fn draw(&mut self) -> u32 {
        match &self.zipf {
            None => self.random.random_range(0..self.count),
            // Ranks begin at 1.
            Some(zipf) => zipf.sample(&mut self.random) as u32 - 1,
        }
    }
}

/// One load thread's client.
pub struct Voter<'a> {
    engine: &'a Engine,
    articles: Articles,
    packets: Packets,
    tally: Arc<Tally>,
    number: u16,
    write_every: u64,
    operations: u64,
    votes: u64,
    ledger: Option<LedgerWriter>,
}

impl<'a> Voter<'a> {
    /// Client `number` of `engine`; what it is told goes to `tally`.
    pub fn new(
        engine: &'a Engine,
        workload: &Workload,
        number: u16,
        seed: u64,
        tally: Arc<Tally>,
        ledger: Option<LedgerWriter>,
    ) -> Self {
        Self {
            engine,
            articles: Articles::new(workload, seed),
            packets: Packets::new(engine),
            tally,
            number,
            write_every: u64::from(workload.write_every),
            operations: 0,
            votes: 0,
            ledger,
        }
    }

    fn vote(&mut self, votes: u32) -> Outcome {
        if self.tally.failed.load(Ordering::Relaxed) {
            return Outcome::failed(kind::VOTE, failure::SHARD).of(votes);
        }
        for sequence in self.votes..self.votes + u64::from(votes) {
            let vote = Vote { article: self.articles.draw(), user: user(self.number, sequence) };
            self.packets.add(self.engine, vote);
        }
        // A packet is an operation: from its first vote on, so many.
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(0, self.votes, u64::from(votes));
        }
        self.votes += u64::from(votes);
        let sent = self.packets.send(self.engine);
        if let Some(ledger) = &mut self.ledger {
            ledger.end(if sent.is_ok() { End::Acknowledged } else { End::Unknown });
        }
        match sent {
            Ok(()) => {
                self.tally.acknowledged.store(self.votes, Ordering::Release);
                Outcome::ok(kind::VOTE).of(votes)
            }
            Err(_) => {
                self.tally.failed.store(true, Ordering::Release);
                Outcome::failed(kind::VOTE, failure::SHARD).of(votes)
            }
        }
    }

    fn read(&mut self, reads: u32) -> Outcome {
        let mut missing = 0;
        for _ in 0..reads {
            let row = self.engine.view().read(self.articles.draw());
            missing += u32::from(row.is_none());
            black_box(row);
        }
        let result = if missing == 0 { OutcomeKind::Ok } else { OutcomeKind::Failed(failure::MISSING_ARTICLE) };
        Outcome { result, ..Outcome::ok(kind::READ).of(reads) }
    }
}

impl Client for Voter<'_> {
    /// A batch is of one kind. Which, keeps votes at their share of operations, whatever the sizes of batches are: after
    /// a slow vote many reads are due at once.
    fn operate(&mut self, batch: Batch) -> Outcome {
        let write = self.votes * self.write_every <= self.operations;
        self.operations += u64::from(batch.operations);
        if write { self.vote(batch.operations) } else { self.read(batch.operations) }
    }
}

/// A client whose operations are made slower, for testing the harness.
#[derive(Debug)]
pub struct Slowed<C> {
    client: C,
    slowdown: Slowdown,
}

impl<C> Slowed<C> {
    /// `client`, slower by `percent` of each operation's own time.
    pub fn new(client: C, percent: f64) -> Self {
        Self { client, slowdown: Slowdown::new(percent) }
    }
}

impl<C: Client> Client for Slowed<C> {
    #[inline]
    fn operate(&mut self, batch: Batch) -> Outcome {
        self.slowdown.around(|| self.client.operate(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of the first ranks against k^-s / H(n, s), within five standard deviations.
    #[test]
    fn zipf_has_its_frequencies() {
        let workload = Workload { distribution: Distribution::Zipf, ..Workload::default() };
        let mut articles = Articles::new(&workload, 7);
        let draws = 1_000_000;
        let mut counts = vec![0u32; workload.articles as usize];
        for _ in 0..draws {
            counts[articles.draw() as usize] += 1;
        }
        let weight = |rank: u32| f64::from(rank).powf(-workload.zipf_exponent);
        let total: f64 = (1..=workload.articles).map(weight).sum();
        for rank in 1..=10 {
            let p = weight(rank) / total;
            let (wanted, deviation) = (f64::from(draws) * p, (f64::from(draws) * p * (1.0 - p)).sqrt());
            let seen = f64::from(counts[rank as usize - 1]);
            assert!((seen - wanted).abs() < 5.0 * deviation, "rank {rank}: {seen}, wanted {wanted:.0}");
        }
    }
}
