//! Many runs as a site of plain pages: all runs, the latest verdict of each scenario, a page for each scenario with its
//! history, a page for each machine.

use std::collections::BTreeMap;

use uplift_analysis::{history::trend, shape};
use uplift_model::{
    Verdicts, file_name,
    history::{HISTORY_SCHEMA, HistoryEntry, HistoryValue},
    run::{Environment, Intent, Run, RunState},
    verdict::{Estimate, ScenarioVerdict, Status, Verdict},
};

use super::history;
use crate::{
    document::{Block, Cell, Change, Column, Document, Figure, Section, Table, Text},
    plots::Plot,
};

/// So many rows of runs stand on a page of a scenario or machine; the index has all.
const ROWS_MAX: usize = 300;

/// How rows are marked that answer another question than the scenario's own.
const MODELLED: &str = "modelled disk";
const OTHER_PAIR: &str = "other variants";

/// A run of the site.
pub struct SiteRun {
    /// Its record.
    pub run: Run,
    /// What was decided; `None` for a run that compares nothing.
    pub verdicts: Option<Verdicts>,
    /// Where its report is, seen from the site; `None`: it has none.
    pub report: Option<String>,
}

/// A page of the site.
pub struct SitePage {
    /// Its file.
    pub file: String,
    /// What it says.
    pub document: Document,
    /// The plots that stand in it.
    pub plots: Vec<Plot>,
}

/// Every page; `runs` in any order.
pub fn pages(mut runs: Vec<SiteRun>) -> Vec<SitePage> {
    runs.sort_by(|a, b| (b.run.started_unix_s, &b.run.id).cmp(&(a.run.started_unix_s, &a.run.id)));
    let mut pages = vec![index(&runs)];
    let entries: Vec<HistoryEntry> = runs.iter().flat_map(entries).collect();
    let mut by_scenario: BTreeMap<&str, Vec<&HistoryEntry>> = BTreeMap::new();
    for entry in &entries {
        by_scenario.entry(&entry.scenario).or_default().push(entry);
    }
    let mut measured: BTreeMap<&str, Vec<(&SiteRun, Option<&ScenarioVerdict>)>> = BTreeMap::new();
    let mut machines: BTreeMap<&str, Vec<&SiteRun>> = BTreeMap::new();
    for one in &runs {
        for planned in &one.run.scenarios {
            let name = planned.scenario.name.as_str();
            let verdict = one.verdicts.iter().flat_map(|all| &all.scenarios).find(|verdict| verdict.name == name);
            measured.entry(name).or_default().push((one, verdict));
        }
        if let Some(machine) = &one.run.environment.machine {
            machines.entry(machine).or_default().push(one);
        }
    }
    for (name, of) in measured {
        let own: Vec<HistoryEntry> = by_scenario.remove(name).unwrap_or_default().into_iter().cloned().collect();
        pages.push(scenario(name, &of, &own));
    }
    pages.extend(machines.into_iter().map(|(digest, runs)| machine(digest, &runs)));
    pages
}

/// The values of both sides of each comparison, as a line of the history has them.
fn entries(one: &SiteRun) -> Vec<HistoryEntry> {
    let Some(verdicts) = &one.verdicts else { return Vec::new() };
    let mut entries = Vec::new();
    for verdict in &verdicts.scenarios {
        let planned = one.run.scenarios.iter().find(|planned| planned.scenario.name == verdict.name);
        let Some(planned) = planned else { continue };
        type Side = fn(&uplift_model::verdict::MetricVerdict) -> Option<&Estimate>;
        let sides: [(&String, Side); 2] = [
            (&verdicts.baseline, |metric| metric.baseline.as_ref()),
            (&verdicts.candidate, |metric| metric.candidate.as_ref()),
        ];
        for (variant, side) in sides {
            let metrics: BTreeMap<String, HistoryValue> = verdict
                .metrics
                .iter()
                .filter_map(|metric| {
                    let estimate = side(metric)?;
                    let value = HistoryValue {
                        median: estimate.median,
                        ci: estimate.ci,
                        n: estimate.n,
                        unit: metric.unit,
                        better: metric.better,
                        class: metric.class,
                    };
                    Some((metric.metric.clone(), value))
                })
                .collect();
            if metrics.is_empty() {
                continue;
            }
            entries.push(HistoryEntry {
                schema: HISTORY_SCHEMA,
                run: one.run.id.clone(),
                started_unix_s: one.run.started_unix_s,
                machine: one.run.environment.machine.clone(),
                revision: one.run.environment.git_revision.clone(),
                dirty: one.run.environment.git_dirty,
                scenario: verdict.name.clone(),
                shape: shape::of(&planned.scenario),
                variant: variant.clone(),
                metrics,
            });
        }
    }
    entries
}

fn scenario_file(name: &str) -> String {
    format!("scenario-{}.html", file_name(&[name]))
}

fn machine_file(digest: &str) -> String {
    format!("machine-{}.html", file_name(&[digest]))
}

