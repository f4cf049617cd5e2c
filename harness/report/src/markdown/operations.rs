//! What the operations did: by kind, by group (a database, a shard), and their sync calls.

use std::{collections::BTreeMap, fmt::Write as _};

use uplift_analysis::pairing::kept;
use uplift_model::{
    Histogram, MetricClass, Trial, Unit,
    run::PlannedScenario,
    trial::{OperationRecord, SyncKind},
    verdict::ScenarioVerdict,
};

use super::{header, of_variant, row, variants};
use crate::{
    ReportInput,
    number::{Scale, change_with_interval, count, nanoseconds, significant},
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

fn tally_cells(tally: &Tally) -> Vec<String> {
    let at = |q: f64| tally.response.quantile(q).map_or_else(|| "n/a".to_owned(), nanoseconds);
    vec![
        count(tally.attempts()),
        count(tally.ok),
        count(tally.nothing),
        count(tally.failed),
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
        tally.response.max().map_or_else(|| "n/a".to_owned(), nanoseconds),
    ]
}

const TALLY_HEAD: [&str; 9] = ["attempts", "succeeded", "did nothing", "failed", "p50", "p95", "p99", "p999", "max"];

pub fn operations_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        for (kind, tally) in tally(&trials, |operation| Some(&operation.kind)) {
            let mut cells = vec![kind.to_owned(), variant.to_owned()];
            cells.extend(tally_cells(&tally));
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return;
    }
    // Rows of one kind stand together, in the order of the variants.
    rows.sort_by(|a, b| a[0].cmp(&b[0]));
    text.push_str("### Per operation\n\n");
    let mut head = vec!["operation", "variant"];
    head.extend(TALLY_HEAD);
    header(&head, text);
    for cells in rows {
        row(&cells, text);
    }
    let open = matches!(planned.scenario.load, uplift_model::scenario::Load::Open { .. });
    let _ = writeln!(
        text,
        "\nResponse time ({}), merged over all trials of a variant.\n",
        if open { "from the intended start of each arrival" } else { "closed loop: from sending to the answer" }
    );
}

/// One row for each kind of operation: the percentile that people quote, of both variants, and what became of it.
pub fn latency_table(verdict: &ScenarioVerdict, baseline: &str, candidate: &str, text: &mut String) {
    let kinds: Vec<_> = verdict.metrics.iter().filter(|metric| metric.metric.ends_with("_response_p95")).collect();
    if kinds.len() < 2 {
        return;
    }
    text.push_str("### p95 by operation\n\n");
    header(&["operation", baseline, candidate, "change", "interval"], text);
    let all = verdict.metrics.iter().find(|metric| metric.metric == "response_p95");
    for metric in kinds.into_iter().chain(all) {
        let name = match metric.metric.strip_suffix("_response_p95") {
            Some(kind) => kind.to_owned(),
            None => "**all together**".to_owned(),
        };
        let medians = [&metric.baseline, &metric.candidate].into_iter().flatten().map(|one| one.median);
        let scale = Scale::of(medians, Unit::Nanoseconds);
        let own = |estimate: &Option<uplift_model::verdict::Estimate>| {
            estimate.as_ref().map_or_else(|| "n/a".to_owned(), |own| scale.show(own.median))
        };
        let (change, interval) = change_with_interval(metric.change, metric.ci, MetricClass::Time);
        row(
            &[
                name,
                own(&metric.baseline),
                own(&metric.candidate),
                change.unwrap_or_else(|| "n/a".to_owned()),
                interval.unwrap_or_else(|| "n/a".to_owned()),
            ],
            text,
        );
    }
    text.push_str(
        "\nMedians over blocks; the last row is the percentile of all operations and not a mean of percentiles.\n\n",
    );
}

/// What a variant did to one group.
struct GroupRow<'a> {
    group: &'a str,
    variant: &'a str,
    cells: Vec<String>,
    /// p95 by kind of operation.
    p95: BTreeMap<&'a str, String>,
}

/// One row for each group and variant: how much it did, and the p95 of each kind of operation in it.
pub fn groups_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut kinds: Vec<&str> = Vec::new();
    let mut rows: Vec<GroupRow<'_>> = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let wall_ns: u64 = trials.iter().flat_map(|trial| kept(trial)).map(|turn| turn.wall_ns).sum();
        for (group, tally) in tally(&trials, |operation| operation.group.as_deref()) {
            let of_kind = self::tally(&trials, |operation| {
                (operation.group.as_deref() == Some(group)).then_some(operation.kind.as_str())
            });
            let p95 = |tally: &Tally| tally.response.quantile(0.95).map_or_else(|| "n/a".to_owned(), nanoseconds);
            let own: BTreeMap<&str, String> = of_kind.iter().map(|(kind, tally)| (*kind, p95(tally))).collect();
            for kind in own.keys() {
                if !kinds.contains(kind) {
                    kinds.push(kind);
                }
            }
            let rate = (wall_ns > 0).then(|| tally.attempts() as f64 / (wall_ns as f64 / 1e9));
            let rate = rate.map_or_else(|| "n/a".to_owned(), significant);
            let mut cells = vec![count(tally.attempts()), rate];
            cells.extend([tally.ok, tally.nothing, tally.failed].map(count));
            cells.push(p95(&tally));
            rows.push(GroupRow { group, variant, cells, p95: own });
        }
    }
    if rows.is_empty() {
        return;
    }
    kinds.sort_unstable();
    if kinds.len() < 2 {
        kinds.clear();
    }
    rows.sort_by_key(|row| row.group);
    text.push_str("### Per group\n\n");
    let of_kinds: Vec<String> = kinds.iter().map(|kind| format!("p95 {kind}")).collect();
    let mut head = vec!["group", "variant", "attempts", "a second", "succeeded", "did nothing", "failed", "p95"];
    head.extend(of_kinds.iter().map(String::as_str));
    header(&head, text);
    for GroupRow { group, variant, cells, p95 } in rows {
        let mut all = vec![group.to_owned(), variant.to_owned()];
        all.extend(cells);
        all.extend(kinds.iter().map(|kind| p95.get(kind).cloned().unwrap_or_else(|| "n/a".to_owned())));
        row(&all, text);
    }
    text.push('\n');
}

pub fn syncs_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    let mut collectors: Vec<&str> = Vec::new();
    let mut blind: Vec<&str> = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
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
                let at = |q: f64| latency.quantile(q).map_or_else(|| "n/a".to_owned(), nanoseconds);
                rows.push(vec![
                    kind.name().to_owned(),
                    variant.to_owned(),
                    count(calls),
                    if ok > 0 { significant(calls as f64 / ok as f64) } else { "n/a".to_owned() },
                    at(0.5),
                    at(0.99),
                    latency.max().map_or_else(|| "n/a".to_owned(), nanoseconds),
                ]);
            }
        }
    }
    if collectors.is_empty() {
        return;
    }
    text.push_str("### Sync calls\n\n");
    if rows.is_empty() {
        text.push_str("No variant made a sync call during its turns.\n");
    } else {
        header(&["call", "variant", "calls", "per operation", "p50", "p99", "max"], text);
        for cells in rows {
            row(&cells, text);
        }
    }
    // What one variant's collector says may be the beginning of another's, which has servers to count as well.
    let more =
        |own: &str| collectors.iter().any(|other| other.strip_prefix(own).is_some_and(|rest| rest.starts_with(';')));
    let collectors: Vec<&str> = collectors.iter().copied().filter(|own| !more(own)).collect();
    let _ = writeln!(text, "\nCounted by {}; not seen: {}.\n", collectors.join(", "), blind.join(", "));
}
