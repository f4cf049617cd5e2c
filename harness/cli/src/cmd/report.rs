//! `uplift report RUN…`: rebuild the documents of stored runs from their records, byte for byte; with `--replication`
//! the page that holds published figures against them.

use std::path::Path;

use uplift_analysis::replication::{self, StoredRun};
use uplift_engine::store::{load_profiles, write_whole};
use uplift_model::Scenario;
use uplift_report::{render::markdown, replication as page};
use uplift_sdk::TargetFactory;

use crate::{
    args::{Format, PlaceArgs, ReportArgs, RunArg, SelectionArgs},
    catalogue::Catalogue,
    cmd::{gate, searches, show},
    error::CliError,
    exit,
    output::{Terminal, write_documents},
    search_pages::StoredSearch,
};

/// Rewrites `verdicts.json`, `report.md`, `report.html` and the plots of each run, or writes the page.
pub fn run(args: &ReportArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let load = |word: &String| show::load(&RunArg { run: word.clone(), out: args.out.clone() }, terminal);
    let Some(file) = &args.replication else {
        for word in &args.runs {
            if let Some(folder) = searches::find(word, &args.out) {
                rebuild_saturation(&folder, args, terminal)?;
                continue;
            }
            if let Some(search) = StoredSearch::find(word, &args.out) {
                rebuild_search(&search, args, terminal)?;
                continue;
            }
            let one = &load(word)?;
            let verdicts = write_documents(&one.directory, &one.run, &one.trials)?;
            gate::rebuild(&one.directory, &one.run, &one.trials, verdicts.as_ref())?;
            if args.format.is_some() || args.all_metrics {
                show::print(one, args.format.unwrap_or_default(), args.all_metrics, terminal)?;
            } else {
                terminal.print(&one.directory.join("report.md").display().to_string());
                if terminal.open {
                    terminal.say_report(&one.directory.join("report.html"));
                }
            }
        }
        return Ok(exit::OK);
    };
    let stored = args.runs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let mut profiles = Vec::new();
    for one in &stored {
        profiles.push(load_profiles(&one.directory)?);
    }
    let runs: Vec<StoredRun<'_>> = stored
        .iter()
        .zip(&profiles)
        .map(|(one, profiles)| StoredRun { run: &one.run, trials: &one.trials, profiles })
        .collect();
    write_page(file, &scenarios(args, targets)?, &runs)?;
    terminal.print(&file.display().to_string());
    Ok(exit::OK)
}

/// Rewrites the documents of a search for a rate or over clients.
fn rebuild_saturation(folder: &Path, args: &ReportArgs, terminal: &Terminal) -> Result<(), CliError> {
    let record = searches::load(folder)?;
    searches::write_documents(folder, &record)?;
    match args.format {
        Some(format) => searches::print(&record, format, terminal)?,
        None => terminal.print(&folder.join("report.md").display().to_string()),
    }
    if terminal.open {
        terminal.say_report(&folder.join("report.html"));
    }
    Ok(())
}

/// Rewrites the pages of a search.
fn rebuild_search(search: &StoredSearch, args: &ReportArgs, terminal: &Terminal) -> Result<(), CliError> {
    let pages = search.pages()?;
    let page = pages.write(&search.folder)?;
    match args.format {
        Some(Format::Json) => terminal.print(&pages.json),
        Some(format) => terminal.show(&pages.document, format, args.all_metrics),
        None if args.all_metrics => terminal.show(&pages.document, Format::Table, true),
        None => terminal.print(&page.with_extension("md").display().to_string()),
    }
    if terminal.open {
        terminal.say_report(&page);
    }
    Ok(())
}

/// The scenarios as their files are now: figures that were added after a run are checked against it too.
fn scenarios(args: &ReportArgs, targets: &[&'static dyn TargetFactory]) -> Result<Vec<Scenario>, CliError> {
    let place = PlaceArgs { scenario_dir: args.scenario_dir.clone(), overrides: Vec::new() };
    let selection = SelectionArgs { scenarios: Vec::new(), place };
    Ok(Catalogue::read(&selection, targets)?.entries.into_iter().map(|entry| entry.scenario).collect())
}

fn write_page(file: &Path, scenarios: &[Scenario], runs: &[StoredRun<'_>]) -> Result<(), CliError> {
    let rows = replication::replicate(scenarios, runs);
    write_whole(file, markdown::document(&page::document(&rows, runs)).as_bytes())
        .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", file.display()), ""))
}
