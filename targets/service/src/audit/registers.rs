//! What each place holds, checked against all writes to it.
//!
//! Clients write to the same places at the same time. Of two writes it is known which came first where one client wrote both,
//! or where the second was begun after the first had been answered: a client begins one after its last answer.

use std::collections::BTreeSet;

use uplift_sdk::Audit;

/// What a write makes of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It answers this.
    Holds(Vec<u8>),
    /// It answers anything.
    There,
    /// It answers nothing.
    Gone,
    /// The number in it has grown by so much.
    Adds(i64),
}

impl Content {
    fn fits(&self, found: Option<&[u8]>) -> bool {
        match self {
            Self::Holds(value) => found == Some(value),
            Self::There => found.is_some(),
            Self::Gone => found.is_none(),
            Self::Adds(_) => false,
        }
    }
}

/// One write to a place.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which of all operations it was.
    pub operation: usize,
    /// When it was acknowledged; `None`: it may be there or not.
    pub acknowledged_ns: Option<u64>,
    /// It was not begun before this moment.
    pub begun_after_ns: u64,
    /// What it makes.
    pub content: Content,
}

impl Write {
    /// Whether this was begun after the acknowledgement of the other.
    fn follows(&self, other: &Self) -> bool {
        other.acknowledged_ns.is_some_and(|ns| self.begun_after_ns >= ns)
    }
}

/// A place.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// What was loaded into it; `None`: nobody knows.
    pub loaded: Option<Content>,
    /// The writes to it.
    pub writes: Vec<Write>,
}

/// What became of operations, each of which may have written to several places.
#[derive(Debug, Default)]
pub struct Fates {
    /// Operations whose effect is gone somewhere.
    pub lost: BTreeSet<usize>,
    /// Operations whose effect was looked at.
    pub seen: BTreeSet<usize>,
}

impl Register {
    /// Holds what is found against what was written.
    pub fn judge(&self, place: &str, found: Option<&[u8]>, fates: &mut Fates, audit: &mut Audit) {
        if self.writes.iter().any(|write| matches!(write.content, Content::Adds(_))) {
            return self.judge_number(place, found, fates, audit);
        }
        let told: Vec<&Write> = self.writes.iter().filter(|write| write.acknowledged_ns.is_some()).collect();
        let shown =
            || found.map_or_else(|| "nothing".to_owned(), |text| format!("`{}`", crate::driver::stream::shown(text)));
        // Of the writes that left this, the one after which the fewest were acknowledged.
        let missing_after = |write: &Write| -> Vec<usize> {
            told.iter().filter(|later| later.follows(write)).map(|later| later.operation).collect()
        };
        let by_write = self
            .writes
            .iter()
            .filter(|write| write.content.fits(found))
            .map(|write| (missing_after(write), write.acknowledged_ns.map(|_| write.operation)))
            .min_by_key(|(missing, _)| missing.len());
        let all = || told.iter().map(|write| write.operation).collect::<Vec<usize>>();
        let as_loaded = match &self.loaded {
            Some(loaded) => loaded.fits(found).then(all),
            // What was there before is not known: whatever nobody wrote may have been.
            None if by_write.is_none() => Some(all()),
            None => None,
        };
        let kept = match (by_write, as_loaded) {
            (Some(by_write), Some(loaded)) if loaded.len() < by_write.0.len() => Some((loaded, None)),
            (Some(by_write), _) => Some(by_write),
            (None, loaded) => loaded.map(|missing| (missing, None)),
        };
        let Some((missing, seen)) = kept else {
            audit.wrong += 1;
            audit.note(|| format!("`{place}` answers {}, which was never its content", shown()));
            return;
        };
        if !missing.is_empty() {
            audit.note(|| {
                format!("`{place}` answers {}, and {} later writes were acknowledged", shown(), missing.len())
            });
        }
        fates.lost.extend(missing);
        fates.seen.extend(seen);
    }

