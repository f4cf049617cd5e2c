//! `uplift compare BASE CAND [SCENARIO…]`: the main job.

use uplift_engine::store::load_cuts;
use uplift_model::{
    duration::HumanDuration,
    run::{Intent, RunState},
    scenario::Variant,
};
use uplift_sdk::TargetFactory;

use crate::{
    ad_hoc::{self, AdHoc},
    args::{CompareArgs, Format, ProfileMode},
    catalogue::{Catalogue, Entry},
    cmd::{calibrate, screen},
    cuts::beside,
    error::{CliError, pointer, suggestion},
    finished::Finished,
    other_tools,
    output::{Terminal, render_cuts, render_with},
    revisions,
    session::{Profiling, Session},
};

/// Where variants are to be seen.
const LISTED: &str = "`uplift list` shows the variants of each scenario";

/// Measures both variants interleaved and prints what was decided.
pub fn run(args: &CompareArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    args.commands.check()?;
    let finished =
        if args.screen { screen::measure(args, targets, terminal)? } else { measure(args, None, targets, terminal)? };
    let style = terminal.style(args.how.all_metrics);
    let text = render_with(
        &finished.run,
        &finished.trials,
        &finished.profiles,
        finished.verdicts.as_ref(),
        args.how.format,
        style,
    )?;
    terminal.print(&text);
    let cuts = load_cuts(&finished.directory)?;
    if !cuts.is_empty() && args.how.format == Format::Table {
        terminal.print(&render_cuts(&finished.run, &cuts, args.how.format, terminal.style(args.how.all_metrics))?);
    }
    finished.say_end(terminal);
    Ok(finished.exit())
}

