//! `uplift run SCENARIO… --variant V`: measure without comparing.

use std::collections::HashSet;

use uplift_model::run::Intent;
use uplift_sdk::TargetFactory;

use crate::{
    args::RunArgs,
    catalogue::Catalogue,
    error::{CliError, pointer, suggestion},
    output::{Terminal, render},
    session::{Profiling, Session},
};

/// Measures the variants and prints what they did.
pub fn run(args: &RunArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    if args.ledger {
        return super::ledger::run(args, targets, terminal);
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
    terminal.say(&format!("report: {}", finished.directory.join("report.md").display()));
    Ok(finished.exit())
}
