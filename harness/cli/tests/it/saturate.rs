//! The search for saturation, checked against a target whose capacity can be measured by a closed loop.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::bench::Bench;

/// Steps of computation of one operation: about a millisecond.
const WORK: &str = "workload.work=500000";

fn closed_loop_throughput() -> f64 {
    let bench = Bench::new();
    bench
        .uplift(&["run", "reference/steady", "--variant", "baseline", "--quick", "--blocks", "3", "--set", WORK])
        .code(0);
    let mut rates: Vec<f64> = bench
        .trials()
        .iter()
        .flat_map(|trial| trial["measured"]["turns"].as_array().unwrap().clone())
        .map(|turn| turn["ok"].as_f64().unwrap() / (turn["wall_ns"].as_f64().unwrap() / 1e9))
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// One client that computes a millisecond for each operation saturates at what a closed loop of one client does. The
/// bounds are wide: the machine is shared, and what it gives changes between the two measurements.
#[test]
fn saturation_is_what_a_closed_loop_reaches() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "saturate",
        "reference/stall",
        "--variant",
        "calm",
        "--set",
        WORK,
        "--set",
        "load.clients=1",
        "--set",
        "load.rate=300",
        "--set",
        "trial.window=1200ms",
        "--blocks",
        "1",
        "--precision",
        "30",
    ]);
    said.code(0);
    assert!(said.out().contains("saturation lies between"), "{}", said.out());
    let folder = bench.run_folder();
    bench.rebuilds(&folder, &["saturation.json", "report.md", "report.html"]);
    let text = fs::read_to_string(folder.join("saturation.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let (low, high) = (found["sustained"].as_f64().unwrap(), found["diverged"].as_f64().unwrap());
    assert!(low < high && high <= low * 1.31, "{low} {high}");
    let capacity = closed_loop_throughput();
    assert!(high > capacity / 2.0, "{high} op/s diverged, a closed loop does {capacity}");
    assert!(low < capacity * 2.0, "{low} op/s was sustained, a closed loop does {capacity}");
    let half = &found["half"];
    assert_eq!(half["rate"].as_f64().unwrap(), low / 2.0);
    let p99_ns = half["medians"]["response_p99"].as_f64().unwrap();
    assert!(p99_ns > 0.0);
    assert_eq!(half["ranges"]["response_p99"], serde_json::json!([p99_ns, p99_ns]), "of a single trial");
    let rates = found["steps"].as_array().unwrap();
    for step in rates {
        let held = step["trials_diverged"].as_array().unwrap().iter().all(Value::is_null);
        assert_eq!(step["sustained"], held, "a rate is sustained where every trial sustained it: {step}");
    }
    let document = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(document.contains("| from | op/s |"), "the timeline is in the document:\n{document}");
    assert!(folder.join("report.html").is_file() && !said.out().contains("|---"), "{}", said.out());
    assert!(document.contains("plots/reference-stall-responses.svg"), "{document}");
    rebuilds(&bench, &folder);
}

/// `report` makes the same bytes from the record alone, and `show` prints it.
fn rebuilds(bench: &Bench, folder: &Path) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        let plots = fs::read_dir(folder.join("plots")).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<PathBuf> = plots.chain([folder.join("report.md"), folder.join("report.html")]).collect();
        all.sort();
        all.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
    };
    let before = files();
    assert!(before.len() > 2, "there are plots");
    for (path, _) in &before {
        fs::remove_file(path).unwrap();
    }
    bench.uplift(&["report", name]).code(0);
    assert_eq!(files(), before);
    for word in [name, "latest", &name[..name.len() - 2]] {
        let shown = bench.uplift(&["show", word, "--format", "markdown"]).code(0).out();
        assert_eq!(shown.as_bytes(), fs::read(folder.join("report.md")).unwrap(), "{word}");
    }
}

const SHORT: [&str; 10] = [
    "--set",
    WORK,
    "--set",
    "load.clients=1",
    "--set",
    "load.rate=300",
    "--set",
    "trial.window=1200ms",
    "--blocks",
    "1",
];

