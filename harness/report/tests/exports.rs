//! Exports: held byte for byte against the files in `readers/exports`, and their content against what readers that
//! were not written for this made of those files (`readers/read.py`, answers recorded in `readers/answers.json`).
//!
//! `UPLIFT_BLESS=1` rewrites the files; then `readers/read.py` must be run again, and a test says so until it was.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use uplift_model::{Histogram, Trial, Verdicts, run::Run};
use uplift_report::{
    ReportInput,
    export::{Format, Selection, documents},
};

struct Loaded {
    run: Run,
    trials: Vec<Trial>,
    verdicts: Option<Verdicts>,
}

impl Loaded {
    fn of(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let run: Run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
        let lines = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
        let trials: Vec<Trial> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let verdicts = uplift_analysis::judge(&run, &trials);
        Self { run, trials, verdicts }
    }

    fn input(&self) -> ReportInput<'_> {
        ReportInput { run: &self.run, trials: &self.trials, profiles: &[], verdicts: self.verdicts.as_ref() }
    }
}

fn readers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers")
}

/// FNV-1a, as `read.py` computes it too.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[test]
fn exports_are_what_the_readers_read() {
    let loaded = Loaded::of("slower");
    let folder = readers().join("exports");
    let answers: Value = serde_json::from_str(&fs::read_to_string(readers().join("answers.json")).unwrap()).unwrap();
    let bless = std::env::var_os("UPLIFT_BLESS").is_some();
    fs::create_dir_all(&folder).unwrap();
    // pprof is checked against Go's reader in `profiles.rs`.
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Pprof) {
        let found = documents(format, &loaded.input(), &Selection::default()).unwrap();
        assert!(!found.is_empty(), "{format}");
        for document in found {
            let path = folder.join(&document.name);
            if bless {
                fs::write(&path, &document.bytes).unwrap();
                continue;
            }
            let stored = fs::read(&path).unwrap_or_default();
            assert!(stored == document.bytes, "`{}` changed: UPLIFT_BLESS=1, then readers/read.py", document.name);
            assert_eq!(
                answers["digests"][&document.name],
                digest(&document.bytes),
                "`{}` was not read since it changed: run readers/read.py",
                document.name
            );
        }
    }
}

fn texts(format: Format, loaded: &Loaded, selection: &Selection) -> Vec<String> {
    let found = documents(format, &loaded.input(), selection).unwrap();
    found.into_iter().map(|document| String::from_utf8(document.bytes).unwrap()).collect()
}

