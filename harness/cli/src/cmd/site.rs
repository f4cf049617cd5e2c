//! `uplift site [RESULTS] --out DIR`: all runs as plain pages that need no server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use uplift_engine::store::{RUN_FILE, write_whole};
use uplift_model::{Verdicts, run::Run};
use uplift_report::{
    build::site::{SiteRun, pages},
    render::html,
};

use crate::{args::SiteArgs, error::CliError, exit, output::Terminal};

/// How deep runs may lie below the folder of results.
const DEPTH_MAX: usize = 5;

/// Reads every run below the folder and writes the pages.
pub fn run(args: &SiteArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let unwritable = |path: &Path, error: std::io::Error| {
        let fix = "name a folder that can be written with --out";
        CliError::environment(format!("could not write `{}`: {error}", path.display()), fix)
    };
    let mut folders = Vec::new();
    find(&args.results, DEPTH_MAX, &mut folders);
    folders.sort();
    fs::create_dir_all(&args.out).map_err(|error| unwritable(&args.out, error))?;
    let mut runs = Vec::new();
    for folder in &folders {
        match read(folder, args) {
            Ok(one) => runs.push(one),
            Err(why) => terminal.say(&format!("warning: left out `{}`: {why}", folder.display())),
        }
    }
    if runs.is_empty() {
        return Err(CliError::usage(
            format!("`{}` holds no run", args.results.display()),
            "name the folder that holds runs: `uplift site results --out site`",
        ));
    }
    let count = runs.len();
    let pages = pages(runs);
    for page in &pages {
        let path = args.out.join(&page.file);
        let about = format!("{count} runs; made by `uplift site`").replace('`', "");
        write_whole(&path, html::page(&page.document, &page.plots, &about).as_bytes())
            .map_err(|error| unwritable(&path, error))?;
    }
    terminal.print(&args.out.join("index.html").display().to_string());
    if terminal.open {
        terminal.say_report(&args.out.join("index.html"));
    }
    Ok(exit::OK)
}

/// The folders of runs below `folder`.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join(RUN_FILE).is_file() {
        found.push(folder.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    if depth == 0 {
        return;
    }
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), depth - 1, found);
        }
    }
}

fn read(folder: &Path, args: &SiteArgs) -> Result<SiteRun, String> {
    let text = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("could not read {name}: {error}"));
    let run: Run = serde_json::from_slice(&text(RUN_FILE)?).map_err(|error| format!("{RUN_FILE}: {error}"))?;
    let verdicts = match folder.join("verdicts.json").is_file() {
        true => Some(
            serde_json::from_slice::<Verdicts>(&text("verdicts.json")?)
                .map_err(|error| format!("verdicts.json: {error}"))?,
        ),
        // Reference runs keep their records alone.
        false => uplift_engine::StoredRun::load(folder)
            .ok()
            .and_then(|stored| uplift_analysis::judge(&stored.run, &stored.trials)),
    };
    let page = folder.join("report.html");
    let report = page.is_file().then(|| link(&page, folder, args)).transpose()?;
    Ok(SiteRun { run: run.masked(), verdicts, report })
}

/// Where the report is, seen from the site: beside it where it is copied.
fn link(page: &Path, folder: &Path, args: &SiteArgs) -> Result<String, String> {
    if args.copy {
        return copy(page, folder, args);
    }
    let absolute = |path: &Path| fs::canonicalize(path).map_err(|error| format!("`{}`: {error}", path.display()));
    let (from, to) = (absolute(&args.out)?, absolute(page)?);
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    // A space or a percent sign in a name must not end the link.
    Ok(parts.join("/").replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F"))
}

/// Copies a report with the files that it links to. Folders of two runs may have the same name, their paths do not.
fn copy(page: &Path, folder: &Path, args: &SiteArgs) -> Result<String, String> {
    let below = folder.strip_prefix(&args.results).unwrap_or(folder);
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
    let to = format!("runs/{}", uplift_model::file_name(if parts.is_empty() { &["run"] } else { &parts }));
    let text = fs::read_to_string(page).map_err(|error| format!("could not read its report: {error}"))?;
    let mut files: Vec<&str> = text
        .split(" href=\"")
        .skip(1)
        .filter_map(|rest| rest.split(['"', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains(':') && !link.starts_with('/') && !link.contains(".."))
        .chain(["report.html"])
        .collect();
    files.sort_unstable();
    files.dedup();
    for file in files.into_iter().filter(|file| folder.join(file).is_file()) {
        let path = args.out.join(&to).join(file);
        let copied = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(folder.join(file), &path));
        copied.map_err(|error| format!("could not copy `{file}` to `{}`: {error}", path.display()))?;
    }
    Ok(format!("{to}/report.html"))
}
