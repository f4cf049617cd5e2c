//! `uplift show RUN`: a stored run on the terminal.

use std::path::{Path, PathBuf};

use uplift_engine::{
    StoredRun,
    optional_file::list_optional,
    store::{RUN_FILE, load_cuts, load_profiles},
};
use uplift_model::run::Intent;

use crate::{
    args::{Format, RunArg, StoredArgs},
    cmd::searches,
    error::CliError,
    exit,
    output::{Terminal, render_cuts, render_with, verdicts_of},
    search_pages::StoredSearch,
};

/// How many runs are named where the one that was meant is not there.
const NEWEST: usize = 5;

/// Prints the run as the command that made it did.
pub fn run(args: &StoredArgs, terminal: &Terminal) -> Result<u8, CliError> {
    if let Some(folder) = searches::find(&args.stored.run, &args.stored.out) {
        searches::print(&searches::load(&folder)?, args.format, terminal)?;
        return Ok(exit::OK);
    }
    if let Some(search) = StoredSearch::find(&args.stored.run, &args.stored.out) {
        let pages = search.pages()?;
        match args.format {
            Format::Json => terminal.print(&pages.json),
            format => terminal.show(&pages.document, format, args.all_metrics),
        }
        return Ok(exit::OK);
    }
    print(&load(&args.stored, terminal)?, args.format, args.all_metrics, terminal)?;
    Ok(exit::OK)
}

/// Prints a stored run in a form.
pub fn print(stored: &StoredRun, format: Format, all_metrics: bool, terminal: &Terminal) -> Result<(), CliError> {
    let cuts = load_cuts(&stored.directory)?;
    let style = terminal.style(all_metrics);
    if matches!(stored.run.intent, Intent::Crash { .. }) {
        terminal.print(&render_cuts(&stored.run, &cuts, format, style)?);
        return Ok(());
    }
    let verdicts = verdicts_of(&stored.run, &stored.trials, &cuts);
    let profiles = load_profiles(&stored.directory)?;
    let text = render_with(&stored.run, &stored.trials, &profiles, verdicts.as_ref(), format, style)?;
    terminal.print(&text);
    if !cuts.is_empty() && format == Format::Table {
        terminal.print(&render_cuts(&stored.run, &cuts, format, style)?);
    }
    Ok(())
}

/// Finds and reads the run that is meant.
pub fn load(args: &RunArg, terminal: &Terminal) -> Result<StoredRun, CliError> {
    let directory = find(&args.run, &args.out)?;
    let stored = StoredRun::load(&directory)?;
    for warning in &stored.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    Ok(stored)
}

fn find(word: &str, out: &Path) -> Result<PathBuf, CliError> {
    let given = PathBuf::from(word);
    if given.join(RUN_FILE).is_file() {
        return Ok(given);
    }
    let entries = list_optional(out).map_err(|error| {
        let message = format!("could not read the folder `{}`: {error}", out.display());
        CliError::environment(message, "name the folder that holds runs with --out")
    })?;
    let mut names: Vec<String> = entries
        .iter()
        .filter(|entry| entry.path().join(RUN_FILE).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let Some(newest) = names.last() else {
        let message = match word {
            "latest" => format!("`{}` holds no run", out.display()),
            _ => format!("there is no run `{word}`: `{}` holds none", out.display()),
        };
        return Err(CliError::usage(
            message,
            "make one with `uplift compare baseline optimized --quick`, or name the folder with --out",
        ));
    };
    if word == "latest" {
        return Ok(out.join(newest));
    }
    // A whole name is that run, though others go on after it (`…-2`, of the same second).
    if names.iter().any(|name| name == word) {
        return Ok(out.join(word));
    }
    let matches: Vec<&String> = names.iter().filter(|name| name.starts_with(word)).collect();
    match matches[..] {
        [only] => Ok(out.join(only)),
        [] => Err(CliError::usage(
            format!("there is no run `{word}` in `{}`", out.display()),
            &format!(
                "the newest: {}; `latest` is the last of them",
                names[names.len().saturating_sub(NEWEST)..].join(", ")
            ),
        )),
        _ => Err(CliError::usage(
            format!("{} runs begin with `{word}`", matches.len()),
            &format!(
                "write more of the name: {}",
                matches.iter().rev().take(NEWEST).map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}