fn named(one: &SiteRun) -> Cell {
    Cell::Text(match &one.report {
        Some(report) => Text::default().link(&one.run.id, report),
        None => Text::plain(&one.run.id),
    })
}

fn index(runs: &[SiteRun]) -> SitePage {
    let mut document = Document::new("Performance results");
    // Of each scenario, by the pair that was compared and whether the disk was there or modelled: what is measured on
    // a modelled disk must not stand for what is measured on the real one.
    let mut latest: BTreeMap<(&str, bool, [&str; 2]), (&SiteRun, &ScenarioVerdict)> = BTreeMap::new();
    let mut compared: BTreeMap<(&str, [&str; 2]), usize> = BTreeMap::new();
    // The newest run comes first.
    for one in runs {
        let Some(verdicts) = &one.verdicts else { continue };
        let pair = [verdicts.baseline.as_str(), verdicts.candidate.as_str()];
        for verdict in &verdicts.scenarios {
            latest.entry((&verdict.name, verdict.disk.is_some(), pair)).or_insert((one, verdict));
            *compared.entry((&verdict.name, pair)).or_default() += 1;
        }
    }
    // The pair that was compared most is a scenario's own; the others are marked.
    let own_pair = |name: &str| {
        let pairs = compared.iter().filter(|((scenario, _), _)| *scenario == name);
        pairs.max_by_key(|((_, pair), runs)| (**runs, std::cmp::Reverse(*pair))).map(|((_, pair), _)| *pair)
    };
    let mut matrix = Section::new("latest", "The latest verdict of each scenario").listed("Latest verdicts");
    let columns = vec![
        Column::words("scenario"),
        Column::words("verdict"),
        Column::figures("change"),
        Column::figures("interval"),
        Column::words("compared"),
        Column::words("mark"),
        Column::words("run"),
    ];
    let mut table = Table::new("The latest verdict of each scenario", columns);
    for ((name, modelled, pair), (one, verdict)) in latest {
        let [word, change, interval] = outcome(verdict);
        let [baseline, candidate] = pair;
        let compared = Text::code(candidate).then(" against ").then(Text::code(baseline));
        let link = Cell::Text(Text::default().link(name, scenario_file(name)));
        let mark = match (modelled, own_pair(name) != Some(pair)) {
            (false, false) => Cell::None,
            (true, false) => MODELLED.into(),
            (false, true) => OTHER_PAIR.into(),
            (true, true) => format!("{MODELLED}, {OTHER_PAIR}").into(),
        };
        table.row(vec![link, word, change, interval, compared.into(), mark, named(one)]);
    }
    table.legend(format!(
        "One row for each pair of variants and kind of disk. “{OTHER_PAIR}”: not the pair that this scenario is compared with most often; “{MODELLED}”: figures hold for the disk that was modelled."
    ));
    matrix.table(table);
    document.sections.push(matrix);
    let mut all = Section::new("runs", format!("{} runs", runs.len())).listed("Runs");
    let columns = vec![
        Column::words("run"),
        Column::words("what"),
        Column::figures("scenarios"),
        Column::words("outcome"),
        Column::words("machine"),
    ];
    let mut table = Table::new("All runs, the newest first", columns);
    for one in runs {
        let machine = one.run.environment.machine.as_deref().map_or(Cell::None, |digest| {
            let short = digest.get(..8).unwrap_or(digest);
            Cell::Text(Text::default().link(short, machine_file(digest)))
        });
        table.row(vec![
            named(one),
            what(&one.run.intent).into(),
            Cell::Figure(one.run.scenarios.len().to_string()),
            result(one).into(),
            machine,
        ]);
    }
    all.table(table);
    document.sections.push(all);
    SitePage { file: "index.html".to_owned(), document, plots: Vec::new() }
}

fn outcome(verdict: &ScenarioVerdict) -> [Cell; 3] {
    match (verdict.status, verdict.primary()) {
        (Status::Compared, Some(metric)) => {
            let change = Change::of(metric);
            [Cell::verdict(metric), Cell::Change(change), Cell::Interval(change)]
        }
        (Status::Incomparable, _) => {
            [Cell::Verdict { verdict: Some(Verdict::Incomparable), primary: false }, Cell::None, Cell::None]
        }
        (Status::Skipped, _) => ["skipped".into(), Cell::None, Cell::None],
        _ => ["failed".into(), Cell::None, Cell::None],
    }
}

fn what(intent: &Intent) -> Text {
    match intent {
        Intent::Compare { baseline, candidate } => Text::code(candidate).then(" against ").then(Text::code(baseline)),
        Intent::Screen { baseline, candidate, .. } => {
            Text::plain("screen of ").then(Text::code(candidate)).then(" beside ").then(Text::code(baseline))
        }
        Intent::Run { variants } => Text::plain(format!("measurements of {}", variants.join(", "))),
        Intent::Verify => "verification".into(),
        Intent::Sweep { .. } => "parameter sweep".into(),
        Intent::Ledger { .. } => "sprint ledger".into(),
        Intent::Calibrate { variant } => Text::plain("calibration of ").then(Text::code(variant)),
        Intent::Crash { variants } => Text::plain(format!("cuts of {}", variants.join(", "))),
        Intent::Profile { variants } => Text::plain(format!("profiles of {}", variants.join(", "))),
    }
}

