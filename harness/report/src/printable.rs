//! Text on its way to a terminal or to the log of a CI job: what it quotes from agents, files and settings must not steer
//! either.

use std::fmt::Write as _;

use uplift_model::secret::masked;

/// The text with its control characters, directions and workflow commands made visible, and without passwords. Line feeds
/// and tabs stay; so do the colours that tables have, where `colours` says that they may.
pub fn printable(text: &str, colours: bool) -> String {
    let text = masked(text);
    let mut plain = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        escape_line(line, colours, &mut plain);
    }
    plain
}

fn escape_line(line: &str, colours: bool, plain: &mut String) {
    // A log of GitHub takes a line that begins so for a command, and `##[` anywhere.
    let begin = line.len() - line.trim_start_matches(|c: char| c.is_whitespace() || c.is_control()).len();
    let command = line[begin..].starts_with("::").then_some(begin);
    let mut skip_to = 0;
    for (index, character) in line.char_indices() {
        if index < skip_to {
            plain.push(character);
        } else if Some(index) == command || line[index..].starts_with("##[") {
            escape(character, plain);
        } else if colours && let Some(length) = colour_length(&line[index..]) {
            plain.push(character);
            skip_to = index + length;
        } else if is_unseen(character) {
            escape(character, plain);
        } else {
            plain.push(character);
        }
    }
}

/// In the form that JSON has as well, so that escaped JSON stays JSON.
fn escape(character: char, plain: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(plain, "\\u{unit:04x}");
    }
}

/// Whether a character moves, deletes, hides or turns round what stands beside it.
fn is_unseen(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => true,
        other => other.is_control(),
    }
}

/// The length of the escape sequence that `text` begins with, where it is one of those that only colour what follows:
/// foreground, bold, dim, italic, underlined, and their ends.
fn colour_length(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    if !rest[end..].starts_with('m') {
        return None;
    }
    let mut codes = rest[..end].split(';');
    while let Some(code) = codes.next() {
        match code.parse::<u8>() {
            Ok(38) => match (codes.next(), codes.next()) {
                (Some("5"), Some(index)) if index.parse::<u8>().is_ok() => {}
                _ => return None,
            },
            Ok(0..=4 | 22..=24 | 30..=37 | 39 | 90..=97) => {}
            _ if code.is_empty() => {}
            _ => return None,
        }
    }
    Some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal_or_a_log() {
        for (text, wanted) in [
            ("plain\ttext – ünïcode\n", "plain\ttext – ünïcode\n"),
            ("\x1b[2J\x07\r\x7f", "\\u001b[2J\\u0007\\u000d\\u007f"),
            ("\u{9b}31m \u{202e}abc", "\\u009b31m \\u202eabc"),
            ("::error::no\nx ::error::", "\\u003a:error::no\nx ::error::"),
            ("  ::add-mask::x", "  \\u003a:add-mask::x"),
            ("\r::error::x", "\\u000d\\u003a:error::x"),
            ("a ##[error]b", "a \\u0023#[error]b"),
            ("postgres://me:secret@host", "postgres://me:***@host"),
        ] {
            assert_eq!(printable(text, false), wanted);
            assert_eq!(printable(text, true), wanted);
        }
    }

    #[test]
    fn colours_stay_where_they_may() {
        for text in ["\x1b[31mred\x1b[0m", "\x1b[38;5;9mred\x1b[39m", "\x1b[1;36mx\x1b[m"] {
            assert_eq!(printable(text, true), text);
            assert!(!printable(text, false).contains('\x1b'));
        }
        for hidden in ["\x1b[8mx", "\x1b[38;2;1;2;3mx", "\x1b[31", "\x1b[31K"] {
            assert!(!printable(hidden, true).contains('\x1b'), "{hidden:?}");
        }
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::to_string(&serde_json::json!({ "a": "\u{85}\u{7f}::error::##[x" })).unwrap();
        let value: serde_json::Value = serde_json::from_str(&printable(&json, false)).unwrap();
        assert_eq!(value["a"], "\u{85}\u{7f}::error::##[x");
    }
}
