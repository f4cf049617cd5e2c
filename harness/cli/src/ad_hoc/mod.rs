//! A scenario from the command line: `--cmd` becomes the text of a scenario file, which is then read like any other.
//!
//! So what `--save` writes is what was measured, and a run knows no difference.

pub mod names;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Table, Value};
use uplift_model::duration::HumanDuration;
use uplift_sdk::TargetFactory;

use crate::{
    args::{CommandArgs, PlaceArgs, TrialArgs},
    catalogue::{self, Entry},
    error::CliError,
    other_tools,
    output::Terminal,
    revisions, scenario_files,
};

/// The target that programs are for.
const TARGET: &str = "command";
/// The time for one comparison of quick programs; slow ones get what the fewest blocks take.
const BUDGET: Duration = Duration::from_secs(6);
/// How long the runs of one block take, where they are quick.
const BLOCK: &str = "300ms";
/// The same where the number of runs must not depend on how quick they are.
const UNBOUNDED_BLOCK: &str = "24h";
/// The most runs of each program in one block.
const ROUNDS: i64 = 100;
/// The fewest blocks that give a verdict, and as many as are worth a start of their own.
const BLOCKS: std::ops::RangeInclusive<u32> = 6..=12;
/// The time that a trial may take beside the longest run.
const BESIDE_RUN: Duration = Duration::from_secs(60);
/// As the target has it where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What was asked for, as a scenario and the way to measure it.
pub struct AdHoc {
    /// The scenario.
    pub entry: Entry,
    /// Its variants, in the order of the command line.
    pub variants: Vec<String>,
    /// How trials are run.
    pub trials: TrialArgs,
}

