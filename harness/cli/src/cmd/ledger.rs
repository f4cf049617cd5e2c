//! `uplift run SCENARIO --ledger`: the steps of a sprint, each against the one before it and against the first.

use uplift_model::{run::Intent, scenario::Interleave};
use uplift_report::{build::ledger as draw, document::Document};
use uplift_sdk::TargetFactory;

use crate::{
    args::{Format, RunArgs},
    catalogue::Catalogue,
    error::CliError,
    output::{Terminal, render},
    session::{Profiling, Session},
};

/// Blocks where nothing else is said: from ten on two tests must agree before a change counts.
const BLOCKS: u32 = 10;

/// Measures all steps interleaved and prints what each brought.
pub fn run(args: &RunArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let mut entries = Catalogue::read(&args.selection, targets)?.entries;
    entries.retain(|entry| !entry.scenario.ledger.is_empty());
    if entries.len() != 1 {
        let names: Vec<&str> = entries.iter().map(|entry| entry.scenario.name.as_str()).collect();
        return Err(CliError::usage(
            format!("{} of these scenarios have a `ledger`, and --ledger is of one", entries.len()),
            &if names.is_empty() {
                "write `ledger = [\"first\", \"second\"]` into a scenario file: names of variants in the order of the steps"
                    .to_owned()
            } else {
                format!("name one of {}", names.join(", "))
            },
        ));
    }
    let mut entry = entries.remove(0);
    let steps = entry.scenario.ledger.clone();
    // A step runs alone: that many resident processes would share caches and memory.
    entry.scenario.trial.interleave = Interleave::Trials;
    let name = entry.scenario.name.clone();
    let finished = Session {
        intent: Intent::Ledger { steps: steps.clone() },
        name: format!("ledger-{}", name.replace('/', "-")),
        scenarios: vec![(entry, steps)],
        trials: &args.trials,
        binaries: [None, None],
        blocks: if args.trials.blocks.is_none() && args.trials.budget.is_none() { Some(BLOCKS) } else { None },
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    let ledger =
        finished.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios).find_map(|scenario| scenario.ledger.as_ref());
    match (args.format, ledger) {
        (Format::Table, Some(ledger)) => {
            let section = draw::section(ledger, &name);
            terminal.show(&Document::of(section), args.format, false);
        }
        _ => {
            let style = terminal.style(args.all_metrics);
            terminal.print(&render(&finished.run, &finished.trials, finished.verdicts.as_ref(), args.format, style)?);
        }
    }
    finished.say_end(terminal);
    Ok(finished.exit())
}
