//! Where words go: results to standard output, everything else to standard error.

use std::{
    fmt::Display,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process,
};

use miette::{GraphicalReportHandler, GraphicalTheme};
use uplift_analysis::crash::{contradict, demonstrations};
use uplift_engine::store::{load_cuts, load_profiles, write_whole};
use uplift_model::{
    ProfileTrial, Trial, Verdicts,
    crash::Cut,
    run::{Intent, Run},
};
use uplift_report::{
    ReportInput,
    build::{self, crash},
    document::{Document, Section},
    printable::printable,
    profile,
    render::{html, markdown, terminal},
    verdicts_json,
};

use crate::{
    args::{ColorChoice, Format, OutputArgs},
    error::CliError,
    exit,
};

/// What the two streams can show.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Colours on standard output.
    pub colour: bool,
    /// Colours on standard error.
    pub colour_errors: bool,
    /// Moving bars on standard error.
    pub bars: bool,
    /// No progress at all.
    pub quiet: bool,
    /// How much to say beyond the usual.
    pub verbose: u8,
    /// Width of standard output; `None` where it is not a terminal, or every column is wanted.
    pub width: Option<u16>,
    /// Whether the report is opened in a browser.
    pub open: bool,
}

impl Terminal {
    /// As the arguments and the environment say.
    pub fn of(args: &OutputArgs) -> Self {
        // A dumb terminal knows neither colours nor how to go back to the beginning of a line.
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let no_colour = dumb || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = |terminal: bool| match args.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_colour,
        };
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            colour: colour(stdout),
            colour_errors: colour(stderr),
            bars: stderr && !dumb && !args.quiet,
            quiet: args.quiet,
            verbose: args.verbose,
            width: terminal_size::terminal_size_of(io::stdout())
                .map(|(width, _)| width.0)
                .filter(|width| *width > 0 && !args.wide),
            open: args.open,
        }
    }

    /// Prints results. A reader that has gone away (`| head`) is no error; a full disk behind a redirection ends the
    /// command, whose documents are written by then.
    pub fn print(&self, text: &str) {
        let text = printable(text, self.colour);
        self.print_bytes(text.as_bytes());
        if !text.ends_with('\n') {
            self.print_bytes(b"\n");
        }
    }

    /// Prints results that are not text.
    pub fn print_bytes(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            note(&format!("could not write standard output: {error}"));
            process::exit(exit::FAILED.into());
        }
    }

    /// Prints a document: as markdown where that was asked for, otherwise in tables that fit.
    pub fn show(&self, document: &Document, format: Format, all_metrics: bool) {
        self.print(&match format {
            Format::Markdown => markdown::document(document),
            Format::Table | Format::Json => terminal::document(document, self.style(all_metrics)),
        });
    }

    /// Says something that is not a result.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            note(&printable(text, self.colour_errors));
        }
    }

    /// Prints a document for another program: as it is, but on a terminal so that it cannot steer that.
    pub fn print_document(&self, bytes: &[u8]) {
        match str::from_utf8(bytes) {
            Ok(text) if io::stdout().is_terminal() => self.print(text),
            _ => self.print_bytes(bytes),
        }
    }

    /// Names the report, and opens it where that was asked for.
    pub fn say_report(&self, page: &Path) {
        let offer = if self.bars && !self.open { " (--open shows it in a browser)" } else { "" };
        self.say(&format!("report: {}{offer}", page.display()));
        if !self.open {
            return;
        }
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let quiet = process::Stdio::null;
        let started = process::Command::new(opener).arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
        if let Err(error) = started {
            self.say(&format!("could not open it with `{opener}`: {error}"));
        }
    }

    /// Prints an error.
    pub fn complain(&self, error: &CliError) {
        let theme = if self.colour_errors { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        if handler.render_report(&mut text, error.report.as_ref()).is_err() {
            text = error.report.to_string();
        }
        note(printable(&text, self.colour_errors).trim_end_matches('\n'));
    }

    /// The style of a table.
    pub fn style(&self, all_metrics: bool) -> terminal::Style {
        terminal::Style { colour: self.colour, all_metrics, width: self.width }
    }
}

