//! `uplift gate BASE CAND [SCENARIO…]`: compare, then thresholds, then the exit code. For CI.

mod documents;

use std::{collections::BTreeSet, env, fs::OpenOptions, io::Write as _};

use uplift_analysis::gate::{GateOutcome, GateRow};
use uplift_model::{
    Better, Verdicts,
    run::Run,
    scenario::{Bound, Comparison},
    verdict::MetricVerdict,
};
use uplift_report::{ReportInput, build::gate::section as gate_section, document::Document, github, render::markdown};
use uplift_sdk::TargetFactory;

pub use self::documents::rebuild;
use crate::{
    args::{CommandArgs, CompareArgs, Format, GateArgs, SelectionArgs},
    base_build::{self, Builds},
    catalogue::Catalogue,
    cmd::compare,
    error::{CliError, suggestion},
    exit,
    finished::Finished,
    output::{Terminal, note, render},
    revisions,
};

/// How much worse a metric may be where nobody says so.
const WORSE: f64 = 0.05;
/// The share of operations that must succeed where nobody says so.
const SUCCESS: f64 = 0.99;

/// Compares, writes every document, prints what became of each rule, and answers with the exit code.
pub fn run(args: &GateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let compare = resolve(args, targets, terminal)?;
    let mut finished = compare::measure(&compare, args.floor, targets, terminal)?;
    apply_rules(&args.rules, &mut finished)?;
    if let Some(verdicts) = &finished.verdicts
        && let Some(rules) = default_rules(&mut finished.run, verdicts)
    {
        terminal.say(&format!(
            "no scenario has a rule, so these hold: {rules}; write others into a [gate] table or into gate.toml beside the scenarios"
        ));
    }
    let rows = documents::publish(&finished.directory, &finished.run, &finished.trials)?;
    let input = ReportInput {
        run: &finished.run,
        trials: &finished.trials,
        profiles: &finished.profiles,
        verdicts: finished.verdicts.as_ref(),
    };
    match args.how.format {
        Format::Json => terminal.print(&documents::json(&rows)?),
        format => {
            let style = terminal.style(args.how.all_metrics);
            terminal.print(&render(&finished.run, &finished.trials, finished.verdicts.as_ref(), format, style)?);
            let rules = gate_section(&rows);
            match format {
                Format::Markdown => terminal.print(&format!("\n{}", markdown::part(&rules))),
                _ => terminal.show(&Document::of(rules), format, false),
            }
        }
    }
    tell_github(&input, &rows, terminal);
    finished.say_end(terminal);
    Ok(code(finished.exit(), &rows, args.strict))
}

/// The rules of the command line, instead of those that scenarios have for the same metrics.
fn apply_rules(rules: &[(String, Bound)], finished: &mut Finished) -> Result<(), CliError> {
    let compared = finished.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios);
    let known: BTreeSet<&str> =
        compared.flat_map(|scenario| &scenario.metrics).map(|metric| metric.metric.as_str()).collect();
    for (metric, bound) in rules {
        // A rule that is checked against nothing would let everything pass. Where nothing was compared that is said anyway.
        if !known.is_empty() && !known.contains(metric.as_str()) {
            return Err(CliError::usage(
                format!("--rule: no scenario that was compared has a metric `{metric}`"),
                &suggestion(metric, known.iter().copied()),
            ));
        }
        for planned in &mut finished.run.scenarios {
            planned.scenario.gate.insert(metric.clone(), bound.clone());
        }
    }
    Ok(())
}

/// Where no scenario has a rule: that what decides does not get worse, that operations succeed as they did, and that no
/// more is synced. Returns them in words.
fn default_rules(run: &mut Run, verdicts: &Verdicts) -> Option<String> {
    if run.scenarios.iter().any(|planned| !planned.scenario.gate.is_empty()) {
        return None;
    }
    let bound = |comparison, limit, relative| Bound { comparison, limit, relative };
    let mut said = BTreeSet::new();
    for planned in &mut run.scenarios {
        let Some(verdict) = verdicts.scenarios.iter().find(|verdict| verdict.name == planned.scenario.name) else {
            continue;
        };
        let primary = verdict.primary();
        let worse = primary.and_then(|metric| match metric.better {
            Better::Higher => Some(bound(Comparison::GreaterOrEqual, -WORSE, true)),
            Better::Lower => Some(bound(Comparison::LessOrEqual, WORSE, true)),
            Better::Neither => None,
        });
        let rules = [
            primary.map(|metric| metric.metric.as_str()).zip(worse),
            Some(("success_rate", bound(Comparison::GreaterOrEqual, SUCCESS, false))),
            Some(("syncs_per_op", bound(Comparison::LessOrEqual, WORSE, true))),
        ];
        for (metric, bound) in rules.into_iter().flatten() {
            // What was not measured here can break no rule that nobody wrote.
            let measured = |known: &MetricVerdict| known.metric == metric && known.candidate.is_some();
            if verdict.metrics.iter().any(measured) {
                said.insert(format!("{metric} {bound}"));
                planned.scenario.gate.insert(metric.to_owned(), bound);
            }
        }
    }
    (!said.is_empty()).then(|| said.into_iter().collect::<Vec<_>>().join(", "))
}

