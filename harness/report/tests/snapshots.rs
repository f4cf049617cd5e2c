//! What is rendered from stored runs, checked against snapshots (`INSTA_UPDATE=always` blesses new ones).

use std::{fs, path::Path};

use uplift_model::{Trial, run::Run};
use uplift_report::{
    ReportInput, build,
    render::{markdown, terminal},
    verdicts_json,
};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn snapshot(name: &str) {
    let (run, trials) = load(name);
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() };
    insta::assert_snapshot!(format!("{name}-markdown"), markdown::document(&build::report(&input).document));
    insta::assert_snapshot!(
        format!("{name}-terminal"),
        terminal::document(&build::document(&input), terminal::Style::default())
    );
    insta::assert_snapshot!(format!("{name}-verdicts"), verdicts_json(verdicts.as_ref().unwrap()).unwrap());
    let alone = ReportInput { verdicts: None, ..input };
    insta::assert_snapshot!(
        format!("{name}-measurement"),
        terminal::document(&build::document(&alone), terminal::Style::default())
    );
}

/// A table fits the window: columns are left out, no line is longer than the window, and no number is broken.
#[test]
fn a_table_fits_the_terminal() {
    for name in ["slower", "weaker", "claims"] {
        let (run, trials) = load(name);
        let verdicts = uplift_analysis::judge(&run, &trials);
        let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() };
        let document = build::document(&input);
        let drawn = |width| terminal::document(&document, terminal::Style { width, ..terminal::Style::default() });
        let (free, wide, narrow) = (drawn(None), drawn(Some(80)), drawn(Some(40)));
        assert!(free.contains("interval") && free.contains('±'), "{free}");
        for (text, most) in [(&wide, 80), (&narrow, 40)] {
            // A name that is longer than the window stands by itself.
            let long: Vec<&str> =
                text.lines().filter(|line| line.chars().count() > most && line.trim().contains("  ")).collect();
            assert!(long.is_empty(), "{long:?}");
        }
        let primary = verdicts.as_ref().unwrap().scenarios[0].primary().unwrap().verdict.word();
        for text in [&free, &wide, &narrow] {
            assert!(text.contains("* throughput ↑") && text.contains(primary), "{text}");
            assert!(text.lines().all(|line| !line.trim_end().ends_with('±')), "{text}");
        }
    }
    let (run, trials) = load("slower");
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() };
    let style = terminal::Style { width: Some(80), colour: true, ..terminal::Style::default() };
    let coloured = terminal::document(&build::document(&input), style);
    assert!(coloured.contains("\x1b[31mregressed\x1b[0m"), "{coloured}");
}

/// A sync left out: faster by weakening durability.
#[test]
fn weaker_durability() {
    snapshot("weaker");
}

/// A true slowdown.
#[test]
fn a_slowdown() {
    snapshot("slower");
}

/// A setting that was ignored, a ceiling, claims with their outcome.
#[test]
fn claims_ceiling_and_an_ignored_setting() {
    snapshot("claims");
}

/// The same records give the same bytes whatever the order of the lines.
#[test]
fn the_order_of_trials_does_not_matter() {
    let (run, mut trials) = load("slower");
    let first = verdicts_json(&uplift_analysis::judge(&run, &trials).unwrap()).unwrap();
    trials.reverse();
    assert_eq!(verdicts_json(&uplift_analysis::judge(&run, &trials).unwrap()).unwrap(), first);
}

/// A variant against a copy of itself is neither improved nor regressed in anything.
#[test]
fn copies_are_never_judged_different() {
    use uplift_model::verdict::Verdict;
    let (run, trials) = load("slower");
    let mut copies: Vec<Trial> = Vec::new();
    for trial in trials.iter().filter(|trial| trial.variant == "baseline") {
        copies.push(trial.clone());
        copies.push(Trial { variant: "slower-5".to_owned(), ..trial.clone() });
    }
    let verdicts = uplift_analysis::judge(&run, &copies).unwrap();
    // Asked for differently, the same in force: that alone makes them incomparable.
    assert!(verdicts.scenarios[0].reason.as_ref().unwrap().contains("nothing that is in force"));
    let against_itself = uplift_analysis::judge_pair(&run, &twice(&copies), "baseline", "baseline");
    for metric in &against_itself.scenarios[0].metrics {
        assert!(
            !matches!(metric.verdict, Verdict::Improved | Verdict::Regressed),
            "{}: {}",
            metric.metric,
            metric.reason
        );
        // A tail that a block has too few operations for is shown and not compared.
        if metric.baseline.is_some() && !metric.reason.starts_with("not available") {
            assert_eq!(metric.change, Some(0.0), "{}", metric.metric);
        }
    }
}

/// Both trials of each block under the baseline's name.
fn twice(trials: &[Trial]) -> Vec<Trial> {
    trials.iter().map(|trial| Trial { variant: "baseline".to_owned(), ..trial.clone() }).collect()
}

/// Swapping the variants turns every decided verdict round.
#[test]
fn swapped_variants_turn_the_verdicts() {
    use uplift_model::verdict::Verdict::{Improved, Inconclusive, Regressed, Unchanged};
    let (run, trials) = load("slower");
    let forth = uplift_analysis::judge_pair(&run, &trials, "baseline", "slower-5");
    let back = uplift_analysis::judge_pair(&run, &trials, "slower-5", "baseline");
    for metric in &forth.scenarios[0].metrics {
        let other = back.scenarios[0].metrics.iter().find(|other| other.metric == metric.metric).unwrap();
        let wanted = match metric.verdict {
            Improved => Regressed,
            Regressed => Improved,
            Unchanged => Unchanged,
            other => other,
        };
        // A linear change has another denominator on the way back and may fall to the other side of the margin.
        if other.verdict != Inconclusive && wanted != Inconclusive {
            assert_eq!(other.verdict, wanted, "{}", metric.metric);
        }
    }
}

/// Events of the measured turns are in the document with the cause of the longest; those of the set-up are not.
#[test]
fn the_longest_event_is_told_with_its_cause() {
    use uplift_model::trial::Event;
    let (run, mut trials) = load("slower");
    let measured =
        trials.iter_mut().find(|trial| trial.variant == "baseline").and_then(|trial| trial.measured.as_mut()).unwrap();
    let start_ns = measured.turns[measured.dropped_turns as usize].start_ns;
    let mut add = |start_ns: u64, duration_ms: u64, detail: &str| {
        let (name, detail) = ("checkpoint".to_owned(), detail.to_owned());
        measured.events.push(Event { name, start_ns, duration_ns: duration_ms * 1_000_000, detail });
    };
    add(start_ns, 2, "short");
    add(start_ns + 1, 6, "1000 pages | busy");
    if start_ns > 0 {
        add(start_ns - 1, 500, "while it was set up");
    }
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: None };
    let document = markdown::document(&build::document(&input));
    assert!(document.contains("| checkpoint | baseline | 2 | 4 ms | 6 ms | 1000 pages \\| busy |"), "{document}");
    assert!(!document.contains("while it was set up"));
}
