//! `uplift run SCENARIO… --variant V`: measure without comparing.

use std::collections::HashSet;

use uplift_analysis::sweep::sweep;
use uplift_model::run::Intent;
use uplift_report::{build::sweep as draw, document::Document, render::markdown};
use uplift_sdk::TargetFactory;

use crate::{
    ad_hoc::{self, AdHoc},
    args::{Format, RunArgs},
    catalogue::Catalogue,
    error::{CliError, pointer, suggestion},
    output::{Terminal, render},
    revisions,
    session::{Profiling, Session},
};

/// Measures the variants and prints what they did.
pub fn run(args: &RunArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    args.commands.check()?;
    if args.ledger {
        return super::ledger::run(args, targets, terminal);
    }
    if args.commands.base_ref.is_some() && args.commands.cmd.is_empty() {
        return Err(CliError::usage("--base-ref is about a program, and no --cmd names one", "give --cmd once"));
    }
    if let Some(found) = ad_hoc::resolve(&args.commands, &args.selection.place, &args.trials, targets, terminal)? {
        return rank(args, found, terminal);
    }
    let mut seen = HashSet::new();
    if let Some(twice) = args.variants.iter().find(|name| !seen.insert(*name)) {
        let help = "name each variant once; `uplift calibrate` measures one against itself";
        return Err(CliError::usage(format!("`--variant {twice}` is given twice"), help));
    }
    let catalogue = Catalogue::read(&args.selection, targets)?;
    let named = !args.selection.scenarios.is_empty();
    let (mut scenarios, mut all) = (Vec::new(), Vec::new());
    for entry in catalogue.entries {
        let names: Vec<String> = entry.scenario.variants.iter().map(|variant| variant.name.clone()).collect();
        match args.variants.iter().find(|wanted| !names.contains(wanted)) {
            None => scenarios.push((entry, args.variants.clone())),
            Some(missing) if named => {
                return Err(CliError::usage(
                    format!("`{}` has no variant `{missing}`", entry.scenario.name),
                    &suggestion(missing, names.iter().map(String::as_str)),
                ));
            }
            Some(_) => {}
        }
        all.extend(names);
    }
    if scenarios.is_empty() {
        return Err(CliError::usage(
            format!("no scenario has the variants {}", args.variants.join(", ")),
            &pointer(
                &args.variants[0],
                all.iter().map(String::as_str),
                "`uplift list` shows the variants of each scenario",
            ),
        ));
    }
    // A plan needs no build.
    for (entry, variants) in scenarios.iter_mut().filter(|_| !args.trials.setup.dry_run) {
        revisions::prepare(entry, variants, terminal)?;
    }
    let finished = Session {
        intent: Intent::Run { variants: args.variants.clone() },
        name: format!("run-{}", args.variants.join("-")),
        scenarios,
        trials: &args.trials,
        binaries: [None, None],
        // Without a comparison there is nothing to decide: five blocks give a median and a spread.
        blocks: if args.trials.blocks.is_none() && args.trials.budget.is_none() { Some(5) } else { None },
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    let text = render(&finished.run, &finished.trials, None, args.format, terminal.style(args.all_metrics))?;
    terminal.print(&text);
    finished.say_end(terminal);
    Ok(finished.exit())
}

/// Measures the programs of the command line and says which is best.
fn rank(args: &RunArgs, found: AdHoc, terminal: &Terminal) -> Result<u8, CliError> {
    if let Some(variant) = args.variants.first() {
        let message = format!("`--variant {variant}` is of a scenario, and --cmd names programs");
        return Err(CliError::usage(message, "give either --variant or --cmd"));
    }
    let AdHoc { entry, variants, trials } = found;
    let finished = Session {
        intent: Intent::Run { variants: variants.clone() },
        name: format!("run-{}", variants.join("-").chars().take(60).collect::<String>()),
        scenarios: vec![(entry, variants)],
        trials: &trials,
        binaries: [None, None],
        blocks: None,
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    terminal.print(&render(&finished.run, &finished.trials, None, args.format, terminal.style(args.all_metrics))?);
    if args.format != Format::Json
        && let Some(planned) = finished.run.scenarios.first().filter(|planned| planned.variants.len() > 1)
        && let Some(ranking) = sweep(planned, &finished.trials)
    {
        let section = draw::section(&ranking, &planned.scenario.name);
        match args.format {
            Format::Markdown => terminal.print(&format!("\n{}", markdown::part(&section))),
            _ => terminal.show(&Document::of(section), args.format, false),
        }
    }
    finished.say_end(terminal);
    Ok(finished.exit())
}
