//! What is allocated for each operation, by whom, and what moved.

use uplift_analysis::profile::{
    Allocated, FoldedError,
    allocations::{allocations_by_variant, moves},
    differential, folded,
};
use uplift_model::{ProfileTrial, Unit, file_name, protocol::Profiled, run::PlannedScenario};

use super::{
    Artifact, DrawError, flamegraph,
    section::{named, shortened},
};
use crate::{
    build::place,
    document::{Block, Cell, Column, FlameGraph, NoteKind, Section, Table, Text},
    number::{count, significant, with_unit},
};

/// Rows of the tables.
const FUNCTIONS: usize = 15;

/// One variant.
struct OfVariant<'a> {
    variant: &'a str,
    trials: Vec<&'a Profiled>,
    allocated: Allocated,
}

fn of_scenario<'a>(
    profiles: &'a [ProfileTrial],
    planned: &'a PlannedScenario,
) -> Result<Vec<OfVariant<'a>>, FoldedError> {
    let mut trials = allocations_by_variant(profiles, &planned.scenario.name);
    planned
        .variants
        .iter()
        .filter_map(|variant| Some((variant, trials.remove(variant.as_str())?)))
        .map(|(variant, trials)| Ok(OfVariant { variant, allocated: Allocated::of(&trials)?, trials }))
        .collect()
}

fn bytes(value: f64) -> String {
    with_unit(value, Unit::Bytes)
}

/// Adds the sections of a scenario; none where allocations were not counted.
pub fn add(profiles: &[ProfileTrial], planned: &PlannedScenario, section: &mut Section) {
    match of_scenario(profiles, planned) {
        Ok(all) => {
            section.blocks.extend(graph(&all, &planned.scenario.name).map(Block::FlameGraph));
            all.iter().for_each(|one| section.part(of_variant(one, planned)));
            if let [baseline, candidate, ..] = all.as_slice() {
                section.part(moved(baseline, candidate, planned));
            }
        }
        Err(error) => {
            section.note(NoteKind::Failure, Text::plain(format!("could not read what was allocated: {error}")));
        }
    }
}

