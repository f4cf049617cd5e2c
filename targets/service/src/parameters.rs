//! What the placeholders of operations stand for: distributions, sequences, random bytes.
//!
//! The distributions are those of YCSB (Cooper et al. 2010); its Zipf generator is that of Gray et al., "Quickly generating
//! billion-record synthetic databases" (1994).

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How unequal a Zipf distribution is where nothing is written: YCSB's constant.
const THETA: f64 = 0.99;
/// The most items whose weights are added up before a trial.
const ZIPF_ITEMS_MAX: u64 = 100_000_000;
/// YCSB draws from this many items and hashes, so that the popular ones are spread; and the sum of their weights.
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;
/// Sixty-four characters that need no escape in JSON, SQL or a URL.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A parameter as a scenario writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Parameter {
    /// Whole numbers, each as often as any other.
    Uniform(Range),
    /// Whole numbers by Zipf's law: the first is the most popular one.
    Zipf(Zipf),
    /// By Zipf's law backwards from the newest number of a sequence whose operation succeeded.
    Latest(Latest),
    /// One number after the other, over all clients.
    Sequential(Sequential),
    /// So many random characters of `A-Za-z0-9-_`.
    Bytes(usize),
    /// One of these texts, each as often as any other.
    Choice(Vec<String>),
}

/// Whole numbers from `from` to `to`, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The smallest.
    #[serde(default)]
    pub from: u64,
    /// The largest.
    pub to: u64,
    /// Zeros before the number, up to so many digits.
    #[serde(default)]
    pub pad: usize,
}

/// A Zipf distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zipf {
    /// The smallest.
    #[serde(default)]
    pub from: u64,
    /// The largest.
    pub to: u64,
    /// How unequal they are, between 0 and 1.
    #[serde(default = "theta")]
    pub theta: f64,
    /// Whether the popular ones are spread over the range, as YCSB does.
    #[serde(default)]
    pub scrambled: bool,
    /// Whether the number is written as YCSB's hash of it.
    #[serde(default)]
    pub hashed: bool,
    /// Zeros before the number, up to so many digits.
    #[serde(default)]
    pub pad: usize,
}

/// Near the newest of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latest {
    /// The parameter that is the sequence.
    pub of: String,
    /// How unequal they are.
    #[serde(default = "theta")]
    pub theta: f64,
}

/// A sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sequential {
    /// The first.
    pub from: u64,
    /// Whether the number is written as YCSB's hash of it.
    pub hashed: bool,
    /// Zeros before the number, up to so many digits.
    pub pad: usize,
}

fn theta() -> f64 {
    THETA
}

