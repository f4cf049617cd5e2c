//! When an answer is a success.

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::OutcomeKind;

use crate::answer::{Answer, AnswerKind};

/// Reasons for doing nothing.
pub const NO_OPS: [&str; 1] = ["not found"];
/// Index of "not found".
const NOT_FOUND: u8 = 0;
/// How an operation may fail.
pub const FAILURES: [&str; 5] = ["refused", "unexpected", "conflict", "timeout", "connection"];
/// The service said that it could not.
pub const REFUSED: u8 = 0;
/// The answer did not pass its test.
pub const UNEXPECTED: u8 = 1;
/// Two transactions were in each other's way.
pub const CONFLICT: u8 = 2;
/// No answer in time.
pub const TIMEOUT: u8 = 3;
/// The connection ended.
pub const CONNECTION: u8 = 4;

/// The test of an answer: everything that is written must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Statuses of HTTP that are right; empty: 200 to 299.
    pub status: Vec<u16>,
    /// A text that must be in the answer.
    pub contains: Option<String>,
    /// The whole answer.
    pub equals: Option<String>,
    /// A regular expression that must be found in the answer.
    pub matches: Option<String>,
    /// How many rows (elements) there must be.
    pub rows: Option<u64>,
}

/// An [`Expect`] that is ready to judge.
#[derive(Clone, Debug)]
pub struct Judge {
    expect: Expect,
    matches: Option<Regex>,
}

impl Expect {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        self.judge().map(drop)
    }

    /// Ready to judge.
    ///
    /// # Errors
    /// `matches` is no regular expression.
    pub fn judge(&self) -> Result<Judge, String> {
        let matches = match &self.matches {
            None => None,
            Some(pattern) => {
                Some(Regex::new(pattern).map_err(|error| format!("`matches` is no regular expression: {error}"))?)
            }
        };
        Ok(Judge { expect: self.clone(), matches })
    }
}

impl Judge {
    /// What became of the operation whose answer this is.
    pub fn of(&self, answer: &Answer<'_>) -> OutcomeKind {
        let expect = &self.expect;
        match answer.kind {
            AnswerKind::Refused => return OutcomeKind::Failed(REFUSED),
            AnswerKind::Conflict => return OutcomeKind::Failed(CONFLICT),
            AnswerKind::Status(status) if expect.status.is_empty() => match status {
                200..300 => {}
                404 if !self.looks() => return OutcomeKind::NoOp(NOT_FOUND),
                _ => return OutcomeKind::Failed(REFUSED),
            },
            AnswerKind::Status(status) if !expect.status.contains(&status) => return OutcomeKind::Failed(UNEXPECTED),
            AnswerKind::Empty if self.looks() => return OutcomeKind::Failed(UNEXPECTED),
            AnswerKind::Empty => return OutcomeKind::NoOp(NOT_FOUND),
            AnswerKind::Status(_) | AnswerKind::Ok => {}
        }
        let right = expect.rows.is_none_or(|rows| rows == answer.rows)
            && expect.equals.as_ref().is_none_or(|text| text.as_bytes() == answer.body)
            && expect.contains.as_ref().is_none_or(|text| contains(answer.body, text.as_bytes()))
            && self.matches.as_ref().is_none_or(|regex| regex.is_match(answer.body));
        if right { OutcomeKind::Ok } else { OutcomeKind::Failed(UNEXPECTED) }
    }

    /// Whether the body is looked at.
    fn looks(&self) -> bool {
        let expect = &self.expect;
        expect.rows.is_some() || expect.equals.is_some() || expect.contains.is_some() || self.matches.is_some()
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(expect: Expect, kind: AnswerKind, body: &[u8], rows: u64) -> OutcomeKind {
        expect.judge().unwrap().of(&Answer { kind, body, rows })
    }

    #[test]
    fn answers_are_judged() {
        use OutcomeKind::{Failed, NoOp, Ok};
        let plain = Expect::default;
        assert_eq!(judged(plain(), AnswerKind::Ok, b"", 0), Ok);
        assert_eq!(judged(plain(), AnswerKind::Empty, b"", 0), NoOp(0));
        assert_eq!(judged(plain(), AnswerKind::Refused, b"ERR", 0), Failed(REFUSED));
        assert_eq!(judged(plain(), AnswerKind::Status(204), b"", 0), Ok);
        assert_eq!(judged(plain(), AnswerKind::Status(404), b"", 0), NoOp(0));
        assert_eq!(judged(plain(), AnswerKind::Status(500), b"", 0), Failed(REFUSED));
        let teapot = Expect { status: vec![418], ..plain() };
        assert_eq!(judged(teapot.clone(), AnswerKind::Status(418), b"", 0), Ok);
        assert_eq!(judged(teapot, AnswerKind::Status(200), b"", 0), Failed(UNEXPECTED));
        let text = Expect { contains: Some("lo w".into()), matches: Some("^h".into()), ..plain() };
        assert_eq!(judged(text.clone(), AnswerKind::Ok, b"hello world", 0), Ok);
        assert_eq!(judged(text.clone(), AnswerKind::Ok, b"Hello world", 0), Failed(UNEXPECTED));
        assert_eq!(judged(text.clone(), AnswerKind::Empty, b"", 0), Failed(UNEXPECTED), "what must be there is not");
        assert_eq!(judged(text, AnswerKind::Status(404), b"", 0), Failed(REFUSED));
        assert_eq!(judged(Expect { rows: Some(2), ..plain() }, AnswerKind::Ok, b"", 1), Failed(UNEXPECTED));
        assert!(Expect { matches: Some("(".into()), ..plain() }.check().is_err());
    }
}
