//! `uplift history SCENARIO`: a metric over many runs, and where its level changed.

use uplift_analysis::history::trend;
use uplift_engine::store::write_whole;
use uplift_report::{build::history as draw, document::Document};

use crate::{
    archive,
    args::{Format, HistoryArgs},
    error::{CliError, suggestion},
    exit,
    output::Terminal,
};

/// Prints the trend of each variant, and writes its plot where asked.
pub fn run(args: &HistoryArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let wanted = archive::Wanted { scenario: &args.scenario, metric: &args.metric };
    let history = archive::history(&args.out, &wanted)?;
    if let Some(warning) = &history.warning {
        terminal.say(&format!("warning: {warning}"));
    }
    if history.entries.is_empty() {
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
    let mut variants: Vec<&str> = history.variants.iter().map(String::as_str).collect();
    if let Some(wanted) = &args.variant {
        if !variants.contains(&wanted.as_str()) {
            return Err(CliError::usage(
                format!("the history of `{}` has no variant `{wanted}`", args.scenario),
                &suggestion(wanted, variants.iter().copied()),
            ));
        }
        variants.retain(|variant| variant == wanted);
    }
    if !history.metrics.contains(&args.metric) {
        return Err(CliError::usage(
            format!("the history of `{}` has no metric `{}`", args.scenario, args.metric),
            &suggestion(&args.metric, history.metrics.iter().map(String::as_str)),
        ));
    }
    let mut rows = Vec::new();
    for variant in variants {
        let Some(trend) = trend(&history.entries, &args.scenario, variant, &args.metric) else { continue };
        match args.format {
            Format::Json => rows.extend(draw::json(&trend, variant, &args.metric)),
            Format::Table | Format::Markdown => {
                let section = draw::section(&trend, &args.scenario, variant, &args.metric);
                terminal.show(&Document::of(section), args.format, false);
            }
        }
        if let Some(folder) = &args.plots
            && let Some(plot) = draw::plot(&trend, &args.scenario, variant, &args.metric)
        {
            let path = folder.join(plot.path.trim_start_matches("plots/"));
            std::fs::create_dir_all(folder)
                .and_then(|()| write_whole(&path, plot.file().as_bytes()))
                .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", path.display()), ""))?;
            terminal.say(&format!("plot: {}", path.display()));
        }
    }
    if args.format == Format::Json {
        terminal.print(&format!("{:#}", serde_json::Value::Array(rows)));
    }
    Ok(exit::OK)
}