/// Makes the scenario of `args`; `None` where no program is named.
pub fn resolve(
    args: &CommandArgs,
    place: &PlaceArgs,
    trials: &TrialArgs,
    targets: &[&'static dyn TargetFactory],
    terminal: &Terminal,
) -> Result<Option<AdHoc>, CliError> {
    if args.cmd.is_empty() {
        return Ok(None);
    }
    args.check()?;
    if !targets.iter().any(|target| target.name() == TARGET) {
        return Err(CliError::usage("this binary has no target `command`", "register it, or use the binary `uplift`"));
    }
    if args.runs.is_some() && (trials.budget.is_some() || trials.blocks.is_some() || trials.quick) {
        return Err(CliError::usage(
            "--runs says exactly how many runs there are, and so do --budget, --blocks and --quick",
            "give one of them",
        ));
    }
    if args.duration.is_some() && (trials.budget.is_some() || trials.blocks.is_some() || trials.quick) {
        return Err(CliError::usage(
            "--duration says how long each program runs, and so do --budget, --blocks and --quick",
            "give one of them",
        ));
    }
    if args.stdout.as_deref() == Some("inherit") {
        return Err(CliError::usage(
            "--output inherit: what programs print would stand between the results",
            "write `null`, `pipe`, or a file (`./inherit` is one)",
        ));
    }
    let programs = programs(args)?;
    let variants: Vec<String> = programs.iter().map(|program| program.name.clone()).collect();
    let mut trials = trials.clone();
    let mut rounds = ROUNDS;
    if let Some(each) = args.duration {
        let all = each.0.saturating_mul(u32::try_from(programs.len()).unwrap_or(u32::MAX));
        trials.budget = Some(HumanDuration(all));
    }
    if let Some(runs) = args.runs {
        let (blocks, each) = blocks_of(runs);
        if blocks * each != runs {
            terminal.say(&format!("{runs} runs cannot be divided into blocks: {} are taken", blocks * each));
        }
        if blocks < *BLOCKS.start() {
            terminal.say(&format!("{runs} runs are too few for a verdict, which needs {}", BLOCKS.start()));
        }
        trials.blocks = Some(blocks);
        rounds = i64::from(each);
    } else if args.min_runs.is_some() || args.max_runs.is_some() {
        (trials.blocks, rounds) = between(args.min_runs, args.max_runs)?;
        if trials.budget.is_none() && trials.blocks.is_none() && !trials.quick {
            trials.budget = Some(HumanDuration(BUDGET));
        }
    } else if trials.budget.is_none() && trials.blocks.is_none() && !trials.quick {
        trials.budget = Some(HumanDuration(BUDGET));
    }
    let name = args.save.clone().unwrap_or_else(|| "ad-hoc".to_owned());
    let text = text(args, &programs, rounds)?;
    let shown = "the command line, as a scenario";
    let mut entry = catalogue::parse(&format!("{TARGET}/{name}"), shown, &text, &place.overrides, targets)?;
    if args.save.is_some() && !trials.setup.dry_run {
        let path = save(&name, place, &text)?;
        terminal.say(&format!("scenario: {}", path.display()));
    }
    if !trials.setup.dry_run {
        revisions::prepare(&mut entry, &variants, terminal)?;
    }
    Ok(Some(AdHoc { entry, variants, trials }))
}

/// One variant of the scenario.
struct Program {
    name: String,
    command: String,
    /// The revision that it is built from, where it is not the working tree.
    reference: Option<String>,
}

fn programs(args: &CommandArgs) -> Result<Vec<Program>, CliError> {
    let mut programs: Vec<Program> = match (&args.base_ref, args.cmd.as_slice()) {
        (None, commands) => names::of(commands)
            .into_iter()
            .zip(commands)
            .map(|(name, command)| Program { name, command: command.clone(), reference: None })
            .collect(),
        (Some(base), [command]) => {
            let of = |reference: Option<&String>| Program {
                name: reference.map_or_else(|| "working-tree".to_owned(), |reference| names::word(reference)),
                command: command.clone(),
                reference: reference.cloned(),
            };
            let (base, mut head) = (of(Some(base)), of(args.head_ref.as_ref()));
            if base.name == head.name {
                head.name.push_str("-head");
            }
            vec![base, head]
        }
        (Some(_), commands) => {
            return Err(CliError::usage(
                format!("--base-ref is about one program in two revisions, and --cmd names {}", commands.len()),
                "give --cmd once, or leave --base-ref out",
            ));
        }
    };
    if args.names.is_empty() {
        return Ok(programs);
    }
    if args.names.len() != programs.len() {
        return Err(CliError::usage(
            format!("there are {} programs and {} names", programs.len(), args.names.len()),
            "give --name once for each, in the same order, or leave it out",
        ));
    }
    if let Some(twice) = args.names.iter().enumerate().find(|(index, name)| args.names[..*index].contains(name)) {
        return Err(CliError::usage(format!("two programs are called `{}`", twice.1), "name each differently"));
    }
    for (program, name) in programs.iter_mut().zip(&args.names) {
        program.name.clone_from(name);
    }
    Ok(programs)
}

/// `runs` as blocks and rounds: as near as it gets, with enough blocks for a verdict.
fn blocks_of(runs: u32) -> (u32, u32) {
    if runs <= *BLOCKS.end() {
        return (runs, 1);
    }
    let best = BLOCKS.rev().min_by_key(|blocks| runs.div_ceil(*blocks) * blocks - runs).unwrap_or(*BLOCKS.end());
    (best, runs.div_ceil(best))
}

/// Blocks, where their number follows, and rounds for at least `fewest` and at most `most` runs.
fn between(fewest: Option<u32>, most: Option<u32>) -> Result<(Option<u32>, i64), CliError> {
    let least = fewest.map_or(1, |fewest| fewest.div_ceil(*BLOCKS.start()));
    let Some(most) = most else { return Ok((None, i64::from(least))) };
    if fewest.is_some_and(|fewest| fewest > most) {
        return Err(CliError::usage(
            format!("--min-runs {} is more than --max-runs {most}", fewest.unwrap_or_default()),
            "give a smaller number of at least so many runs",
        ));
    }
    if fewest.is_some() {
        // As many as must be, then more of the same up to the most.
        return Ok((Some((most / least).clamp(1, *BLOCKS.end())), i64::from(least)));
    }
    let blocks = most.clamp(1, *BLOCKS.end());
    Ok((Some(blocks), i64::from((most / blocks).max(1))))
}

/// The text of the scenario file.
fn text(args: &CommandArgs, programs: &[Program], rounds: i64) -> Result<String, CliError> {
    let mut workload = Table::new();
    let strings = [
        ("shell", &args.shell.as_deref().and_then(other_tools::shell).map(str::to_owned)),
        ("cleanup", &args.cleanup),
        ("setup", &args.setup),
        ("teardown", &args.teardown),
        ("build", &args.build),
        ("output", &args.stdout),
        ("sync_collector", &args.sync_collector),
    ];
    for (key, value) in strings {
        if let Some(value) = value {
            workload.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    if let Some(input) = &args.input {
        // Seen from here, and not from the folder in which a revision is built.
        let whole = env::current_dir().map_or_else(|_| PathBuf::from(input), |here| here.join(input));
        workload.insert("input".to_owned(), Value::String(whole.display().to_string()));
    }
    let prepare_each = match args.prepare.as_slice() {
        [] => None,
        [all] => {
            workload.insert("prepare".to_owned(), Value::String(all.clone()));
            None
        }
        each if each.len() == programs.len() => Some(each),
        some => {
            return Err(CliError::usage(
                format!("there are {} programs and {} preparations", programs.len(), some.len()),
                "give --prepare once for all, or once for each --cmd, in the same order",
            ));
        }
    };
    if let Some(timeout) = &args.timeout {
        workload.insert("timeout".to_owned(), Value::String(timeout.to_string()));
    }
    if args.ignore_failure {
        workload.insert("ignore_failure".to_owned(), Value::Boolean(true));
    }
    if let Some(warmup) = args.warmup {
        workload.insert("warmup".to_owned(), Value::Integer(warmup.into()));
    }
    if !args.count.is_empty() {
        let count = args.count.iter().cloned().map(Value::String).collect();
        workload.insert("count".to_owned(), Value::Array(count));
    }
    if let Some(expect) = expect(args) {
        workload.insert("expect".to_owned(), Value::Table(expect));
    }
    let mut metrics = Table::new();
    for value in &args.values {
        let (name, rule) = value_rule(value)?;
        metrics.insert(name, Value::Table(rule));
    }
    let primary = metrics.keys().next().cloned().unwrap_or_else(|| "run_time".to_owned());
    if !metrics.is_empty() {
        workload.insert("metrics".to_owned(), Value::Table(metrics));
    }

    let mut tables = Table::new();
    for (index, program) in programs.iter().enumerate() {
        let mut settings = Table::new();
        settings.insert("command".to_owned(), Value::String(program.command.clone()));
        if let Some(reference) = &program.reference {
            settings.insert("ref".to_owned(), Value::String(reference.clone()));
        }
        if let Some(each) = prepare_each {
            settings.insert("prepare".to_owned(), Value::String(each[index].clone()));
        }
        tables.insert(program.name.clone(), Value::Table(settings));
    }
    let mut whole = Table::new();
    whole.insert("schema".to_owned(), Value::Integer(1));
    whole.insert("target".to_owned(), Value::String(TARGET.to_owned()));
    whole.insert("title".to_owned(), Value::String(title(programs)));
    whole.insert("primary".to_owned(), Value::String(primary));
    for (name, table) in
        [("workload", workload), ("trial", trial(args, rounds)), ("settings", settings(args)), ("variants", tables)]
    {
        if !table.is_empty() {
            whole.insert(name.to_owned(), Value::Table(table));
        }
    }
    toml::to_string(&whole).map_err(|error| CliError::usage(format!("--cmd: {error}"), ""))
}

/// What all variants share.
fn settings(args: &CommandArgs) -> Table {
    let mut settings = Table::new();
    if let Some(dir) = &args.dir {
        settings.insert("dir".to_owned(), Value::String(dir.clone()));
    }
    if !args.env.is_empty() {
        let env = args.env.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        settings.insert("env".to_owned(), Value::Table(env));
    }
    settings
}

/// How runs are taken.
fn trial(args: &CommandArgs, rounds: i64) -> Table {
    let mut trial = Table::new();
    trial.insert("warmup".to_owned(), Value::String("0s".to_owned()));
    trial.insert("turn_operations".to_owned(), Value::Integer(1));
    trial.insert("rounds".to_owned(), Value::Integer(rounds));
    if args.runs.is_none() {
        // At least so many runs are runs, however long they take.
        let block = if args.min_runs.is_some() { UNBOUNDED_BLOCK } else { BLOCK };
        trial.insert("block".to_owned(), Value::String(block.to_owned()));
    }
    let longest = args.timeout.map_or(TIMEOUT, |timeout| timeout.0) + BESIDE_RUN;
    trial.insert("timeout".to_owned(), Value::String(HumanDuration(longest).to_string()));

    trial
}

/// The programs in one line.
fn title(programs: &[Program]) -> String {
    let shown = |program: &Program| match &program.reference {
        Some(reference) => format!("`{}` of {reference}", program.command),
        None => format!("`{}`", program.command),
    };
    programs.iter().map(shown).collect::<Vec<_>>().join(" against ")
}

fn expect(args: &CommandArgs) -> Option<Table> {
    let mut expect = Table::new();
    if args.same_output {
        expect.insert("stdout_equal".to_owned(), Value::Boolean(true));
    }
    for (key, value) in [("stdout_file", &args.expect_stdout), ("stdout_matches", &args.expect_match)] {
        if let Some(value) = value {
            expect.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    if !args.exit_codes.is_empty() {
        let codes = args.exit_codes.iter().map(|&code| Value::Integer(code.into())).collect();
        expect.insert("exit_codes".to_owned(), Value::Array(codes));
    }
    (!expect.is_empty()).then_some(expect)
}

/// `tps=pgbench.tps`, `latency=ms,lower,regex:average = ([0-9.]+)`.
fn value_rule(text: &str) -> Result<(String, Table), CliError> {
    let wrong = || {
        CliError::usage(
            format!("--value `{text}` does not say what is printed where"),
            "write `tps=pgbench.tps`, or name, unit, direction and place: `latency=ms,lower,regex:average = ([0-9.]+)`, `iops=1/s,higher,json:/jobs/0/write/iops`",
        )
    };
    let (name, rule) = text.split_once('=').ok_or_else(wrong)?;
    let mut table = Table::new();
    let mut set = |key: &str, value: &str| table.insert(key.to_owned(), Value::String(value.to_owned()));
    let mut parts = rule.splitn(3, ',');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(unit), Some(better), Some(place)) => {
            let (kind, pattern) =
                place.split_once(':').filter(|(kind, _)| ["regex", "json"].contains(kind)).ok_or_else(wrong)?;
            set("unit", unit.trim());
            set("better", better.trim());
            set(kind, pattern);
        }
        (Some(from), None, None) if !from.is_empty() => {
            set("from", from);
        }
        _ => return Err(wrong()),
    }
    Ok((name.trim().to_owned(), table))
}

/// Writes the scenario where the others are, or here.
fn save(name: &str, place: &PlaceArgs, text: &str) -> Result<PathBuf, CliError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || !name.chars().all(fits) {
        return Err(CliError::usage(
            format!("--save: `{name}` cannot be a scenario's name"),
            "write letters, digits, `-`, `_` and `.`, beginning with a letter or a digit",
        ));
    }
    let root = place
        .scenario_dir
        .clone()
        .or_else(|| scenario_files::folder(None).ok())
        .unwrap_or_else(|| Path::new("scenarios").to_owned());
    let folder = root.join(TARGET);
    let path = folder.join(format!("{name}.toml"));
    if path.exists() {
        return Err(CliError::usage(
            format!("--save: `{}` is there already", path.display()),
            "choose another name, or remove the file",
        ));
    }
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).map_err(|error| {
        CliError::environment(
            format!("could not write `{}`: {error}", path.display()),
            "name another folder with --scenario-dir",
        )
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_blocks() {
        for (runs, wanted) in [(1, (1, 1)), (10, (10, 1)), (12, (12, 1)), (13, (7, 2)), (60, (12, 5)), (100, (10, 10))]
        {
            assert_eq!(blocks_of(runs), wanted, "{runs}");
        }
        for runs in 13..2_000 {
            let (blocks, rounds) = blocks_of(runs);
            assert!(BLOCKS.contains(&blocks) && (runs..runs + blocks).contains(&(blocks * rounds)), "{runs}");
        }
    }

    #[test]
    fn at_least_and_at_most_so_many_runs() {
        assert_eq!(between(Some(10), None).unwrap(), (None, 2));
        assert_eq!(between(None, Some(5)).unwrap(), (Some(5), 1));
        assert_eq!(between(None, Some(100)).unwrap(), (Some(12), 8));
        assert!(between(Some(5), Some(4)).is_err());
        for fewest in 1..80 {
            for most in fewest..160 {
                let (blocks, rounds) = between(Some(fewest), Some(most)).unwrap();
                let runs = i64::from(blocks.unwrap()) * rounds;
                assert!(runs <= i64::from(most), "{fewest} to {most}: {runs}");
            }
        }
    }

    #[test]
    fn values_are_written_in_one_word() {
        let (name, rule) = value_rule("latency=ms,lower,regex:a, b = (.*)").unwrap();
        assert_eq!(
            (name.as_str(), rule["regex"].as_str(), rule["unit"].as_str()),
            ("latency", Some("a, b = (.*)"), Some("ms"))
        );
        assert_eq!(value_rule("tps=pgbench.tps").unwrap().1["from"].as_str(), Some("pgbench.tps"));
        for wrong in ["tps", "tps=", "tps=ms,lower", "tps=ms,lower,xpath:/a"] {
            assert!(value_rule(wrong).is_err(), "{wrong}");
        }
    }
}
