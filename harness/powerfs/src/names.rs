//! Names: what directories hold now, what of it is durable, and what a loss of power may leave.
//!
//! A change of names is atomic (a rename takes one name away and sets another) and durable once a directory that it touches
//! was synced. Without a sync each directory keeps its changes in their order up to some point, as file systems with a
//! journal do; the points of two directories have nothing to do with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::Kept;

type Entries = BTreeMap<OsString, u64>;
type Key = (u64, OsString);

/// One atomic change: each name of a directory holds this from now on.
type Change = Vec<(Key, Option<u64>)>;

/// The names of all directories, by the number of the directory.
#[derive(Clone, Debug, Default)]
pub struct Names {
    now: BTreeMap<u64, Entries>,
    durable: BTreeMap<u64, Entries>,
    changes: Vec<Change>,
}

fn apply(names: &mut BTreeMap<u64, Entries>, change: &Change) {
    for ((directory, name), number) in change {
        let entries = names.entry(*directory).or_default();
        match number {
            Some(number) => entries.insert(name.clone(), *number),
            None => entries.remove(name),
        };
    }
}

impl Names {
    /// What a name stands for.
    pub fn get(&self, directory: u64, name: &std::ffi::OsStr) -> Option<u64> {
        self.now.get(&directory)?.get(name).copied()
    }

    /// The names of a directory.
    pub fn list(&self, directory: u64) -> impl Iterator<Item = (&OsString, u64)> {
        self.now.get(&directory).into_iter().flatten().map(|(name, number)| (name, *number))
    }

    pub fn is_empty(&self, directory: u64) -> bool {
        self.now.get(&directory).is_none_or(BTreeMap::is_empty)
    }

    /// Changes names, all of them or none.
    pub fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.changes.push(change);
    }

    /// What was changed in this directory is durable, and what it rests on.
    pub fn sync(&mut self, directory: u64) {
        let wanted = |change: &Change| change.iter().any(|((of, _), _)| *of == directory);
        let chosen = self.closed(|_, change| wanted(change));
        self.keep(&chosen);
    }

    /// The changes that `wanted` picks and the earlier ones of the same names.
    fn closed(&self, mut wanted: impl FnMut(usize, &Change) -> bool) -> Vec<bool> {
        let mut chosen = vec![false; self.changes.len()];
        let mut keys: BTreeSet<&Key> = BTreeSet::new();
        for (index, change) in self.changes.iter().enumerate().rev() {
            if wanted(index, change) || change.iter().any(|(key, _)| keys.contains(key)) {
                chosen[index] = true;
                keys.extend(change.iter().map(|(key, _)| key));
            }
        }
        chosen
    }

    /// Makes the chosen changes durable; the others stay open.
    fn keep(&mut self, chosen: &[bool]) {
        let mut index = 0;
        let durable = &mut self.durable;
        self.changes.retain(|change| {
            let keep = chosen[index];
            index += 1;
            if keep {
                apply(durable, change);
            }
            !keep
        });
    }

    /// Everything is durable.
    pub fn settle(&mut self) {
        self.changes.clear();
        self.durable = self.now.clone();
    }

    /// The power is back: directories hold what survived.
    pub fn lose(&mut self, kept: Kept, random: &mut ChaCha8Rng) {
        match kept {
            Kept::Everything => {}
            Kept::Nothing => self.now = self.durable.clone(),
            Kept::Part => {
                let mut per_directory: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
                for (index, change) in self.changes.iter().enumerate() {
                    for ((directory, _), _) in change {
                        let own = per_directory.entry(*directory).or_default();
                        if own.last() != Some(&index) {
                            own.push(index);
                        }
                    }
                }
                let mut picked: BTreeSet<usize> = BTreeSet::new();
                for own in per_directory.values() {
                    picked.extend(&own[..random.random_range(0..=own.len())]);
                }
                let chosen = self.closed(|index, _| picked.contains(&index));
                self.keep(&chosen);
                self.now = self.durable.clone();
            }
        }
        self.settle();
    }

    /// Every number that a name stands for, now or after a loss of power.
    pub fn named(&self) -> BTreeSet<u64> {
        let both = self.now.values().chain(self.durable.values()).flat_map(BTreeMap::values).copied();
        let open = self.changes.iter().flatten().filter_map(|(_, number)| *number);
        both.chain(open).collect()
    }

    /// Forgets directories that are no more.
    pub fn retain(&mut self, mut alive: impl FnMut(u64) -> bool) {
        self.now.retain(|directory, _| alive(*directory));
        self.durable.retain(|directory, _| alive(*directory));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn set(directory: u64, name: &str, number: Option<u64>) -> (Key, Option<u64>) {
        ((directory, name.into()), number)
    }

    fn left(names: &Names, kept: Kept, seed: u64) -> Vec<(u64, String, u64)> {
        let mut names = names.clone();
        names.lose(kept, &mut ChaCha8Rng::seed_from_u64(seed));
        let directories: Vec<u64> = names.now.keys().copied().collect();
        let of = |directory| names.list(directory).map(move |(name, number)| (directory, name.clone(), number));
        directories
            .into_iter()
            .flat_map(of)
            .map(|(directory, name, number)| (directory, name.into_string().unwrap(), number))
            .collect()
    }

    #[test]
    fn a_rename_is_whole_or_not_and_rests_on_what_it_renames() {
        let mut names = Names::default();
        names.change(vec![set(1, "old", Some(7))]);
        names.settle();
        names.change(vec![set(1, "new.tmp", Some(8))]);
        names.change(vec![set(1, "new.tmp", None), set(1, "old", Some(8))]);
        assert_eq!(left(&names, Kept::Nothing, 0), [(1, "old".to_owned(), 7)]);
        assert_eq!(left(&names, Kept::Everything, 0), [(1, "old".to_owned(), 8)]);
        let outcomes: BTreeSet<_> = (0..100).map(|seed| left(&names, Kept::Part, seed)).collect();
        let with_both = vec![(1, "new.tmp".to_owned(), 8), (1, "old".to_owned(), 7)];
        let wanted = [vec![(1, "old".to_owned(), 7)], with_both, vec![(1, "old".to_owned(), 8)]];
        assert_eq!(outcomes, BTreeSet::from(wanted));
        names.sync(1);
        assert_eq!(left(&names, Kept::Nothing, 0), [(1, "old".to_owned(), 8)]);
    }

    #[test]
    fn a_sync_is_of_one_directory_and_of_what_came_from_another() {
        let mut names = Names::default();
        names.change(vec![set(1, "a", Some(7))]);
        names.change(vec![set(2, "b", Some(8))]);
        names.change(vec![set(1, "a", None), set(3, "c", Some(7))]);
        names.sync(3);
        assert_eq!(left(&names, Kept::Nothing, 0), [(3, "c".to_owned(), 7)]);
        assert_eq!(left(&names, Kept::Everything, 0), [(2, "b".to_owned(), 8), (3, "c".to_owned(), 7)]);
    }
}
