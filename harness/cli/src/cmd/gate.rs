//! `uplift gate BASE CAND [SCENARIO…]`: compare, then thresholds, then the exit code. For CI.

use uplift_analysis::gate::{GateOutcome, GateRow, gate};
use uplift_engine::store::write_whole;
use uplift_target::TargetFactory;

use crate::{
    args::{Format, GateArgs},
    cmd::compare,
    error::CliError,
    exit,
    output::{Terminal, render},
};

/// Compares, writes every document, prints what became of each rule, and answers with the exit code.
pub fn run(args: &GateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let finished = compare::measure(&args.compare, targets, terminal)?;
    let rows = finished.verdicts.as_ref().map(|verdicts| gate(&finished.run, verdicts)).unwrap_or_default();
    let broken =
        |error: serde_json::Error| CliError::environment(format!("the gate's rows cannot be written: {error}"), "");
    let json = serde_json::to_string_pretty(&rows).map_err(broken)? + "\n";
    let path = finished.directory.join("gate.json");
    write_whole(&path, json.as_bytes())
        .map_err(|error| CliError::environment(format!("`{}` cannot be written: {error}", path.display()), ""))?;
    match args.compare.format {
        Format::Json => terminal.print(&json),
        format => {
            let style = terminal.style(args.compare.all_metrics);
            terminal.print(&render(&finished.run, &finished.trials, finished.verdicts.as_ref(), format, style)?);
            terminal.print(&table(&rows));
        }
    }
    terminal.say(&format!("report: {}", finished.directory.join("report.md").display()));
    Ok(code(finished.exit(), &rows, args.strict))
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

fn table(rows: &[GateRow]) -> String {
    if rows.is_empty() {
        return "gate: no scenario has a rule; write a [gate] table, or gate.toml beside the scenarios\n".to_owned();
    }
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!(
            "gate {:<7} {} {} {}: {}\n",
            row.outcome.word(),
            row.scenario,
            row.metric,
            row.rule,
            row.reason
        ));
    }
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    text.push_str(&format!(
        "gate: {} passed, {} broken, {} open\n",
        count(GateOutcome::Passed),
        count(GateOutcome::Broken),
        count(GateOutcome::Open)
    ));
    text
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
