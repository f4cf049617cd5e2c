//! The reference runs were recorded under names of their day: they are read under those of today.

use std::{fs, path::Path};

use uplift_model::run::Run;

#[test]
fn metrics_of_old_records_have_the_names_of_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/reference");
    let mut renamed = 0;
    for target in fs::read_dir(folder).unwrap() {
        for run in fs::read_dir(target.unwrap().path()).unwrap() {
            let file = run.unwrap().path().join("run.json");
            let text = fs::read_to_string(&file).unwrap();
            renamed += text.matches("\"fsyncs_per_write\"").count();
            let run: Run = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for planned in run.scenarios {
                let scenario = planned.scenario;
                let mut names: Vec<&str> = vec![&scenario.primary];
                names.extend(scenario.expect.keys().chain(scenario.gate.keys()).map(String::as_str));
                names.extend(scenario.claims.iter().map(|claim| claim.metric.as_str()));
                for old in ["fsyncs_per_write", "nothing_rate"] {
                    assert!(!names.contains(&old), "{}: {} still has {old}", file.display(), scenario.name);
                }
            }
        }
    }
    assert!(renamed > 0, "no record has an old name: this test shows nothing");
}
