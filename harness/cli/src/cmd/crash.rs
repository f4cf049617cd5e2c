//! `uplift crash SCENARIO --variant V`: what was acknowledged before a cut and is gone after it.

use std::{fs, path::Path, time::SystemTime};

use uplift_analysis::crash::{Agreement, demonstrations};
use uplift_engine::{Interrupt, RunStore, environment, store::StoredRun};
use uplift_model::{
    crash::{Cut, CutOutcome},
    run::{Intent, PlannedScenario, RUN_SCHEMA, Run, RunState},
    trial::FailureKind,
};
use uplift_sdk::TargetFactory;

use crate::{
    args::CrashArgs,
    catalogue::{Catalogue, Entry},
    cuts::{Cuts, factory_of},
    error::{CliError, suggestion},
    exit,
    launchers::Launchers,
    output::{Terminal, render_cuts, write_documents},
    revisions,
    session::{command_line, utc},
};

/// Carries the cuts out and prints what they left.
pub fn run(args: &CrashArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let mut scenarios = chosen(args, targets)?;
    if args.setup.dry_run {
        for (entry, variants) in &scenarios {
            terminal.print(&format!("{}: {} cuts of each of {}", entry.scenario.name, args.cuts, variants.join(", ")));
        }
        terminal.print("Nothing was started or written.");
        return Ok(exit::OK);
    }
    for (entry, variants) in &mut scenarios {
        revisions::prepare(entry, variants, terminal)?;
    }
    let interrupt =
        Interrupt::install().map_err(|error| CliError::environment(format!("could not catch Ctrl-C: {error}"), ""))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}-crash-{}", utc(now.as_secs()), args.variants.join("-"));
    let selected = scenarios.iter().map(|(entry, variants)| (&entry.scenario, variants.as_slice()));
    let launchers = Launchers::resolve(&args.setup.launch, &id, false, selected)?;
    let mut run = Run {
        schema: RUN_SCHEMA,
        id,
        intent: Intent::Crash { variants: args.variants.clone() },
        state: RunState::Unfinished,
        started_unix_s: now.as_secs(),
        command: command_line(),
        seed: args.setup.seed.unwrap_or(now.as_nanos() as u64 & ((1 << 53) - 1)),
        budget_ns: 0,
        environment: Default::default(),
        scenarios: scenarios.iter().map(|(entry, variants)| planned(entry, variants)).collect(),
        warnings: Vec::new(),
    };
    let mut store = RunStore::create(&args.setup.out, &mut run)?;
    let mut cuts = Cuts::new(&args.cutting, &args.setup, args.cuts, run.seed, &launchers, &interrupt, terminal)?;
    let data_root = data_root(args, store.directory(), &run.id)?;
    run.environment = environment::read(&data_root);
    run.warnings.extend(cuts.warning().map(str::to_owned));
    store.write_run(&run)?;
    let mut all = Vec::new();
    for (entry, variants) in &scenarios {
        for name in variants {
            cuts.of_variant(&entry.scenario, name, &data_root, None, &mut store, &mut all)?;
        }
    }
    run.warnings.append(&mut cuts.left);
    run.warnings.extend(launchers.warnings());
    if let Err(error) = fs::remove_dir_all(&data_root) {
        run.warnings.push(format!("could not remove the data directory `{}`: {error}", data_root.display()));
    }
    run.state = if interrupt.is_set() { RunState::Interrupted } else { RunState::Complete };
    store.write_run(&run)?;
    for warning in &run.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    let stored = StoredRun::load(store.directory())?;
    write_documents(store.directory(), &stored.run, &[])?;
    terminal.print(&render_cuts(&stored.run, &all, args.format, terminal.style(false))?);
    terminal.say_report(&store.directory().join("report.html"));
    Ok(exit_code(&stored.run, &all))
}

/// Interrupted before failed before contradicted before fine.
fn exit_code(run: &Run, cuts: &[Cut]) -> u8 {
    if run.state == RunState::Interrupted {
        return exit::INTERRUPTED;
    }
    let found = demonstrations(cuts);
    let contradicted = found.iter().any(|one| matches!(one.agreement, Agreement::Contradicted(_)));
    let failed = cuts
        .iter()
        .any(|cut| matches!(&cut.outcome, CutOutcome::Failed(failure) if failure.kind != FailureKind::Interrupted));
    if contradicted || failed { exit::FAILED } else { exit::OK }
}

fn data_root(args: &CrashArgs, run: &Path, id: &str) -> Result<std::path::PathBuf, CliError> {
    let folder = args.setup.data_dir.as_ref().map_or_else(|| run.join("data"), |shared| shared.join(id));
    fs::create_dir_all(&folder).map_err(|error| {
        let message = format!("could not create the data directory `{}`: {error}", folder.display());
        CliError::environment(message, "name a folder that can be written with --data-dir")
    })?;
    Ok(folder)
}

/// The scenarios that have the variants, and whose target can be opened again.
fn chosen(args: &CrashArgs, targets: &[&'static dyn TargetFactory]) -> Result<Vec<(Entry, Vec<String>)>, CliError> {
    let named = !args.selection.scenarios.is_empty();
    let mut chosen = Vec::new();
    for entry in Catalogue::read(&args.selection, targets)?.entries {
        let names = || entry.scenario.variants.iter().map(|variant| variant.name.as_str());
        if let Some(missing) = args.variants.iter().find(|wanted| !names().any(|name| name == *wanted)) {
            if named {
                return Err(CliError::usage(
                    format!("`{}` has no variant `{missing}`", entry.scenario.name),
                    &suggestion(missing, names()),
                ));
            }
            continue;
        }
        let factory = factory_of(&entry.scenario, targets)?;
        for variant in args.variants.iter().filter_map(|name| entry.scenario.variant(name)) {
            let workload = variant.work.as_ref().map_or(&entry.scenario.workload, |work| &work.workload);
            factory.can_reopen(workload, &variant.settings).map_err(|why| {
                CliError::usage(
                    format!("`{}` of `{}` cannot be tried: {why}", variant.name, entry.scenario.name),
                    "docs/CRASH.md says which targets can, and how one of your own does",
                )
            })?;
        }
        chosen.push((entry, args.variants.clone()));
    }
    if chosen.is_empty() {
        return Err(CliError::usage(
            format!("no scenario has the variants {}", args.variants.join(", ")),
            "`uplift list` shows the variants of each scenario",
        ));
    }
    Ok(chosen)
}

fn planned(entry: &Entry, variants: &[String]) -> PlannedScenario {
    PlannedScenario {
        scenario: entry.scenario.clone(),
        variants: variants.to_vec(),
        unit_of_work: entry.description.unit_of_work.to_string(),
        write_kinds: entry.description.write_kinds.iter().map(ToString::to_string).collect(),
        metrics: Vec::new(),
        skipped: None,
        blocks: None,
        blocks_max: None,
        stopped: None,
        decided_early: false,
        binaries: Default::default(),
        calibration: None,
        agent: None,
        launchers: variants.iter().map(|variant| (variant.clone(), "process".to_owned())).collect(),
    }
}
