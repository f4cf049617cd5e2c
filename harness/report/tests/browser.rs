//! `report.html` in a real browser: no console message, no request, nothing wider than a phone, names for everything
//! that a screen reader meets.
//!
//! Needs Chromium and node; without them the test says so and passes, unless `UPLIFT_REQUIRE` holds `browser`.
//! `UPLIFT_SCREENSHOTS=DIR` keeps the pictures.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use uplift_model::{ProfileTrial, Trial, profile::PROFILE_SCHEMA, protocol::Profiled, run::Run};
use uplift_report::{
    ReportInput,
    build::{
        self,
        site::{SiteRun, pages},
    },
    render::html,
};

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// A page with everything on it: verdicts, claims, plots, flame graphs.
fn page(name: &str) -> String {
    let run: Run = serde_json::from_str(&data(&format!("{name}/run.json"))).unwrap();
    let trials: Vec<Trial> =
        data(&format!("{name}/trials.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let profiles: Vec<ProfileTrial> = run.scenarios[0]
        .variants
        .iter()
        .zip(["profile/baseline.folded", "profile/candidate.folded"])
        .map(|(variant, folded)| ProfileTrial {
            schema: PROFILE_SCHEMA,
            trial: trials.iter().find(|trial| &trial.variant == variant && trial.succeeded()).unwrap().clone(),
            profiled: Some(Profiled {
                tail: None,
                not_sampled: None,
                allocations: None,
                sampler: "perf cpu-clock".to_owned(),
                frequency_hz: 499,
                sample_ns: 1e9 / 499.0,
                frames: Vec::new(),
                folded: data(folded),
                folded_off_cpu: Some(data("profile/off-cpu.folded")),
                lost: Some(0),
                symbolised_share: 1.0,
                kernel_frames: true,
                duration_ns: 5_000_000_000,
                operations: 2_000,
                warnings: Vec::new(),
            }),
        })
        .collect();
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &profiles, verdicts: verdicts.as_ref() };
    html::report(&input, &build::report(&input))
}

fn chromium() -> Option<&'static str> {
    let runs = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs("node") {
        return None;
    }
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| runs(name))
}

#[test]
fn pages_work_in_a_browser() {
    let Some(chromium) = chromium() else {
        let required = env::var("UPLIFT_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word == "browser"));
        assert!(!required, "UPLIFT_REQUIRE asks for a browser, and Chromium or node is missing");
        eprintln!("skipped: install `chromium` and `nodejs` to look at pages in a browser");
        return;
    };
    for name in ["claims", "slower"] {
        let folder = env::temp_dir().join(format!("uplift-page-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("report.html");
        fs::write(&file, page(name)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(chromium).arg(&file);
        if let Some(kept) = env::var_os("UPLIFT_SCREENSHOTS") {
            let kept = Path::new(&kept).join(name);
            fs::create_dir_all(&kept).unwrap();
            command.arg(kept);
        }
        let output = command.output().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let seen: serde_json::Value = serde_json::from_str(&said)
            .unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
        assert!(seen["error"].is_null(), "{said}");
        assert_eq!(seen["console"].as_array().map(Vec::len), Some(0), "console: {said}");
        assert_eq!(seen["requests"].as_array().map(Vec::len), Some(0), "requests: {said}");
        for view in ["narrow", "middle", "wide", "dark"] {
            let view = &seen["views"][view];
            assert!(view["overflow"].as_i64().unwrap() <= 0, "wider than the window: {said}");
            for list in ["wide", "nameless"] {
                assert_eq!(view[list].as_array().map(Vec::len), Some(0), "{list}: {said}");
            }
            for number in ["unhidden", "leaps", "headless"] {
                assert_eq!(view[number], 0, "{number}: {said}");
            }
            assert_eq!(view["lang"], "en");
        }
        assert_eq!(seen["followed"], true, "a figure leads to its records: {said}");
        let graph = &seen["graph"];
        for what in ["frames", "functions", "hits", "zoomed", "whole", "moved", "callers", "differs"] {
            assert!(graph[what] == true || graph[what].as_u64().is_some_and(|count| count > 0), "{what}: {said}");
        }
        assert!(seen["folded"] == true, "what is folded opens by keyboard: {said}");
        assert!(seen["stops"].as_u64().unwrap() < 200, "tab stops before the details: {said}");
        assert!(seen["pdf_bytes"].as_u64().unwrap() > 20_000, "{said}");
    }
}

/// axe-core, which is not kept in this repository: `.ci/run` fetches it.
fn axe() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/readers/axe.min.js");
    let named = env::var_os("UPLIFT_AXE").map(PathBuf::from);
    named.into_iter().chain([fetched]).find(|path| path.is_file())
}

/// A report with flame graphs, and the pages of a site, hold against the rules for people who do not see, hear or use a
/// mouse: light and dark, wide and narrow.
#[test]
fn pages_have_no_serious_finding_of_axe() {
    let required = env::var("UPLIFT_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word == "axe"));
    let (Some(chromium), Some(axe)) = (chromium(), axe()) else {
        assert!(!required, "UPLIFT_REQUIRE asks for axe, and Chromium, node or axe-core is missing");
        eprintln!(
            "skipped: install `chromium` and `nodejs`, then `npm pack axe-core@4.10.2`, unpack it and set UPLIFT_AXE to its axe.min.js"
        );
        return;
    };
    let folder = env::temp_dir().join(format!("uplift-axe-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut files = vec![folder.join("report.html")];
    fs::write(&files[0], page("claims")).unwrap();
    let runs = ["claims", "slower", "weaker"].map(|name| {
        let run: Run = serde_json::from_str(&data(&format!("{name}/run.json"))).unwrap();
        let trials: Vec<Trial> =
            data(&format!("{name}/trials.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let verdicts = uplift_analysis::judge(&run, &trials);
        SiteRun { run, verdicts, report: Some("report.html".to_owned()) }
    });
    for page in pages(runs.into()).iter().take(2) {
        files.push(folder.join(&page.file));
        fs::write(&files[files.len() - 1], html::page(&page.document, &page.plots, "3 runs")).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/audit.mjs");
    let output = Command::new("node").arg(script).arg(chromium).arg(axe).args(&files).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    assert!(seen["error"].is_null(), "{said}");
    let pages = seen["pages"].as_object().unwrap();
    assert_eq!(pages.len(), files.len());
    for (name, page) in pages {
        assert_eq!(page["console"].as_array().map(Vec::len), Some(0), "{name}: {said}");
        assert_eq!(page["requests"].as_array().map(Vec::len), Some(0), "{name}: {said}");
        for (view, found) in page["views"].as_object().unwrap() {
            let serious = |one: &&serde_json::Value| one["impact"] == "serious" || one["impact"] == "critical";
            let found: Vec<&serde_json::Value> = found.as_array().unwrap().iter().filter(serious).collect();
            assert!(found.is_empty(), "{name}, {view}: {found:#?}");
        }
    }
}