fn graph(all: &[OfVariant<'_>], scenario: &str) -> Option<FlameGraph> {
    let mut files = Vec::new();
    for one in all.iter().filter(|one| !one.allocated.profile.stacks.is_empty()) {
        let stem = file_name(&[scenario, one.variant]);
        files.push((format!("profiles/{stem}.allocated.svg"), format!("what {} allocates", one.variant)));
        files.push((format!("profiles/{stem}.allocated.folded"), "folded stacks, in bytes".to_owned()));
    }
    if let [baseline, candidate, ..] = all
        && differential::folded(&baseline.allocated.profile, &candidate.allocated.profile)
            .is_some_and(|text| !text.is_empty())
    {
        let stem = pair_stem(scenario, baseline, candidate);
        for (end, words) in [("after", "as wide as they are afterwards"), ("before", "as wide as they were before")] {
            files.push((format!("profiles/{stem}.{end}.svg"), format!("what moved in bytes, frames {words}")));
        }
    }
    (!files.is_empty()).then(|| FlameGraph {
        id: format!("allocated-{}", place(scenario, "")),
        scenario: scenario.to_owned(),
        files,
    })
}

fn pair_stem(scenario: &str, baseline: &OfVariant<'_>, candidate: &OfVariant<'_>) -> String {
    file_name(&[scenario, baseline.variant, "to", candidate.variant, "allocated"])
}

fn of_variant(one: &OfVariant<'_>, planned: &PlannedScenario) -> Section {
    let scenario = &planned.scenario.name;
    let title = Text::plain("What ").then(Text::code(one.variant)).then(" allocates");
    let mut section =
        Section::new(place(scenario, &format!("allocations-of-{}", file_name(&[one.variant]))), title).brief();
    let allocated = &one.allocated;
    if let Some(reason) = one.trials.iter().find_map(|trial| trial.not_sampled.as_deref()) {
        section.note(NoteKind::Warning, format!("Not everything that works is counted: {reason}"));
    }
    let mut warnings: Vec<&String> = one.trials.iter().flat_map(|trial| &trial.warnings).collect();
    warnings.sort();
    warnings.dedup();
    for warning in warnings {
        section.note(NoteKind::Warning, warning);
    }
    let sampler = one.trials.first().map_or("", |trial| trial.sampler.as_str());
    let Some([calls, each]) = allocated.per_operation() else {
        let why =
            if allocated.seen { "No operation was done while allocations were counted." } else { "Nothing was seen." };
        section.prose(why).brief();
        return section;
    };
    section
        .prose(format!(
            "{} allocations and {} for each {}, counted over {}; {sampler}.",
            significant(calls),
            bytes(each),
            planned.unit_of_work,
            count(allocated.profile.operations),
        ))
        .brief();
    if allocated.profile.samples == 0 {
        return section;
    }
    let columns = vec![Column::figures("share"), Column::figures("for each operation"), Column::words("asked for by")];
    let mut table = Table::new(format!("Allocations of {}: {scenario}", one.variant), columns).brief();
    for (function, total) in allocated.by_function().into_iter().take(FUNCTIONS) {
        table.row(vec![
            Cell::Figure(format!("{:.1} %", total / allocated.bytes as f64 * 100.0)),
            Cell::Figure(bytes(total / allocated.profile.operations as f64)),
            named(&function, false).into(),
        ]);
    }
    section.table(table);
    section
}

fn moved(baseline: &OfVariant<'_>, candidate: &OfVariant<'_>, planned: &PlannedScenario) -> Section {
    let scenario = &planned.scenario.name;
    let title = Text::plain("What moved in allocations from ")
        .then(Text::code(baseline.variant))
        .then(" to ")
        .then(Text::code(candidate.variant));
    let mut section = Section::new(place(scenario, "allocations-moved"), title).brief();
    let (Some(before), Some(after)) = (baseline.allocated.per_operation(), candidate.allocated.per_operation()) else {
        return section;
    };
    let columns = vec![
        Column::words("for each operation"),
        Column::figures(baseline.variant),
        Column::figures(candidate.variant),
        Column::figures("change"),
    ];
    let mut table = Table::new(format!("Allocations that moved: {scenario}"), columns).brief();
    let signed = |value: f64, shown: String| format!("{}{shown}", if value < 0.0 { "−" } else { "+" });
    let calls = after[0] - before[0];
    table.row(vec![
        "allocations".into(),
        Cell::Figure(significant(before[0])),
        Cell::Figure(significant(after[0])),
        Cell::Figure(signed(calls, significant(calls.abs()))),
    ]);
    let mut row = |name: Text, before: f64, after: f64| {
        let change = after - before;
        table.row(vec![
            name.into(),
            Cell::Figure(bytes(before)),
            Cell::Figure(bytes(after)),
            Cell::Figure(signed(change, bytes(change.abs()))),
        ]);
    };
    row(Text::plain("bytes"), before[1], after[1]);
    for one in moves(&baseline.allocated, &candidate.allocated, FUNCTIONS) {
        row(Text::code(shortened(&one.function).replace('`', "'")), one.baseline, one.candidate);
    }
    table.legend("Calls and bytes are counted; which function asked for them is sampled.");
    section.table(table);
    section
}

/// As JSON; `None` where allocations were not counted.
pub fn json(profiles: &[ProfileTrial], planned: &PlannedScenario) -> Option<serde_json::Value> {
    let all = of_scenario(profiles, planned).ok().filter(|all| !all.is_empty())?;
    let variants = all.iter().map(|one| {
        let each = one.allocated.per_operation();
        serde_json::json!({
            "variant": one.variant,
            "sampler": one.trials.first().map(|trial| trial.sampler.as_str()),
            "operations": one.allocated.profile.operations,
            "calls": one.allocated.seen.then_some(one.allocated.calls),
            "bytes": one.allocated.seen.then_some(one.allocated.bytes),
            "calls_per_operation": each.map(|each| each[0]),
            "bytes_per_operation": each.map(|each| each[1]),
            "not_sampled": one.trials.iter().find_map(|trial| trial.not_sampled.as_deref()),
            "warnings": one.trials.iter().flat_map(|trial| &trial.warnings).collect::<Vec<_>>(),
            "functions": one.allocated.by_function().iter().take(FUNCTIONS).map(|(function, bytes)| serde_json::json!({
                "function": function, "share": bytes / one.allocated.bytes as f64,
            })).collect::<Vec<_>>(),
        })
    });
    Some(variants.collect())
}

/// The files of a scenario.
///
/// # Errors
/// What cannot be drawn.
pub fn artifacts(
    profiles: &[ProfileTrial],
    planned: &PlannedScenario,
    files: &mut Vec<Artifact>,
) -> Result<(), DrawError> {
    let scenario = &planned.scenario.name;
    let all = of_scenario(profiles, planned)?;
    for one in &all {
        let stem = file_name(&[scenario, one.variant]);
        let mut add = |end: &str, bytes: Vec<u8>| files.push(Artifact { name: format!("{stem}.{end}"), bytes });
        let stacks = &one.allocated.profile.stacks;
        add("allocated.folded", folded::write(stacks).into_bytes());
        if !stacks.is_empty() {
            let title = format!("allocated: {scenario}, {}", one.variant);
            let subtitle = format!(
                "{} allocations, {}; by the stack that asked; {}",
                count(one.allocated.calls),
                with_unit(one.allocated.bytes as f64, Unit::Bytes),
                flamegraph::COLOURS
            );
            add("allocated.svg", flamegraph::one(&title, &subtitle, "bytes", stacks)?);
        }
    }
    if let [baseline, candidate, ..] = all.as_slice()
        && let Some(text) = differential::folded(&baseline.allocated.profile, &candidate.allocated.profile)
        && !text.is_empty()
    {
        let stem = pair_stem(scenario, baseline, candidate);
        let what = format!("allocated: {scenario}, from {} to {}", baseline.variant, candidate.variant);
        let mut add = |end: &str, bytes: Vec<u8>| files.push(Artifact { name: format!("{stem}.{end}"), bytes });
        add("after.svg", flamegraph::bytes(&what, false, &text)?);
        add("before.svg", flamegraph::bytes(&what, true, &text)?);
        add("folded", text.into_bytes());
    }
    Ok(())
}
