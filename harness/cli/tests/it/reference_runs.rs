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
        assert!(copy.join("report.html").exists(), "{}: no report.html", run.display());
        fs::remove_dir_all(&copy).unwrap();
    }
}
