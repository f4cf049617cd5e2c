//! Which crate may know which: the arrows of docs/ARCHITECTURE.md.

use std::{collections::BTreeMap, fs};

/// Crate, and all crates of this workspace that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("harness/model", &[]),
    ("harness/target", &["uplift-model"]),
    ("harness/engine", &["uplift-model"]),
    ("harness/profiler", &["uplift-model", "uplift-target"]),
    ("harness/docker", &["uplift-engine", "uplift-model"]),
    ("harness/analysis", &["uplift-model"]),
    ("harness/report", &["uplift-model", "uplift-analysis"]),
    ("targets/reference", &["uplift-target", "uplift-model"]),
    ("targets/orchestration", &["uplift-target", "uplift-model", "uplift-postgres-service"]),
    ("targets/docdb", &["uplift-target", "uplift-model"]),
    ("targets/docdb/engine", &["uplift-target", "uplift-model"]),
    ("targets/docdb/peers", &[]),
    ("targets/orchestration/grouped", &[]),
    ("targets/dataflow", &["uplift-target", "uplift-model"]),
    ("targets/pipeline", &["uplift-target", "uplift-model", "uplift-postgres-service"]),
    ("targets/postgres-service", &[]),
    (
        "harness/cli",
        &[
            "uplift-model",
            "uplift-target",
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
