//! What cuts left, as a document: a sentence and a table for each variant.

use std::fmt::Write as _;

use serde_json::json;
use uplift_analysis::crash::{Agreement, Demonstration, Series, demonstrations};
use uplift_model::{
    crash::{Cut, CutMode, FaultKind},
    run::{Run, RunState},
};

use super::{
    environment::{environment, reproduction},
    place,
};
use crate::{
    ReportInput,
    document::{Cell, Column, Document, NoteKind, Section, Table, Text},
    number::{count, nanoseconds, significant},
};

/// The document of a run of cuts.
pub fn document(run: &Run, cuts: &[Cut]) -> Document {
    let mut document = Document::new("Durability, demonstrated");
    let mut notes = Section::new("notes", "Notes").untitled().brief();
    if run.state != RunState::Complete {
        notes.note(NoteKind::Warning, "Partial run: what follows is what was tried.");
    }
    for warning in &run.warnings {
        notes.note(NoteKind::Warning, Text::sentence(warning));
    }
    document.sections.push(notes);
    document.sections.extend(sections(cuts));
    let input = ReportInput { run, trials: &[], profiles: &[], verdicts: None };
    document.sections.push(environment(&input));
    document.sections.push(reproduction(&input));
    document.sections.retain(|section| !section.is_empty());
    document
}

/// The section of each variant.
pub fn sections(cuts: &[Cut]) -> Vec<Section> {
    demonstrations(cuts).iter().map(section).collect()
}

/// What cuts beside a comparison add to its document.
pub fn beside(cuts: &[Cut]) -> Option<Section> {
    let mut all = Section::new("durability-demonstrated", "Durability, demonstrated").listed("Durability").brief();
    sections(cuts).into_iter().for_each(|one| all.part(one));
    (!all.is_empty()).then_some(all)
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
        "gave_up": series.gave_up,
        "repaired": series.repaired.0,
        "detail": series.detail.as_ref().map(|(_, detail)| detail),
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

fn section(one: &Demonstration) -> Section {
    let title = Text::plain(format!("{}, ", one.scenario)).then(Text::code(&one.variant));
    let mut section = Section::new(place(&one.scenario, &format!("cuts-{}", one.variant)), title).brief();
    let declared = one.declared.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    let demonstrated = one.demonstrated.map_or_else(|| "nothing".to_owned(), |level| level.to_string());
    let verdict = match &one.agreement {
        Agreement::Holds => Text::plain("what it declares held"),
        Agreement::Contradicted(why) => {
            Text::strong("it does not hold what it declares").then(Text::sentence(&format!(": {why}")))
        }
        Agreement::Stronger(why) => Text::sentence(&format!("it declares less than was demonstrated: {why}")),
        Agreement::Untried(why) => Text::sentence(&format!("what it declares was not tried: {why}")),
    };
    let levels = Text::plain(format!("Declared: {declared}. Demonstrated: {demonstrated}; "));
    section.prose(levels.then(verdict).then(".")).brief();
    for series in &one.series {
        section.item(Text::sentence(&sentence(series))).brief();
    }
    let mut columns = vec![Column::words("cut")];
    columns.extend(
        [
            "cuts",
            "acknowledged",
            "looked at",
            "in flight",
            "lost",
            "oldest lost",
            "wrong",
            "twice",
            "not opened",
            "recovery, median",
            "longest",
        ]
        .map(Column::figures),
    );
    let mut table = Table::new(format!("Cuts of {}", one.variant), columns);
    for series in &one.series {
        let recovery = |pick: fn((f64, u64)) -> u64| {
            series.recovery_ns.map_or(Cell::None, |times| Cell::Figure(nanoseconds(pick(times))))
        };
        let counted = |value| Cell::Figure(count(value));
        table.row(vec![
            Text::plain(name(series)).into(),
            counted(series.cuts),
            counted(series.acknowledged),
            counted(series.verified),
            counted(series.in_flight),
            counted(series.lost),
            series.oldest_lost_ns.map_or(Cell::None, |ns| Cell::Figure(nanoseconds(ns))),
            counted(series.wrong),
            counted(series.twice),
            counted(series.not_opened),
            recovery(|(median, _)| median as u64),
            recovery(|(_, longest)| longest),
        ]);
    }
    section.table(table);
    for series in &one.series {
        if let Some((number, detail)) = &series.detail {
            let where_ = Text::plain("First amiss in ").then(Text::code(name(series)));
            section.note(NoteKind::Failure, where_.then(Text::plain(format!(", cut {number}: {detail}"))));
        }
        if let Some(failure) = &series.failure {
            let failed = Text::plain(format!("{} of ", cuts_word(series.failed))).then(Text::code(name(series)));
            section.note(
                NoteKind::Failure,
                failed.then(Text::plain(format!(" could not be carried out; the first: {failure}"))),
            );
        }
    }
    section
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
    if let (repaired @ 1.., Some(repair)) = &series.repaired {
        let _ =
            write!(text, "; in {} it opened only after the repair that it documents, `{repair}`", cuts_word(*repaired));
    }
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
        (FaultKind::FlippedBit, ..) => "it opened, and not everything is as it was written".to_owned(),
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

    fn text_of(cuts: &[Cut]) -> String {
        let mut document = Document::new("Cuts");
        document.sections = sections(cuts);
        crate::render::markdown::document(&document)
    }

    #[test]
    fn what_was_found_stands_in_sentences() {
        let clean = Audit { acknowledged: 12_345, ..Audit::default() };
        let text = text_of(&[cut(None, clean.clone())]);
        assert!(
            text.contains("none of 12,345 acknowledged operations lost in 1 cut: at most 0.0243 % of operations"),
            "{text}"
        );
        assert!(text.contains("Declared: power-loss. Demonstrated: power-loss; what it declares held."), "{text}");
        let mended = Audit { repaired: Some("mend it".to_owned()), ..clean.clone() };
        let text = text_of(&[cut(None, clean.clone()), cut(None, mended)]);
        assert!(text.contains("in 1 cut it opened only after the repair that it documents, `mend it`"), "{text}");
        let lossy = Audit { lost: 2, oldest_lost_ns: Some(5_000_000), detail: Some("id 7".to_owned()), ..clean };
        let text = text_of(&[cut(None, lossy.clone()), cut(Some("eio@sync:7"), lossy)]);
        assert!(text.contains("**it does not hold what it declares**"), "{text}");
        assert!(
            text.contains("acknowledged 5.000 ms before its cut") || text.contains("acknowledged 5 ms before"),
            "{text}"
        );
        assert!(text.contains("it acknowledged what a failed sync had not written"), "{text}");
        assert!(text.contains("First amiss in `power`, cut 3: id 7"), "{text}");
    }
}
