//! A recount: the view equals a recount of every place where votes are stored, and each acknowledged vote
//! is stored exactly once.

use std::collections::BTreeMap;

use crate::{
    engine::{Engine, EngineError},
    row::{Vote, client_and_sequence},
};

/// What a recount found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether everything is as it was told.
    pub passed: bool,
    /// Votes and articles that were looked at.
    pub checked: u64,
    /// What was found, or the first thing that is wrong.
    pub detail: String,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// So many of its votes were acknowledged, from the first on.
    pub acknowledged: u64,
    /// So many of the next may be stored as well: those of a packet that was under way.
    pub unanswered_max: u64,
}

/// Checks `engine`, whose view shows `articles` articles, against what its clients were told.
///
/// # Errors
/// When what is stored cannot be read.
pub fn check(engine: &Engine, articles: u32, told: &BTreeMap<u16, Told>) -> Result<Check, EngineError> {
    engine.settle()?;
    let mut places: BTreeMap<&'static str, Place> =
        engine.places()?.into_iter().map(|name| (name, Place::default())).collect();
    engine.read_back(&mut |name, vote| {
        places.entry(name).or_default().count(vote);
    })?;
    let acknowledged: u64 = told.values().map(|told| told.acknowledged).sum();
    let checked = acknowledged + u64::from(articles);
    let failed = |detail: String| Ok(Check { passed: false, checked, detail });
    if places.is_empty() {
        return failed("votes are stored nowhere that could be read back".to_owned());
    }
    for (name, place) in &places {
        if let Some(wrong) = place.against_clients(told).or_else(|| place.against_view(engine, articles)) {
            return failed(format!("in {name}, {wrong}"));
        }
    }
    let names: Vec<&str> = places.keys().copied().collect();
    Ok(Check {
        passed: true,
        checked,
        detail: format!(
            "each of {acknowledged} acknowledged votes is stored once in {}, and the view of {articles} articles equals a recount",
            names.join(" and ")
        ),
    })
}

/// A recount of one place.
#[derive(Debug, Default)]
struct Place {
    by_article: Vec<u64>,
    by_client: BTreeMap<u16, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    bits: Vec<u64>,
    twice: Option<u64>,
    count: u64,
}

impl Place {
    fn count(&mut self, vote: Vote) {
        let article = vote.article as usize;
        if self.by_article.len() <= article {
            self.by_article.resize(article + 1, 0);
        }
        self.by_article[article] += 1;
        let (client, sequence) = client_and_sequence(vote.user);
        let seen = self.by_client.entry(client).or_default();
        let (word, bit) = ((sequence / 64) as usize, 1u64 << (sequence % 64));
        if seen.bits.len() <= word {
            seen.bits.resize(word + 1, 0);
        }
        if seen.bits[word] & bit != 0 {
            seen.twice = Some(sequence);
        }
        seen.bits[word] |= bit;
        seen.count += 1;
    }

    fn against_clients(&self, told: &BTreeMap<u16, Told>) -> Option<String> {
        if let Some(stranger) = self.by_client.keys().find(|client| !told.contains_key(client)) {
            return Some(format!("there are votes of client {stranger}, who cast none"));
        }
        for (client, told) in told {
            let none = Seen::default();
            let seen = self.by_client.get(client).unwrap_or(&none);
            if let Some(sequence) = seen.twice {
                return Some(format!("vote {sequence} of client {client} is stored twice"));
            }
            let has = |sequence: u64| {
                seen.bits.get((sequence / 64) as usize).is_some_and(|word| word >> (sequence % 64) & 1 == 1)
            };
            if let Some(lost) = (0..told.acknowledged).find(|&sequence| !has(sequence)) {
                return Some(format!("vote {lost} of client {client} was acknowledged and is not stored"));
            }
            let sent = told.acknowledged.saturating_add(told.unanswered_max);
            if seen.count > sent || (sent..seen.bits.len() as u64 * 64).any(has) {
                return Some(format!("votes of client {client} are stored beyond the {sent} that it sent"));
            }
        }
        None
    }

    fn against_view(&self, engine: &Engine, articles: u32) -> Option<String> {
        (0..articles.max(self.by_article.len() as u32)).find_map(|article| {
            let stored = self.by_article.get(article as usize).copied().unwrap_or(0);
            match engine.view().read(article) {
                None if article < articles => Some(format!("article {article} is not in the view")),
                None => None,
                Some(row) if row.votes.unwrap_or(0) != stored => {
                    Some(format!("article {article} has {stored} votes, and {} in the view", row.votes.unwrap_or(0)))
                }
                Some(_) => None,
            }
        })
    }
}
