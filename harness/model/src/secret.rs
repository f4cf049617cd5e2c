//! Passwords in texts that are recorded or printed: connection strings stand in settings, command lines and error
//! messages, and runs are sent around.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    Trial,
    run::Run,
    trial::{Failure, TrialOutcome},
};

/// What stands in the place of a password.
pub const MASK: &str = "***";

/// The text without the passwords of URLs (`scheme://user:password@host`) and of connection strings (`password=…`).
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut spans = url_passwords(text);
    spans.extend(named_passwords(text));
    spans.sort_unstable();
    let mut plain = String::new();
    let mut end = 0;
    for (from, to) in spans {
        if from >= end {
            plain.push_str(&text[end..from]);
            plain.push_str(MASK);
            end = to;
        }
    }
    if end == 0 {
        return Cow::Borrowed(text);
    }
    plain.push_str(&text[end..]);
    Cow::Owned(plain)
}

/// Masks every text within a JSON value, names of fields excepted.
pub fn mask_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(plain) = masked(text) {
                *text = plain;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_json),
        Value::Object(fields) => {
            for (key, value) in fields {
                let names_a_password = key.eq_ignore_ascii_case("password") || key.ends_with("_password");
                match value {
                    Value::String(text) if names_a_password && !text.is_empty() => *text = MASK.to_owned(),
                    value => mask_json(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Run {
    /// The run as it is recorded and reported: without passwords.
    pub fn masked(&self) -> Self {
        let Ok(mut value) = serde_json::to_value(self) else { return self.clone() };
        let plain = value.clone();
        mask_json(&mut value);
        // A run without passwords stays what it is, to the last bit of its numbers.
        if value == plain { self.clone() } else { serde_json::from_value(value).unwrap_or_else(|_| self.clone()) }
    }
}

impl Trial {
    /// The trial as it is recorded and reported: without passwords.
    pub fn masked(mut self) -> Self {
        let mut texts = vec![&mut self.variant];
        if let TrialOutcome::Failed(Failure { message, stderr_tail, phase, problem, .. }) = &mut self.outcome {
            texts.extend([message, stderr_tail, phase]);
            texts.extend(problem.iter_mut().flat_map(|problem| problem.texts()));
        }
        if let Some(measured) = &mut self.measured {
            texts.extend(measured.effective.values_mut());
            texts.extend(measured.resources.missing.values_mut());
            texts.extend(measured.events.iter_mut().map(|event| &mut event.detail));
            texts.extend([&mut measured.drain.detail, &mut measured.check.detail]);
        }
        for text in texts {
            if let Cow::Owned(plain) = masked(text) {
                *text = plain;
            }
        }
        self
    }
}

/// Where the passwords of URLs stand: after the first colon of what stands between `://` and the last `@` before the path.
fn url_passwords(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    for (begin, _) in text.match_indices("://") {
        let from = begin + 3;
        let authority = &text[from..];
        let ends = |character: char| character.is_whitespace() || "/?#\"'`<>│".contains(character);
        let authority = &authority[..authority.find(ends).unwrap_or(authority.len())];
        let Some(at) = authority.rfind('@') else { continue };
        let Some(colon) = authority[..at].find(':') else { continue };
        if colon + 1 < at {
            spans.push((from + colon + 1, from + at));
        }
    }
    spans
}

/// Where the values of `password=` stand.
fn named_passwords(text: &str) -> Vec<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    let mut spans = Vec::new();
    for (begin, word) in lower.match_indices("password=") {
        let from = begin + word.len();
        let rest = &text[from..];
        let length = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.find('\'').map_or(rest.len(), |end| end + 2),
            None => rest.find(|c: char| c.is_whitespace() || "&;\"'`│".contains(c)).unwrap_or(rest.len()),
        };
        if length > 0 {
            spans.push((from, from + length));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_and_nothing_else() {
        for (text, wanted) in [
            ("postgres://me:secret@host:5432/db", "postgres://me:***@host:5432/db"),
            ("--set url=postgres://me:s@cret@host/db?x=1", "--set url=postgres://me:***@host/db?x=1"),
            ("host=h password=secret user=u", "host=h password=*** user=u"),
            ("host=h password='two words' user=u", "host=h password=*** user=u"),
            ("a://u:p@h and b://v:q@i", "a://u:***@h and b://v:***@i"),
            ("postgres://h/db?user=u&password=secret&x=1", "postgres://h/db?user=u&password=***&x=1"),
            ("unix:///var/run/x.sock, postgres://host:5432/db, a@b.example", ""),
            ("postgres://me@host/db, postgres://me:@host", ""),
            ("ünïcode://é:geheim@höst", "ünïcode://é:***@höst"),
        ] {
            let wanted = if wanted.is_empty() { text } else { wanted };
            assert_eq!(masked(text), wanted);
            assert_eq!(masked(wanted), wanted, "twice is once");
        }
    }

    #[test]
    fn json_is_masked_at_every_depth() {
        let mut value = serde_json::json!({ "a": ["x://u:p@h"], "password": "p", "pg_password": "p", "n": 1, "password_file": "f" });
        mask_json(&mut value);
        let wanted = serde_json::json!({ "a": ["x://u:***@h"], "password": "***", "pg_password": "***", "n": 1, "password_file": "f" });
        assert_eq!(value, wanted);
    }
}
