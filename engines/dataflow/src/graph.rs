//! The dataflow graph of one shard: base tables, count by article, left join, view.
//!
//! Each operator keeps the state it needs and turns a row into the change that the next one sees. Rows come in the
//! order in which they were made durable; a shard holds the articles whose number leaves its own as remainder.

use std::sync::Arc;

use crate::{
    memory::{CHUNK_BYTES, Chunk, Chunks},
    row::{self, Article, Table, Vote},
    view::View,
};

const PAGE_ROWS: usize = 4096;
const CHUNK_ROWS: usize = CHUNK_BYTES / STORED_BYTES;
/// No vote.
const NONE: u32 = u32::MAX;

/// The graph of one shard.
#[derive(Debug)]
pub struct Graph {
    shards: u32,
    base: Option<VoteTable>,
    count: CountByArticle,
    join: LeftJoin,
    votes: u64,
}

impl Graph {
    /// An empty graph of one of `shards` shards over `view`; with `chunks` for the base table where it is kept in memory.
    pub fn new(view: Arc<View>, shards: u16, chunks: Option<Chunks>) -> Self {
        Self {
            shards: u32::from(shards),
            base: chunks.map(VoteTable::new),
            count: CountByArticle::default(),
            join: LeftJoin { view, articles: Paged::new(false) },
            votes: 0,
        }
    }

    /// Lets the rows of a packet run through the graph.
    pub fn process(&mut self, table: Table, rows: &[u8]) {
        match table {
            Table::Vote => row::votes(rows).for_each(|vote| self.vote(vote)),
            Table::Article => row::articles(rows).for_each(|article| self.article(article)),
        }
    }

    #[inline]
    fn vote(&mut self, vote: Vote) {
        let local = (vote.article / self.shards) as usize;
        if let Some(base) = &mut self.base {
            base.insert(vote, local);
        }
        let votes = self.count.add(local);
        self.join.count_changed(vote.article, local, votes);
        self.votes += 1;
    }

    fn article(&mut self, article: Article<'_>) {
        let local = (article.id / self.shards) as usize;
        self.join.article_added(article, local, self.count.of(local));
    }

    /// The base table of votes, where it is kept in memory.
    pub fn base(&self) -> Option<&VoteTable> {
        self.base.as_ref()
    }

    /// Votes that ran through.
    pub fn votes(&self) -> u64 {
        self.votes
    }

    /// Memory of the operators' own state without the base table and the view, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.count.votes.memory_bytes() + self.join.articles.memory_bytes()
    }
}

/// The base table of votes in memory, in order of arrival, with an index by article: each row points to the article's
/// row before it, as SQLite's variants have an index on the same column.
#[derive(Debug)]
pub struct VoteTable {
    chunks: Vec<Chunk>,
    more: Chunks,
    rows: u32,
    newest: Paged<u32>,
}

/// Bytes of a vote in the base table: user u64, article u32, number of the article's vote before it u32, little endian.
const STORED_BYTES: usize = 16;

/// The chunks that `votes` rows of a base table lie in.
pub const fn chunks_of(votes: u64) -> usize {
    votes.div_ceil(CHUNK_ROWS as u64) as usize
}

/// The rows of a base table that `chunks` hold.
pub const fn votes_in(chunks: usize) -> u64 {
    chunks as u64 * CHUNK_ROWS as u64
}

#[inline]
fn store(vote: Vote, previous: u32) -> [u8; STORED_BYTES] {
    (u128::from(vote.user) | u128::from(vote.article) << 64 | u128::from(previous) << 96).to_le_bytes()
}

#[inline]
fn stored(bytes: [u8; STORED_BYTES]) -> (Vote, u32) {
    let bits = u128::from_le_bytes(bytes);
    (Vote { user: bits as u64, article: (bits >> 64) as u32 }, (bits >> 96) as u32)
}

impl VoteTable {
    fn new(more: Chunks) -> Self {
        Self { chunks: Vec::new(), more, rows: 0, newest: Paged::new(NONE) }
    }

    #[inline]
    fn insert(&mut self, vote: Vote, local: usize) {
        let at = self.rows as usize;
        if at.is_multiple_of(CHUNK_ROWS) {
            self.chunks.push(self.more.take());
        }
        let newest = self.newest.get_mut(local);
        let previous = std::mem::replace(newest, self.rows);
        let chunk = self.chunks[at / CHUNK_ROWS].bytes_mut().as_chunks_mut().0;
        chunk[at % CHUNK_ROWS] = store(vote, previous);
        assert!(self.rows < NONE - 1, "a shard's base table in memory holds at most 2^32 - 2 votes");
        self.rows += 1;
    }

