//! Names of files made of names that people gave: no two lists of names become one file.

use std::fmt::Write as _;

/// Names as one word for a file: a scenario, then perhaps a variant and what else tells files apart.
///
/// Different lists become different words. The parts are joined by `-`, and `target/name` becomes `target-name`; a `-` that
/// is not between parts or within the name of a scenario is written `~`, every character that files, links and shells
/// take amiss as `+` and its two hexadecimal digits for each byte.
pub fn file_name(parts: &[&str]) -> String {
    let mut name = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            name.push('-');
        }
        let mut rest = *part;
        if index == 0
            && let Some((target, own)) = part.split_once('/')
        {
            push(target, "~", &mut name);
            name.push('-');
            rest = own;
        }
        push(rest, if index == 0 && rest != *part { "-" } else { "~" }, &mut name);
    }
    name
}

fn push(text: &str, dash: &str, name: &mut String) {
    for character in text.chars() {
        match character {
            '-' => name.push_str(dash),
            '.' | '_' | '@' | '=' => name.push(character),
            _ if character.is_ascii_alphanumeric() => name.push(character),
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(name, "+{byte:02X}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_are_readable() {
        assert_eq!(file_name(&["docdb/crud-write-only"]), "docdb-crud-write-only");
        assert_eq!(file_name(&["docdb/crud", "baseline"]), "docdb-crud-baseline");
        assert_eq!(file_name(&["a/b", "one-sync", "to", "no-sync"]), "a-b-one~sync-to-no~sync");
        assert_eq!(file_name(&["a/b", "x=1 y=2/3"]), "a-b-x=1+20y=2+2F3");
    }

    /// Every list of up to three parts over letters that could be taken for each other.
    #[test]
    fn no_two_lists_of_names_share_a_file() {
        let letters = ["a", "b", "-", "/", " ", "~", "+", "_", "."];
        let mut words: Vec<String> = letters.map(str::to_owned).to_vec();
        for length in 1..3 {
            let longest: Vec<String> = words.iter().filter(|word| word.len() == length).cloned().collect();
            words.extend(longest.iter().flat_map(|word| letters.map(|letter| format!("{word}{letter}"))));
        }
        let scenarios: Vec<String> =
            words.iter().filter(|word| word.len() <= 2).map(|word| format!("a/{word}")).collect();
        let variants: Vec<&String> = words.iter().filter(|word| !word.is_empty()).collect();
        let mut seen: BTreeMap<String, (&str, &str)> = BTreeMap::new();
        for scenario in scenarios.iter().chain(["a-b/c", "a/b-c", "a b/c"].map(str::to_owned).to_vec().leak().iter()) {
            for variant in &variants {
                let name = file_name(&[scenario, variant]);
                if let Some(other) = seen.insert(name.clone(), (scenario, variant)) {
                    assert_eq!(other, (scenario.as_str(), variant.as_str()), "{name}");
                }
            }
        }
    }
}