/// The comparison that is meant. Against another revision both sides are one variant: the settings that people ship.
fn resolve(
    args: &GateArgs,
    targets: &[&'static dyn TargetFactory],
    terminal: &Terminal,
) -> Result<CompareArgs, CliError> {
    let mut names = args.variants_and_scenarios.clone();
    let reference = args.commands.base_ref.as_ref();
    if reference.is_some() && args.how.baseline_bin.is_some() {
        return Err(CliError::usage("--base-ref builds the baseline, and --baseline-bin names it", "give one of them"));
    }
    if !args.commands.cmd.is_empty() {
        if let Some(name) = names.first() {
            return Err(CliError::usage(
                format!("`{name}` is a scenario or a variant, and --cmd names programs"),
                "give either; a blank in a command must be quoted",
            ));
        }
        return Ok(CompareArgs {
            baseline: String::new(),
            candidate: String::new(),
            commands: args.commands.clone(),
            selection: SelectionArgs { scenarios: Vec::new(), place: args.place.clone() },
            screen: false,
            how: args.how.clone(),
        });
    }
    if let Some(reference) = reference {
        let selection = SelectionArgs { scenarios: names.clone(), place: args.place.clone() };
        // Scenarios that say how their program is built are built so; all others are of the program that serves trials.
        let entries = Catalogue::read(&selection, targets)?.entries;
        if !entries.is_empty() && entries.iter().all(|entry| revisions::builds(&entry.scenario)) {
            return Ok(CompareArgs {
                baseline: args.variant.clone(),
                candidate: args.variant.clone(),
                commands: CommandArgs { base_ref: Some(reference.clone()), ..CommandArgs::default() },
                selection,
                screen: false,
                how: args.how.clone(),
            });
        }
    }
    // A plan needs no build.
    let builds = reference.filter(|_| !args.how.trials.setup.dry_run);
    let builds = builds.map(|reference| base_build::build(reference, terminal)).transpose()?;
    let (baseline, candidate) = match reference {
        Some(_) => (args.variant.clone(), args.variant.clone()),
        None if names.len() >= 2 => {
            let baseline = names.remove(0);
            (baseline, names.remove(0))
        }
        None => {
            return Err(CliError::usage(
                "gate needs two variants, or a revision to compare with",
                "write `uplift gate baseline optimized [SCENARIO…]` or `uplift gate --base-ref main [SCENARIO…]`",
            ));
        }
    };
    let mut how = args.how.clone();
    if let Some(Builds { base, head }) = builds {
        how.baseline_bin = Some(base);
        how.candidate_bin = how.candidate_bin.or(head);
    }
    Ok(CompareArgs {
        baseline,
        candidate,
        commands: CommandArgs::default(),
        selection: SelectionArgs { scenarios: names, place: args.place.clone() },
        screen: false,
        how,
    })
}

/// Inside GitHub Actions: the job summary, and annotations on standard error, since standard output carries results.
fn tell_github(input: &ReportInput<'_>, rows: &[GateRow], terminal: &Terminal) {
    if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        // The gate's answer must not depend on a page that shows it.
        if let Err(error) = file.and_then(|mut file| file.write_all(github::summary(input, rows).as_bytes())) {
            terminal.say(&format!("warning: could not write the job summary: {error}"));
        }
    }
    if env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        for line in github::annotations(input, rows) {
            note(&line);
        }
    }
}

/// A run that was interrupted, failed or cannot be compared says so itself; then rules decide.
fn code(run: u8, rows: &[GateRow], strict: bool) -> u8 {
    let any = |outcome| rows.iter().any(|row| row.outcome == outcome);
    if run != exit::OK {
        run
    } else if any(GateOutcome::Broken) {
        exit::REGRESSION
    } else if strict && (any(GateOutcome::Open) || rows.is_empty()) {
        exit::INCONCLUSIVE
    } else {
        exit::OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: GateOutcome) -> GateRow {
        GateRow {
            scenario: "a/b".to_owned(),
            metric: "throughput".to_owned(),
            rule: ">= -3%".to_owned(),
            outcome,
            reason: String::new(),
        }
    }

    /// A gate that decided nothing must not look like one that let something through.
    #[test]
    fn the_last_line_says_what_was_not_decided() {
        use GateOutcome::{Open, Passed};
        let last = |outcomes: &[GateOutcome]| {
            let rows: Vec<GateRow> = outcomes.iter().copied().map(row).collect();
            let text = markdown::document(&Document::of(gate_section(&rows)));
            text.trim_end().lines().last().unwrap_or_default().to_owned()
        };
        assert!(last(&[Open, Open]).contains("0 passed, 0 broken, 2 open: nothing was decided"));
        assert!(last(&[Passed, Open]).contains("--strict"));
        assert_eq!(last(&[Passed]), "gate: 1 passed, 0 broken, 0 open");
    }

    #[test]
    fn exit_codes_follow_from_the_rules() {
        use GateOutcome::{Broken, Open, Passed};
        for (run, outcomes, strict, wanted) in [
            (exit::OK, vec![Passed], true, exit::OK),
            (exit::OK, vec![Passed, Broken, Open], false, exit::REGRESSION),
            (exit::OK, vec![Passed, Open], false, exit::OK),
            (exit::OK, vec![Passed, Open], true, exit::INCONCLUSIVE),
            (exit::OK, vec![], true, exit::INCONCLUSIVE),
            (exit::INCOMPARABLE, vec![Open], false, exit::INCOMPARABLE),
            (exit::INTERRUPTED, vec![Broken], false, exit::INTERRUPTED),
        ] {
            let rows: Vec<GateRow> = outcomes.into_iter().map(row).collect();
            assert_eq!(code(run, &rows, strict), wanted);
        }
    }
}
