//! `uplift history SCENARIO`: a metric over many runs, and where its level changed.

use serde_json::Value;
use uplift_analysis::history::trend_of;
use uplift_engine::{history_file::Wanted, store::write_whole};
use uplift_report::{build::history as draw, document::Document};

use crate::{
    archive,
    args::{Format, HistoryArgs},
    error::{CliError, suggestion},
    exit,
    output::Terminal,
};

/// Bytes of JSON that are printed at a time: a history may be larger than memory is wanted to be.
const PRINTED_BYTES: usize = 1 << 16;

/// Prints the trend of each variant, and writes its plot where asked.
pub fn run(args: &HistoryArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let (history, warning) = archive::history(&args.out, Wanted { scenario: &args.scenario, metric: &args.metric })?;
    if let Some(warning) = &warning {
        terminal.say(&format!("warning: {warning}"));
    }
    if history.variants.is_empty() {
        let known = history.scenarios.iter().map(String::as_str);
        return Err(CliError::usage(
            format!(
                "the history in `{}` has no run of `{}`",
                archive::history_file(&args.out).display(),
                args.scenario
            ),
            &format!(
                "{}; every `compare`, `gate` and `run` with the same --out adds to it",
                suggestion(&args.scenario, known)
            ),
        ));
    }
    let mut variants = history.variants;
    if let Some(wanted) = &args.variant {
        if !variants.contains_key(wanted) {
            return Err(CliError::usage(
                format!("the history of `{}` has no variant `{wanted}`", args.scenario),
                &suggestion(wanted, variants.keys().map(String::as_str)),
            ));
        }
        variants.retain(|variant, _| variant == wanted);
    }
    if !history.metrics.contains(&args.metric) {
        return Err(CliError::usage(
            format!("the history of `{}` has no metric `{}`", args.scenario, args.metric),
            &suggestion(&args.metric, history.metrics.iter().map(String::as_str)),
        ));
    }
    let mut rows = Rows::default();
    for (variant, points) in variants {
        let Some(trend) = trend_of(points) else { continue };
        match args.format {
            Format::Json => {
                draw::json(&trend, &args.scenario, &variant, &args.metric).for_each(|row| rows.push(&row, terminal));
            }
            Format::Table | Format::Markdown => {
                let section = draw::section(&trend, &args.scenario, &variant, &args.metric);
                terminal.show(&Document::of(section), args.format, false);
            }
        }
        if let Some(folder) = &args.plots
            && let Some(plot) = draw::plot(&trend, &args.scenario, &variant, &args.metric)
        {
            let path = folder.join(plot.path.trim_start_matches("plots/"));
            std::fs::create_dir_all(folder)
                .and_then(|()| write_whole(&path, plot.file().as_bytes()))
                .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", path.display()), ""))?;
            terminal.say(&format!("plot: {}", path.display()));
        }
    }
    if args.format == Format::Json {
        rows.end(terminal);
    }
    Ok(exit::OK)
}

/// An array of JSON that is printed while it grows.
#[derive(Default)]
struct Rows {
    text: String,
    begun: bool,
}

impl Rows {
    fn push(&mut self, row: &Value, terminal: &Terminal) {
        // Whole lines are printed: the one that ends a row waits for its comma.
        if self.text.len() >= PRINTED_BYTES {
            self.text.push_str(",\n");
            terminal.print(&std::mem::take(&mut self.text));
        } else {
            self.text.push_str(if self.begun { ",\n" } else { "[\n" });
        }
        self.begun = true;
        self.text.push_str("  ");
        self.text.push_str(&format!("{row:#}").replace('\n', "\n  "));
    }

    fn end(mut self, terminal: &Terminal) {
        self.text.push_str(if self.begun { "\n]" } else { "[]" });
        terminal.print(&self.text);
    }
}
