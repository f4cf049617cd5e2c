//! False alarms of a series of comparisons of a variant with itself, with their interval.
//!
//! `cargo run -p uplift-analysis --example tally -- RUN…` reads `verdicts.json` and `gate.json` of each run's folder;
//! `results/aa.sh` makes such runs.

use std::{collections::BTreeMap, env, fs, path::Path, process::ExitCode};

use uplift_analysis::{
    gate::{GateOutcome, GateRow},
    profile::Share,
};
use uplift_model::{
    Verdicts,
    verdict::{Status, Verdict},
};

/// What became of one scenario over the series.
#[derive(Default)]
struct Tally {
    compared: u64,
    alarms: u64,
    broken: u64,
    unchanged: u64,
    others: u64,
}

fn main() -> ExitCode {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut left_out = Vec::new();
    for folder in env::args().skip(1) {
        if let Err(why) = count(Path::new(&folder), &mut tallies, &mut left_out) {
            eprintln!("`{folder}`: {why}");
            return ExitCode::from(2);
        }
    }
    println!(
        "| scenario | compared | primary called changed | another metric called changed | rule about a change broken | primary unchanged |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    let mut all = Tally::default();
    for (scenario, one) in &tallies {
        println!(
            "| {scenario} | {} | {} | {} | {} | {} |",
            one.compared, one.alarms, one.others, one.broken, one.unchanged
        );
        all.compared += one.compared;
        all.alarms += one.alarms;
        all.broken += one.broken;
        all.unchanged += one.unchanged;
        all.others += one.others;
    }
    println!();
    for (what, alarms) in [
        ("the primary metric was called improved or regressed", all.alarms),
        ("another metric was", all.others),
        ("a rule about a change broke", all.broken),
    ] {
        let share = Share::of(alarms, all.compared);
        println!(
            "{what} in {alarms} of {} comparisons: {:.1} % ({:.1}–{:.1})",
            all.compared,
            share.share * 100.0,
            share.ci[0] * 100.0,
            share.ci[1] * 100.0
        );
    }
    for line in left_out {
        println!("left out: {line}");
    }
    ExitCode::SUCCESS
}

/// Whether a rule names a value and no change, such as `<= 10000000`: a variant that breaks it by itself breaks it beside
/// itself too, and that is true.
fn is_absolute(rule: &str) -> bool {
    rule.split_whitespace().last().is_some_and(|bound| bound.parse::<f64>().is_ok())
}

fn count(folder: &Path, tallies: &mut BTreeMap<String, Tally>, left_out: &mut Vec<String>) -> Result<(), String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let verdicts: Verdicts = serde_json::from_str(&read("verdicts.json")?).map_err(|error| error.to_string())?;
    let rows: Vec<GateRow> = serde_json::from_str(&read("gate.json")?).map_err(|error| error.to_string())?;
    for scenario in &verdicts.scenarios {
        if scenario.status != Status::Compared {
            let why = scenario.reason.as_deref().unwrap_or("no reason was recorded");
            left_out.push(format!("{}: {why}", scenario.name));
            continue;
        }
        let tally = tallies.entry(scenario.name.clone()).or_default();
        tally.compared += 1;
        match scenario.primary().map(|metric| metric.verdict) {
            Some(Verdict::Improved | Verdict::Regressed) => tally.alarms += 1,
            Some(Verdict::Unchanged) => tally.unchanged += 1,
            _ => {}
        }
        let called = |verdict: Verdict| matches!(verdict, Verdict::Improved | Verdict::Regressed);
        tally.others += u64::from(scenario.metrics.iter().any(|metric| !metric.primary && called(metric.verdict)));
        let broken = |row: &GateRow| {
            row.scenario == scenario.name && row.outcome == GateOutcome::Broken && !is_absolute(&row.rule)
        };
        tally.broken += u64::from(rows.iter().any(broken));
    }
    Ok(())
}
