//! What a service answered.

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// It was carried out.
    Ok,
    /// It was answered, and there was nothing.
    Empty,
    /// The service said that it could not.
    Refused,
    /// Another transaction was in the way; the same again may succeed.
    Conflict,
    /// A status of HTTP.
    Status(u16),
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What became of it.
    pub kind: AnswerKind,
    /// What was answered; in a refusal why.
    pub body: &'a [u8],
    /// Rows or elements in it.
    pub rows: u64,
}