impl Parameter {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        let zipf = |theta: f64| {
            if theta > 0.0 && theta < 1.0 {
                Ok(())
            } else {
                Err(format!("theta must lie between 0 and 1, got {theta}"))
            }
        };
        match self {
            Self::Uniform(range) if range.from > range.to => {
                Err(format!("from {} to {} there is no number", range.from, range.to))
            }
            Self::Zipf(law) if law.from > law.to => Err(format!("from {} to {} there is no number", law.from, law.to)),
            Self::Zipf(law) if !law.scrambled && law.to - law.from >= ZIPF_ITEMS_MAX => {
                Err(format!("a Zipf distribution has at most {ZIPF_ITEMS_MAX} numbers; write `scrambled = true`"))
            }
            Self::Zipf(law) => zipf(law.theta),
            Self::Latest(latest) => zipf(latest.theta),
            Self::Bytes(bytes) if *bytes > 64 << 20 => Err("a value has at most 64 MiB".to_owned()),
            Self::Choice(texts) if texts.is_empty() => {
                Err("a choice among nothing; write at least one text".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A sequence that all clients share: what was handed out, and up to where all of it succeeded. Where several agents send,
/// each hands out its share: every so many-th number.
#[derive(Debug)]
pub struct Sequence {
    from: u64,
    share: Share,
    next: AtomicU64,
    /// Every place below was acknowledged.
    acknowledged: AtomicU64,
    /// Acknowledged beyond that.
    beyond: Mutex<BTreeSet<u64>>,
}

impl Sequence {
    fn new(from: u64, share: Share) -> Self {
        let (next, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { from, share, next, acknowledged, beyond: Mutex::default() }
    }

    /// The next number.
    fn take(&self) -> u64 {
        self.number(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The number that this agent hands out at `place`.
    fn number(&self, place: u64) -> u64 {
        self.from + place * self.share.of + self.share.number
    }

    /// The newest number that is known to be there. What other agents have added is not known: with several of them it is
    /// the newest of this one.
    fn newest(&self) -> u64 {
        match self.acknowledged.load(Ordering::Relaxed) {
            0 => self.from.saturating_sub(1),
            places => self.number(places - 1),
        }
    }

    /// The next number is this one.
    pub fn resume_at(&self, number: u64) {
        self.next.store(number.saturating_sub(self.from) / self.share.of, Ordering::Relaxed);
    }

    /// The operation with this number is over.
    pub fn settle(&self, number: u64) {
        let mut beyond = self.beyond.lock();
        beyond.insert((number - self.from) / self.share.of);
        let mut up_to = self.acknowledged.load(Ordering::Relaxed);
        while beyond.remove(&up_to) {
            up_to += 1;
        }
        self.acknowledged.store(up_to, Ordering::Relaxed);
    }
}

/// Draws the values of one parameter; cloned for each client.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// See [`Parameter::Uniform`].
    Uniform(Range),
    /// See [`Parameter::Zipf`].
    Zipf(Arc<ZipfLaw>, Zipf),
    /// See [`Parameter::Latest`]; the weights are added up to where the sequence is.
    Latest(Arc<Sequence>, Sequential, ZipfLaw),
    /// See [`Parameter::Sequential`].
    Sequential(Arc<Sequence>, Sequential),
    /// See [`Parameter::Bytes`].
    Bytes(usize),
    /// See [`Parameter::Choice`].
    Choice(Arc<Vec<String>>),
}

/// The samplers of all parameters, in their order.
///
/// # Errors
/// The name of a parameter and what is wrong with it.
pub fn samplers(parameters: &[(String, Parameter)]) -> Result<Vec<Sampler>, (String, String)> {
    samplers_of(parameters, Share::default())
}

/// The part of one agent of several that send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number, from 0.
    pub number: u64,
    /// How many send.
    pub of: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self { number: 0, of: 1 }
    }
}

/// As [`samplers`], for one agent of several.
///
/// # Errors
/// As [`samplers`].
pub fn samplers_of(parameters: &[(String, Parameter)], share: Share) -> Result<Vec<Sampler>, (String, String)> {
    let sequences: Vec<Option<(Arc<Sequence>, Sequential)>> = parameters
        .iter()
        .map(|(_, parameter)| match parameter {
            Parameter::Sequential(of) => Some((Arc::new(Sequence::new(of.from, share)), of.clone())),
            _ => None,
        })
        .collect();
    let sampler = |(index, (name, parameter)): (usize, &(String, Parameter))| {
        Ok(match parameter {
            Parameter::Uniform(range) => Sampler::Uniform(range.clone()),
            Parameter::Zipf(law) => {
                let items = law.to - law.from + 1;
                let sums = if law.scrambled { ZipfLaw::scrambled(law.theta) } else { ZipfLaw::new(items, law.theta) };
                Sampler::Zipf(Arc::new(sums), law.clone())
            }
            Parameter::Latest(latest) => {
                let of = parameters.iter().position(|(other, _)| *other == latest.of);
                let Some((sequence, written)) = of.and_then(|of| sequences[of].clone()) else {
                    return Err((name.clone(), format!("`{}` is no parameter of the kind `sequential`", latest.of)));
                };
                let items = written.from.max(1);
                Sampler::Latest(sequence, written, ZipfLaw::new(items, latest.theta))
            }
            Parameter::Sequential(_) => match &sequences[index] {
                Some((sequence, written)) => Sampler::Sequential(Arc::clone(sequence), written.clone()),
                None => return Err((name.clone(), "is no sequence".to_owned())),
            },
            Parameter::Bytes(bytes) => Sampler::Bytes(*bytes),
            Parameter::Choice(texts) => Sampler::Choice(Arc::new(texts.clone())),
        })
    };
    parameters.iter().enumerate().map(sampler).collect()
}

impl Sampler {
    /// Writes the next value into `into`; the number, where it is one of a sequence.
    pub fn draw(&mut self, random: &mut ChaCha8Rng, into: &mut Vec<u8>) -> Option<u64> {
        into.clear();
        match self {
            Self::Uniform(range) => number(random.random_range(range.from..=range.to), range.pad, into),
            Self::Zipf(law, written) => {
                let items = written.to - written.from + 1;
                let rank = law.draw(random);
                let rank = if written.scrambled { fnv_hash(rank) % items } else { rank };
                let drawn = written.from + rank;
                number(if written.hashed { fnv_hash(drawn) } else { drawn }, written.pad, into);
            }
            Self::Latest(sequence, written, law) => {
                let newest = sequence.newest();
                law.grow_to(newest + 1);
                let mut drawn = newest - law.draw(random).min(newest);
                if drawn >= sequence.from {
                    // Among those that this agent has added, whose every number it knows to be there.
                    let Share { number, of } = sequence.share;
                    drawn = drawn.saturating_sub((drawn - sequence.from + of - number) % of);
                }
                number(if written.hashed { fnv_hash(drawn) } else { drawn }, written.pad, into);
            }
            Self::Sequential(sequence, written) => {
                let drawn = sequence.take();
                number(if written.hashed { fnv_hash(drawn) } else { drawn }, written.pad, into);
                return Some(drawn);
            }
            Self::Bytes(bytes) => {
                into.resize(*bytes, 0);
                random.fill_bytes(into);
                into.iter_mut().for_each(|byte| *byte = ALPHABET[usize::from(*byte & 63)]);
            }
            Self::Choice(texts) => into.extend_from_slice(texts[random.random_range(0..texts.len())].as_bytes()),
        }
        None
    }

    /// The sequence that it counts.
    pub fn sequence(&self) -> Option<&Arc<Sequence>> {
        match self {
            Self::Sequential(sequence, _) => Some(sequence),
            _ => None,
        }
    }
}

fn number(value: u64, pad: usize, into: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(into, "{value:0pad$}");
}

/// The hash that YCSB makes names of: FNV-1 of the eight bytes, lowest first, made positive.
pub fn fnv_hash(mut value: u64) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for _ in 0..8 {
        hash = (hash ^ (value & 0xff)).wrapping_mul(1_099_511_628_211);
        value >>= 8;
    }
    (hash as i64).unsigned_abs()
}

/// The numbers from 0 by Zipf's law.
#[derive(Clone, Debug)]
pub struct ZipfLaw {
    items: u64,
    theta: f64,
    alpha: f64,
    /// Sum of the weights of all items.
    zeta: f64,
    /// Of the first two.
    zeta_two: f64,
}

impl ZipfLaw {
    /// Of so many items.
    pub fn new(items: u64, theta: f64) -> Self {
        let mut law =
            Self { items: 0, theta, alpha: 1.0 / (1.0 - theta), zeta: 0.0, zeta_two: 1.0 + 0.5f64.powf(theta) };
        law.grow_to(items);
        law
    }

    fn scrambled(theta: f64) -> Self {
        if theta == THETA {
            return Self { items: SCRAMBLED_ITEMS, zeta: SCRAMBLED_ZETA, ..Self::new(1, theta) };
        }
        // Another law than YCSB's: as many items as are added up in a moment.
        Self::new(ZIPF_ITEMS_MAX / 10, theta)
    }

    /// More items than before.
    pub fn grow_to(&mut self, items: u64) {
        while self.items < items {
            self.items += 1;
            self.zeta += (self.items as f64).powf(-self.theta);
        }
    }

    /// The rank of one item, from 0.
    pub fn draw(&self, random: &mut ChaCha8Rng) -> u64 {
        let uniform: f64 = random.random();
        let scaled = uniform * self.zeta;
        if scaled < 1.0 || self.items < 2 {
            return 0;
        }
        if scaled < self.zeta_two {
            return 1;
        }
        let eta = (1.0 - (2.0 / self.items as f64).powf(1.0 - self.theta)) / (1.0 - self.zeta_two / self.zeta);
        let rank = (self.items as f64 * (eta * uniform - eta + 1.0).powf(self.alpha)) as u64;
        rank.min(self.items - 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn text(sampler: &mut Sampler, random: &mut ChaCha8Rng) -> String {
        let mut into = Vec::new();
        sampler.draw(random, &mut into);
        String::from_utf8(into).unwrap()
    }

    /// Shares of the first ranks are those of the law, within five standard deviations.
    #[test]
    fn zipf_has_the_shares_of_its_law() {
        let law = ZipfLaw::new(1_000, 0.99);
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let draws = 200_000;
        let mut counts = vec![0u32; 1_000];
        for _ in 0..draws {
            counts[law.draw(&mut random) as usize] += 1;
        }
        for (rank, &count) in counts.iter().enumerate().take(2) {
            let share = (rank as f64 + 1.0).powf(-0.99) / law.zeta;
            let deviation = (f64::from(draws) * share * (1.0 - share)).sqrt();
            let difference = f64::from(count) - f64::from(draws) * share;
            assert!(difference.abs() < 5.0 * deviation, "rank {rank}: {count} of {draws}, share {share}");
        }
        // Beyond the first two the method approximates: the upper half has its share within a tenth.
        let wanted: f64 = (500..1_000).map(|rank| (f64::from(rank) + 1.0).powf(-0.99) / law.zeta).sum();
        let upper = f64::from(counts[500..].iter().sum::<u32>()) / f64::from(draws);
        assert!((upper / wanted - 1.0).abs() < 0.1, "{upper} against {wanted}");
    }

    #[test]
    fn the_latest_are_near_the_end_of_what_succeeded() {
        let parameters = [
            ("new".to_owned(), Parameter::Sequential(Sequential { from: 100, ..Sequential::default() })),
            ("key".to_owned(), Parameter::Latest(Latest { of: "new".to_owned(), theta: 0.99 })),
        ];
        let mut samplers = samplers(&parameters).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<u64> = (0..50).map(|_| text(&mut samplers[0], &mut random).parse().unwrap()).collect();
        assert_eq!(drawn, (100..150).collect::<Vec<u64>>());
        let sequence = Arc::clone(samplers[0].sequence().unwrap());
        (101..120).for_each(|number| sequence.settle(number));
        for _ in 0..200 {
            assert!(text(&mut samplers[1], &mut random).parse::<u64>().unwrap() < 100, "100 is not settled");
        }
        sequence.settle(100);
        let newest = (0..200).filter(|_| text(&mut samplers[1], &mut random) == "119").count();
        assert!(newest > 10, "{newest}");
        let unknown = [("key".to_owned(), Parameter::Latest(Latest { of: "x".to_owned(), theta: 0.99 }))];
        assert!(super::samplers(&unknown).is_err());
    }

    #[test]
    fn agents_divide_a_sequence_and_know_their_own() {
        let parameters = [
            ("new".to_owned(), Parameter::Sequential(Sequential { from: 10, ..Sequential::default() })),
            ("key".to_owned(), Parameter::Latest(Latest { of: "new".to_owned(), theta: 0.99 })),
        ];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut all = BTreeSet::new();
        for number in 0..3 {
            let mut samplers = samplers_of(&parameters, Share { number, of: 3 }).unwrap();
            let sequence = Arc::clone(samplers[0].sequence().unwrap());
            for _ in 0..40 {
                assert!(text(&mut samplers[1], &mut random).parse::<u64>().unwrap() < 10, "nothing is settled yet");
            }
            let own: BTreeSet<u64> = (0..20).map(|_| text(&mut samplers[0], &mut random).parse().unwrap()).collect();
            own.iter().for_each(|&drawn| sequence.settle(drawn));
            for _ in 0..200 {
                let drawn = text(&mut samplers[1], &mut random).parse::<u64>().unwrap();
                assert!(drawn < 10 || own.contains(&drawn), "{drawn} is another agent's");
            }
            all.extend(own);
        }
        assert_eq!(all, (10..70).collect::<BTreeSet<u64>>(), "every number once");
    }

    /// `Utils.fnvhash64` of YCSB.
    #[test]
    fn names_are_those_of_ycsb() {
        assert_eq!(fnv_hash(0), 6_284_781_860_667_377_211);
        assert_eq!(fnv_hash(1), 8_517_097_267_634_966_620);
    }

    #[test]
    fn texts_and_numbers_are_as_they_are_asked_for() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let range = Range { from: 7, to: 9, pad: 4 };
        for _ in 0..50 {
            let drawn = text(&mut Sampler::Uniform(range.clone()), &mut random);
            assert!(["0007", "0008", "0009"].contains(&drawn.as_str()), "{drawn}");
        }
        let drawn = text(&mut Sampler::Bytes(1_000), &mut random);
        assert!(drawn.len() == 1_000 && drawn.bytes().all(|byte| ALPHABET.contains(&byte)));
        let law = Zipf { from: 10, to: 12, theta: 0.99, scrambled: true, hashed: false, pad: 0 };
        let parameters = [("k".to_owned(), Parameter::Zipf(law.clone()))];
        let mut sampler = samplers(&parameters).unwrap().remove(0);
        let drawn: BTreeSet<String> = (0..500).map(|_| text(&mut sampler, &mut random)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["10", "11", "12"]);
        assert!(Parameter::Zipf(Zipf { theta: 1.5, ..law }).check().is_err());
        assert!(Parameter::Choice(Vec::new()).check().is_err());
    }
}