/// Writes a line to standard error. A reader that has gone away or a full disk behind it ends no run: what was measured
/// is on its way to files, and there is nowhere to say it.
pub fn note(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// The verdicts of a stored or finished run. What its cuts contradict cannot be compared.
pub fn verdicts_of(run: &Run, trials: &[Trial], cuts: &[Cut]) -> Option<Verdicts> {
    let mut verdicts = uplift_analysis::judge(run, trials)?;
    contradict(&mut verdicts, &demonstrations(cuts));
    Some(verdicts)
}

/// Writes everything below `trials.jsonl`.
pub fn write_documents(directory: &Path, run: &Run, trials: &[Trial]) -> Result<Option<Verdicts>, CliError> {
    write_documents_with(directory, run, trials, |_| Vec::new())
}

/// The same with sections of the command's own, made from the verdicts, after the summary.
pub fn write_documents_with(
    directory: &Path,
    run: &Run,
    trials: &[Trial],
    own: impl FnOnce(Option<&Verdicts>) -> Vec<Section>,
) -> Result<Option<Verdicts>, CliError> {
    let cuts = load_cuts(directory)?;
    let verdicts = verdicts_of(run, trials, &cuts);
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        write_whole(&path, text.as_bytes())
            .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", path.display()), ""))
    };
    if let Some(verdicts) = &verdicts {
        let text = verdicts_json(verdicts)
            .map_err(|error| CliError::environment(format!("could not write the verdicts: {error}"), ""))?;
        write("verdicts.json", &text)?;
    }
    if let Some(screens) = uplift_analysis::screens(run, trials) {
        let text = build::screen::json(&screens)
            .map_err(|error| CliError::environment(format!("could not write the answers: {error}"), ""))?;
        write("screen.json", &text)?;
    }
    let profiles = load_profiles(directory)?;
    if !profiles.is_empty() {
        write_profiles(directory, run, &profiles)?;
    }
    let input = ReportInput { run, trials, profiles: &profiles, verdicts: verdicts.as_ref() };
    let mut report = build::report(&input);
    if !report.plots.is_empty() {
        let folder = directory.join("plots");
        fs::create_dir_all(&folder)
            .map_err(|error| CliError::environment(format!("could not create `{}`: {error}", folder.display()), ""))?;
    }
    for plot in &report.plots {
        write(&plot.path, &plot.file())?;
    }
    let after_summary = report.document.sections.iter().position(|section| section.id != "summary").unwrap_or(0);
    report.document.sections.splice(after_summary..after_summary, own(verdicts.as_ref()));
    match run.intent {
        Intent::Crash { .. } => report.document = crash::document(run, &cuts),
        _ => report.document.sections.extend(crash::beside(&cuts)),
    }
    write("report.md", &markdown::document(&report.document))?;
    write("report.html", &html::report(&input, &report))?;
    Ok(verdicts)
}

/// Draws the profiles into the folder `profiles`.
fn write_profiles(directory: &Path, run: &Run, profiles: &[ProfileTrial]) -> Result<(), CliError> {
    let folder = directory.join("profiles");
    let unwritable = |path: &Path, error: &dyn Display| {
        CliError::environment(format!("could not write `{}`: {error}", path.display()), "")
    };
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    for artifact in profile::artifacts(run, profiles).map_err(|error| unwritable(&folder, &error))? {
        let path = folder.join(&artifact.name);
        write_whole(&path, &artifact.bytes).map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

/// The cuts of a run in the form that was asked for.
pub fn render_cuts(run: &Run, cuts: &[Cut], format: Format, style: terminal::Style) -> Result<String, CliError> {
    Ok(match format {
        Format::Markdown => markdown::document(&crash::document(run, cuts)),
        Format::Table if matches!(run.intent, Intent::Crash { .. }) => {
            terminal::document(&crash::document(run, cuts), style)
        }
        Format::Table => {
            crash::beside(cuts).map_or_else(String::new, |section| terminal::document(&Document::of(section), style))
        }
        Format::Json => serde_json::to_string_pretty(&crash::json(cuts))
            .map_err(|error| CliError::environment(format!("could not write the results: {error}"), ""))?,
    })
}

/// The results of a run without profiles in the form that was asked for.
pub fn render(
    run: &Run,
    trials: &[Trial],
    verdicts: Option<&Verdicts>,
    format: Format,
    style: terminal::Style,
) -> Result<String, CliError> {
    render_with(run, trials, &[], verdicts, format, style)
}

/// The results of a run in the form that was asked for.
pub fn render_with(
    run: &Run,
    trials: &[Trial],
    profiles: &[ProfileTrial],
    verdicts: Option<&Verdicts>,
    format: Format,
    style: terminal::Style,
) -> Result<String, CliError> {
    let input = ReportInput { run, trials, profiles, verdicts };
    let broken = |error: serde_json::Error| CliError::environment(format!("could not write the results: {error}"), "");
    if format == Format::Json
        && let Some(screens) = uplift_analysis::screens(run, trials)
    {
        return build::screen::json(&screens).map_err(broken);
    }
    Ok(match (format, verdicts) {
        (Format::Markdown, _) => markdown::document(&build::report(&input).document),
        (Format::Json, Some(verdicts)) => verdicts_json(verdicts).map_err(broken)?,
        (Format::Json, None) if !profiles.is_empty() => {
            let all: Vec<_> = run.scenarios.iter().map(|planned| profile::section::json(profiles, planned)).collect();
            serde_json::to_string_pretty(&all).map_err(broken)?
        }
        (Format::Json, None) => {
            let trials: Vec<_> = trials.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(broken)?;
            serde_json::to_string_pretty(&trials).map_err(broken)?
        }
        (Format::Table, _) => terminal::document(&build::document(&input), style),
    })
}
