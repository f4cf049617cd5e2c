//! `uplift profile SCENARIO --variant V [--against W]`: where the time went, and what moved.

use uplift_model::{run::Intent, scenario::Variant};
use uplift_sdk::TargetFactory;

use crate::{
    ad_hoc::{self, AdHoc},
    args::{ProfileArgs, ProfileMode, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    exit,
    output::{Terminal, render_with},
    session::{Profiling, Session},
};

/// Samples the variants and prints where their time went.
pub fn run(args: &ProfileArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    args.commands.check()?;
    let mode = args.mode();
    if mode == ProfileMode::Off {
        return Err(CliError::usage("--mode off profiles nothing", "use `uplift run` to measure without sampling"));
    }
    if mode == ProfileMode::Allocations && (args.sampling.tail.is_some() || args.cost) {
        return Err(CliError::usage(
            "--tail and --cost are about time, and --mode allocations is about memory",
            "leave them out, or sample time with --mode full",
        ));
    }
    if args.against.as_ref() == Some(&args.variant) {
        return Err(CliError::usage(
            format!("--against {0}: nothing can move from `{0}` to itself", args.variant),
            "name another variant, or leave --against out; `--cost` measures what sampling costs a variant",
        ));
    }
    let trials = TrialArgs { budget: args.budget, quick: false, blocks: None, setup: args.setup.clone() };
    let scenarios = match ad_hoc::resolve(&args.commands, &args.selection.place, &trials, targets, terminal)? {
        Some(found) => vec![programs(args, found)?],
        None => chosen(args, targets)?,
    };
    let intent = if args.cost {
        Intent::Compare { baseline: args.variant.clone(), candidate: sampled_name(args) }
    } else {
        Intent::Profile { variants: scenarios[0].1.clone() }
    };
    let finished = Session {
        intent,
        name: format!("profile-{}", scenarios[0].1.last().unwrap_or(&args.variant)),
        scenarios,
        trials: &trials,
        binaries: [None, None],
        blocks: None,
        history: true,
        profiling: if args.cost {
            Profiling::Cost(args.sampling.sampling(mode))
        } else {
            Profiling::Only(args.sampling.plan(mode))
        },
        terminal,
    }
    .execute()?;
    let text = render_with(
        &finished.run,
        &finished.trials,
        &finished.profiles,
        finished.verdicts.as_ref(),
        args.format,
        terminal.style(false),
    )?;
    terminal.print(&text);
    finished.say_end(terminal);
    Ok(match finished.exit() {
        exit::OK if !args.cost && finished.profiles.iter().any(|profile| profile.profiled.is_none()) => exit::FAILED,
        code => code,
    })
}

/// The programs of the command line, as one scenario and its variants.
fn programs(args: &ProfileArgs, found: AdHoc) -> Result<(Entry, Vec<String>), CliError> {
    if !args.selection.scenarios.is_empty() {
        return Err(CliError::usage(
            format!("`{}` is a scenario, and --cmd names programs", args.selection.scenarios[0]),
            "give either a scenario or --cmd; a blank in a command must be quoted",
        ));
    }
    if found.variants.len() > 2 {
        return Err(CliError::usage(
            format!(
                "a profile is of one program, or of what moved between two, and --cmd names {}",
                found.variants.len()
            ),
            "give --cmd once or twice",
        ));
    }
    Ok((found.entry, found.variants))
}

/// The scenarios that have the variants.
fn chosen(args: &ProfileArgs, targets: &[&'static dyn TargetFactory]) -> Result<Vec<(Entry, Vec<String>)>, CliError> {
    let mut scenarios = Vec::new();
    for mut entry in Catalogue::read(&args.selection, targets)?.entries {
        let names: Vec<String> = entry.scenario.variants.iter().map(|variant| variant.name.clone()).collect();
        let wanted: Vec<&String> = args.against.iter().chain([&args.variant]).collect();
        if let Some(missing) = wanted.iter().find(|wanted| !names.contains(wanted)) {
            if args.selection.scenarios.is_empty() {
                continue;
            }
            return Err(CliError::usage(
                format!("`{}` has no variant `{missing}`", entry.scenario.name),
                &suggestion(missing, names.iter().map(String::as_str)),
            ));
        }
        let variants = if args.cost { sampled_twin(&mut entry, args) } else { wanted.into_iter().cloned().collect() };
        scenarios.push((entry, variants));
    }
    if scenarios.is_empty() {
        return Err(CliError::usage(
            format!("no scenario has the variant `{}`", args.variant),
            "`uplift list` shows the variants of each scenario",
        ));
    }
    Ok(scenarios)
}

/// What the variant is called in the records while it is sampled.
fn sampled_name(args: &ProfileArgs) -> String {
    format!("{}@sampled-{}hz", args.variant, args.sampling.frequency)
}

/// The variant, and the same again under the sampler.
fn sampled_twin(entry: &mut Entry, args: &ProfileArgs) -> Vec<String> {
    let name = sampled_name(args);
    if let Some(variant) = entry.scenario.variant(&args.variant) {
        let twin = Variant { name: name.clone(), ..variant.clone() };
        entry.scenario.variants.push(twin);
    }
    vec![args.variant.clone(), name]
}
