//! An engine that died under load, opened again and checked against what its clients were told.

use std::collections::BTreeMap;

use dataflow_engine::{
    engine::{Engine, EngineError},
    persist::Storage,
    row::{Vote, client_and_sequence},
};
use uplift_sdk::{
    Audit, OpenContext, Recovered, TargetError,
    crash_ledger::{Entry, Ledger},
};

use crate::{
    settings::{Settings, Workload},
    target::PRELOAD_CLIENT,
};

/// What is left of an engine.
pub struct RecoveredEngine {
    engine: Engine,
    workload: Workload,
}

/// The votes that one place holds: how often each, by client and sequence number, and how many of each article.
#[derive(Debug, Default)]
struct Place {
    by_client: BTreeMap<u16, Vec<u8>>,
    by_article: BTreeMap<u32, u64>,
}

impl Place {
    fn count(&mut self, vote: Vote) {
        let (client, sequence) = client_and_sequence(vote.user);
        let seen = self.by_client.entry(client).or_default();
        let index = sequence as usize;
        if seen.len() <= index {
            seen.resize(index + 1, 0);
        }
        seen[index] = seen[index].saturating_add(1);
        *self.by_article.entry(vote.article).or_default() += 1;
    }

    fn times(&self, client: u16, sequence: u64) -> u8 {
        self.by_client.get(&client).and_then(|seen| seen.get(sequence as usize)).copied().unwrap_or(0)
    }
}

impl RecoveredEngine {
    /// Opens what is in the data directory.
    pub fn open(workload: Workload, settings: &Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let (engine, _) = Engine::open(&context.data_dir, &settings.engine(), &Storage::real(), &context.events)
            .map_err(|error| TargetError::engine("opening the engine", error))?;
        Ok(Self { engine, workload })
    }

    fn places(&self) -> Result<BTreeMap<&'static str, Place>, EngineError> {
        self.engine.settle()?;
        let mut places: BTreeMap<&'static str, Place> =
            self.engine.places()?.into_iter().map(|name| (name, Place::default())).collect();
        self.engine.read_back(&mut |name, vote| places.entry(name).or_default().count(vote))?;
        Ok(places)
    }
}

impl Recovered for RecoveredEngine {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let places = match self.places() {
            Ok(places) => places,
            Err(error) => {
                // It opened, and what is there cannot be read.
                let mut audit = Audit { acknowledged: ledger.acknowledged(), wrong: 1, ..Audit::default() };
                audit.note(|| format!("reading votes back: {error}"));
                return Ok(audit);
            }
        };
        let clients: Vec<(u16, &[Entry])> =
            (0u16..).zip(&ledger.clients).map(|(client, entries)| (client, entries.as_slice())).collect();
        // What is in one place and not in the other is gone as well: the worst of them counts.
        let audits = places.iter().map(|(name, place)| {
            let mut audit = in_place(name, place, &clients, self.workload.preload_votes, ledger.cut_ns);
            against_view(
                &mut audit,
                name,
                place,
                |article| self.engine.view().read(article).map(|row| row.votes.unwrap_or(0)),
                self.workload.articles,
            );
            audit
        });
        let none = || in_place("no place", &Place::default(), &clients, 0, ledger.cut_ns);
        Ok(audits.max_by_key(|audit| audit.lost + audit.wrong + audit.twice).unwrap_or_else(none))
    }
}

fn against_view(audit: &mut Audit, name: &str, place: &Place, view: impl Fn(u32) -> Option<u64>, articles: u32) {
    for article in 0..articles {
        let stored = place.by_article.get(&article).copied().unwrap_or(0);
        let shown = view(article);
        if shown != Some(stored) {
            audit.wrong += 1;
            audit.note(|| format!("article {article} has {stored} votes in {name}, and {shown:?} in the view"));
        }
    }
}

/// Holds one place against what clients were told.
fn in_place(name: &str, place: &Place, clients: &[(u16, &[Entry])], preloaded: u64, cut_ns: u64) -> Audit {
    let mut audit = Audit::default();
    let mut sent: BTreeMap<u16, u64> = BTreeMap::from([(PRELOAD_CLIENT, preloaded)]);
    for &(client, entries) in clients {
        for entry in entries {
            let end = entry.key + entry.value;
            sent.entry(client).and_modify(|sent| *sent = (*sent).max(end)).or_insert(end);
            let Some(acknowledged_ns) = entry.acknowledged_ns() else {
                audit.in_flight += entry.value;
                continue;
            };
            audit.acknowledged += entry.value;
            for sequence in (entry.key..end).filter(|sequence| place.times(client, *sequence) == 0) {
                audit.note(|| format!("vote {sequence} of client {client} was acknowledged and is not in {name}"));
                audit.note_lost(acknowledged_ns, cut_ns);
            }
        }
    }
    let missing = (0..preloaded).filter(|sequence| place.times(PRELOAD_CLIENT, *sequence) == 0).count() as u64;
    if missing > 0 {
        audit.wrong += missing;
        audit.note(|| format!("{missing} votes that were there before the load are not in {name}"));
    }
    for (client, seen) in &place.by_client {
        let sent = sent.get(client).copied().unwrap_or(0);
        for (sequence, times) in (0u64..).zip(seen).filter(|(_, times)| **times > 0) {
            if sequence >= sent {
                audit.wrong += 1;
                audit.note(|| format!("vote {sequence} of client {client} is in {name}, and was never sent"));
            } else if *times > 1 {
                audit.twice += 1;
                audit.note(|| format!("vote {sequence} of client {client} is in {name} {times} times"));
            }
        }
    }
    audit
}

#[cfg(test)]
mod tests {
    use dataflow_engine::row::user;
    use uplift_sdk::crash_ledger::State;

    use super::*;

    fn entry(key: u64, value: u64, acknowledged_ns: Option<u64>) -> Entry {
        Entry { kind: 0, key, value, state: acknowledged_ns.map_or(State::Open, State::Acknowledged) }
    }

    fn place(votes: &[(u16, u64)]) -> Place {
        let mut place = Place::default();
        for &(client, sequence) in votes {
            place.count(Vote { article: 0, user: user(client, sequence) });
        }
        place
    }

    #[test]
    fn lost_wrong_and_twice_are_told_apart() {
        let entries = [entry(0, 2, Some(10)), entry(2, 2, Some(40)), entry(4, 2, None)];
        let judged = |votes: &[(u16, u64)]| in_place("log", &place(votes), &[(0, &entries)], 0, 100);
        let whole = judged(&[(0, 0), (0, 1), (0, 2), (0, 3), (0, 5)]);
        assert!(whole.is_clean(), "what is in flight may be there or not: {whole:?}");
        assert_eq!((whole.acknowledged, whole.in_flight), (4, 2));
        let lost = judged(&[(0, 0), (0, 1), (0, 3)]);
        assert_eq!((lost.lost, lost.oldest_lost_ns, lost.wrong), (1, Some(60), 0));
        assert_eq!(judged(&[(0, 0), (0, 1), (0, 1), (0, 2), (0, 3)]).twice, 1);
        assert_eq!(judged(&[(0, 0), (0, 1), (0, 2), (0, 3), (0, 6), (9, 0)]).wrong, 2);
    }

    #[test]
    fn the_view_must_be_a_recount() {
        let mut audit = Audit::default();
        against_view(&mut audit, "log", &place(&[(0, 0)]), |article| Some(u64::from(article == 0)), 3);
        assert!(audit.is_clean());
        against_view(&mut audit, "log", &place(&[(0, 0)]), |_| Some(1), 3);
        assert_eq!(audit.wrong, 2);
    }
}
