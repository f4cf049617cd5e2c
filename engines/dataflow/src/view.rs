//! The reader view: the left join of articles with their vote counts, read without locks.
//!
//! Articles are numbered densely, so the view is an array in pages that come into being when first written. Each row
//! has one writer (the thread of its shard) and any number of readers; a reader sees each row as it was at some
//! moment, and a title never changes. The view follows acknowledgements; it does not precede them.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::row::ARTICLES_MAX;

const PAGE_ROWS: usize = 4096;
const PAGES: usize = ARTICLES_MAX as usize / PAGE_ROWS;

/// The view. Articles are below [`ARTICLES_MAX`].
#[derive(Debug)]
pub struct View {
    pages: Box<[OnceLock<Box<[Slot]>>]>,
}

#[derive(Debug, Default)]
struct Slot {
    title: OnceLock<Box<str>>,
    votes: AtomicU64,
}

/// A row of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The article's title.
    pub title: &'a str,
    /// Its votes; `None` where nobody voted: the left join's NULL.
    pub votes: Option<u64>,
}

impl Default for View {
    fn default() -> Self {
        Self { pages: (0..PAGES).map(|_| OnceLock::new()).collect() }
    }
}

impl View {
    /// The row of `article`; `None` where there is no such article, however many votes it has.
    #[inline]
    pub fn read(&self, article: u32) -> Option<Row<'_>> {
        let page = self.pages.get(article as usize / PAGE_ROWS)?.get()?;
        let slot = &page[article as usize % PAGE_ROWS];
        let title = slot.title.get()?;
        let votes = slot.votes.load(Ordering::Acquire);
        Some(Row { title, votes: (votes > 0).then_some(votes) })
    }

    /// Puts an article in, with the votes that it has. A title that is already there stays.
    pub(crate) fn put_article(&self, article: u32, title: &str, votes: u64) {
        let slot = self.slot(article);
        slot.votes.store(votes, Ordering::Release);
        slot.title.get_or_init(|| title.into());
    }

    /// Gives an article that is there its new number of votes.
    #[inline]
    pub(crate) fn put_votes(&self, article: u32, votes: u64) {
        self.slot(article).votes.store(votes, Ordering::Release);
    }

    #[inline]
    fn slot(&self, article: u32) -> &Slot {
        let page =
            self.pages[article as usize / PAGE_ROWS].get_or_init(|| (0..PAGE_ROWS).map(|_| Slot::default()).collect());
        &page[article as usize % PAGE_ROWS]
    }

    /// Memory of the pages and titles, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let pages = self.pages.iter().filter_map(OnceLock::get);
        size_of_val(&*self.pages)
            + pages
                .map(|page| {
                    size_of_val(&**page)
                        + page.iter().filter_map(|slot| slot.title.get()).map(|t| t.len()).sum::<usize>()
                })
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_left_join() {
        let view = View::default();
        assert_eq!(view.read(5), None);
        view.put_article(5, "five", 0);
        assert_eq!(view.read(5), Some(Row { title: "five", votes: None }));
        view.put_votes(5, 3);
        assert_eq!(view.read(5), Some(Row { title: "five", votes: Some(3) }));
        assert_eq!(view.read(6), None, "a neighbour on the same page");
        assert_eq!(view.read(ARTICLES_MAX), None);
        assert_eq!(view.read(u32::MAX), None);
    }

    /// A reader that looks while the writer counts sees numbers that never fall.
    #[test]
    fn readers_see_counts_in_order() {
        let view = View::default();
        view.put_article(1, "one", 0);
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=1_000_000).for_each(|votes| view.put_votes(1, votes)));
            let mut last = 0;
            while last < 1_000_000 {
                let votes = view.read(1).unwrap().votes.unwrap_or(0);
                assert!(votes >= last);
                last = votes;
            }
        });
    }
}
