//! What cuts left, in words and tables: markdown, which reads well on a terminal too.

use std::fmt::Write as _;

use serde_json::json;
use uplift_analysis::crash::{Agreement, Demonstration, Series, demonstrations};
use uplift_model::{
    crash::{Cut, CutMode, FaultKind},
    run::{Run, RunState},
};

use crate::{
    ReportInput,
    markdown::{environment, reproduction},
    number::{count, nanoseconds, significant},
    printable::printable,
};

/// `report.md` of a run of cuts.
pub fn document(run: &Run, cuts: &[Cut]) -> String {
    let mut text = String::from("# Durability, demonstrated\n\n");
    if run.state != RunState::Complete {
        text.push_str("> **Partial run**: what follows is what was tried.\n\n");
    }
    for warning in &run.warnings {
        let _ = writeln!(text, "> {warning}\n");
    }
    text.push_str(&sections(cuts));
    let input = ReportInput { run, trials: &[], profiles: &[], verdicts: None };
    environment(&input, &mut text);
    reproduction(&input, &mut text);
    printable(&text, false)
}

/// The section of each variant.
pub fn sections(cuts: &[Cut]) -> String {
    let mut text = String::new();
    for demonstration in demonstrations(cuts) {
        section(&demonstration, &mut text);
    }
    text
}

