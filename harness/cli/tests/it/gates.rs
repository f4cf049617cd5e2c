//! What a gate leaves can be made again from its records.

use std::fs;

use serde_json::Value;

use crate::bench::Bench;

const DOCUMENTS: [&str; 7] =
    ["rules.json", "gate.json", "junit.xml", "comment.md", "verdicts.json", "report.md", "report.html"];

fn gate(more: &[&str]) -> Bench {
    let bench = Bench::new();
    let arguments = ["gate", "baseline", "same", "reference/steady", "--blocks", "4", "--set", "trial.rounds=4"];
    let code = bench.uplift(&[&arguments[..], more].concat()).0.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    bench
}

#[test]
fn every_document_of_a_gate_is_made_again() {
    // The rules of the command line, which the run's own record does not have.
    let bench = gate(&["--rule", "syncs_per_op <= +0%", "--rule", "throughput >= -90%"]);
    let folder = bench.run_folder();
    bench.rebuilds(&folder, &DOCUMENTS);
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("gate: ") && report.contains(">= -90%"), "the report has the gate: {report}");
    assert!(fs::read_to_string(folder.join("report.html")).unwrap().contains("id=\"gate\""));
}

/// Older gates left no rules, only what became of each.
#[test]
fn an_older_gate_is_made_again_from_its_rows() {
    let bench = gate(&["--rule", "throughput >= -90%"]);
    let folder = bench.run_folder();
    let rows = fs::read_to_string(folder.join("gate.json")).unwrap();
    let outcomes: Vec<Value> = serde_json::from_str(&rows).unwrap();
    assert!(outcomes.iter().any(|row| row["rule"] == ">= -90%"), "{rows}");
    fs::remove_file(folder.join("rules.json")).unwrap();
    bench.rebuilds(&folder, &["gate.json", "junit.xml", "comment.md", "report.md"]);
}
