//! What clients do, and what they must find.
//!
//! Each id belongs to one client. It knows what was acknowledged to it, so each answer can be checked against the truth
//! while the load runs, and the whole store after it.

use std::fmt::Write as _;

use docdb_engine::Operation;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};

use crate::settings::{Distribution, Workload};

/// Where the sequence number's digits are in a document.
const SEQUENCE_DIGITS: usize = 16;

/// A client's documents: the same bytes but for database, id and sequence number.
#[derive(Clone, Debug)]
pub struct Documents {
    text: Vec<u8>,
    id_at: usize,
    sequence_at: usize,
}

impl Documents {
    /// Documents of `bytes` bytes of database `database`, whose filler is drawn from `seed`.
    pub fn new(database: u16, bytes: usize, seed: u64) -> Self {
        let mut text = format!("{{\"database\":{database},\"id\":\"");
        let id_at = text.len();
        text.push_str("0000000000\",\"sequence\":\"");
        let sequence_at = text.len();
        let _ = write!(text, "{:0SEQUENCE_DIGITS$}\",\"body\":\"", 0);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        while text.len() + 2 < bytes {
            text.push(char::from(b'a' + random.random_range(0..26u8)));
        }
        text.push_str("\"}");
        Self { text: text.into_bytes(), id_at, sequence_at }
    }

    /// The document of `id` with `sequence`.
    pub fn document(&mut self, id: u64, sequence: u64) -> &[u8] {
        digits(&mut self.text[self.id_at..self.id_at + 10], id);
        digits(&mut self.text[self.sequence_at..self.sequence_at + SEQUENCE_DIGITS], sequence);
        &self.text
    }

    /// The sequence number of a document, where it has one.
    pub fn sequence_of(&self, document: &[u8]) -> Option<u64> {
        let digits = document.get(self.sequence_at..self.sequence_at + SEQUENCE_DIGITS)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// What an id holds, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No document.
    Nothing,
    /// The document with this sequence number.
    Document(u64),
    /// A write failed: before or after it.
    Unknown,
}

/// A client's ids and what they hold.
#[derive(Clone, Debug)]
pub struct Model {
    /// The database's number.
    pub database: u16,
    first: u64,
    stride: u64,
    /// What each id holds, by its number among the client's.
    pub held: Vec<Held>,
    /// The sequence number of the newest write.
    pub sequence: u64,
    /// The documents.
    pub documents: Documents,
    /// The first answer that was wrong.
    pub wrong: Option<String>,
}

impl Model {
    /// The ids of client `index` of `clients`: its database is `index` modulo the databases, and it has every id whose
    /// remainder is its place among that database's clients.
    pub fn new(workload: &Workload, index: usize, clients: usize, seed: u64) -> Self {
        let databases = usize::from(workload.databases);
        let database = (index % databases) as u16;
        let here = (clients + databases - 1 - usize::from(database)) / databases;
        let (first, stride) = ((index / databases) as u64, here.max(1) as u64);
        let count = (u64::from(workload.ids)).saturating_sub(first).div_ceil(stride) as usize;
        Self {
            database,
            first,
            stride,
            held: vec![Held::Nothing; count],
            sequence: 0,
            documents: Documents::new(database, workload.document_bytes as usize, seed),
            wrong: None,
        }
    }

    /// The id that is the client's `number`-th.
    pub const fn id(&self, number: usize) -> u64 {
        self.first + number as u64 * self.stride
    }

    /// Documents for `share` of the ids, spread evenly, which the model then holds.
    pub fn preload(&mut self, share: f64) -> Vec<(u64, Vec<u8>)> {
        let mut documents = Vec::new();
        for number in 0..self.held.len() {
            // As many as the share says, at any length.
            let wanted = |count: usize| (count as f64 * share).round() as u64;
            if wanted(number + 1) > wanted(number) {
                self.sequence += 1;
                self.held[number] = Held::Document(self.sequence);
                let id = self.id(number);
                documents.push((id, self.documents.document(id, self.sequence).to_vec()));
            }
        }
        documents
    }

    /// Notes that an answer was wrong, if it is the first.
    pub fn note_wrong(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }
}

/// Draws operations and ids.
#[derive(Debug)]
pub struct Draw {
    random: ChaCha8Rng,
    /// Percentages, added up, in the order of [`Operation::ALL`].
    until: [u32; 4],
    zipf: Option<Zipf<f64>>,
    count: usize,
}

impl Draw {
    /// Draws over `count` ids.
    pub fn new(workload: &Workload, count: usize, seed: u64) -> Self {
        let Workload { create, read, update, delete, .. } = *workload;
        let zipf = match workload.distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Zipf::new(count.max(1) as f64, workload.zipf_exponent).ok(),
        };
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            until: [create, create + read, create + read + update, create + read + update + delete],
            zipf,
            count,
        }
    }

    /// The next operation and the number of its id among the client's.
    pub fn next(&mut self) -> (Operation, usize) {
        let roll = self.random.random_range(0..100);
        let operation = Operation::ALL[self.until.iter().position(|&until| roll < until).unwrap_or(1)];
        let number = match &self.zipf {
            // Neighbouring ranks must not be neighbouring ids: they would share a shard.
            Some(zipf) => (zipf.sample(&mut self.random) as usize - 1).wrapping_mul(7_919) % self.count,
            None => self.random.random_range(0..self.count),
        };
        (operation, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_belongs_to_one_client() {
        let workload = Workload { ids: 100, databases: 3, ..Workload::default() };
        for clients in [1, 2, 3, 7, 30] {
            let mut owners = std::collections::BTreeMap::new();
            for index in 0..clients {
                let model = Model::new(&workload, index, clients, 1);
                for number in 0..model.held.len() {
                    *owners.entry((model.database, model.id(number))).or_insert(0) += 1;
                }
            }
            assert!(owners.values().all(|&count| count == 1), "{clients} clients");
            assert_eq!(owners.len(), 100 * clients.min(3), "{clients} clients");
        }
    }

    #[test]
    fn documents_are_json_of_the_size_asked_for() {
        let mut documents = Documents::new(2, 1024, 7);
        let document = documents.document(42, 123_456_789).to_vec();
        assert_eq!(document.len(), 1024);
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!((&value["id"], &value["sequence"]), (&"0000000042".into(), &"0000000123456789".into()));
    }

    #[test]
    fn the_mix_is_the_one_asked_for() {
        let mut draw = Draw::new(&Workload::default(), 1000, 3);
        let mut counts = [0u32; 4];
        for _ in 0..100_000 {
            counts[draw.next().0 as usize] += 1;
        }
        // Five standard deviations of a binomial at most.
        for (count, percent) in counts.into_iter().zip([30.0, 40.0, 20.0, 10.0]) {
            let deviation = (100_000.0f64 * percent / 100.0 * (1.0 - percent / 100.0)).sqrt();
            assert!((f64::from(count) - 1000.0 * percent).abs() < 5.0 * deviation, "{count} of {percent} %");
        }
    }

    #[test]
    fn a_preload_holds_its_share() {
        let mut model = Model::new(&Workload::default(), 0, 30, 1);
        let documents = model.preload(0.75);
        assert_eq!(documents.len(), 750);
        assert_eq!(model.held.iter().filter(|held| matches!(held, Held::Document(_))).count(), 750);
    }
}