    /// All votes in order of arrival.
    pub fn votes(&self) -> impl Iterator<Item = Vote> + '_ {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.bytes().as_chunks().0)
            .take(self.rows as usize)
            .map(|&bytes| stored(bytes).0)
    }

    /// The votes for `article`, newest first; `shards` as the graph has them.
    pub fn votes_for(&self, article: u32, shards: u16) -> impl Iterator<Item = Vote> + '_ {
        let mut next = self.newest.get((article / u32::from(shards)) as usize);
        std::iter::from_fn(move || {
            let chunk = self.chunks.get(next as usize / CHUNK_ROWS)?.bytes().as_chunks().0;
            let (vote, previous) = stored(*chunk.get(next as usize % CHUNK_ROWS)?);
            next = previous;
            Some(vote)
        })
    }

    /// Memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES + self.newest.memory_bytes()
    }
}

/// `COUNT(user) GROUP BY article_id`.
#[derive(Debug)]
struct CountByArticle {
    votes: Paged<u64>,
}

impl Default for CountByArticle {
    fn default() -> Self {
        Self { votes: Paged::new(0) }
    }
}

impl CountByArticle {
    /// Counts one vote; the article's new number of votes.
    #[inline]
    fn add(&mut self, local: usize) -> u64 {
        let votes = self.votes.get_mut(local);
        *votes += 1;
        *votes
    }

    fn of(&self, local: usize) -> u64 {
        self.votes.get(local)
    }
}

/// `Article LEFT JOIN` the counts, into the view. Its left side is which articles there are; its right side is the
/// state of the count, which it asks for.
#[derive(Debug)]
struct LeftJoin {
    view: Arc<View>,
    articles: Paged<bool>,
}

impl LeftJoin {
    #[inline]
    fn count_changed(&mut self, article: u32, local: usize, votes: u64) {
        if self.articles.get(local) {
            self.view.put_votes(article, votes);
        }
    }

    fn article_added(&mut self, article: Article<'_>, local: usize, votes: u64) {
        // The primary key: the first row with it stays.
        if !std::mem::replace(self.articles.get_mut(local), true) {
            self.view.put_article(article.id, article.title, votes);
        }
    }
}

/// An array in pages that come into being when first written.
#[derive(Debug)]
struct Paged<T> {
    pages: Vec<Option<Box<[T; PAGE_ROWS]>>>,
    empty: T,
}

impl<T: Copy> Paged<T> {
    const fn new(empty: T) -> Self {
        Self { pages: Vec::new(), empty }
    }

    #[inline]
    fn get(&self, index: usize) -> T {
        match self.pages.get(index / PAGE_ROWS) {
            Some(Some(page)) => page[index % PAGE_ROWS],
            _ => self.empty,
        }
    }

    #[inline]
    fn get_mut(&mut self, index: usize) -> &mut T {
        let page = index / PAGE_ROWS;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let empty = self.empty;
        &mut self.pages[page].get_or_insert_with(|| Box::new([empty; PAGE_ROWS]))[index % PAGE_ROWS]
    }

    fn memory_bytes(&self) -> usize {
        let pages = self.pages.iter().flatten().count();
        self.pages.capacity() * size_of::<usize>() + pages * PAGE_ROWS * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(votes: &[Vote]) -> Vec<u8> {
        votes.iter().flat_map(|vote| vote.encode()).collect()
    }

    fn article(id: u32, title: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Article { id, title }.encode_into(&mut bytes);
        bytes
    }

    #[test]
    fn votes_before_their_article_count_once_it_is_there() {
        let view = Arc::new(View::default());
        let mut graph = Graph::new(Arc::clone(&view), 1, Some(Chunks::default()));
        graph.process(Table::Vote, &packet(&[Vote { article: 9, user: 1 }, Vote { article: 9, user: 2 }]));
        assert_eq!(view.read(9), None);
        graph.process(Table::Article, &article(9, "nine"));
        graph.process(Table::Article, &article(9, "again"));
        graph.process(Table::Vote, &packet(&[Vote { article: 9, user: 3 }]));
        let row = view.read(9).unwrap();
        assert_eq!((row.title, row.votes), ("nine", Some(3)));
    }

    #[test]
    fn the_base_table_finds_votes_by_article() {
        let mut graph = Graph::new(Arc::default(), 2, Some(Chunks::default()));
        // Enough for a second chunk.
        let votes: Vec<Vote> = (0..150_000).map(|user| Vote { article: 2 * (user as u32 % 7), user }).collect();
        graph.process(Table::Vote, &packet(&votes));
        let base = graph.base().unwrap();
        assert!(base.votes().eq(votes.iter().copied()));
        let of_four: Vec<u64> = base.votes_for(4, 2).map(|vote| vote.user).collect();
        let wanted: Vec<u64> = votes.iter().rev().filter(|vote| vote.article == 4).map(|vote| vote.user).collect();
        assert_eq!(of_four, wanted);
        assert_eq!(base.votes_for(100, 2).count(), 0);
    }
}
