//! Which crate may know which: the arrows of docs/ARCHITECTURE.md.

use std::{collections::BTreeMap, fs};

/// Crate, and all crates of this workspace that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("harness/model", &[]),
    ("harness/instrument", &["uplift-model"]),
    ("harness/sdk", &["uplift-instrument", "uplift-model"]),
    ("harness/agent", &["uplift-instrument", "uplift-model", "uplift-sdk"]),
    ("harness/engine", &["uplift-model"]),
    ("harness/profiler", &["uplift-instrument", "uplift-model"]),
    ("harness/docker", &["uplift-engine", "uplift-model"]),
    ("harness/analysis", &["uplift-model"]),
    ("harness/report", &["uplift-model", "uplift-analysis"]),
    ("targets/reference", &["uplift-sdk", "uplift-model"]),
    ("targets/orchestration", &["uplift-sdk", "uplift-model", "uplift-postgres-service"]),
    ("targets/docdb", &["uplift-sdk", "uplift-model"]),
    ("targets/dataflow", &["uplift-sdk", "uplift-model"]),
    ("targets/pipeline", &["uplift-sdk", "uplift-model", "uplift-postgres-service"]),
    ("targets/postgres-service", &[]),
    ("engines/disk", &[]),
    ("engines/docdb", &["uplift-instrument", "uplift-model"]),
    ("engines/docdb-peers", &[]),
    ("engines/grouped", &[]),
    (
        "harness/cli",
        &[
            "uplift-model",
            "uplift-instrument",
            "uplift-sdk",
            "uplift-agent",
            "uplift-engine",
            "uplift-analysis",
            "uplift-report",
            "uplift-profiler",
            "uplift-docker",
            "uplift-reference",
            "uplift-orchestration",
            "uplift-docdb",
            "uplift-dataflow",
            "uplift-pipeline",
        ],
    ),
];

#[test]
fn crates_know_only_whom_they_may() {
    let root = crate::bench::repository();
    let workspace: toml::Table = toml::from_str(&fs::read_to_string(root.join("Cargo.toml")).unwrap()).unwrap();
    let members: Vec<String> =
        workspace["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap().to_owned()).collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for member in &members {
        let allowed =
            arrows.get(member.as_str()).unwrap_or_else(|| panic!("`{member}` has no place in the architecture"));
        let manifest: toml::Table =
            toml::from_str(&fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap()).unwrap();
        for (name, _) in manifest["dependencies"].as_table().unwrap() {
            if name.starts_with("uplift") {
                assert!(allowed.contains(&name.as_str()), "`{member}` must not depend on `{name}`");
            }
        }
    }
}

/// No harness crate names a target; the command line does so only where it registers them.
#[test]
fn the_harness_knows_no_target_by_name() {
    let root = crate::bench::repository();
    let mut stack = vec![root.join("harness")];
    while let Some(path) = stack.pop() {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("examples") {
                stack.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("cli/src/main.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                for name in
                    ["uplift_orchestration", "uplift_reference", "uplift_docdb", "uplift_pipeline", "uplift_dataflow"]
                {
                    assert!(!text.contains(name), "{} names {name}", path.display());
                }
            }
        }
    }
}
