//! The search for saturation, held against a target whose capacity can be measured by a closed loop.

use std::fs;

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
    bench.rebuilds(&folder, &["saturation.json", "saturation.md", "saturation.html"]);
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
    let document = fs::read_to_string(folder.join("saturation.md")).unwrap();
    assert!(document.contains("| from | op/s |"), "the timeline is in the document:\n{document}");
    assert!(folder.join("saturation.html").is_file() && !said.out().contains("|---"), "{}", said.out());
}

#[test]
fn a_search_says_what_it_cannot_do() {
    let bench = Bench::new();
    bench.uplift(&["saturate", "reference/steady", "--variant", "baseline"]).code(2).says("has a closed load");
    bench.uplift(&["saturate", "reference/stall", "--variant", "clam"]).code(2).says("did you mean `calm`");
    bench.uplift(&["saturate", "reference", "--variant", "calm"]).code(2).says("a search is for one scenario");
    bench
        .uplift(&["saturate", "reference/stall", "--variant", "calm", "--budget", "1m"])
        .code(2)
        .says("unexpected argument '--budget'");
    bench.uplift(&["saturate", "reference/stall", "--variant", "calm", "--precision", "0"]).code(2);
}