fn answers() -> Value {
    serde_json::from_str(&fs::read_to_string(readers().join("answers.json")).unwrap()).unwrap()
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

/// HdrHistogram of two other languages decodes every histogram to the counts and percentiles that we have.
#[test]
fn histograms_are_the_same_to_other_libraries() {
    let loaded = Loaded::of("slower");
    let answers = answers();
    let mut trials: Vec<&Trial> = loaded.trials.iter().collect();
    trials.sort_by_key(|trial| trial.started_unix_ns);
    let ours: Vec<_> = trials.iter().flat_map(|trial| &trial.measured.as_ref().unwrap().operations).collect();
    for reader in ["hdrh (Python)", "hdr-histogram-js"] {
        let theirs = answers["hlog"][reader].as_array().unwrap();
        assert_eq!(theirs.len(), ours.len(), "{reader}");
        for (entry, operation) in theirs.iter().zip(&ours) {
            let n = operation.response.count();
            assert_eq!(entry["count"].as_u64(), Some(n), "{reader}");
            for (name, rank) in [("middle", n.div_ceil(2)), ("tail", n - n / 100), ("last", n)] {
                let wanted = operation.response.quantile(rank as f64 / n as f64).unwrap() as f64;
                // Libraries name another value of the same bucket; three digits are the promise.
                assert!(
                    close(entry[name].as_f64().unwrap(), wanted, 0.001),
                    "{reader} {name}: {entry} against {wanted}"
                );
            }
        }
    }
}

/// A plotter of percentile distributions reads the count, the mean, the maximum and the percentiles that we have.
#[test]
fn percentile_distributions_are_read_by_a_plotter() {
    let loaded = Loaded::of("slower");
    let answers = answers();
    for variant in ["baseline", "slower-5"] {
        let mut merged = Histogram::new();
        for trial in loaded.trials.iter().filter(|trial| trial.variant == variant) {
            trial.measured.iter().flat_map(|measured| &measured.operations).for_each(|one| merged.merge(&one.response));
        }
        let theirs = &answers["hgrm"][uplift_model::file_name(&["reference/steady", variant])];
        assert_eq!(theirs["count"].as_u64(), Some(merged.count()), "{variant}");
        for (name, wanted_ns) in [
            ("mean_us", merged.mean().unwrap()),
            ("max_us", merged.max().unwrap() as f64),
            ("p50_us", merged.quantile(0.5).unwrap() as f64),
            ("p99_us", merged.quantile(0.99).unwrap() as f64),
        ] {
            // The file has steps of a fifth of a halving: the next step above a percentile is in the same bucket or the next.
            let tolerance = if name == "p99_us" { 0.1 } else { 0.001 };
            let read_ns = theirs[name].as_f64().unwrap() * 1e3;
            assert!(close(read_ns, wanted_ns, tolerance), "{variant} {name}: {read_ns} against {wanted_ns}");
        }
    }
}

/// Prometheus's own checker has nothing to say against the metrics.
#[test]
fn metrics_pass_the_checker_of_prometheus() {
    let answer = &answers()["promtool"];
    assert_eq!((answer["exit"].as_i64(), answer["complaints"].as_str()), (Some(0), Some("")), "{answer}");
}

/// The medians that reach other tools are those of the report.
#[test]
fn medians_are_those_of_the_report() {
    let loaded = Loaded::of("slower");
    let answers = answers();
    let scenario = &loaded.verdicts.as_ref().unwrap().scenarios[0];
    for metric in scenario.metrics.iter().filter(|metric| metric.baseline.is_some()) {
        let sides = [("baseline", &metric.baseline), ("slower-5", &metric.candidate)];
        for (variant, estimate) in sides {
            let wanted = estimate.as_ref().unwrap().median;
            let bmf = &answers["bmf"][format!("{} ({variant})", scenario.name)][&metric.metric];
            assert!(close(bmf.as_f64().unwrap(), wanted, 1e-12), "{} {variant}", metric.metric);
            let csv = &answers["csv"][format!("{variant} {}", metric.metric)];
            assert!(close(csv.as_f64().unwrap(), wanted, 1e-12), "{} {variant}", metric.metric);
        }
    }
    let openmetrics = |family: &str| answers["openmetrics"][family]["baseline"].as_f64().unwrap();
    let median = |name: &str| {
        let metric = scenario.metrics.iter().find(|metric| metric.metric == name).unwrap();
        metric.baseline.as_ref().unwrap().median
    };
    assert!(close(openmetrics("uplift_throughput_operations_per_second"), median("throughput"), 1e-5));
    assert!(close(openmetrics("uplift_response_p99_seconds"), median("response_p99") / 1e9, 1e-5));
}

/// JUnit readers see what the gate decided.
#[test]
fn junit_says_what_the_gate_decided() {
    use uplift_analysis::gate::{GateOutcome, gate};
    let loaded = Loaded::of("slower");
    let rows = gate(&loaded.run, loaded.verdicts.as_ref().unwrap());
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count() as u64;
    let junit = &answers()["junit"];
    assert_eq!(junit["tests"].as_u64(), Some(rows.len() as u64));
    assert_eq!(junit["failures"].as_u64(), Some(count(GateOutcome::Broken)));
    assert_eq!(junit["skipped"].as_u64(), Some(count(GateOutcome::Open)));
}

/// Every line of the Go benchmark format keeps its rules: a name that begins `Benchmark` and a capital, a count, pairs
/// of value and unit.
#[test]
fn benchfmt_keeps_its_rules() {
    let loaded = Loaded::of("weaker");
    let text = &texts(Format::Benchfmt, &loaded, &Selection::default())[0];
    let (mut results, mut variants) = (0, Vec::new());
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let Some(name) = fields[0].strip_prefix("Benchmark") {
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{line}");
            assert!(fields[1].parse::<u64>().unwrap() > 0);
            assert_eq!(fields.len() % 2, 0, "{line}");
            for pair in fields[2..].chunks(2) {
                assert!(pair[0].parse::<f64>().unwrap().is_finite() && !pair[1].is_empty(), "{pair:?}");
            }
            results += 1;
            variants.push(name.split("/variant=").nth(1).unwrap().to_owned());
        } else if fields[0] == "Unit" {
            assert!(matches!(fields[2], "better=higher" | "better=lower"), "{line}");
        } else {
            assert!(fields[0].ends_with(':') && fields[0].starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
        }
    }
    assert_eq!(results, loaded.trials.len());
    variants.sort();
    variants.dedup();
    assert_eq!(variants.len(), 2);
}

/// A failed trial is a line of the CSV, with its reason quoted.
#[test]
fn csv_has_failed_trials() {
    use uplift_model::trial::{Failure, FailureKind, TrialOutcome};
    let mut loaded = Loaded::of("weaker");
    loaded.trials[0].outcome = TrialOutcome::Failed(Failure {
        kind: FailureKind::Target,
        phase: "turn 3".to_owned(),
        message: "it said \"no\", twice".to_owned(),
        stderr_tail: String::new(),
        problem: None,
    });
    let text = &texts(Format::Csv, &loaded, &Selection::default())[0];
    assert!(text.contains("\"failed at turn 3: it said \"\"no\"\", twice\",,,,,"), "{}", &text[..600]);
}

/// One direction only, and one scenario or variant where asked.
#[test]
fn selections_hold() {
    let loaded = Loaded::of("slower");
    let of = |format, selection: &Selection| texts(format, &loaded, selection);
    let higher = Selection { higher_is_better: true, ..Selection::default() };
    let text = &of(Format::GithubBenchmark, &higher)[0];
    assert!(text.contains("throughput") && !text.contains("response_p50"));
    let only = Selection { variant: Some("baseline".to_owned()), ..Selection::default() };
    assert_eq!(of(Format::Hgrm, &only).len(), 1);
    assert!(!of(Format::Bmf, &only)[0].contains("slower-5"));
    let nothing = Selection { scenario: Some("no/such".to_owned()), ..Selection::default() };
    assert!(of(Format::Hlog, &nothing).is_empty());
}
