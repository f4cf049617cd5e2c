//! Names of Swift functions: module, types and function, without what their types are.
//!
//! The language's own demangler needs its whole type grammar. A profile needs who a function is: the identifiers of a mangled
//! name say that, and stand in it in plain text, each behind its length.

/// The longest name that is looked at.
const NAME_BYTES_MAX: usize = 4096;

/// `$s4main4workyyF` → `main.work`; `None` where it is no name of Swift.
pub fn demangled(raw: &str) -> Option<String> {
    let starts = ["$s", "_$s", "$S", "_$S"];
    let rest = starts.iter().find_map(|start| raw.strip_prefix(start))?;
    if raw.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            let (name, next) = identifier(rest, at, &mut words)?;
            parts.push(name);
            at = next;
        } else if matches!(byte, b'V' | b'C' | b'O' | b'P' | b'E' | b'a') {
            // The kind of what the last identifier names: a struct, class, enum, protocol, extension or alias.
            at += 1;
        } else {
            // Types follow: of what they speak is no part of the name. What the function is stands at the end.
            break;
        }
    }
    if parts.is_empty() {
        return None;
    }
    let mut name = parts.join(".");
    let ends = [
        ("fC", ".init"),
        ("fc", ".init"),
        ("fD", ".deinit"),
        ("fd", ".deinit"),
        ("vg", ".getter"),
        ("vs", ".setter"),
        ("vM", ".modify"),
        ("U_", ".closure"),
        ("Tm", ""),
    ];
    if let Some((_, what)) = ends.iter().find(|(end, _)| rest.ends_with(end)) {
        name.push_str(what);
    }
    Some(name)
}

/// An identifier at `at`, which may be put together from words that stood before it; and where it ends.
fn identifier(text: &str, at: usize, words: &mut Vec<String>) -> Option<(String, usize)> {
    let mut at = at;
    let bytes = text.as_bytes();
    let substitutes = bytes.get(at) == Some(&b'0');
    let mut name = String::new();
    if substitutes {
        at += 1;
        // Lower case: another word follows; upper case: the last.
        while let Some(&letter) = bytes.get(at).filter(|letter| letter.is_ascii_alphabetic()) {
            at += 1;
            name.push_str(words.get(usize::from(letter.to_ascii_lowercase() - b'a'))?);
            if letter.is_ascii_uppercase() {
                break;
            }
        }
        if bytes.get(at) == Some(&b'0') {
            return Some((name, at + 1));
        }
    }
    let digits = text[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - at);
    if digits > 0 {
        let length: usize = text[at..at + digits].parse().ok()?;
        let from = at + digits;
        let plain = text.get(from..from.checked_add(length)?)?;
        remember(plain, words);
        name.push_str(plain);
        at = from + length;
    }
    (!name.is_empty()).then_some((name, at))
}

/// Words of an identifier begin with a capital or behind an underscore, and are two letters long or more.
fn remember(identifier: &str, words: &mut Vec<String>) {
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if word.len() >= 2 && words.len() < 26 {
            words.push(word.clone());
        }
        word.clear();
    };
    let mut before = '_';
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && !before.is_uppercase()) {
            end(&mut word);
        }
        if c != '_' {
            word.push(c);
        }
        before = c;
    }
    end(&mut word);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_by_module_and_type() {
        for (raw, wanted) in [
            ("$s4main4workyyF", "main.work"),
            ("$s4work7seventyyS2iF", "work.seventy"),
            ("$s4main7CounterC9incrementyyF", "main.Counter.increment"),
            ("$s4main7CounterCACycfc", "main.Counter.init"),
            ("$s4main7CounterC5valueSivg", "main.Counter.value.getter"),
            ("_$s4main5StackV4pushyyxF", "main.Stack.push"),
            // `readLine` and `lineReader`: words are said once.
            ("$s4main8readLine0bC0yyF", "main.readLine.readLine"),
        ] {
            assert_eq!(demangled(raw).as_deref(), Some(wanted), "{raw}");
        }
        for other in ["$s", "sqlite3_step", "$sSS", "$s999main", "$s4mä", "_ZN3foo3barE", "$s0a"] {
            assert_eq!(demangled(other), None, "{other}");
        }
    }
}
