//! Command lines: words as a shell would see them, and the placeholders that each run fills.

use std::path::Path;

/// What only a shell understands, where it stands as a word of its own.
const SHELL_OPERATORS: [&str; 12] = ["|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "<<", "|&"];

/// Splits `line` into words by the rules of the shell: blanks divide, quotes and backslashes protect.
///
/// # Errors
/// A quote without its end, a word that only a shell understands, nothing at all.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut protected = false;
    let mut characters = line.chars();
    let mut finish = |word: &mut Option<String>, protected: &mut bool| {
        let Some(done) = word.take() else { return Ok(()) };
        if !std::mem::take(protected) && SHELL_OPERATORS.contains(&done.as_str()) {
            return Err(format!(
                "`{done}` in `{line}` is for a shell, and the command is started without one; add --shell (in a scenario `shell = \"sh\"`), or quote it"
            ));
        }
        words.push(done);
        Ok(())
    };
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' => finish(&mut word, &mut protected)?,
            '\'' | '"' => {
                protected = true;
                let into = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(format!("`{line}` has a {character} without its end")),
                        Some(end) if end == character => break,
                        Some('\\') if character == '"' => match characters.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => into.push(escaped),
                            Some(other) => into.extend(['\\', other]),
                            None => return Err(format!("`{line}` has a {character} without its end")),
                        },
                        Some(other) => into.push(other),
                    }
                }
            }
            '\\' => {
                protected = true;
                match characters.next() {
                    Some(escaped) => word.get_or_insert_default().push(escaped),
                    None => return Err(format!("`{line}` ends with a backslash that protects nothing")),
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    finish(&mut word, &mut protected)?;
    if words.is_empty() {
        return Err("the command is empty; write a program and its arguments".to_owned());
    }
    Ok(words)
}

/// What the placeholders of one run stand for.
#[derive(Clone, Copy, Debug)]
pub struct Placeholders<'a> {
    /// `{data}`: a fresh folder of this run.
    pub data: &'a Path,
    /// `{block}`: a folder that lives as long as the block.
    pub block: &'a Path,
    /// `{seed}`: equal for the runs of all variants in one block.
    pub seed: u64,
    /// `{run}`: the number of the run within its block, from 0.
    pub run: u64,
}

/// Whether `text` asks for a folder of its own.
pub fn wants_data(text: &str) -> bool {
    text.contains("{data}")
}

impl Placeholders<'_> {
    /// `text` with its placeholders filled; other braces stay.
    pub fn fill(&self, text: &str) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        text.replace("{data}", &self.data.to_string_lossy())
            .replace("{block}", &self.block.to_string_lossy())
            .replace("{seed}", &self.seed.to_string())
            .replace("{run}", &self.run.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("./a --x  y", vec!["./a", "--x", "y"]),
            (r#"sh -c 'echo "a b" | wc'"#, vec!["sh", "-c", r#"echo "a b" | wc"#]),
            (r#"a "b \"c\" \n" '' d\ e"#, vec!["a", r#"b "c" \n"#, "", "d e"]),
            ("a ';' \\|", vec!["a", ";", "|"]),
            ("a{b} x=1", vec!["a{b}", "x=1"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for (line, said) in [
            ("a | b", "add --shell"),
            ("a 'b", "without its end"),
            ("a \\", "backslash"),
            ("  ", "empty"),
            ("a > b", "`>`"),
        ] {
            assert!(split(line).unwrap_err().contains(said), "{line}");
        }
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let filled = Placeholders { data: Path::new("/d/run-3"), block: Path::new("/d/block"), seed: 7, run: 3 };
        assert_eq!(filled.fill("x {data}/y {block} {seed}-{run} {\"a\":1}"), "x /d/run-3/y /d/block 7-3 {\"a\":1}");
    }
}
