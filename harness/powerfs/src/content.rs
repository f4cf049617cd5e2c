//! What a file holds now, what of it is durable, and what a loss of power may leave.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::{
    Kept,
    image::{Image, PAGE, pages_of},
};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// A file with more bytes that were not synced has the older half of them written back, as a kernel does.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// One change since the last sync.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Zero { offset: u64, length: u64 },
    Size(u64),
}

impl Change {
    fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, bytes } => image.write(*offset, bytes),
            Self::Zero { offset, length } => image.zero(*offset, *length),
            Self::Size(size) => image.set_size(*size),
        }
    }
}

/// A file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    now: Image,
    durable: Image,
    changes: Vec<Change>,
    unsynced_bytes: usize,
}

impl Content {
    pub const fn size(&self) -> u64 {
        self.now.size
    }

    pub fn pages(&self) -> u64 {
        self.now.pages.len() as u64
    }

    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        self.now.read(offset, length)
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.unsynced_bytes += bytes.len();
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub fn zero(&mut self, offset: u64, length: u64) {
        self.change(Change::Zero { offset, length });
    }

    pub fn set_size(&mut self, size: u64) {
        self.change(Change::Size(size));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX {
            let half = self.changes.len() / 2;
            for change in self.changes.drain(..half) {
                change.apply(&mut self.durable);
            }
            self.unsynced_bytes = self
                .changes
                .iter()
                .map(|change| if let Change::Write { bytes, .. } = change { bytes.len() } else { 0 })
                .sum();
        }
    }

    /// What was changed since the last sync is durable.
    pub fn sync(&mut self) {
        let mut touched = BTreeSet::new();
        for change in &self.changes {
            match change {
                Change::Write { offset, bytes } => {
                    touched.extend(pages_of(*offset, bytes.len() as u64).map(|(page, _)| page));
                }
                Change::Zero { offset, length } => {
                    let end = offset.saturating_add(*length).div_ceil(PAGE);
                    touched.extend(self.durable.pages.range(offset / PAGE..end).map(|(page, _)| *page));
                    touched.extend(self.now.pages.range(offset / PAGE..end).map(|(page, _)| *page));
                }
                Change::Size(size) => {
                    self.durable.set_size(self.durable.size.min(*size));
                    touched.insert(size / PAGE);
                }
            }
        }
        for page in touched {
            match self.now.pages.get(&page) {
                // Whole pages: what a failed sync had taken for clean is written with what was changed beside it.
                Some(bytes) => self.durable.pages.insert(page, bytes.clone()),
                None => self.durable.pages.remove(&page),
            };
        }
        self.durable.size = self.now.size;
        self.forget_changes();
    }

    /// A sync that failed: what was changed counts as clean, so no later sync writes it.
    pub fn fail_sync(&mut self) {
        self.forget_changes();
    }

    fn forget_changes(&mut self) {
        self.changes.clear();
        self.unsynced_bytes = 0;
    }

    /// Everything is durable, what failed syncs left out as well.
    pub fn settle(&mut self) {
        self.forget_changes();
        self.durable = self.now.clone();
    }

    /// The power is back: the file holds what survived.
    pub fn lose(&mut self, kept: Kept, random: &mut ChaCha8Rng) {
        match kept {
            Kept::Everything => {}
            Kept::Nothing => self.now = self.durable.clone(),
            Kept::Part => self.now = self.part(random),
        }
        self.settle();
    }

    /// Each page as the disk may have had it: as it was durable, or after any of the changes since, whatever became of the
    /// others; one page torn between two of these at a sector.
    fn part(&self, random: &mut ChaCha8Rng) -> Image {
        let mut image = self.durable.clone();
        let mut by_page: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let (mut sizes, mut size) = (vec![(0, image.size)], image.size);
        for (index, change) in self.changes.iter().enumerate() {
            let before = size;
            match change {
                Change::Write { offset, bytes } => {
                    for (page, _) in pages_of(*offset, bytes.len() as u64) {
                        by_page.entry(page).or_default().push(index);
                    }
                    size = if bytes.is_empty() { size } else { size.max(offset + bytes.len() as u64) };
                }
                Change::Zero { offset, length } => {
                    let end = offset.saturating_add(*length).div_ceil(PAGE);
                    let durable = self.durable.pages.range(offset / PAGE..end).map(|(page, _)| *page);
                    let later: Vec<u64> = by_page.range(offset / PAGE..end).map(|(page, _)| *page).collect();
                    for page in durable.chain(later).collect::<BTreeSet<_>>() {
                        by_page.entry(page).or_default().push(index);
                    }
                }
                Change::Size(new) => {
                    // What was cut off is gone for every page behind it, even if the file grows again.
                    let durable = self.durable.pages.range(new / PAGE..).map(|(page, _)| *page);
                    let later: Vec<u64> = by_page.range(new / PAGE..).map(|(page, _)| *page).collect();
                    for page in durable.chain(later).collect::<BTreeSet<_>>() {
                        by_page.entry(page).or_default().push(index);
                    }
                    size = *new;
                }
            }
            if size != before {
                sizes.push((index + 1, size));
            }
        }
        // What cuts a file off is its size, which is written in order: it holds for all pages or for none.
        let (sized, size) = sizes[random.random_range(0..sizes.len())];
        let torn = by_page.keys().nth(random.random_range(0..by_page.len().max(1))).copied();
        for (page, changes) in &by_page {
            let kept = random.random_range(0..=changes.len());
            let mut bytes = self.durable.pages.get(page).map_or([0; PAGE as usize], |page| **page);
            for (place, &index) in changes.iter().enumerate() {
                if if matches!(self.changes[index], Change::Size(_)) { index < sized } else { place < kept } {
                    self.replay(index, *page, &mut bytes);
                }
            }
            let next = changes.get(kept).filter(|next| matches!(self.changes[**next], Change::Write { .. }));
            if let Some(&next) = next.filter(|_| torn == Some(*page)) {
                let mut newer = bytes;
                self.replay(next, *page, &mut newer);
                let written = random.random_range(0..=PAGE as usize / SECTOR) * SECTOR;
                bytes[..written].copy_from_slice(&newer[..written]);
            }
            image.pages.insert(*page, std::sync::Arc::new(bytes));
        }
        // Pages behind the end are cut off; an end behind the pages reads as zeros.
        image.size = image.pages.keys().next_back().map_or(0, |page| (page + 1) * PAGE).max(size);
        image.set_size(size);
        image
    }