    /// A number that grew.
    fn judge_number(&self, place: &str, found: Option<&[u8]>, fates: &mut Fates, audit: &mut Audit) {
        let number = |text: Option<&[u8]>| match text {
            None => Some(0),
            Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<i64>().ok()),
        };
        let first = match &self.loaded {
            Some(Content::Holds(text)) => number(Some(text)).unwrap_or(0),
            _ => 0,
        };
        let Some(found) = number(found) else {
            audit.wrong += 1;
            audit.note(|| format!("`{place}` holds no number"));
            return;
        };
        let by = |write: &Write| if let Content::Adds(by) = write.content { by } else { 0 };
        let mut told: Vec<&Write> = self.writes.iter().filter(|write| write.acknowledged_ns.is_some()).collect();
        told.sort_by_key(|write| write.acknowledged_ns);
        let open = || self.writes.iter().filter(|write| write.acknowledged_ns.is_none()).map(by);
        let (least, most): (i64, i64) = (open().filter(|by| *by < 0).sum(), open().filter(|by| *by > 0).sum());
        // What is missing is taken to be the newest: a window at the end.
        for kept in (0..=told.len()).rev() {
            let sum = first + told[..kept].iter().map(|write| by(write)).sum::<i64>();
            if (sum + least..=sum + most).contains(&found) {
                if kept < told.len() {
                    audit.note(|| {
                        format!("`{place}` is {found}, and {} that were acknowledged are not in it", told.len() - kept)
                    });
                }
                fates.seen.extend(told[..kept].iter().map(|write| write.operation));
                fates.lost.extend(told[kept..].iter().map(|write| write.operation));
                return;
            }
        }
        let sum = first + told.iter().map(|write| by(write)).sum::<i64>();
        let count = if found > sum + most { &mut audit.twice } else { &mut audit.wrong };
        *count += 1;
        audit.note(|| format!("`{place}` is {found}; acknowledged is {sum}, and in flight were {least} to {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(operation: usize, acknowledged_ns: Option<u64>, begun_after_ns: u64, value: &str) -> Write {
        Write { operation, acknowledged_ns, begun_after_ns, content: Content::Holds(value.into()) }
    }

    fn judged(register: &Register, found: Option<&str>) -> (Audit, Vec<usize>) {
        let (mut audit, mut fates) = (Audit::default(), Fates::default());
        register.judge("GET k", found.map(str::as_bytes), &mut fates, &mut audit);
        (audit, fates.lost.into_iter().collect())
    }

    #[test]
    fn the_newest_of_one_client_and_any_of_two_at_once_may_be_there() {
        let register = Register {
            loaded: Some(Content::Holds(b"first".into())),
            writes: vec![
                write(0, Some(10), 0, "a"),
                write(1, Some(20), 10, "b"),
                // Another client, under way at the same time as the one before.
                write(2, Some(25), 5, "c"),
                write(3, None, 25, "d"),
            ],
        };
        for found in ["b", "c", "d"] {
            assert_eq!(judged(&register, Some(found)), (Audit::default(), vec![]), "{found}");
        }
        let (audit, lost) = judged(&register, Some("a"));
        assert_eq!((audit.wrong, lost), (0, vec![1]), "the second of the same client was begun after it");
        assert_eq!(judged(&register, Some("first")).1, [0, 1, 2]);
        assert_eq!(judged(&register, Some("x")).0.wrong, 1);
        assert_eq!(judged(&register, None).0.wrong, 1);
    }

    #[test]
    fn what_was_never_written_must_be_as_it_was_loaded() {
        let register = Register { loaded: Some(Content::Holds(b"first".into())), writes: Vec::new() };
        assert!(judged(&register, Some("first")).0.is_clean());
        assert_eq!(judged(&register, None).0.wrong, 1);
    }

    #[test]
    fn numbers_are_sums_of_what_was_acknowledged() {
        let adds = |operation, told: Option<u64>, by| Write {
            operation,
            acknowledged_ns: told,
            begun_after_ns: 0,
            content: Content::Adds(by),
        };
        let register =
            Register { loaded: None, writes: vec![adds(0, Some(1), 5), adds(1, Some(2), 7), adds(2, None, 3)] };
        assert!(judged(&register, Some("12")).0.is_clean() && judged(&register, Some("15")).1.is_empty());
        assert_eq!(judged(&register, Some("5")).1, [1], "the newest is gone");
        assert_eq!(judged(&register, None).1, [0, 1]);
        assert_eq!(judged(&register, Some("19")).0.twice, 1);
        assert_eq!(judged(&register, Some("x")).0.wrong, 1);
    }
}
