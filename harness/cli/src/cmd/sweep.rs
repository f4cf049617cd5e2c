//! `uplift sweep SCENARIO --param name=a,b,c`: a grid of settings, its points in random order within each block.

use std::collections::BTreeMap;

use serde_json::Value;
use uplift_analysis::sweep::sweep;
use uplift_model::{
    Scenario, Table,
    run::Intent,
    scenario::{Interleave, Variant, Work},
};
use uplift_report::{
    build::{failure_lines, sweep as draw},
    document::Document,
};
use uplift_sdk::TargetFactory;

use crate::{
    ad_hoc::{self, AdHoc},
    args::{Format, SelectionArgs, SweepArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    output::Terminal,
    overrides,
    session::{Profiling, Session},
};

/// The most points: more would take longer than anyone waits.
const POINTS_MAX: usize = 100;
/// Blocks where nothing else is said: the fewest that give an interval of a median.
const BLOCKS: u32 = 6;

/// Measures every point and prints which is best.
pub fn run(args: &SweepArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    args.commands.check()?;
    let parameters = parameters(&written(args)?)?;
    let commands = ad_hoc::resolve(&args.commands, &args.place, &args.trials, targets, terminal)?;
    let is_ad_hoc = commands.is_some();
    let (mut entry, variant, trials) = match commands {
        None => (entry(args, targets)?, args.variant.clone(), args.trials.clone()),
        Some(found) => of_command(args, found, &parameters)?,
    };
    let points = grid(&parameters);
    if points.len() > POINTS_MAX {
        return Err(CliError::usage(
            format!("the grid has {} points, more than {POINTS_MAX}", points.len()),
            "give fewer values, or sweep one parameter after the other",
        ));
    }
    let variants =
        points.iter().map(|sets| point(&entry.scenario, &variant, sets, targets)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = variants.iter().map(|variant| variant.name.clone()).collect();
    entry.scenario.variants = variants;
    // A point runs alone: a grid of resident processes would share caches and memory. Programs are resident only while
    // they run.
    if !is_ad_hoc {
        entry.scenario.trial.interleave = Interleave::Trials;
    }
    entry.scenario.ledger.clear();
    entry.scenario.claims.clear();
    let finished = Session {
        intent: Intent::Sweep { parameters: parameters.into_iter().collect::<BTreeMap<_, _>>() },
        name: format!("sweep-{}", entry.scenario.name.replace('/', "-")),
        scenarios: vec![(entry, names)],
        trials: &trials,
        binaries: [None, None],
        blocks: if args.commands.runs.is_none() && args.trials.blocks.is_none() && args.trials.budget.is_none() {
            Some(BLOCKS)
        } else {
            None
        },
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    let found = finished.run.scenarios.first().and_then(|planned| sweep(planned, &finished.trials));
    match (&found, args.format) {
        (Some(found), Format::Json) => {
            let points: Vec<_> = found
                .points
                .iter()
                .enumerate()
                .map(|(index, point)| {
                    serde_json::json!({
                        "point": point.variant, "value": point.value, "best": found.best == Some(index),
                        "best_ahead_by": point.best_ahead_by, "ci": point.ci, "told_apart": point.told_apart,
                    })
                })
                .collect();
            terminal.print(&format!("{:#}", serde_json::json!({ "metric": found.metric, "points": points })));
        }
        (Some(found), format) => {
            let name = finished.run.scenarios.first().map_or("", |planned| planned.scenario.name.as_str());
            terminal.show(&Document::of(draw::section(found, name)), format, false);
        }
        (None, _) => terminal.say("nothing was measured"),
    }
    if let Some(planned) = finished.run.scenarios.first() {
        for line in failure_lines(&finished.trials) {
            terminal.say(&line);
        }
        if let Some(stopped) = &planned.stopped {
            terminal.say(stopped);
        }
    }
    finished.say_end(terminal);
    Ok(finished.exit())
}

/// All parameters as `name=a,b,c`, whichever way they were given.
fn written(args: &SweepArgs) -> Result<Vec<String>, CliError> {
    let mut all = args.parameters.clone();
    all.extend(args.lists.chunks_exact(2).map(|list| format!("{}={}", list[0], list[1])));
    for scan in args.scans.chunks_exact(3) {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let (Some(from), Some(to)) = (number(&scan[1]), number(&scan[2])) else {
            return Err(CliError::usage(
                format!(
                    "--parameter-scan {} goes from `{}` to `{}`, which are not both numbers",
                    scan[0], scan[1], scan[2]
                ),
                "write --parameter-scan n 1 8, or --parameter-list n a,b,c for words",
            ));
        };
        // A step that is added up gathers errors: it is multiplied.
        let steps = ((to - from) / args.step + 1e-9).floor();
        if !(0.0..POINTS_MAX as f64).contains(&steps) {
            return Err(CliError::usage(
                format!(
                    "--parameter-scan {} from {from} to {to} by {} has no or more than {POINTS_MAX} points",
                    scan[0], args.step
                ),
                "give the smaller number first, or a larger --parameter-step-size",
            ));
        }
        let values: Vec<String> = (0..=steps as u32).map(|step| rounded(from + f64::from(step) * args.step)).collect();
        all.push(format!("{}={}", scan[0], values.join(",")));
    }
    Ok(all)
}

/// A number without what binary fractions add to it: 0.1 + 2 × 0.1 is 0.3.
fn rounded(number: f64) -> String {
    let text = format!("{number:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `name=a,b,c` as name and values.
fn parameters(texts: &[String]) -> Result<Vec<(String, Vec<String>)>, CliError> {
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for text in texts {
        let help = "write --param name=a,b,c, such as --param load.clients=1,4,16";
        let Some((name, values)) = text.split_once('=') else {
            return Err(CliError::usage(format!("--param `{text}` has no `=`"), help));
        };
        let name = name.trim().to_owned();
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut once = values.clone();
        once.sort();
        once.dedup();
        if values.iter().any(String::is_empty) || once.len() < values.len() || name.contains(' ') {
            return Err(CliError::usage(format!("--param `{text}` has an empty or a repeated value"), help));
        }
        if name.starts_with("trial.") {
            return Err(CliError::usage(
                format!("--param {name}: how trials are run cannot vary between points"),
                "give it for all points with --set",
            ));
        }
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(CliError::usage(format!("--param {name} is given twice"), help));
        }
        parameters.push((name, values));
    }
    Ok(parameters)
}

/// Every combination, as `--set` would have it.
fn grid(parameters: &[(String, Vec<String>)]) -> Vec<Vec<String>> {
    parameters.iter().fold(vec![Vec::new()], |points, (name, values)| {
        points
            .iter()
            .flat_map(|point| {
                values.iter().map(move |value| point.iter().cloned().chain([format!("{name}={value}")]).collect())
            })
            .collect()
    })
}

/// The one program of the command line, and the name that its variant has.
fn of_command(
    args: &SweepArgs,
    found: AdHoc,
    parameters: &[(String, Vec<String>)],
) -> Result<(Entry, String, TrialArgs), CliError> {
    if !args.scenario.is_empty() {
        let message = format!("`{}` is a scenario, and --cmd names a program", args.scenario);
        return Err(CliError::usage(message, "give either a scenario or --cmd"));
    }
    let AdHoc { mut entry, mut variants, trials } = found;
    if variants.len() != 1 {
        return Err(CliError::usage(
            format!("a sweep is of one program, and --cmd names {}", variants.len()),
            "give --cmd once, with a parameter in it: --cmd 'prog {n}' --param n=1,2,4",
        ));
    }
    let known = entry.scenario.variants.first().map(|variant| variant.settings.clone()).unwrap_or_default();
    let unused = parameters.iter().find(|(name, _)| {
        let place = format!("{{{name}}}");
        let stands = |table: &Table| serde_json::to_string(table).is_ok_and(|text| text.contains(&place));
        !name.contains('.') && !stands(&known) && !stands(&entry.scenario.workload)
    });
    if let Some((name, _)) = unused {
        return Err(CliError::usage(
            format!("--param {name}: `{{{name}}}` does not stand in the command"),
            &format!("write it where the value belongs: --cmd 'prog {{{name}}}'"),
        ));
    }
    if let Some(metric) = &args.metric {
        entry.decide_by(metric)?;
    }
    Ok((entry, variants.remove(0), trials))
}

fn entry(args: &SweepArgs, targets: &[&'static dyn TargetFactory]) -> Result<Entry, CliError> {
    let selection = SelectionArgs { scenarios: vec![args.scenario.clone()], place: args.place.clone() };
    let mut entries = Catalogue::read(&selection, targets)?.entries;
    if entries.len() != 1 {
        return Err(CliError::usage(
            format!("`{}` means {} scenarios, and a sweep is of one", args.scenario, entries.len()),
            "name one as `target/name`",
        ));
    }
    let mut entry = entries.remove(0);
    if entry.scenario.variant(&args.variant).is_none() {
        let known = entry.scenario.variants.iter().map(|variant| variant.name.as_str());
        return Err(CliError::usage(
            format!("`{}` has no variant `{}`", entry.scenario.name, args.variant),
            &format!("name one with --variant; {}", suggestion(&args.variant, known)),
        ));
    }
    if let Some(metric) = &args.metric {
        entry.decide_by(metric)?;
    }
    Ok(entry)
}

/// A point as a variant, accepted by its target.
fn point(
    scenario: &Scenario,
    variant: &str,
    sets: &[String],
    targets: &[&'static dyn TargetFactory],
) -> Result<Variant, CliError> {
    let mut changed = scenario.clone();
    changed.variants.retain(|known| known.name == variant);
    // A parameter whose place stands in a setting is filled in; any other is an override.
    let mut others = Vec::new();
    for set in sets {
        let filled = set.split_once('=').is_some_and(|(name, value)| {
            let tables =
                changed.variants.iter_mut().map(|variant| &mut variant.settings).chain([&mut changed.workload]);
            tables.fold(false, |filled, table| {
                table.values_mut().fold(filled, |filled, at| fill(at, name, value) || filled)
            })
        });
        if !filled {
            others.push(set.clone());
        }
    }
    overrides::apply(&mut changed, &others)?;
    let mut found = changed.variants.remove(0);
    if let Some(factory) = targets.iter().find(|factory| factory.name() == scenario.target) {
        factory.validate(&changed.workload, &found.settings).map_err(|error| {
            CliError::usage(
                format!("--param {}: {}", sets.join(" "), error.message),
                "`uplift list --targets` says what every target accepts",
            )
        })?;
    }
    found.name = sets.join(" ");
    if changed.workload != scenario.workload || changed.load != scenario.load || changed.disk != scenario.disk {
        found.work = Some(Work { workload: changed.workload, load: changed.load, disk: changed.disk });
    }
    Ok(found)
}

/// Writes `value` wherever `{name}` stands in `at`; whether it stood anywhere.
fn fill(at: &mut Value, name: &str, value: &str) -> bool {
    match at {
        Value::String(text) => {
            let place = format!("{{{name}}}");
            let stands = text.contains(&place);
            if stands {
                *text = text.replace(&place, value);
            }
            stands
        }
        Value::Array(items) => items.iter_mut().map(|item| usize::from(fill(item, name, value))).sum::<usize>() > 0,
        Value::Object(items) => items.values_mut().map(|item| usize::from(fill(item, name, value))).sum::<usize>() > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_every_combination_once() {
        let parameters = parameters(&["a=1,2".to_owned(), "load.clients=1,4,16".to_owned()]).unwrap();
        let points = grid(&parameters);
        assert_eq!(points.len(), 6);
        assert_eq!(points[1], ["a=1", "load.clients=4"]);
        for wrong in ["a", "a=1,,2", "a=1,1", "trial.turn=1ms,2ms"] {
            assert!(super::parameters(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