/// Measures both variants interleaved and writes the documents; `floor` is the time to compare the baseline with itself first.
pub fn measure(
    args: &CompareArgs,
    floor: Option<HumanDuration>,
    targets: &[&'static dyn TargetFactory],
    terminal: &Terminal,
) -> Result<Finished, CliError> {
    if let Some(found) = ad_hoc::resolve(&args.commands, &args.selection.place, &args.how.trials, targets, terminal)? {
        return measure_commands(args, found, floor, terminal);
    }
    let catalogue = Catalogue::read(&args.selection, targets)?;
    let mut scenarios = chosen(catalogue.entries, args)?;
    if args.how.trials.quick && args.selection.scenarios.is_empty() {
        leave_out(&mut scenarios, terminal);
    }
    if let Some(metric) = &args.how.metric {
        for (entry, _) in &mut scenarios {
            entry.decide_by(metric)?;
        }
    }
    // A plan needs no build and no floor.
    let dry_run = args.how.trials.setup.dry_run;
    for (entry, variants) in scenarios.iter_mut().filter(|_| !dry_run) {
        revisions::prepare(entry, variants, terminal)?;
    }
    if let Some(floor) = floor.filter(|_| !dry_run) {
        calibrate::floor(&scenarios, floor, &args.how, terminal)?;
    }
    let finished = Session {
        intent: Intent::Compare { baseline: args.baseline.clone(), candidate: candidate_name(args) },
        name: format!("compare-{}-{}", args.baseline, args.candidate),
        scenarios,
        trials: &args.how.trials,
        binaries: [args.how.baseline_bin.clone(), args.how.candidate_bin.clone()],
        blocks: None,
        history: true,
        profiling: profiling(args),
        terminal,
    }
    .execute()?;
    match args.how.crash {
        Some(count) if finished.run.state == RunState::Complete => {
            beside(finished, &args.how, count, targets, terminal)
        }
        _ => Ok(finished),
    }
}

/// Two programs of the command line.
fn measure_commands(
    args: &CompareArgs,
    found: AdHoc,
    floor: Option<HumanDuration>,
    terminal: &Terminal,
) -> Result<Finished, CliError> {
    if !args.baseline.is_empty() {
        return Err(CliError::usage(
            format!("`{}` is a variant, and --cmd names programs", args.baseline),
            "give either two variants or two --cmd; a blank in a command must be quoted, and a shell is named as --shell=bash",
        ));
    }
    let AdHoc { mut entry, variants, trials } = found;
    let [baseline, candidate] = variants.as_slice() else {
        return Err(CliError::usage(
            format!("compare is about two programs, and --cmd names {}", variants.len()),
            "give --cmd twice; `uplift run --cmd … --cmd … --cmd …` ranks more of them",
        ));
    };
    if let Some(metric) = &args.how.metric {
        entry.decide_by(metric)?;
    }
    let scenarios = vec![(entry, variants.clone())];
    if let Some(floor) = floor.filter(|_| !trials.setup.dry_run) {
        calibrate::floor(&scenarios, floor, &args.how, terminal)?;
    }
    Session {
        intent: Intent::Compare { baseline: baseline.clone(), candidate: candidate.clone() },
        name: format!("compare-{baseline}-{candidate}"),
        scenarios,
        trials: &trials,
        binaries: [args.how.baseline_bin.clone(), args.how.candidate_bin.clone()],
        blocks: None,
        history: true,
        profiling: profiling(args),
        terminal,
    }
    .execute()
}

fn profiling(args: &CompareArgs) -> Profiling {
    match args.how.profile {
        ProfileMode::Off => Profiling::Off,
        mode => Profiling::After(args.how.sampling.plan(mode)),
    }
}

/// The scenarios that have both variants; where scenarios were named, each of them must.
pub(super) fn chosen(entries: Vec<Entry>, args: &CompareArgs) -> Result<Vec<(Entry, Vec<String>)>, CliError> {
    let named = !args.selection.scenarios.is_empty();
    let (mut chosen, mut all) = (Vec::new(), Vec::new());
    for entry in entries {
        let names: Vec<String> = entry.scenario.variants.iter().map(|variant| variant.name.clone()).collect();
        let missing = [&args.baseline, &args.candidate].into_iter().find(|wanted| !names.contains(wanted));
        match missing {
            None => chosen.push(with_both(entry, args)),
            // One scenario that was named by itself must fit; of a whole target, those that fit are meant.
            Some(missing)
                if named
                    && args
                        .selection
                        .scenarios
                        .iter()
                        .any(|word| word.contains('/') || entry.scenario.name.ends_with(&format!("/{word}"))) =>
            {
                return Err(CliError::usage(
                    format!("`{}` has no variant `{missing}`", entry.scenario.name),
                    &suggestion(missing, names.iter().map(String::as_str)),
                ));
            }
            Some(_) => {}
        }
        all.extend(names);
    }
    if chosen.is_empty() {
        for wanted in [&args.baseline, &args.candidate] {
            if !all.contains(wanted) && other_tools::is_program(wanted) {
                return Err(CliError::usage(
                    format!("`{wanted}` is a program, and variants of scenarios have names"),
                    "name each program with --cmd: `uplift compare --cmd './old --x' --cmd './new --x'`",
                ));
            }
            if !all.contains(wanted) {
                return Err(CliError::usage(
                    format!("no scenario has a variant `{wanted}`"),
                    &pointer(wanted, all.iter().map(String::as_str), LISTED),
                ));
            }
        }
        return Err(CliError::usage(
            format!("no scenario has both `{}` and `{}`", args.baseline, args.candidate),
            LISTED,
        ));
    }
    Ok(chosen)
}

/// Leaves out of a quick look what says so itself, unless nothing would be left.
fn leave_out(scenarios: &mut Vec<(Entry, Vec<String>)>, terminal: &Terminal) {
    if !scenarios.iter().any(|(entry, _)| entry.scenario.quick) {
        return;
    }
    let out: Vec<&str> = scenarios
        .iter()
        .filter(|(entry, _)| !entry.scenario.quick)
        .map(|(entry, _)| entry.scenario.name.as_str())
        .collect();
    if !out.is_empty() {
        terminal.say(&format!("left out of a quick look: {}; name them to have them measured", out.join(", ")));
    }
    scenarios.retain(|(entry, _)| entry.scenario.quick);
}

/// The candidate's name in the records. A variant that is compared with itself (two builds, or to see the noise) gets a
/// name of its own there, so that every trial says which side it was.
pub(super) fn candidate_name(args: &CompareArgs) -> String {
    if args.baseline == args.candidate { format!("{}@candidate", args.candidate) } else { args.candidate.clone() }
}

fn with_both(mut entry: Entry, args: &CompareArgs) -> (Entry, Vec<String>) {
    let candidate = candidate_name(args);
    if candidate != args.candidate
        && let Some(variant) = entry.scenario.variant(&args.candidate)
    {
        let twin = Variant { name: candidate.clone(), ..variant.clone() };
        entry.scenario.variants.push(twin);
    }
    // The gate of a program that the scenario builds: one variant, its baseline from another revision.
    if let Some(reference) = &args.commands.base_ref
        && let Some(variant) = entry.scenario.variants.iter_mut().find(|variant| variant.name == args.baseline)
    {
        variant.settings.insert("ref".to_owned(), reference.clone().into());
    }
    (entry, vec![args.baseline.clone(), candidate])
}
