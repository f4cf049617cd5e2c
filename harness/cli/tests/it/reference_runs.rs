//! The reference runs are records of earlier versions: each can still be read, and what is left out of the repository can
//! be drawn from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::bench::{Bench, repository};

/// Folders of all reference runs.
fn runs() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    let mut runs: Vec<_> =
        folders(&repository().join("results/reference")).iter().flat_map(|target| folders(target)).collect();
    runs.sort();
    runs
}

/// What the authors of the four source documents found by hand, in the runs of their own scenarios: it must be said, with
/// its figures, by the report that is made from the records.
const FOUND: [(&str, &[&str]); 6] = [
    (
        "orchestration/pragmas",
        &[
            "waiting in `baseline`: backoff_per_op 81.1 ms × 22.5 op/s = 1.82",
            "retries for each operation are lock errors",
            "2 workers / (5 activities x 10ms)",
        ],
    ),
    ("docdb/sprint1", &["sync calls are the wall of `baseline`: ", "sync calls are the wall of `optimized`: "]),
    (
        "pipeline/embedded",
        &["`writer 0` is the critical path of `baseline`: ", "`writer 0` is the critical path of `optimized`: "],
    ),
    ("pipeline/transforms", &["in `module compile` "]),
    ("dataflow/checkpoints", &["a checkpoint stops `automatic`: ", "a checkpoint stops `after-ack`: "]),
    ("dataflow/log", &["`shard-0` is the critical path of `baseline`: ", "next for `optimized`: `sync` is "]),
];

/// What these records do not show, and no report of them may say.
const NOT_FOUND: [(&str, &[&str]); 5] = [
    // A database in memory syncs nothing.
    ("orchestration/memory", &["sync calls are the wall", "checkpoint stops"]),
    // Its log has no checkpoints.
    ("dataflow/log", &["checkpoint stops `optimized`"]),
    ("docdb/sprint1", &["checkpoint stops", "waiting in"]),
    ("pipeline/embedded", &["sync calls are the wall", "waiting in"]),
    ("orchestration/pragmas", &["checkpoint stops", "CPU time is what limits"]),
];

#[test]
fn every_reference_run_is_readable_and_draws_what_its_report_links_to() {
    let bench = Bench::new();
    let runs = runs();
    assert!(runs.len() > 20, "only {} runs", runs.len());
    for run in runs {
        let copy = bench.folder.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for record in ["run.json", "trials.jsonl", "profiles.jsonl.gz"] {
            if run.join(record).exists() {
                fs::copy(run.join(record), copy.join(record)).unwrap();
            }
        }
        bench.uplift(&["report", copy.to_str().unwrap()]).code(0);
        let report = fs::read_to_string(run.join("report.md")).unwrap();
        for to in report.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_file = to.starts_with("profiles/") || to.starts_with("plots/");
            assert!(!is_file || copy.join(to).exists(), "{}: {to} is not drawn", run.display());
        }
        let made = fs::read_to_string(copy.join("report.md")).unwrap();
        let of_run = |(name, _): &&(&str, &[&str])| run.ends_with(name);
        for words in FOUND.iter().filter(of_run).flat_map(|(_, words)| *words) {
            assert!(made.contains(words), "{}: the report does not say `{words}`", run.display());
        }
        for words in NOT_FOUND.iter().filter(of_run).flat_map(|(_, words)| *words) {
            assert!(!made.contains(words), "{}: the report says `{words}`", run.display());
        }
        assert!(copy.join("report.html").exists(), "{}: no report.html", run.display());
        fs::remove_dir_all(&copy).unwrap();
    }
}
