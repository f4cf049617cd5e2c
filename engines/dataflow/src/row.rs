//! The rows of the two base tables, and their encoding in packets.

/// Articles have numbers below this.
pub const ARTICLES_MAX: u32 = 1 << 24;

/// Bytes of an encoded vote: article u32, user u64, little endian.
pub const VOTE_BYTES: usize = 12;

/// The longest title, in bytes.
pub const TITLE_BYTES_MAX: usize = u16::MAX as usize;

/// A row of `Vote(article_id, user)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vote {
    /// The article that is voted for.
    pub article: u32,
    /// Who votes. Whoever never gives the same user twice sees a vote that was lost or doubled: [`user`].
    pub user: u64,
}

impl Vote {
    /// The encoded row.
    #[inline]
    pub fn encode(self) -> [u8; VOTE_BYTES] {
        let mut bytes = [0; VOTE_BYTES];
        bytes[..4].copy_from_slice(&self.article.to_le_bytes());
        bytes[4..].copy_from_slice(&self.user.to_le_bytes());
        bytes
    }

    /// Reads what [`Vote::encode`] wrote.
    #[inline]
    pub fn decode(bytes: &[u8; VOTE_BYTES]) -> Self {
        let (article, user) = bytes.split_at(4);
        Self {
            article: u32::from_le_bytes(article.try_into().expect("the array has 4 bytes before the split")),
            user: u64::from_le_bytes(user.try_into().expect("the array has 8 bytes after the split")),
        }
    }
}

/// The user number of vote `sequence` of client `client`: no two votes have the same.
pub const fn user(client: u16, sequence: u64) -> u64 {
    (client as u64) << 48 | sequence
}

/// Client and sequence number of a user number.
pub const fn client_and_sequence(user: u64) -> (u16, u64) {
    ((user >> 48) as u16, user & ((1 << 48) - 1))
}

/// The votes of a packet; bytes beyond the last whole one are left out.
pub fn votes(bytes: &[u8]) -> impl Iterator<Item = Vote> + '_ {
    bytes.as_chunks::<VOTE_BYTES>().0.iter().map(Vote::decode)
}

/// A row of `Article(id, title)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Article<'a> {
    /// Its number, the primary key.
    pub id: u32,
    /// Its title, at most [`TITLE_BYTES_MAX`] bytes.
    pub title: &'a str,
}

impl Article<'_> {
    /// Appends the encoded row: id u32, length u16, title.
    ///
    /// # Panics
    /// Where the title is longer than [`TITLE_BYTES_MAX`].
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        let length = u16::try_from(self.title.len()).expect("titles are at most TITLE_BYTES_MAX bytes long");
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(self.title.as_bytes());
    }
}

/// The articles of a packet. Ends early where the bytes are no articles; [`rows_fit`] tells.
pub fn articles(mut bytes: &[u8]) -> impl Iterator<Item = Article<'_>> + '_ {
    std::iter::from_fn(move || {
        let (id, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (title, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        bytes = rest;
        Some(Article { id: u32::from_le_bytes(*id), title: std::str::from_utf8(title).ok()? })
    })
}

/// Which table the rows of a packet belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// `Vote(article_id, user)`
    Vote = 1,
    /// `Article(id, title)`
    Article = 2,
}

impl Table {
    /// The table with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Vote),
            2 => Some(Self::Article),
            _ => None,
        }
    }
}

/// Whether `bytes` are exactly `rows` well-formed rows of `table`, every article below [`ARTICLES_MAX`].
pub fn rows_fit(table: Table, bytes: &[u8], rows: u32) -> bool {
    match table {
        Table::Vote => {
            bytes.len() == rows as usize * VOTE_BYTES && votes(bytes).all(|vote| vote.article < ARTICLES_MAX)
        }
        Table::Article => {
            let (mut count, mut length) = (0, 0);
            for article in articles(bytes) {
                if article.id >= ARTICLES_MAX {
                    return false;
                }
                count += 1;
                length += 6 + article.title.len();
            }
            count == rows as usize && length == bytes.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_tell_client_and_vote_apart() {
        assert_eq!(client_and_sequence(user(u16::MAX, 5)), (u16::MAX, 5));
        assert_eq!(client_and_sequence(user(3, (1 << 48) - 1)), (3, (1 << 48) - 1));
    }

    #[test]
    fn rows_come_back_from_their_packets() {
        let written = [Vote { article: 7, user: u64::MAX }, Vote { article: ARTICLES_MAX - 1, user: 0 }];
        let bytes: Vec<u8> = written.iter().flat_map(|vote| vote.encode()).collect();
        assert_eq!(votes(&bytes).collect::<Vec<_>>(), written);
        assert!(rows_fit(Table::Vote, &bytes, 2));
        assert!(!rows_fit(Table::Vote, &bytes, 1));
        assert!(!rows_fit(Table::Vote, &bytes[1..], 2));
        assert!(!rows_fit(Table::Vote, &Vote { article: ARTICLES_MAX, user: 0 }.encode(), 1));

        let mut bytes = Vec::new();
        for article in [Article { id: 1, title: "one" }, Article { id: 2, title: "" }] {
            article.encode_into(&mut bytes);
        }
        assert_eq!(articles(&bytes).map(|article| article.title).collect::<Vec<_>>(), ["one", ""]);
        assert!(rows_fit(Table::Article, &bytes, 2));
        assert!(!rows_fit(Table::Article, &bytes[..bytes.len() - 1], 2));
    }
}
