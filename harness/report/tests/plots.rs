//! What every plot must keep: its words stay on the sheet and off each other, and it says what it shows.

use std::{collections::BTreeMap, fs, path::Path};

use uplift_analysis::history;
use uplift_model::{
    Histogram, Trial, Unit,
    objective::Objective,
    run::{Intent, Run},
    sampled::{NumberSeries, Sampled},
    saturation::{ClientsPoint, RateStep, RateTimeline, Saturation, Scalability},
    scenario::Interleave,
    trial::{Event, Slice},
};
use uplift_report::{
    ReportInput,
    build::{self, calibration, history as history_report, sweep},
    plots,
    render::markdown,
};

fn load(name: &str) -> (Run, Vec<Trial>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let run = serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let trials = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    (run, trials.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[derive(Debug)]
struct Word {
    text: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// The texts of a plot with the boxes that they fill, if glyphs are as wide as half their size.
fn words(svg: &str) -> Vec<Word> {
    svg.split("<text ")
        .skip(1)
        .map(|part| {
            let (head, rest) = part.split_once('>').unwrap();
            let text = rest.split("</text>").next().unwrap().trim().replace("&lt;", "<").replace("&amp;", "&");
            let value = |name: &str| {
                let (_, rest) = head.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{head}"));
                rest.split('"').next().unwrap().to_owned()
            };
            let (x, y): (f64, f64) = (value(" x").parse().unwrap(), value(" y").parse().unwrap());
            let size: f64 = value("font-size").parse().unwrap();
            let width = text.chars().count() as f64 * size * 0.5;
            let left = match value("text-anchor").as_str() {
                "start" => x,
                "middle" => x - width / 2.0,
                "end" => x - width,
                other => panic!("{other}"),
            };
            Word { text, left, right: left + width, top: y - size * 0.4, bottom: y + size * 0.4 }
        })
        .collect()
}

fn check(plot: &plots::Plot) {
    let svg = plot.file();
    let size: Vec<f64> = svg
        .split("viewBox=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .split(' ')
        .map(|n| n.parse().unwrap())
        .collect();
    let words = words(&svg.replace("<text x=", "<text  x="));
    assert!(words.len() > 4, "{}: {words:?}", plot.path);
    for (index, a) in words.iter().enumerate() {
        assert!(
            a.left >= 0.0 && a.right <= size[2] && a.top >= 0.0 && a.bottom <= size[3],
            "{}: {a:?} leaves the sheet",
            plot.path
        );
        for b in &words[index + 1..] {
            let apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
            assert!(apart, "{}: `{}` lies upon `{}`", plot.path, a.text, b.text);
        }
    }
    assert!(svg.contains("better"), "{}: which direction is good?", plot.path);
    assert!(plot.description.len() > 40 && svg.contains("aria-label"), "{}", plot.path);
    let inline = plot.inline();
    assert!(!inline.contains("\"#"), "{}: a colour does not follow the page: {inline}", plot.path);
}

#[test]
fn words_stay_apart_on_every_plot() {
    for name in ["slower", "weaker", "claims"] {
        let (run, trials) = load(name);
        let verdicts = uplift_analysis::judge(&run, &trials);
        let plots = plots::all(&ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() });
        assert!(plots.len() >= 3, "{name}");
        plots.iter().for_each(check);
    }
}

/// However many variants there are, no two lines of a plot look alike, and what has none is named.
#[test]
fn every_line_can_be_told_from_the_others() {
    let (mut run, trials) = load("claims");
    let first = trials.iter().find(|trial| trial.succeeded()).unwrap();
    for variants in [4, 10, 12] {
        let names: Vec<String> = (0..variants).map(|nth| format!("step-{nth}")).collect();
        let many: Vec<Trial> = names.iter().map(|name| Trial { variant: name.clone(), ..first.clone() }).collect();
        run.scenarios[0].variants = names;
        run.intent = Intent::Run { variants: run.scenarios[0].variants.clone() };
        let plots = plots::all(&ReportInput { run: &run, trials: &many, profiles: &[], verdicts: None });
        let plot = plots.iter().find(|plot| plot.path.ends_with("-latency.svg")).unwrap();
        let svg = plot.file();
        let attribute = |head: &str, name: &str| {
            head.split(&format!("{name}=\"")).nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
        };
        let mut lines: Vec<_> = svg
            .split("<polyline")
            .skip(1)
            .map(|part| {
                (attribute(part, "stroke"), attribute(part, "stroke-dasharray"), attribute(part, "stroke-width"))
            })
            // Curves are wider than axes, and the legend repeats them wider still.
            .filter(|(.., width)| width.as_deref() == Some("4"))
            .collect();
        let drawn = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!((lines.len(), drawn), (variants.min(10), variants.min(10)), "{variants}: {lines:?}");
        let mut dashes: Vec<_> = lines.iter().map(|(_, dashes, _)| dashes).collect();
        dashes.sort();
        dashes.dedup();
        assert_eq!(dashes.len(), drawn, "without colours too");
        assert_eq!(plot.description.contains("Without step-9, step-10:"), variants == 12);
    }
}

/// Long names, latencies over nine decades, events, and four variants.
#[test]
fn words_stay_apart_where_it_is_hard() {
    let (mut run, trials) = load("claims");
    let names: Vec<String> =
        (0..4).map(|i| format!("variant-{i}-with-quite-a-long-name-that-nobody-should-give")).collect();
    run.scenarios[0].variants.clone_from(&names);
    run.scenarios[0].scenario.trial.interleave = Interleave::Trials;
    let first = trials.iter().find(|trial| trial.succeeded()).unwrap();
    let mut hard = Vec::new();
    for (index, name) in names.iter().enumerate() {
        for block in 0..6 {
            let mut trial = Trial { variant: name.clone(), block, ..first.clone() };
            let measured = trial.measured.as_mut().unwrap();
            let mut wide = Histogram::new();
            for decade in 0..11 {
                wide.record_n(10u64.pow(decade) * (index as u64 + 1), 100_000 >> decade);
            }
            measured.operations[0].response = wide;
            let start_ns = measured.turns[0].start_ns;
            measured.turns[0].wall_ns = 1_000_000_000;
            measured.slices = (0..10)
                .map(|slice| Slice {
                    start_ns: start_ns + slice * 100_000_000,
                    duration_ns: 100_000_000,
                    ok: 123_456_789 * slice,
                    response_max_ns: 0,
                })
                .collect();
            for (nth, event) in ["checkpoint", "compaction of everything", "stall"].into_iter().enumerate() {
                measured.events.push(Event {
                    name: event.to_owned(),
                    start_ns: start_ns + nth as u64 * 100_000_000,
                    duration_ns: 50_000_000,
                    detail: String::new(),
                });
            }
            hard.push(trial);
        }
    }
    let plots = plots::all(&ReportInput { run: &run, trials: &hard, profiles: &[], verdicts: None });
    assert_eq!(plots.len(), 2);
    assert!(plots[1].file().contains("compact"), "the lanes of events are drawn");
    plots.iter().for_each(check);
}

/// A reader that was not written for this opens them.
#[test]
fn plots_are_well_formed() {
    let (run, trials) = load("weaker");
    let verdicts = uplift_analysis::judge(&run, &trials);
    for plot in plots::all(&ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: verdicts.as_ref() }) {
        for text in [plot.file(), plot.inline()] {
            let mut reader = quick_xml::Reader::from_str(&text);
            reader.config_mut().check_end_names = true;
            loop {
                match reader.read_event() {
                    Ok(quick_xml::events::Event::Eof) => break,
                    Ok(_) => {}
                    Err(error) => panic!("{}: {error}", plot.path),
                }
            }
        }
    }
}

/// Steps of every size: upwards, downwards, without a trial, with names that nobody should give.
#[test]
fn words_stay_apart_on_a_ledger() {
    let (mut run, trials) = load("slower");
    let steps: Vec<String> =
        ["baseline", "ten-times-and-a-name-that-is-too-long", "worse", "absent", "the-last"].map(str::to_owned).into();
    let mut all = Vec::new();
    for (name, factor) in steps.iter().zip([1, 10, 7, 0, 200]) {
        for trial in trials.iter().filter(|trial| trial.variant == "baseline" && factor > 0) {
            let mut trial = Trial { variant: name.clone(), ..trial.clone() };
            for turn in &mut trial.measured.as_mut().unwrap().turns {
                turn.wall_ns /= factor;
            }
            all.push(trial);
        }
    }
    run.scenarios[0].variants.clone_from(&steps);
    run.intent = Intent::Ledger { steps };
    let verdicts = uplift_analysis::judge(&run, &all);
    let input = ReportInput { run: &run, trials: &all, profiles: &[], verdicts: verdicts.as_ref() };
    let plots = plots::all(&input);
    let found: Vec<_> = plots.iter().filter(|plot| plot.path.ends_with("-ledger.svg")).collect();
    assert_eq!(found.len(), 1);
    check(found[0]);
    let text = markdown::document(&build::report(&input).document);
    for wanted in ["### Sprint ledger", "| 4 | `the-last` |", "-ledger.svg)", "- `worse`: nothing that is asked for"] {
        assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
    }

    // With too few blocks for any verdict that is said, once.
    let few: Vec<Trial> = all.iter().filter(|trial| trial.block < 3).cloned().collect();
    let verdicts = uplift_analysis::judge(&run, &few);
    let input = ReportInput { run: &run, trials: &few, profiles: &[], verdicts: verdicts.as_ref() };
    let text = markdown::document(&build::report(&input).document);
    let (_, ledger) = text.split_once("### Sprint ledger").expect("the section");
    let (headline, _) = ledger.trim_start().split_once('\n').expect("a headline");
    assert!(headline.contains("no step has a verdict: 3 blocks are fewer"), "{headline}");
    let (ledger, _) = ledger.split_once("### Detailed comparison").unwrap_or((ledger, ""));
    assert_eq!(ledger.matches("- every change: inconclusive: 3 blocks are fewer").count(), 1, "{ledger}");
}

/// Budgets, sweeps and trends keep the same rules.
#[test]
fn words_stay_apart_on_plots_of_many_runs() {
    let (mut run, trials) = load("slower");
    let copies: Vec<Trial> =
        trials.iter().map(|trial| Trial { variant: "baseline".to_owned(), ..trial.clone() }).collect();
    let planned = run.scenarios[0].clone();
    let input = ReportInput { run: &run, trials: &copies, profiles: &[], verdicts: None };
    check(&calibration::plot(&input, &planned, "baseline").expect("six blocks against themselves"));

    let mut entries = Vec::new();
    for nth in 0..30u64 {
        let mut later = run.clone();
        later.id = format!("2026{:02}01T000000Z-compare-{nth}", nth % 12 + 1);
        later.started_unix_s += nth * 3600;
        let mut added = history::entries(&later, &trials);
        for entry in &mut added {
            if let Some(value) = entry.metrics.get_mut("throughput") {
                value.median *= [1.0, 0.6, 0.3][nth as usize / 10];
            }
        }
        entries.extend(added);
    }
    let found = history::trend(&entries, &planned.scenario.name, "baseline", "throughput").unwrap();
    assert_eq!(found.changes.len(), 2);
    check(&history_report::plot(&found, &planned.scenario.name, "baseline", "throughput").unwrap());

    let parameters = BTreeMap::from([
        ("load.clients".to_owned(), vec!["1".to_owned(), "16".to_owned(), "1000000".to_owned()]),
        ("durability".to_owned(), vec!["power-loss".to_owned(), "process-crash".to_owned()]),
    ]);
    let mut points = Vec::new();
    let mut names = Vec::new();
    for clients in &parameters["load.clients"] {
        for durability in &parameters["durability"] {
            let name = format!("load.clients={clients} durability={durability}");
            let own = trials.iter().filter(|trial| trial.variant == "baseline");
            points.extend(own.map(|trial| Trial { variant: name.clone(), ..trial.clone() }));
            names.push(name);
        }
    }
    run.scenarios[0].variants = names;
    let planned = run.scenarios[0].clone();
    let input = ReportInput { run: &run, trials: &points, profiles: &[], verdicts: None };
    check(&sweep::plot(&input, &planned, &parameters).unwrap());
    // Equal points cannot be told apart, and the headline says so.
    let result = uplift_analysis::sweep::sweep(&planned, &points).unwrap();
    assert!(sweep::headline(&result).contains("not told apart from"), "{}", sweep::headline(&result));
    assert!(result.points.iter().all(|point| !point.told_apart));
}

fn step(rate: f64, sustained: bool) -> RateStep {
    // An M/M/1 queue that serves 1,000 a second.
    let spare = (1000.0 - rate).max(2.0);
    let medians = [
        ("throughput", rate.min(1000.0)),
        ("response_p50", 2f64.ln() / spare * 1e9),
        ("response_p99", 100f64.ln() / spare * 1e9),
        ("response_max", 1e4f64.ln() / spare * 1e9),
        ("success_rate", if sustained { 1.0 } else { 0.93 }),
    ];
    RateStep {
        rate,
        sustained,
        trials_diverged: vec![(!sustained).then(|| "`response_p99 < 20ms` was missed: 34 ms".to_owned()); 3],
        medians: medians.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        ranges: BTreeMap::new(),
        timeline: RateTimeline::default(),
    }
}

/// The curve of a search: the objective's line, the knee where rate ÷ median response is greatest (half of the capacity of
/// an M/M/1 queue), and the failures beyond the edge.
#[test]
fn a_search_for_an_objective_has_its_curve() {
    let unit_of = |name: &str| uplift_model::registry::find(name).map(|entry| entry.unit);
    let rates = [200.0, 400.0, 500.0, 600.0, 750.0, 770.0, 800.0, 1600.0];
    let mut record = Saturation {
        schema: 1,
        scenario: "service/queue".to_owned(),
        variant: "v".to_owned(),
        objective: Some(Objective::parse("response_p99 < 20ms, success_rate > 99.9%", &unit_of).unwrap()),
        sustained: Some(750.0),
        diverged: Some(770.0),
        interval: Some([Some(750.0), Some(800.0)]),
        cut_short: None,
        steps: rates.map(|rate| step(rate, rate < 760.0)).into(),
        half: None,
    };
    let report = build::saturation::report(&record);
    assert_eq!(report.plots.len(), 3);
    report.plots.iter().for_each(check);
    let text = markdown::document(&report.document);
    for words in [
        "750 op/s is the highest rate that holds `response_p99 < 20ms, success_rate > 99.9%`; 770 op/s does not; every \
         trial held it up to 750 op/s, and none from 800 op/s on",
        "The knee is near 500 op/s, 67 % of the highest",
        "Up to 7.00 % of the operations failed at the rates",
    ] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    assert!(report.plots[1].file().contains("response_p99 &lt; 20ms"), "the objective's line");
    record.cut_short = Some("it was interrupted in `rate-770`".to_owned());
    record.steps.truncate(1);
    let report = build::saturation::report(&record);
    assert!(report.plots.is_empty() && markdown::document(&report.document).contains("The search is not complete"));
}

fn scalability(kappa: f64) -> Scalability {
    let point = |clients: u32| {
        let n = f64::from(clients);
        let wobble = if clients.is_power_of_two() && clients.trailing_zeros().is_multiple_of(2) { 1.01 } else { 0.99 };
        let throughput = wobble * 1000.0 * n / (1.0 + 0.05 * (n - 1.0) + kappa * n * (n - 1.0));
        let medians = BTreeMap::from([("response_p50".to_owned(), n / throughput * 1e9)]);
        ClientsPoint { clients, throughput: vec![throughput * 0.98, throughput, throughput * 1.02], medians }
    };
    Scalability {
        schema: 1,
        scenario: "service/queue".to_owned(),
        variant: "v".to_owned(),
        cores: 2,
        points: [1, 2, 4, 8, 16, 32, 64].map(point).into(),
        cut_short: None,
    }
}

#[test]
fn the_law_of_scalability_has_its_curve_and_its_limits() {
    let record = scalability(0.002);
    let report = build::scalability::report(&record);
    report.plots.iter().for_each(check);
    let text = markdown::document(&report.document);
    for words in ["the law puts the peak at 2", "With 128 clients it predicts", "How far it may be believed", "off by"]
    {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    let flat = markdown::document(&build::scalability::report(&scalability(0.0)).document);
    assert!(flat.contains("κ is not told apart from 0, so no peak is predicted"), "{flat}");
    let mut noisy = scalability(0.002);
    noisy.points[1].throughput = vec![9_000.0];
    let noisy = markdown::document(&build::scalability::report(&noisy).document);
    assert!(noisy.contains("so nothing is predicted") && !noisy.contains("clients it predicts"), "{noisy}");
    let mut few = scalability(0.002);
    few.points.truncate(3);
    let report = build::scalability::report(&few);
    report.plots.iter().for_each(check);
    assert!(markdown::document(&report.document).contains("was not fitted: the law has three parameters"));
}

/// A checkpoint in the tenth second: the stall is said with it, and the numbers are drawn below the throughput.
#[test]
fn stalls_are_said_with_what_the_system_counted() {
    let (mut run, mut trials) = load("claims");
    run.scenarios.truncate(1);
    let planned = &mut run.scenarios[0];
    planned.scenario.trial.interleave = Interleave::Trials;
    trials.retain(|trial| trial.scenario == planned.scenario.name);
    for measured in trials.iter_mut().filter_map(|trial| trial.measured.as_mut()) {
        measured.dropped_turns = 0;
        measured.turns.truncate(1);
        let turn = &mut measured.turns[0];
        (turn.start_ns, turn.wall_ns) = (1_000_000_000, 20_000_000_000);
        measured.slices = (0..200)
            .map(|index| Slice {
                start_ns: 1_000_000_000 + index * 100_000_000,
                duration_ns: 100_000_000,
                ok: if (100..112).contains(&index) { 2 } else { 50 },
                response_max_ns: 5_000_000,
            })
            .collect();
        let series = |name: &str, value: &dyn Fn(u64) -> f64| NumberSeries {
            name: name.to_owned(),
            unit: Unit::Count,
            grows: true,
            means: Some("a checkpoint was running".to_owned()),
            points: (0..=20).map(|second| (1_000_000_000 * (second + 1), value(second))).collect(),
        };
        measured.sampled = Some(Sampled {
            every_ns: 1_000_000_000,
            samples: 20,
            asking_ns: 20_000_000,
            asking_max_ns: 4_000_000,
            numbers: vec![
                series("checkpoints_timed", &|second| f64::from(second > 10)),
                series("buffers_checkpoint", &|second| 406.0 * (second.clamp(10, 12) - 10) as f64),
            ],
        });
    }
    let input = ReportInput { run: &run, trials: &trials, profiles: &[], verdicts: None };
    let report = build::report(&input);
    let plot =
        report.plots.iter().find(|plot| plot.path.ends_with("-counters.svg")).expect("there is a plot of counters");
    check(plot);
    let text = markdown::document(&report.document);
    for words in [
        "a checkpoint was running (checkpoints_timed +1, buffers_checkpoint +812)",
        "stalls of 1.2 s at the median",
        "1 ms for each answer, 4 ms for the slowest",
    ] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
}
