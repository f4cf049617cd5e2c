//! Which crate may know which (docs/ARCHITECTURE.md), and that crates of one kind have the same files.

use std::collections::BTreeMap;

use crate::repository::Repository;

const TARGETS: [&str; 7] = [
    "uplift-command",
    "uplift-service",
    "uplift-reference",
    "uplift-orchestration",
    "uplift-docdb",
    "uplift-dataflow",
    "uplift-pipeline",
];

/// Crate, the crates of this workspace that it may depend on, and those that only its tests and examples may use besides.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("harness/model", &[], &[]),
    ("harness/instrument", &["uplift-model"], &[]),
    ("harness/sdk", &["uplift-instrument", "uplift-model"], &[]),
    ("harness/agent", &["uplift-instrument", "uplift-model", "uplift-sdk"], &[]),
    ("harness/engine", &["uplift-model"], &[]),
    ("harness/powerfs", &[], &[]),
    ("harness/profiler", &["uplift-instrument", "uplift-model"], &["uplift-analysis"]),
    ("harness/docker", &["uplift-engine", "uplift-model"], &["uplift-agent", "uplift-sdk"]),
    ("harness/analysis", &["uplift-model"], &[]),
    ("harness/report", &["uplift-model", "uplift-analysis"], &[]),
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
            "uplift-powerfs",
            "uplift-profiler",
            "uplift-docker",
            "uplift-command",
            "uplift-service",
            "uplift-reference",
            "uplift-orchestration",
            "uplift-docdb",
            "uplift-dataflow",
            "uplift-pipeline",
        ],
        // A copy of an engine with bugs, which its tests must find.
        &["uplift-postgres-service", "docdb-seeded", "engine-disk"],
    ),
    ("targets/command", &["uplift-sdk"], &[]),
    // Words, files and ends of processes are those of any command.
    ("targets/service", &["uplift-sdk", "uplift-command", "uplift-postgres-service"], &[]),
    ("targets/reference", &["uplift-sdk"], &["uplift-agent"]),
    ("targets/orchestration", &["uplift-sdk", "uplift-postgres-service", "duroxide-grouped"], &["uplift-agent"]),
    ("targets/docdb", &["uplift-sdk", "docdb-engine", "docdb-peers", "engine-disk"], &["uplift-agent"]),
    ("targets/dataflow", &["uplift-sdk", "dataflow-engine"], &["uplift-agent"]),
    ("targets/pipeline", &["uplift-sdk", "pipeline-engine"], &["uplift-agent"]),
    ("engines/disk", &[], &[]),
    ("engines/docdb", &["engine-disk", "uplift-instrument", "uplift-model"], &[]),
    ("engines/docdb-peers", &["docdb-engine"], &[]),
    ("engines/docdb-seeded", &["engine-disk", "uplift-instrument", "uplift-model"], &[]),
    // Its own tests want its feature `measurement`.
    ("engines/grouped", &[], &["duroxide-grouped"]),
    ("engines/dataflow", &["engine-disk", "uplift-instrument", "uplift-model"], &[]),
    ("engines/pipeline", &["uplift-instrument", "uplift-model", "uplift-postgres-service"], &[]),
    // Whoever starts a server starts it so that a modelled disk holds it.
    ("engines/postgres-service", &["uplift-instrument"], &[]),
    ("xtask", &[], &[]),
];

/// What a folder of each kind holds at least.
const SHAPES: &[(&str, &[&str])] = &[
    ("targets/", &["Cargo.toml", "README.md", "src/lib.rs", "src/settings.rs", "src/metrics.rs", "src/target.rs"]),
    ("engines/", &["Cargo.toml", "src/lib.rs"]),
    ("harness/", &["Cargo.toml", "src/lib.rs"]),
];

pub fn check(repository: &Repository) -> Vec<String> {
    let packages: BTreeMap<String, String> = repository
        .members()
        .map(|member| {
            let manifest = repository.toml(&format!("{member}/Cargo.toml"));
            (manifest["package"]["name"].as_str().unwrap_or_default().to_owned(), member.to_owned())
        })
        .collect();
    let mut faults = arrows(repository, &packages);
    faults.extend(target_names(repository));
    faults.extend(shapes(repository));
    faults
}

fn arrows(repository: &Repository, packages: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for member in repository.members() {
        let Some((_, always, in_tests)) = ARROWS.iter().find(|(path, ..)| *path == member) else {
            faults.push(format!("`{member}` has no place in the architecture: add it to xtask/src/check/crates.rs"));
            continue;
        };
        let manifest = repository.toml(&format!("{member}/Cargo.toml"));
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for name in manifest.get(table).and_then(toml::Value::as_table).into_iter().flat_map(|table| table.keys()) {
                let may =
                    always.contains(&name.as_str()) || table == "dev-dependencies" && in_tests.contains(&name.as_str());
                if packages.contains_key(name) && !may {
                    faults.push(format!("`{member}` must not depend on `{name}` ({table})"));
                }
            }
        }
    }
    for (path, ..) in ARROWS.iter().filter(|(path, ..)| !repository.members().any(|member| member == *path)) {
        faults.push(format!("`{path}` is in xtask/src/check/crates.rs and not in the workspace: remove it"));
    }
    faults
}

/// No harness crate names a target; the command line does so only where it registers them.
fn target_names(repository: &Repository) -> Vec<String> {
    repository
        .files()
        .filter(|file| file.starts_with("harness/") && file.ends_with(".rs") && *file != "harness/cli/src/main.rs")
        .filter(|file| !file.contains("/tests/") && !file.contains("/examples/"))
        .filter_map(|file| {
            let text = repository.text(file);
            let named = TARGETS.iter().find(|target| text.contains(&target.replace('-', "_")))?;
            Some(format!("`{file}` names the target `{named}`: the harness knows targets by their factory only"))
        })
        .collect()
}

fn shapes(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    for member in repository.members() {
        for (kind, files) in SHAPES.iter().filter(|(kind, _)| member.starts_with(kind)) {
            for file in *files {
                let wanted = format!("{member}/{file}");
                if !repository.files().any(|file| file == wanted) {
                    faults.push(format!("`{wanted}` is missing: every crate in {kind} has one"));
                }
            }
        }
    }
    faults
}
