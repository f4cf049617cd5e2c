//! What the operations did: by kind, by group (a database, a shard), and their sync calls.

use std::collections::BTreeMap;

use uplift_analysis::pairing::kept;
use uplift_model::{
    Histogram, MetricClass, Trial, Unit, registry,
    trial::{OperationRecord, SyncKind},
    verdict::ScenarioVerdict,
};

use super::{place, scene::Scene};
use crate::{
    document::{Cell, Change, Column, Record, Section, Table, Text},
    number::{Scale, count, nanoseconds, significant},
};

/// What the trials of one variant did, for one key (a kind, a group).
#[derive(Default)]
pub struct Tally {
    ok: u64,
    nothing: u64,
    failed: u64,
    response: Histogram,
}

/// What `trials` did, by what `key` says of each record; records without a key are left out.
pub fn tally<'a>(
    trials: &[&'a Trial],
    key: impl Fn(&'a OperationRecord) -> Option<&'a str>,
) -> BTreeMap<&'a str, Tally> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for operation in trials.iter().filter_map(|trial| trial.measured.as_ref()).flat_map(|measured| &measured.operations)
    {
        let Some(key) = key(operation) else { continue };
        let tally = tallies.entry(key).or_default();
        tally.ok += operation.ok;
        tally.nothing += operation.nothing.values().sum::<u64>();
        tally.failed += operation.failed.values().sum::<u64>();
        tally.response.merge(&operation.response);
    }
    tallies
}

impl Tally {
    /// Everything that was tried.
    pub const fn attempts(&self) -> u64 {
        self.ok + self.nothing + self.failed
    }
}

fn tally_cells(tally: &Tally) -> Vec<Cell> {
    let at = |q: f64| quantile(&tally.response, q);
    let count = |number| Cell::Figure(count(number));
    vec![
        count(tally.attempts()),
        count(tally.ok),
        count(tally.nothing),
        count(tally.failed),
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
        Cell::figure(tally.response.max().map(nanoseconds)),
    ]
}

fn quantile(times: &Histogram, q: f64) -> Cell {
    Cell::figure(times.quantile(q).map(nanoseconds))
}

/// A column of words, then one of the variants, then figures.
fn columns<'a>(what: &str, figures: impl IntoIterator<Item = &'a str>) -> Vec<Column> {
    let mut columns = vec![Column::words(what), Column::words("variant")];
    columns.extend(figures.into_iter().map(Column::figures));
    columns
}

const TALLY_HEAD: [&str; 9] = ["attempts", "succeeded", "did nothing", "failed", "p50", "p95", "p99", "p999", "max"];

/// What each kind of operation did.
pub fn operations(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "operations"), "Per operation").folded();
    let mut rows = Vec::new();
    for (variant, trials) in &scene.variants {
        for (kind, tally) in tally(trials, |operation| Some(&operation.kind)) {
            rows.push((kind, *variant, tally_cells(&tally)));
        }
    }
    // Rows of one kind stand together, in the order of the variants.
    rows.sort_by_key(|(kind, ..)| *kind);
    let mut table = Table::new(format!("Per operation: {name}"), columns("operation", TALLY_HEAD));
    for (kind, variant, cells) in rows {
        let names = [Text::plain(kind).into(), Text::plain(variant).into()];
        table.row(names.into_iter().chain(cells).collect()).record(Record::scenario(name));
    }
    let open = matches!(scene.planned.scenario.load, uplift_model::scenario::Load::Open { .. });
    table.legend(format!(
        "Response time ({}), merged over all trials of a variant.",
        if open { "from the intended start of each arrival" } else { "closed loop: from sending to the answer" }
    ));
    section.table(table);
    section
}

/// One row for each kind of operation: the percentile that people quote, of both variants, and what became of it.
pub fn latency(verdict: &ScenarioVerdict, baseline: &str, candidate: &str) -> Section {
    const SUFFIX: &str = registry::KIND_SUFFIXES[1];
    let name = &verdict.name;
    let mut section = Section::new(place(name, "p95"), "p95 by operation");
    let mut table = Table::new(
        format!("p95 by operation: {name}"),
        vec![
            Column::words("operation"),
            Column::figures(baseline),
            Column::figures(candidate),
            Column::figures("change"),
            Column::figures("interval"),
        ],
    );
    let kinds = verdict.metrics.iter().filter_map(|metric| {
        let kind = registry::kind_of(&metric.metric, SUFFIX)?;
        Some((Text::plain(kind), metric))
    });
    let kinds: Vec<_> = kinds.collect();
    if kinds.len() < 2 {
        return section;
    }
    let all = verdict.metrics.iter().find(|metric| metric.metric == "response_p95");
    for (words, metric) in kinds.into_iter().chain(all.map(|metric| (Text::strong("all together"), metric))) {
        let medians = [&metric.baseline, &metric.candidate].into_iter().flatten().map(|one| one.median);
        let scale = Scale::of(medians, Unit::Nanoseconds);
        let own = |estimate: &Option<uplift_model::verdict::Estimate>| {
            Cell::figure(estimate.as_ref().map(|own| scale.show(own.median)))
        };
        let change = Change::new(metric.change, metric.ci, MetricClass::Time);
        let figures = [own(&metric.baseline), own(&metric.candidate), Cell::Change(change), Cell::Interval(change)];
        table.row([words.into()].into_iter().chain(figures).collect()).record(Record::metric(name, &metric.metric));
    }
    table
        .legend("Medians over blocks; the last row is the percentile of all operations and not a mean of percentiles.");
    section.table(table);
    section
}

