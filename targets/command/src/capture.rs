//! What a program prints: all of it counted and hashed, its beginning and its end kept.

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};

/// The most of one stream that is kept for looking into: what is printed beyond it is hashed, not stored.
pub const KEPT_BYTES_MAX: usize = 16 << 20;
/// The end of the stream that is always kept.
const TAIL_BYTES: usize = 8 << 10;

/// One stream of one run.
#[derive(Debug)]
pub struct Captured {
    /// Bytes in all.
    pub bytes: u64,
    hash: Sha256,
    keeps: bool,
    kept: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Captured {
    /// Of nothing yet; `keeps` says whether more than its end will be looked at.
    pub fn new(keeps: bool) -> Self {
        Self { bytes: 0, hash: Sha256::new(), keeps, kept: Vec::new(), tail: VecDeque::new() }
    }

    /// Takes in what was printed next.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.keeps {
            self.hash.update(bytes);
            let room = KEPT_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.tail.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }

    /// What was kept, from the beginning.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether more was printed than is kept.
    pub fn is_cut(&self) -> bool {
        self.bytes > self.kept.len() as u64
    }

    /// The last lines, as one.
    pub fn end(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }

    /// Length and digest, and how it begins: what tells two outputs apart.
    pub fn digest(&self) -> String {
        let head = &self.kept[..self.kept.len().min(60)];
        let head: String =
            String::from_utf8_lossy(head).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match self.bytes {
            0 => "nothing".to_owned(),
            bytes => format!("{bytes} bytes ({}, beginning with `{}`)", shown(self.hash.clone()), head.trim()),
        }
    }
}

/// SHA-256 of `bytes`, as it is shown.
pub fn digest_of(bytes: &[u8]) -> String {
    shown(Sha256::new_with_prefix(bytes))
}

/// Its first half: what is shown tells contents apart, and stands in lines that people read.
fn shown(hash: Sha256) -> String {
    let hex: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_hashed_and_the_end_is_kept() {
        let mut captured = Captured::new(true);
        let line = b"0123456789\n";
        for _ in 0..2_000_000 {
            captured.take(line);
        }
        captured.take(b"last\nwords\n");
        assert_eq!(captured.bytes, 22_000_011);
        assert!(captured.is_cut() && captured.kept().len() == KEPT_BYTES_MAX);
        assert!(captured.end().ends_with("0123456789; last; words"), "{}", captured.end());
        assert!(captured.digest().starts_with("22000011 bytes (sha256:"));
        let mut other = Captured::new(true);
        other.take(b"0123");
        assert_ne!(other.digest(), captured.digest());
        assert_eq!(Captured::new(true).digest(), "nothing");
        assert_eq!(digest_of(b"abc"), "sha256:ba7816bf8f01cfea414140de5dae2223", "the example of FIPS 180-2");
    }
}