/// What was found, for programs.
pub fn json(cuts: &[Cut]) -> serde_json::Value {
    demonstrations(cuts)
        .iter()
        .map(|one| {
            let (agreement, reason) = agreement(one);
            json!({
                "scenario": one.scenario,
                "variant": one.variant,
                "declared": one.declared,
                "demonstrated": one.demonstrated,
                "agreement": agreement,
                "reason": reason,
                "series": one.series.iter().map(series_json).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn series_json(series: &Series) -> serde_json::Value {
    json!({
        "mode": series.mode,
        "fault": series.fault.map(|fault| fault.to_string()),
        "cuts": series.cuts,
        "failed": series.failed,
        "not_opened": series.not_opened,
        "bad_cuts": series.bad_cuts,
        "acknowledged": series.acknowledged,
        "verified": series.verified,
        "in_flight": series.in_flight,
        "lost": series.lost,
        "wrong": series.wrong,
        "twice": series.twice,
        "oldest_lost_ns": series.oldest_lost_ns,
        "recovery_ns_median": series.recovery_ns.map(|(median, _)| median),
        "recovery_ns_max": series.recovery_ns.map(|(_, longest)| longest),
        "lost_share_max": series.bound(),
        "bad_cut_share_max": series.cut_bound(),
    })
}

const fn agreement(demonstration: &Demonstration) -> (&'static str, Option<&String>) {
    match &demonstration.agreement {
        Agreement::Holds => ("holds", None),
        Agreement::Contradicted(why) => ("contradicted", Some(why)),
        Agreement::Stronger(why) => ("stronger", Some(why)),
        Agreement::Untried(why) => ("untried", Some(why)),
    }
}

fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0))
}

/// "1 cut", "20 cuts".
fn cuts_word(cuts: u64) -> String {
    format!("{} cut{}", count(cuts), if cuts == 1 { "" } else { "s" })
}

fn section(one: &Demonstration, text: &mut String) {
    let _ = writeln!(text, "## {}, `{}`\n", one.scenario, one.variant);
    let declared = one.declared.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    let demonstrated = one.demonstrated.map_or_else(|| "nothing".to_owned(), |level| level.to_string());
    let verdict = match &one.agreement {
        Agreement::Holds => "what it declares held".to_owned(),
        Agreement::Contradicted(why) => format!("**it does not hold what it declares**: {why}"),
        Agreement::Stronger(why) => format!("it declares less than was demonstrated: {why}"),
        Agreement::Untried(why) => format!("what it declares was not tried: {why}"),
    };
    let _ = writeln!(text, "Declared: {declared}. Demonstrated: {demonstrated}; {verdict}.\n");
    for series in &one.series {
        let _ = writeln!(text, "- {}", sentence(series));
    }
    text.push_str("\n| cut | cuts | acknowledged | looked at | in flight | lost | oldest lost | wrong | twice | not opened | recovery, median | longest |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for series in &one.series {
        let recovery = |pick: fn((f64, u64)) -> u64| {
            series.recovery_ns.map_or_else(|| "–".to_owned(), |times| nanoseconds(pick(times)))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            name(series),
            count(series.cuts),
            count(series.acknowledged),
            count(series.verified),
            count(series.in_flight),
            count(series.lost),
            series.oldest_lost_ns.map_or_else(|| "–".to_owned(), nanoseconds),
            count(series.wrong),
            count(series.twice),
            count(series.not_opened),
            recovery(|(median, _)| median as u64),
            recovery(|(_, longest)| longest),
        );
    }
    text.push('\n');
    for series in &one.series {
        if let Some((number, detail)) = &series.detail {
            let _ = writeln!(text, "First amiss in `{}`, cut {number}: {detail}\n", name(series));
        }
        if let Some(failure) = &series.failure {
            let failed = cuts_word(series.failed);
            let _ = writeln!(text, "{failed} of `{}` could not be carried out; the first: {failure}\n", name(series));
        }
    }
}

fn name(series: &Series) -> String {
    let mode = series.mode.map_or_else(String::new, |mode| mode.to_string());
    series.fault.map_or_else(|| mode.clone(), |fault| format!("{mode}, {fault}"))
}

/// One series in a sentence.
fn sentence(series: &Series) -> String {
    let what = match (series.mode, series.fault) {
        (_, Some(fault)) => format!("`{fault}`"),
        (Some(CutMode::Kill), None) => "killed".to_owned(),
        (_, None) => "power cut".to_owned(),
    };
    let cuts = cuts_word(series.cuts);
    if series.cuts == 0 {
        return format!("{what}: no cut was carried out");
    }
    let mut text = match (series.bound(), series.cut_bound()) {
        (Some(bound), Some(cut_bound)) => format!(
            "{what}: none of {} acknowledged operations lost in {cuts}: at most {} of operations, at most {} of such cuts lose any (95 %)",
            count(series.verified),
            percent(bound),
            percent(cut_bound)
        ),
        _ if series.bad_cuts == 0 => format!("{what}: nothing was acknowledged before any of {cuts}"),
        _ => {
            let window = series.oldest_lost_ns.map_or_else(String::new, |ns| {
                format!("; the oldest lost one was acknowledged {} before its cut", nanoseconds(ns))
            });
            format!("{what}: {} in {} of {cuts}{window}", series.amiss(), count(series.bad_cuts))
        }
    };
    if let Some(fault) = series.fault {
        let _ = write!(text, "; {}", fault_words(series, fault.kind));
    }
    text
}

/// What a target does when its disk fails, in a few words.
fn fault_words(series: &Series, kind: FaultKind) -> String {
    if series.gave_up > 0 && series.bad_cuts == 0 {
        return format!("it gave up {} times, and everything acknowledged before is there", series.gave_up);
    }
    match (kind, series.lost + series.wrong + series.twice, series.not_opened) {
        (_, 0, 0) => "it acknowledged nothing that is not there".to_owned(),
        (FaultKind::FlippedBit, 0, refused) => format!("it noticed and did not open {refused} times"),
        (FaultKind::FlippedBit, ..) => "it opened and held something else than was written".to_owned(),
        (FaultKind::FailedSync, 1.., _) => "it acknowledged what a failed sync had not written".to_owned(),
        _ => "what it had acknowledged is not all there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uplift_model::{
        Durability,
        crash::{Audit, CRASH_SCHEMA, CutOutcome, CutPoint, Kept},
    };

    use super::*;

    fn cut(fault: Option<&str>, audit: Audit) -> Cut {
        Cut {
            schema: CRASH_SCHEMA,
            scenario: "docdb/crud".to_owned(),
            variant: "fast".to_owned(),
            number: 3,
            seed: 1,
            mode: CutMode::Power,
            point: CutPoint::Sync(9),
            kept: Some(Kept::Part),
            fault: fault.map(|fault| fault.parse().unwrap()),
            declared: Some(Durability::PowerLoss),
            effective: Default::default(),
            load_ns: 1,
            syncs: Some(9),
            gave_up: None,
            outcome: CutOutcome::Audited { recovery_ns: 2_000_000, audit },
        }
    }

    #[test]
    fn what_was_found_stands_in_sentences() {
        let clean = Audit { acknowledged: 12_345, ..Audit::default() };
        let text = sections(&[cut(None, clean.clone())]);
        assert!(
            text.contains("none of 12,345 acknowledged operations lost in 1 cut: at most 0.0243 % of operations"),
            "{text}"
        );
        assert!(text.contains("Declared: power-loss. Demonstrated: power-loss; what it declares held."), "{text}");
        let lossy = Audit { lost: 2, oldest_lost_ns: Some(5_000_000), detail: Some("id 7".to_owned()), ..clean };
        let text = sections(&[cut(None, lossy.clone()), cut(Some("eio@sync:7"), lossy)]);
        assert!(text.contains("**it does not hold what it declares**"), "{text}");
        assert!(
            text.contains("acknowledged 5.000 ms before its cut") || text.contains("acknowledged 5 ms before"),
            "{text}"
        );
        assert!(text.contains("it acknowledged what a failed sync had not written"), "{text}");
        assert!(text.contains("First amiss in `power`, cut 3: id 7"), "{text}");
    }
}
