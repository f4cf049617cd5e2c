//! `report.html`: complete in itself, every link leads somewhere, every figure to its records.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use uplift_model::{
    Trial,
    run::{Intent, Run},
};
use uplift_report::{ReportInput, build, render::html};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn page(run: &Run, trials: &[Trial]) -> String {
    let verdicts = uplift_analysis::judge(run, trials);
    let input = ReportInput { run, trials, profiles: &[], verdicts: verdicts.as_ref() };
    html::report(&input, &build::report(&input))
}

fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let marker = format!(" {attribute}=\"");
    page.split(marker.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Everything that a browser would fetch by itself stands in the page; what may be followed leads to a place that is
/// there, to a file of the run, or to the web.
fn check(page: &str) {
    for source in values(page, "src") {
        assert!(source.starts_with("data:"), "{source}");
    }
    assert!(!page.contains("<script") && !page.contains("@import") && !page.contains("url("));
    assert!(!page.contains(" onclick") && !page.contains("<img"));
    let places = values(page, "id");
    let once: BTreeSet<&str> = places.iter().copied().collect();
    assert_eq!(places.len(), once.len(), "a place has one name");
    for link in values(page, "href") {
        match link.strip_prefix('#') {
            Some(place) => assert!(once.contains(place), "`#{place}` leads nowhere"),
            None => assert!(
                link == "data:,"
                    || link.starts_with("trials.jsonl")
                    || link.starts_with("profiles/")
                    || link.starts_with("plots/")
                    || link == "report.md",
                "{link}"
            ),
        }
    }
    for label in values(page, "aria-labelledby") {
        assert!(once.contains(label), "{label}");
    }
    for tag in ["section", "table", "details", "figure", "div", "tr", "td", "th", "a", "span", "svg"] {
        let opened = page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn pages_are_complete_in_themselves() {
    for name in ["slower", "weaker", "claims"] {
        let (run, trials) = load(name);
        let page = page(&run, &trials);
        check(&page);
        assert!(page.contains("default-src 'none'") && !page.contains("script-src"));
        assert!(page.matches("<figure>").count() >= 3, "{name}");
        assert_eq!(page, self::page(&run, &trials), "the same records give the same bytes");
    }
}

/// Each figure of the comparison leads to the column of its metric.
#[test]
fn figures_link_to_their_records() {
    let (run, trials) = load("slower");
    let page = page(&run, &trials);
    let scenario = run.scenarios[0].scenario.name.replace('/', "-");
    for metric in ["throughput", "response_p99", "cpu_per_op"] {
        let anchor = format!("r-{scenario}-{metric}");
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
        // The change of its row; the name leads to what the metric is.
        assert!(page.contains(&format!("href=\"#{anchor}\"")), "{anchor}");
        assert!(page.contains(&format!("href=\"#m-{metric}\"")), "{metric}");
    }
    for line in 1..=trials.len() {
        assert!(page.contains(&format!("href=\"trials.jsonl#L{line}\"")), "{line}");
    }
}

/// What a scenario says of itself is text and never markup of the page.
#[test]
fn words_of_a_scenario_cannot_become_markup() {
    let (mut run, trials) = load("weaker");
    run.scenarios[0].scenario.story =
        "<script>alert(1)</script> <img src=x onerror=alert(1)>\n\nSee [a](javascript:alert(1)) ![b](https://example.org/b.png)\n\n<div onclick=\"x\">block</div>"
            .to_owned();
    let page = page(&run, &trials);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("javascript:"));
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown as what it is");
    assert!(!page.contains("<div onclick"));
}

/// `trials` trials of as many scenarios as 100 trials each need.
fn many(count: usize) -> (Run, Vec<Trial>) {
    let (mut run, trials) = load("slower");
    let first = run.scenarios[0].clone();
    run.scenarios.clear();
    let mut many = Vec::new();
    for nth in 0..count.div_ceil(100) {
        let mut planned = first.clone();
        planned.scenario.name = format!("reference/copy-{nth}");
        for block in 0..50 {
            for variant in &planned.variants {
                let known: BTreeMap<u32, &Trial> =
                    trials.iter().filter(|trial| &trial.variant == variant).map(|trial| (trial.block, trial)).collect();
                let trial = known.values().nth(block as usize % known.len()).unwrap();
                many.push(Trial { scenario: planned.scenario.name.clone(), block, ..(*trial).clone() });
            }
        }
        run.scenarios.push(planned);
    }
    assert_eq!(many.len(), count);
    (run, many)
}

/// A thousand trials make a page of under 3 MB.
#[test]
fn a_thousand_trials_make_a_light_page() {
    let (run, many) = many(1000);
    let page = page(&run, &many);
    check(&page);
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    println!("a page of 1,000 trials has {} bytes", page.len());
}

/// Twenty thousand trials do so too: what does not fit is named, with the file that has it.
#[test]
fn twenty_thousand_trials_make_a_page_that_can_be_sent_around() {
    let (run, many) = many(20_000);
    let page = page(&run, &many);
    check(&page);
    println!("a page of 20,000 trials has {} bytes", page.len());
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(page.contains("too many for a page") && page.contains("href=\"trials.jsonl\""));
}

/// Time grows with the records and not faster: ten times the trials take about ten times as long.
#[test]
fn reports_take_time_in_proportion_to_their_trials() {
    let seconds = |count: usize, compared: bool| {
        let (mut run, trials) = many(count);
        if !compared {
            run.intent = Intent::Run { variants: run.scenarios[0].variants.clone() };
        }
        let once = || {
            let started = std::time::Instant::now();
            std::hint::black_box(page(&run, &trials));
            started.elapsed().as_secs_f64()
        };
        // The fastest of three: what else the machine does only adds.
        (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
    };
    let (few, many) = (seconds(100, true), seconds(1000, true));
    println!("a report of 100 trials takes {few:.3} s, of 1,000 trials {many:.3} s");
    assert!(many < 40.0 * few, "{many} s against {few} s");
    let described = seconds(1000, false);
    println!("a report of 1,000 trials that compares nothing takes {described:.3} s");
    assert!(described < 2.0 * many, "to compare nothing is not more work: {described} s against {many} s");
}
