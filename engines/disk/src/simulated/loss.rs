//! What a loss of power leaves of a sequence of acts.

use std::{collections::BTreeMap, path::Path};

use super::{Act, State};

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// What happens to the writes that were not synced when the power goes.
///
/// Writes whose pages a failing sync dropped are lost with each of these but [`Loss::Some`] and [`Loss::Sectors`], which
/// draw for them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None of them survives.
    All,
    /// All of them survive.
    Nothing,
    /// All but the newest survive, and of the newest this many thousandths of its bytes.
    TornNewest(u16),
    /// Only the newest survives: the disk wrote in another order.
    KeptNewest,
    /// Each survives or not, drawn from this seed.
    Some(u64),
    /// Each sector of each survives or not, drawn from this seed; names and lengths survive.
    Sectors(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Survival {
    Whole,
    Torn(u16),
    /// The sectors that this seed draws.
    Sectors(u64),
    Lost,
}

/// How safe each act is once all of `acts` were done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Safety {
    Synced,
    Unsynced,
    /// A sync failed and dropped its pages: no later sync writes them.
    Dropped,
}

fn safety(acts: &[Act]) -> Vec<Safety> {
    let mut safety = vec![Safety::Unsynced; acts.len()];
    let mut unsynced: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut unsynced_names: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, act) in acts.iter().enumerate() {
        match act {
            Act::Write { file, .. } | Act::SetLength { file, .. } => unsynced.entry(*file).or_default().push(index),
            Act::SyncData { file } => {
                safety[index] = Safety::Synced;
                unsynced.remove(file).into_iter().flatten().for_each(|act| safety[act] = Safety::Synced);
            }
            Act::FailedSync { file } => {
                safety[index] = Safety::Synced;
                // Lengths are the file system's own, and not in pages.
                unsynced.entry(*file).or_default().retain(|&act| {
                    let in_pages = matches!(acts[act], Act::Write { .. });
                    if in_pages {
                        safety[act] = Safety::Dropped;
                    }
                    !in_pages
                });
            }
            Act::Create { path, .. } | Act::Rename { to: path, .. } | Act::Remove { path } => {
                let directory = path.parent().unwrap_or(Path::new(""));
                unsynced_names.entry(directory).or_default().push(index);
            }
            Act::SyncDirectory { directory } => {
                safety[index] = Safety::Synced;
                let names = unsynced_names.remove(directory.as_path());
                names.into_iter().flatten().for_each(|act| safety[act] = Safety::Synced);
            }
        }
    }
    safety
}

/// Which of `acts` survive.
pub(super) fn survivors(acts: &[Act], loss: Loss) -> Vec<Survival> {
    let safety = safety(acts);
    let is_write = |index: usize| matches!(acts[index], Act::Write { .. });
    let newest = (0..acts.len()).rev().find(|&index| safety[index] == Safety::Unsynced && is_write(index));
    let mut random = match loss {
        Loss::Some(seed) | Loss::Sectors(seed) => seed,
        _ => 0,
    };
    (0..acts.len())
        .map(|index| {
            if safety[index] == Safety::Synced {
                return Survival::Whole;
            }
            match loss {
                Loss::Some(_) => {
                    random = mix(random);
                    if random & 1 == 0 { Survival::Whole } else { Survival::Lost }
                }
                Loss::Sectors(_) if is_write(index) => {
                    random = mix(random);
                    Survival::Sectors(random)
                }
                Loss::Sectors(_) => Survival::Whole,
                _ if safety[index] == Safety::Dropped => Survival::Lost,
                Loss::All => Survival::Lost,
                Loss::Nothing => Survival::Whole,
                Loss::TornNewest(thousandths) if Some(index) == newest => Survival::Torn(thousandths),
                Loss::TornNewest(_) => Survival::Whole,
                // Names survive, so that the one write that did has a file.
                Loss::KeptNewest if Some(index) == newest || !is_write(index) => Survival::Whole,
                Loss::KeptNewest => Survival::Lost,
            }
        })
        .collect()
}

impl State {
    /// Applies what survives of `act`.
    pub(super) fn apply_survivor(&mut self, act: &Act, survival: Survival) {
        match (survival, act) {
            (Survival::Whole, act) => self.apply(act),
            (Survival::Torn(thousandths), Act::Write { file, offset, bytes }) => {
                let kept = bytes.len() * usize::from(thousandths) / 1000;
                self.apply(&Act::Write { file: *file, offset: *offset, bytes: bytes[..kept].to_vec() });
            }
            (Survival::Sectors(seed), Act::Write { file, offset, bytes }) => {
                let (end, mut at, mut random) = (offset + bytes.len() as u64, *offset, seed);
                while at < end {
                    let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                    random = mix(random);
                    if random & 1 == 0 {
                        let sector = bytes[(at - offset) as usize..(next.min(end) - offset) as usize].to_vec();
                        self.apply(&Act::Write { file: *file, offset: at, bytes: sector });
                    }
                    at = next;
                }
            }
            (Survival::Torn(_) | Survival::Sectors(_) | Survival::Lost, _) => {}
        }
    }
}

/// The next state of SplitMix64 (Steele, Lea and Flood 2014), mixed.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
