//! Short names for commands: what differs in them.

/// The longest name.
const LENGTH_MAX: usize = 40;

/// A name for each command, all different.
pub fn of(commands: &[String]) -> Vec<String> {
    let words: Vec<Vec<&str>> = commands.iter().map(|command| command.split_whitespace().collect()).collect();
    let shortest = words.iter().map(Vec::len).min().unwrap_or(0);
    let same = |word: &dyn Fn(&Vec<&str>) -> String| {
        let first = words.first().map(word);
        words.iter().all(|one| Some(word(one)) == first)
    };
    let alone = words.len() < 2;
    let leading = if alone { 0 } else { (0..shortest).take_while(|&at| same(&|one| one[at].to_owned())).count() };
    let trailing = if alone {
        0
    } else {
        (0..shortest - leading).take_while(|&at| same(&|one| one[one.len() - 1 - at].to_owned())).count()
    };
    let mut names: Vec<String> = Vec::new();
    for one in &words {
        let differing = &one[leading..one.len() - trailing];
        let program = one.first().copied().unwrap_or_default();
        let name = [&differing.join(" "), program, "command"]
            .into_iter()
            .map(word)
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        let mut unique = name.clone();
        let mut number = 2;
        while names.contains(&unique) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        names.push(unique);
    }
    names
}

/// Text as the name of a variant, which names folders too: paths by their last part, everything else joined by dashes.
pub fn word(text: &str) -> String {
    let parts = text.split_whitespace().map(|part| part.rsplit('/').find(|part| !part.is_empty()).unwrap_or(part));
    let mut name = String::new();
    for character in parts.collect::<Vec<_>>().join(" ").chars() {
        if character.is_ascii_alphanumeric() || "_.".contains(character) {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches(['-', '_', '.']);
    name.chars().take(LENGTH_MAX).collect::<String>().trim_end_matches(['-', '_', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_what_differs() {
        for (commands, names) in [
            (vec!["./old --x", "./new --x"], vec!["old", "new"]),
            (vec!["sleep 0.01", "sleep 0.011"], vec!["0.01", "0.011"]),
            (vec!["grep -c x f", "grep -i -c x f"], vec!["grep", "i"]),
            (vec!["./a/run", "./b/run"], vec!["run", "run-2"]),
            (vec!["true", "true"], vec!["true", "true-2"]),
            (vec!["sort -S 1M f", "sort -S 8M f", "sort -S 1G f"], vec!["1M", "8M", "1G"]),
            (vec!["x 'a  b'", "x '!!'"], vec!["a-b", "x"]),
            (vec!["prog {n}"], vec!["prog-n"]),
        ] {
            let commands: Vec<String> = commands.into_iter().map(str::to_owned).collect();
            assert_eq!(super::of(&commands), names);
        }
    }
}