/// What a variant did to one group.
struct GroupRow<'a> {
    group: &'a str,
    variant: &'a str,
    cells: Vec<Cell>,
    /// p95 by kind of operation.
    p95: BTreeMap<&'a str, Cell>,
}

/// One row for each group and variant: how much it did, and the p95 of each kind of operation in it.
pub fn groups(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "groups"), "Per group").folded();
    let mut kinds: Vec<&str> = Vec::new();
    let mut rows: Vec<GroupRow<'_>> = Vec::new();
    for (variant, trials) in &scene.variants {
        let wall_ns: u64 = trials.iter().flat_map(|trial| kept(trial)).map(|turn| turn.wall_ns).sum();
        for (group, tally) in tally(trials, |operation| operation.group.as_deref()) {
            let of_kind = self::tally(trials, |operation| {
                (operation.group.as_deref() == Some(group)).then_some(operation.kind.as_str())
            });
            let p95 = |tally: &Tally| quantile(&tally.response, 0.95);
            let own: BTreeMap<&str, Cell> = of_kind.iter().map(|(kind, tally)| (*kind, p95(tally))).collect();
            for kind in own.keys() {
                if !kinds.contains(kind) {
                    kinds.push(kind);
                }
            }
            let rate = (wall_ns > 0).then(|| tally.attempts() as f64 / (wall_ns as f64 / 1e9));
            let mut cells = vec![Cell::Figure(count(tally.attempts())), Cell::figure(rate.map(significant))];
            cells.extend([tally.ok, tally.nothing, tally.failed].map(|number| Cell::Figure(count(number))));
            cells.push(p95(&tally));
            rows.push(GroupRow { group, variant, cells, p95: own });
        }
    }
    kinds.sort_unstable();
    if kinds.len() < 2 {
        kinds.clear();
    }
    rows.sort_by_key(|row| row.group);
    let of_kinds: Vec<String> = kinds.iter().map(|kind| format!("p95 {kind}")).collect();
    let figures = ["attempts", "a second", "succeeded", "did nothing", "failed", "p95"];
    let head = figures.into_iter().chain(of_kinds.iter().map(String::as_str));
    let mut table = Table::new(format!("Per group: {name}"), columns("group", head));
    for GroupRow { group, variant, cells, p95 } in rows {
        let names = [Text::plain(group).into(), Text::plain(variant).into()];
        let own = kinds.iter().map(|kind| p95.get(kind).cloned().unwrap_or(Cell::Missing));
        table.row(names.into_iter().chain(cells).chain(own).collect()).record(Record::scenario(name));
    }
    section.table(table);
    section
}

/// What the sync calls took, by kind, and how they were counted.
pub fn syncs(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "syncs"), "Sync calls").folded();
    let mut table =
        Table::new(format!("Sync calls: {name}"), columns("call", ["calls", "per operation", "p50", "p99", "max"]));
    let mut collectors: Vec<&str> = Vec::new();
    let mut blind: Vec<&str> = Vec::new();
    for (variant, trials) in &scene.variants {
        let measured: Vec<_> = trials.iter().filter_map(|trial| trial.measured.as_ref()).collect();
        let ok: u64 = measured.iter().flat_map(|m| &m.operations).map(|operation| operation.ok).sum();
        for record in measured.iter().map(|measured| &measured.syncs) {
            if let Some(collector) = record.collector.as_deref()
                && !collectors.contains(&collector)
            {
                collectors.push(collector);
            }
            for spot in &record.blind_spots {
                if !blind.contains(&spot.as_str()) {
                    blind.push(spot);
                }
            }
        }
        for kind in SyncKind::ALL {
            let mut latency = Histogram::new();
            let mut calls = 0;
            for record in measured.iter().filter_map(|measured| measured.syncs.kinds.get(&kind)) {
                calls += record.calls;
                latency.merge(&record.latency);
            }
            if calls > 0 {
                let cells = vec![
                    kind.name().into(),
                    Text::plain(*variant).into(),
                    Cell::Figure(count(calls)),
                    Cell::figure((ok > 0).then(|| significant(calls as f64 / ok as f64))),
                    quantile(&latency, 0.5),
                    quantile(&latency, 0.99),
                    Cell::figure(latency.max().map(nanoseconds)),
                ];
                table.row(cells).record(Record::scenario(name));
            }
        }
    }
    if collectors.is_empty() {
        return section;
    }
    if table.rows.is_empty() {
        section.prose("No variant made a sync call during its turns.");
    }
    section.table(table);
    // What one variant's collector says may be the beginning of another's, which has servers to count as well.
    let more =
        |own: &str| collectors.iter().any(|other| other.strip_prefix(own).is_some_and(|rest| rest.starts_with(';')));
    let collectors: Vec<&str> = collectors.iter().copied().filter(|own| !more(own)).collect();
    section.prose(format!("Counted by {}; not seen: {}.", collectors.join(", "), blind.join(", ")));
    section
}