/// One client that computes a millisecond holds 100 ms at the 95th percentile nearly up to its capacity.
#[test]
fn the_highest_rate_that_holds_an_objective_is_found() {
    let bench = Bench::new();
    let mut line = vec!["saturate", "reference/stall", "--variant", "calm", "--precision", "30"];
    line.extend(SHORT);
    line.extend(["--slo", "response_p95 < 100ms, success_rate > 99.9%"]);
    let said = bench.uplift(&line);
    said.code(0);
    assert!(said.out().contains("is the highest rate that holds"), "{}", said.out());
    let folder = bench.run_folder();
    let found: Value = serde_json::from_slice(&fs::read(folder.join("saturation.json")).unwrap()).unwrap();
    let (low, high) = (found["sustained"].as_f64().unwrap(), found["diverged"].as_f64().unwrap());
    assert!(low < high && high <= low * 1.31, "{low} {high}");
    let capacity = closed_loop_throughput();
    assert!(low < capacity * 2.0 && high > capacity / 4.0, "{low} {high}: a closed loop does {capacity}");
    assert_eq!(found["objective"]["terms"][0]["limit"], 100e6);
    assert!(found["interval"].as_array().unwrap().len() == 2);
    for step in found["steps"].as_array().unwrap().iter().filter(|step| step["sustained"] == true) {
        assert!(step["medians"]["response_p95"].as_f64().unwrap() < 100e6, "{step}");
    }
    // The curve has points well below the edge.
    let lowest = found["steps"].as_array().unwrap().iter().map(|step| step["rate"].as_f64().unwrap());
    assert!(lowest.fold(f64::INFINITY, f64::min) <= low * 0.3);
    let document = fs::read_to_string(folder.join("report.md")).unwrap();
    for name in ["reference-stall-achieved.svg", "reference-stall-responses.svg"] {
        assert!(document.contains(name), "{document}");
    }
    rebuilds(&bench, &folder);
}

/// A stall of half a second is in every trial: no rate keeps the longest response under 100 ms.
#[test]
fn an_objective_that_no_rate_holds_is_said() {
    let bench = Bench::new();
    let mut line = vec!["saturate", "reference/stall", "--variant", "stalling"];
    line.extend(SHORT);
    line.extend(["--slo", "response_max < 100ms"]);
    let said = bench.uplift(&line);
    said.code(5);
    assert!(said.out().contains("nor at any rate that was tried"), "{}", said.out());
    assert!(said.out().contains("`response_max < 100ms` was missed: "), "{}", said.out());
}

#[test]
fn the_law_of_scalability_is_fitted_to_a_sweep_of_clients() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "saturate",
        "reference/steady",
        "--variant",
        "baseline",
        "--clients",
        "1,2,4,8,16",
        "--blocks",
        "2",
        "--set",
        "trial.window=200ms",
        "--set",
        "trial.warmup=20ms",
    ]);
    said.code(0);
    let folder = bench.run_folder();
    let found: Value = serde_json::from_slice(&fs::read(folder.join("scalability.json")).unwrap()).unwrap();
    let points = found["points"].as_array().unwrap();
    assert_eq!(points.iter().map(|point| point["clients"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
    assert!(points.iter().all(|point| point["throughput"].as_array().unwrap().len() == 2));
    assert!(found["fit"]["sigma"]["interval"].as_array().is_some(), "{found:#}");
    assert_eq!(found["fit"]["reach"], 32.0);
    let document = fs::read_to_string(folder.join("report.md")).unwrap();
    for words in ["How far it may be believed", "contention", "reference-steady-scalability.svg"] {
        assert!(document.contains(words), "`{words}`:\n{document}");
    }
    // On a machine whose CPUs others use, the law may not hold for what was measured: then it says that.
    assert!(document.contains("32 clients") || document.contains("nothing is predicted"), "{document}");
    rebuilds(&bench, &folder);
}

#[test]
fn a_search_says_what_it_cannot_do() {
    let bench = Bench::new();
    let calm = ["saturate", "reference/stall", "--variant", "calm"];
    let with = |more: &[&'static str]| bench.uplift(&[&calm[..], more].concat());
    with(&["--slo", "response_p99"]).code(2).says("`response_p99` has no comparison");
    with(&["--slo", "respons_p99 < 5ms"]).code(2).says("did you mean `response_p99`");
    with(&["--slo", "response_p99 < 50"]).code(2).says("write a duration with its unit");
    with(&["--slo", "success_rate > 100%"]).code(2).says("cannot hold");
    with(&["--slo", "response_p99 < 50ms", "--set", "load.rate=20"]).code(2).says("p99 needs 500 operations");
    with(&["--clients", "1..8"]).code(2).says("has an open load");
    with(&["--clients", "1,2"]).code(2).says("at least 4 numbers of clients");
    with(&["--clients", "1..8", "--slo", "response_p99 < 50ms"]).code(2).says("cannot be used with");
    bench.uplift(&["saturate", "reference/steady", "--variant", "baseline"]).code(2).says("has a closed load");
    bench.uplift(&["saturate", "reference/stall", "--variant", "clam"]).code(2).says("did you mean `calm`");
    bench.uplift(&["saturate", "reference", "--variant", "calm"]).code(2).says("a search is for one scenario");
    bench
        .uplift(&["saturate", "reference/stall", "--variant", "calm", "--budget", "1m"])
        .code(2)
        .says("unexpected argument '--budget'");
    bench.uplift(&["saturate", "reference/stall", "--variant", "calm", "--precision", "0"]).code(2);
}
