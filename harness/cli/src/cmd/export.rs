//! `uplift export RUN --to FORMAT`: a stored run in the format of another tool.

use std::{fs, io, io::IsTerminal as _};

use uplift_engine::store::{load_cuts, load_profiles, write_whole};
use uplift_report::{
    ReportInput,
    export::{Document, Format, Selection, documents},
};

use crate::{
    args::{Direction, ExportArgs},
    cmd::show,
    error::{CliError, suggestion},
    exit,
    output::{Terminal, verdicts_of},
};

/// Prints the one document, or writes all of them into a folder.
pub fn run(args: &ExportArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let stored = show::load(&args.stored, terminal)?;
    let verdicts = verdicts_of(&stored.run, &stored.trials, &load_cuts(&stored.directory)?);
    let profiles = load_profiles(&stored.directory)?;
    let input =
        ReportInput { run: &stored.run, trials: &stored.trials, profiles: &profiles, verdicts: verdicts.as_ref() };
    check(args, &input)?;
    let selection = Selection {
        scenario: args.scenario.clone(),
        variant: args.variant.clone(),
        higher_is_better: args.better == Direction::Higher,
    };
    let format = args.to.format();
    let found = documents(format, &input, &selection)
        .map_err(|error| CliError::environment(error.to_string(), "the stacks in `profiles.jsonl` are damaged"))?;
    match (&args.into, &found[..]) {
        (_, []) => Err(CliError::usage(
            format!("run `{}` holds nothing that {format} could say", stored.run.id),
            match format {
                Format::Pprof => "it has no profile of what was asked for: measure with `--profile cpu`",
                _ => "it has no successful trial of what was asked for, or compares nothing",
            },
        )),
        (Some(folder), found) => {
            fs::create_dir_all(folder).map_err(|error| {
                CliError::environment(format!("could not create `{}`: {error}", folder.display()), "")
            })?;
            for document in found {
                let path = folder.join(&document.name);
                write_whole(&path, &document.bytes).map_err(|error| {
                    CliError::environment(format!("could not write `{}`: {error}", path.display()), "")
                })?;
                terminal.print(&path.display().to_string());
            }
            Ok(exit::OK)
        }
        (None, [Document { name, .. }]) if format == Format::Pprof && io::stdout().is_terminal() => {
            Err(CliError::usage(
                format!("`{name}` is no text for a terminal"),
                "name a folder with --into, or send it to a file with `>`",
            ))
        }
        (None, [Document { bytes, .. }]) => {
            terminal.print_document(bytes);
            Ok(exit::OK)
        }
        (None, many) => Err(CliError::usage(
            format!("{format} needs {} documents for this run", many.len()),
            "name a folder with --into, or choose with --scenario and --variant",
        )),
    }
}

/// A scenario or variant that is not in the run is an error, not an empty document.
fn check(args: &ExportArgs, input: &ReportInput<'_>) -> Result<(), CliError> {
    let scenarios: Vec<&str> = input.run.scenarios.iter().map(|planned| planned.scenario.name.as_str()).collect();
    let variants: Vec<&str> =
        input.run.scenarios.iter().flat_map(|planned| &planned.variants).map(String::as_str).collect();
    for (what, wanted, known) in [("scenario", &args.scenario, &scenarios), ("variant", &args.variant, &variants)] {
        if let Some(wanted) = wanted
            && !known.contains(&wanted.as_str())
        {
            return Err(CliError::usage(
                format!("run `{}` has no {what} `{wanted}`", input.run.id),
                &suggestion(wanted, known.iter().copied()),
            ));
        }
    }
    if input.run.intent.is_screen() && !matches!(args.to.format(), Format::Csv | Format::Hlog) {
        return Err(CliError::usage(
            format!("run `{}` is a screen, whose times are no measurements of either variant", input.run.id),
            "export a run of `uplift compare` without --screen; `--to csv` and `--to hlog` give the bare records",
        ));
    }
    Ok(())
}