    /// Does one change to the bytes of one page.
    fn replay(&self, index: usize, page: u64, bytes: &mut [u8; PAGE as usize]) {
        let start = page * PAGE;
        match &self.changes[index] {
            Change::Write { offset, bytes: written } => {
                let end = offset + written.len() as u64;
                let (from, to) = (start.max(*offset), (start + PAGE).min(end));
                if from < to {
                    let own = &written[(from - offset) as usize..(to - offset) as usize];
                    bytes[(from - start) as usize..(to - start) as usize].copy_from_slice(own);
                }
            }
            Change::Zero { offset, length } => {
                let end = offset.saturating_add(*length);
                let (from, to) = (start.max(*offset), (start + PAGE).min(end));
                if from < to {
                    bytes[(from - start) as usize..(to - start) as usize].fill(0);
                }
            }
            Change::Size(size) => {
                let from = size.saturating_sub(start).min(PAGE) as usize;
                bytes[from..].fill(0);
            }
        }
    }

    /// Turns one bit over; `None`: there is no byte that is not zero.
    pub fn flip(&mut self, random: &mut ChaCha8Rng) -> Option<u64> {
        let count = self.now.pages.len();
        let (page, bytes) = self.now.pages.iter_mut().nth(random.random_range(0..count.max(1)))?;
        let written: Vec<usize> = (0..PAGE as usize).filter(|&at| bytes[at] != 0).collect();
        let at = *written.get(random.random_range(0..written.len().max(1)))?;
        std::sync::Arc::make_mut(bytes)[at] ^= 1 << random.random_range(0..8u32);
        let place = page * PAGE + at as u64;
        self.settle();
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn random(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn after(content: &Content, kept: Kept, seed: u64) -> Vec<u8> {
        let mut content = content.clone();
        content.lose(kept, &mut random(seed));
        content.read(0, u64::MAX)
    }

    #[test]
    fn what_was_synced_survives_and_of_the_rest_what_is_kept() {
        let mut content = Content::default();
        content.write(0, &[1; 10_000]);
        content.sync();
        content.write(5_000, &[2; 10_000]);
        content.set_size(12_000);
        let now = content.read(0, u64::MAX);
        assert_eq!(after(&content, Kept::Nothing, 1), [1; 10_000]);
        assert_eq!(after(&content, Kept::Everything, 1), now);
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let bytes = after(&content, Kept::Part, seed);
            assert!([10_000, 12_000, 15_000].contains(&bytes.len()), "{}", bytes.len());
            assert_eq!(&bytes[..4096], &[1; 4096], "a page that nobody touched");
            assert!(bytes.iter().all(|byte| [0, 1, 2].contains(byte)));
            seen.insert(bytes);
        }
        assert!(seen.len() > 10, "{} outcomes", seen.len());
        content.sync();
        assert_eq!(after(&content, Kept::Nothing, 1), now);
    }

    #[test]
    fn a_page_is_torn_at_a_sector_only() {
        let mut content = Content::default();
        content.write(0, &[1; 4096]);
        content.sync();
        content.write(0, &[2; 4096]);
        let mut torn = 0;
        for seed in 0..100 {
            let bytes = after(&content, Kept::Part, seed);
            let newer = bytes.iter().take_while(|byte| **byte == 2).count();
            assert!(newer % SECTOR == 0 && bytes[newer..].iter().all(|byte| *byte == 1), "seed {seed}");
            torn += u32::from(newer != 0 && newer != 4096);
        }
        assert!(torn > 10, "{torn}");
    }

    /// After a failed sync the pages count as clean: a later sync that works does not write them.
    #[test]
    fn a_failed_sync_drops_its_pages() {
        let mut content = Content::default();
        content.write(0, &[1; 4096]);
        content.sync();
        content.write(0, &[2; 4096]);
        content.fail_sync();
        content.sync();
        assert_eq!(content.read(0, u64::MAX), [2; 4096], "the page cache still has it");
        assert_eq!(after(&content, Kept::Nothing, 1), [1; 4096]);
        content.write(4000, &[3]);
        content.sync();
        assert_eq!(after(&content, Kept::Nothing, 1)[0], 2, "a page that is dirty again is written whole");
    }

    #[test]
    fn a_cut_end_does_not_come_back() {
        let mut content = Content::default();
        content.write(0, &[1; 9_000]);
        content.sync();
        content.set_size(100);
        content.set_size(9_000);
        content.sync();
        let bytes = after(&content, Kept::Nothing, 1);
        assert_eq!(bytes.len(), 9_000);
        assert!(bytes[100..].iter().all(|byte| *byte == 0));
    }
}
