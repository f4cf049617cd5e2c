//! Rows of a log record as JSON: an array of `[article, user]` or of `[id, title]` for each packet, as logs of systems that
//! serialize their packets hold them.

use serde::{Deserialize, Serialize};

use crate::row::{Article, Table, Vote, articles, votes};

/// Appends the rows of `payload` as JSON.
pub fn encode(table: Table, payload: &[u8], into: &mut Vec<u8>) {
    match table {
        Table::Vote => write(votes(payload).map(|vote| (vote.article, vote.user)), into),
        Table::Article => write(articles(payload).map(|article| (article.id, article.title)), into),
    }
}

fn write<R: Serialize>(rows: impl Iterator<Item = R>, into: &mut Vec<u8>) {
    let rows: Vec<R> = rows.collect();
    serde_json::to_writer(into, &rows).expect("numbers and strings are always JSON, and memory takes every byte");
}

/// The rows that [`encode`] wrote, in the form of packets; absent where the bytes are no rows of `table`.
pub fn decode(table: Table, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    match table {
        Table::Vote => {
            for (article, user) in read::<(u32, u64)>(bytes)? {
                payload.extend_from_slice(&Vote { article, user }.encode());
            }
        }
        Table::Article => {
            for (id, title) in read::<(u32, String)>(bytes)? {
                if title.len() > crate::row::TITLE_BYTES_MAX {
                    return None;
                }
                Article { id, title: &title }.encode_into(&mut payload);
            }
        }
    }
    Some(payload)
}

fn read<'a, R: Deserialize<'a>>(bytes: &'a [u8]) -> Option<Vec<R>> {
    serde_json::from_slice(bytes).ok()
}
