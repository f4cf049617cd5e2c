//! `uplift site`: pages that work from a folder, in which every link leads somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::bench::{Bench, repository};

/// The largest page.
const PAGE_BYTES_MAX: u64 = 1_000_000;

/// Copies the records of a run under another name, `days` later.
fn copy(from: &Path, to: &Path, days: u64) {
    fs::create_dir_all(to).unwrap();
    for record in ["trials.jsonl", "verdicts.json", "report.html"] {
        if from.join(record).is_file() {
            fs::copy(from.join(record), to.join(record)).unwrap();
        }
    }
    let mut run: Value = serde_json::from_slice(&fs::read(from.join("run.json")).unwrap()).unwrap();
    run["id"] = to.file_name().unwrap().to_str().unwrap().into();
    run["started_unix_s"] = (run["started_unix_s"].as_u64().unwrap() + days * 86_400).into();
    fs::write(to.join("run.json"), run.to_string()).unwrap();
}

fn html_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(html_files(&path));
        } else if path.extension().is_some_and(|end| end == "html") {
            found.push(path);
        }
    }
    found
}

/// Every link of every page leads to a file that is there, or to a place in one; nothing is fetched.
fn check_links(site: &Path) -> usize {
    let mut checked = 0;
    for page in html_files(site) {
        let text = fs::read_to_string(&page).unwrap();
        assert!(!text.contains("<img") && !text.contains("@import") && !text.contains(" src="), "{}", page.display());
        for link in text.split(" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            if link.starts_with("data:") || link.starts_with("https:") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.is_file(), "{}: `{link}` leads nowhere", page.display());
            if !place.is_empty() && target.extension().is_some_and(|end| end == "html") {
                let there = fs::read_to_string(&target).unwrap().contains(&format!("id=\"{place}\""));
                assert!(there, "{}: there is no place `{link}`", page.display());
            }
            checked += 1;
        }
    }
    checked
}

#[test]
fn pages_work_from_a_folder_and_every_link_leads_somewhere() {
    let bench = Bench::new();
    let results = bench.folder.path().join("results/kept");
    let reference = repository().join("results/reference");
    // Two folders of one name; other variants of one scenario; a modelled disk; a run that compares nothing.
    for (from, to) in [
        ("docdb/sprint1", "a/same-name"),
        ("docdb/fast", "b/same-name"),
        ("docdb/sprint1-on-its-disk", "disk"),
        ("pipeline/flush-size", "described"),
    ] {
        copy(&reference.join(from), &results.join(to), 0);
        bench.uplift(&["report", results.join(to).to_str().unwrap()]).code(0);
    }
    for days in 1..12 {
        copy(&results.join("a/same-name"), &results.join(format!("later-{days}")), days);
    }
    let site = bench.folder.path().join("site");
    let arguments = ["site", results.to_str().unwrap(), "--out", site.to_str().unwrap()];
    bench.uplift(&[&arguments[..], &["--copy"]].concat()).code(0);
    assert!(check_links(&site) > 100);
    let pages: BTreeSet<String> = fs::read_dir(&site)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            assert!(entry.metadata().unwrap().len() < PAGE_BYTES_MAX, "{}", entry.path().display());
            entry.file_name().into_string().unwrap()
        })
        .collect();
    assert!(pages.contains("index.html") && pages.contains("scenario-docdb-crud.html"), "{pages:?}");
    assert!(pages.iter().any(|name| name.starts_with("machine-")), "{pages:?}");
    let index = fs::read_to_string(site.join("index.html")).unwrap();
    assert!(index.contains("modelled disk") && index.contains("other variants"), "rows are marked");
    let history = fs::read_to_string(site.join("scenario-docdb-crud.html")).unwrap();
    assert!(history.contains("History of") && history.contains("<svg"), "the page of a scenario has its history");

    // Beside the runs it links to the reports that are there.
    let beside = bench.folder.path().join("beside");
    bench.uplift(&["site", results.to_str().unwrap(), "--out", beside.to_str().unwrap()]).code(0);
    assert!(check_links(&beside) > 20);
}

#[test]
fn a_folder_without_runs_is_an_error() {
    let bench = Bench::new();
    fs::create_dir(bench.folder.path().join("nothing")).unwrap();
    bench.uplift(&["site", "nothing", "--out", "site"]).code(2).says("holds no run");
}
