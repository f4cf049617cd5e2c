//! Words of hyperfine and poop that are other words here: who types one is told.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options of these tools, and what does the same here.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["--style"],
        "`--quiet` prints no progress, `--color never` no colors, and `--format` says how results are printed",
    ),
    (
        &["--export-json", "--export-csv", "--export-markdown", "--export-asciidoc", "--export-orgmode"],
        "every run is stored; `--format json` or `--format markdown` prints it, and `uplift export latest --format …` writes it for other tools",
    ),
    (&["--time-unit", "-u"], "units are chosen so that figures can be read; `--format json` has nanoseconds"),
    (
        &["--show-output"],
        "what programs print is thrown away: `--output FILE` keeps it, `--expect-match` and `--value` look at it",
    ),
    (&["--reference"], "the first `--cmd` is what the others are compared with"),
    (&["--reference-name"], "the first `--cmd` is what the others are compared with, and `--name` names it"),
    (&["--sort"], "`uplift run --cmd … --cmd …` ranks programs by their time"),
    (&["--min-benchmarking-time"], "`--budget DURATION` is the time for all programs together, `--duration` for each"),
    (
        &["--parameter-list", "-L", "--parameter-scan", "-P", "--parameter-step-size", "-D"],
        "`uplift sweep --cmd … -L NAME A,B,C` measures a program with each value of a parameter",
    ),
    (&["--debug-mode"], "`-v` prints more about what happens"),
];

/// What does here what an option that is not known does there.
pub fn word_for(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = argument.split('=').next().unwrap_or(argument);
    let (_, words) = WORDS.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("Do you know `{name}` from hyperfine? Here {words}."))
}

/// The shell that a word of hyperfine means; `None`: none.
pub fn shell(word: &str) -> Option<&str> {
    match word {
        "none" => None,
        "default" => Some("sh"),
        shell => Some(shell),
    }
}

/// Whether a name can only be meant as a program: hyperfine's and poop's stand where variants do here.
pub fn is_program(name: &str) -> bool {
    name.contains([' ', '/']) && !name.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_word_of_other_tools_is_known_or_answered() {
        // `hyperfine --help` 1.15 to 1.19 and `poop --help`; with a value where they take one.
        let options = [
            "--warmup=1",
            "--min-runs=1",
            "--max-runs=9",
            "--runs=1",
            "--setup=a",
            "--prepare=a",
            "--cleanup=a",
            "--conclude=a",
            "--style=basic",
            "--shell=none",
            "-N",
            "--ignore-failure",
            "--time-unit=second",
            "-u",
            "--export-asciidoc=a",
            "--export-csv=a",
            "--export-json=a",
            "--export-markdown=a",
            "--export-orgmode=a",
            "--show-output",
            "--output=null",
            "--input=a",
            "--command-name=a",
            "--reference=a",
            "--sort=command",
            "--parameter-list",
            "--parameter-scan",
            "--parameter-step-size=1",
            "--min-benchmarking-time=3",
            "-d=5000",
            "--duration=5000",
            "--color=ansi",
            "-f",
            "--allow-failures",
        ];
        for option in options {
            let arguments = ["uplift", "compare", "--cmd", "a", option];
            match Cli::command().try_get_matches_from(arguments) {
                Ok(_) => {}
                Err(error) => assert!(word_for(&error).is_some(), "{option}: {error}"),
            }
        }
    }
}