fn result(one: &SiteRun) -> String {
    let said = one.verdicts.as_ref().map_or_else(String::new, |verdicts| {
        let all: Vec<&ScenarioVerdict> = verdicts.scenarios.iter().collect();
        super::summary::counts(&all)
    });
    match one.run.state {
        RunState::Complete => said,
        state => format!("{}{}{said}", super::summary::state_word(state), if said.is_empty() { "" } else { ": " }),
    }
}

fn scenario(name: &str, runs: &[(&SiteRun, Option<&ScenarioVerdict>)], entries: &[HistoryEntry]) -> SitePage {
    let mut document = Document::new(Text::plain(name));
    let mut plots = Vec::new();
    let primary = runs.iter().find_map(|(_, verdict)| verdict.and_then(|verdict| verdict.primary()));
    let metric = primary.map_or("throughput", |primary| primary.metric.as_str());
    let mut verdicts = Section::new("verdicts", "Verdicts").listed("Verdicts");
    let columns = vec![
        Column::words("run"),
        Column::words("what"),
        Column::words("verdict"),
        Column::figures("change"),
        Column::figures("interval"),
    ];
    let mut table = Table::new(format!("Verdicts of {name}, the newest first"), columns);
    for (one, verdict) in runs.iter().take(ROWS_MAX) {
        let [word, change, interval] = verdict.map_or([Cell::None, Cell::None, Cell::None], outcome);
        table.row(vec![named(one), what(&one.run.intent).into(), word, change, interval]);
    }
    if runs.len() > ROWS_MAX {
        table.legend(format!("The newest {ROWS_MAX} of {} runs; the list of all has the others.", runs.len()));
    }
    verdicts.table(table);
    document.sections.push(verdicts);
    let mut variants: Vec<&str> = entries.iter().map(|entry| entry.variant.as_str()).collect();
    variants.sort_unstable();
    variants.dedup();
    for variant in variants {
        let Some(found) = trend(entries, name, variant, metric) else { continue };
        let mut section = history::section(&found, name, variant, metric).listed(format!("History of {variant}"));
        if let Some(plot) = history::plot(&found, name, variant, metric) {
            let figure = Figure { path: plot.path.clone(), description: plot.description.clone() };
            section.blocks.insert(0, Block::Figure(figure));
            plots.push(plot);
        }
        for block in &mut section.blocks {
            if let Block::Table(table) = block {
                let left_out = table.rows.len().saturating_sub(ROWS_MAX);
                table.rows.drain(..left_out);
                if left_out > 0 {
                    table.legend("The newest runs; `uplift history --format json` has all.");
                }
            }
        }
        document.sections.push(section);
    }
    document.sections.push(back());
    SitePage { file: scenario_file(name), document, plots }
}

fn machine(digest: &str, runs: &[&SiteRun]) -> SitePage {
    let mut document = Document::new(Text::plain(format!("Machine {}", digest.get(..8).unwrap_or(digest))));
    if let Some(newest) = runs.first() {
        let mut section = Section::new("environment", "What it is").listed("What it is");
        let mut table = Table::new("What it is", vec![Column::words("what"), Column::words("value")]);
        let Environment { cpu_model, cores, kernel, os, filesystem, virtualization, .. } = &newest.run.environment;
        let cores = cores.map(|cores| cores.to_string());
        for (what, value) in [
            ("CPU", cpu_model.as_ref()),
            ("cores", cores.as_ref()),
            ("system", os.as_ref()),
            ("kernel", kernel.as_ref()),
            ("filesystem of the data", filesystem.as_ref()),
            ("virtualization", virtualization.as_ref()),
        ] {
            table.row(vec![what.into(), value.map_or(Cell::Missing, |value| Text::plain(value).into())]);
        }
        section.table(table);
        document.sections.push(section);
    }
    let mut section = Section::new("runs", format!("{} runs", runs.len())).listed("Runs");
    let columns = vec![Column::words("run"), Column::words("what"), Column::words("outcome")];
    let mut table = Table::new("Runs on this machine, the newest first", columns);
    for one in runs.iter().take(ROWS_MAX) {
        table.row(vec![named(one), what(&one.run.intent).into(), result(one).into()]);
    }
    section.table(table);
    document.sections.push(section);
    document.sections.push(back());
    SitePage { file: machine_file(digest), document, plots: Vec::new() }
}

fn back() -> Section {
    let mut section = Section::new("all", "All results");
    section.prose(Text::default().link("The latest verdicts and all runs", "index.html"));
    section
}
