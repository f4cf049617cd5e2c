//! What the authors of the source documents found by hand is found in the reference runs, where their data hold it, and
//! nothing that they do not hold.

use std::{fs, path::Path};

use uplift_analysis::insight::{Insight, Topic, insights};
use uplift_model::{Trial, run::Run};

/// The statements on one scenario of a reference run.
fn found(run: &str, scenario: &str) -> Vec<Insight> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/reference").join(run);
    let run: Run = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    let trials: Vec<Trial> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts = uplift_analysis::judge(&run, &trials);
    let planned = run.scenarios.iter().find(|planned| planned.scenario.name == scenario).unwrap();
    let verdict =
        verdicts.iter().flat_map(|verdicts| &verdicts.scenarios).find(|verdict| verdict.name == scenario).cloned();
    let variants: Vec<(&str, Vec<&Trial>)> = planned
        .variants
        .iter()
        .map(|variant| {
            let own = trials.iter().filter(|trial| trial.scenario == scenario && &trial.variant == variant);
            (variant.as_str(), own.filter(|trial| trial.succeeded()).collect())
        })
        .collect();
    let found = insights(planned, verdict.as_ref(), &variants);
    assert!(found.windows(2).all(|pair| pair[0].weight >= pair[1].weight), "the weightiest first: {found:#?}");
    found
}

fn says(found: &[Insight], topic: Topic, words: &[&str]) -> bool {
    found.iter().any(|one| one.topic == topic && words.iter().all(|word| one.text.contains(word)))
}

/// 81 ms of back-off for each operation × 22.5 op/s = 1.8 of the dispatchers asleep.
#[test]
fn lock_contention_behind_the_back_off_of_duroxide() {
    let found = found("orchestration/pragmas", "orchestration/fanout-2x2");
    assert!(says(&found, Topic::Waiting, &["`baseline`", "backoff_per_op 81.1 ms × 22.5 op/s = 1.82"]), "{found:#?}");
    assert!(says(&found, Topic::Ceiling, &["40 op/s", "56 %"]), "{found:#?}");
    // The CPUs are idle, and nothing got decided: neither is claimed.
    assert!(!says(&found, Topic::Critical, &["CPU"]) && !says(&found, Topic::Gain, &[]), "{found:#?}");
}

#[test]
fn syncs_are_the_wall_of_the_document_store() {
    let found = found("docdb/fast", "docdb/crud");
    assert!(says(&found, Topic::Critical, &["sync calls are the wall of `baseline`"]), "{found:#?}");
    assert!(says(&found, Topic::Critical, &["`log` is the critical path of `fast`", "in `sync`"]), "{found:#?}");
}

#[test]
fn the_destination_is_the_critical_path_of_the_pipeline() {
    let found = found("all/quick", "pipeline/medium-copy");
    assert!(says(&found, Topic::Critical, &["`writer 0` is the critical path of `baseline`"]), "{found:#?}");
    assert!(says(&found, Topic::Next, &["`optimized`", "at most"]), "{found:#?}");
    assert!(!says(&found, Topic::Critical, &["sync calls"]), "{found:#?}");
}

/// A load that arrives at a given rate is limited by that rate and by nothing else.
#[test]
fn nothing_limits_what_arrives_at_a_given_rate() {
    let found = found("dataflow/log", "dataflow/vote-mixed");
    assert!(!found.iter().any(|one| matches!(one.topic, Topic::Critical | Topic::Next)), "{found:#?}");
}

/// Every name that the metrics ask for is in the registry.
#[test]
fn every_metric_of_the_harness_is_registered() {
    for (run, scenario) in [("docdb/fast", "docdb/crud"), ("dataflow/log", "dataflow/vote-mixed")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/reference").join(run);
        let run: Run = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
        let planned = run.scenarios.iter().find(|planned| planned.scenario.name == scenario).unwrap();
        let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
        for line in text.lines() {
            let trial: Trial = serde_json::from_str(line).unwrap();
            if trial.scenario != scenario {
                continue;
            }
            for value in uplift_analysis::metrics::of_trial(&trial, planned) {
                assert_ne!(value.spec.name, "unregistered");
            }
        }
    }
}
