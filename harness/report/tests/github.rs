//! What a pull request is shown keeps the rules of the place where it is shown.

use std::{fs, path::Path};

use uplift_analysis::gate::{GateOutcome, GateRow, gate};
use uplift_model::{Trial, run::Run};
use uplift_report::{
    ReportInput,
    export::{Selection, junit},
    github,
};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn comments_begin_with_their_marker_and_say_what_is_broken() {
    let (run, trials) = load("slower");
    let verdicts = uplift_analysis::judge(&run, &trials).unwrap();
    let rows = gate(&run, &verdicts);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: Some(&verdicts) };
    let comment = github::comment(&input, &rows);
    assert!(comment.starts_with("<!-- uplift-gate -->\n### Performance gate: regression"), "{comment}");
    assert!(comment.contains("| steps_per_op | &lt;= +0% | **broken** |"), "{comment}");
    insta::assert_snapshot!(github::summary(&input, &rows));
    let annotations = github::annotations(&input, &rows);
    assert!(annotations.iter().any(|line| line.starts_with("::error title=reference/steady%3A steps_per_op")));
    // A percent sign starts an escape there.
    assert!(annotations.iter().all(|line| line.matches('%').count()
        == line.matches("%25").count() + line.matches("%3A").count() + line.matches("%2C").count()));
}

/// However much there is to say, the comment stays under 65,536 characters, whole in its lines.
#[test]
fn comments_are_never_too_long() {
    let (run, trials) = load("slower");
    let mut verdicts = uplift_analysis::judge(&run, &trials).unwrap();
    let one = verdicts.scenarios[0].clone();
    for (scenarios, rules) in [(400, 0), (3, 3_000), (1, 0)] {
        verdicts.scenarios = (0..scenarios)
            .map(|nth| {
                let mut copy = one.clone();
                copy.name = format!("docdb/scenario-{nth} @somebody | <b>");
                copy
            })
            .collect();
        let rows: Vec<GateRow> = (0..rules)
            .map(|nth| GateRow {
                scenario: format!("docdb/scenario-{nth}"),
                metric: "throughput".to_owned(),
                rule: ">= -3%".to_owned(),
                outcome: GateOutcome::Broken,
                reason: "−9 % is ünder the thréshold".to_owned(),
            })
            .collect();
        let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: Some(&verdicts) };
        let comment = github::comment(&input, &rows);
        assert!(comment.len() < github::COMMENT_BYTES_MAX, "{scenarios} {rules}: {}", comment.len());
        assert_eq!(comment.contains("Some scenarios are left out"), scenarios + rules > 1, "{scenarios} {rules}");
        assert!(comment.ends_with("derived from its records.\n"));
        assert_eq!(comment.matches("<details>").count(), comment.matches("</details>").count());
        assert!(!comment.contains("@somebody") && !comment.contains("<b>"));
    }
}

/// Cases of one suite have names of their own, also where one rule is checked against both variants.
#[test]
fn junit_cases_have_names_of_their_own() {
    let (run, trials) = load("slower");
    let verdicts = uplift_analysis::judge(&run, &trials).unwrap();
    let rows = gate(&run, &verdicts);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: Some(&verdicts) };
    let text = junit::document(&input, &rows, &Selection::default());
    let mut names: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("<testcase"))
        .map(|line| line.split(" name=\"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), all), (rows.len(), rows.len()));
}
