//! The report's section on where the time of a scenario went.

use uplift_analysis::profile::{
    CategoryMove, Profile, Share, Stack, categories, category, category_moves, differential, function_moves,
    kernel_share, reading, syscall_share, top_functions,
};
use uplift_model::{ProfileTrial, file_name, run::PlannedScenario, trial::TrialOutcome};

use super::{Drawn, pair_stem, tail};
use crate::{
    build::place,
    document::{Block, Cell, Column, Extent, FlameGraph, NoteKind, Section, Table, Text},
    number::{count, nanoseconds},
};

/// Functions in the tables, and how many of them a terminal shows.
const FUNCTIONS: usize = 15;
const FUNCTIONS_BRIEF: usize = 10;
/// Rows of the table of waiting.
const WAITS: usize = 12;
/// The longest name in a table.
const NAME_CHARACTERS: usize = 90;

/// The section; empty where the scenario has no profile.
pub fn section(profiles: &[ProfileTrial], planned: &PlannedScenario) -> Section {
    let scenario = &planned.scenario.name;
    let mut section = Section::new(place(scenario, "profile"), "Profile").untitled().brief();
    let of_scenario: Vec<&ProfileTrial> =
        profiles.iter().filter(|profile| &profile.trial.scenario == scenario).collect();
    if of_scenario.is_empty() {
        return section;
    }
    failures(&of_scenario, &mut section);
    let drawn = match Drawn::of_scenario(profiles, scenario, &planned.variants) {
        Ok(drawn) => drawn,
        Err(error) => {
            section.note(NoteKind::Failure, Text::plain(format!("could not read the stacks: {error}")));
            return section;
        }
    };
    section.blocks.extend(graph(&drawn, scenario).map(Block::FlameGraph));
    for one in &drawn {
        section.part(variant(one));
        section.part(tail::section(one));
    }
    if let [baseline, candidate, ..] = drawn.as_slice() {
        section.part(moves(baseline, candidate, &planned.unit_of_work));
    }
    super::allocations::add(profiles, planned, &mut section);
    section
}

/// The stacks of all variants in one place, with the files that are drawn of them.
fn graph(drawn: &[Drawn<'_>], scenario: &str) -> Option<FlameGraph> {
    let mut files = Vec::new();
    for one in drawn.iter().filter(|one| !one.cpu.stacks.is_empty()) {
        let stem = file_name(&[one.scenario, one.variant]);
        let variant = one.variant;
        let mut add = |end: &str, words: &str| files.push((format!("profiles/{stem}.{end}"), words.to_owned()));
        add("cpu.svg", &format!("CPU time of {variant}"));
        add("cpu.pb.gz", "pprof");
        add("cpu.firefox.json", "Firefox Profiler");
        add("cpu.folded", "folded stacks");
        if matches!(Profile::off_cpu(&one.trials), Ok(Some(stacks)) if !stacks.is_empty()) {
            add("off-cpu.svg", &format!("waiting time of {variant}"));
        }
        if let Ok(Some(tail)) = uplift_analysis::profile::tail::tail(&one.trials)
            && !tail.slow.stacks.is_empty()
        {
            add("tail.svg", &format!("the slowest calls of {variant}"));
            if uplift_analysis::profile::tail::differential(&tail).is_some() {
                add("tail-against-all.svg", &format!("the slowest calls of {variant} against all of its calls"));
            }
        }
    }
    if let [baseline, candidate, ..] = drawn
        && differential::folded(&baseline.cpu, &candidate.cpu).is_some_and(|text| !text.is_empty())
    {
        let stem = pair_stem(baseline, candidate);
        for (end, words) in [("after", "as wide as they are afterwards"), ("before", "as wide as they were before")] {
            files.push((format!("profiles/{stem}.{end}.svg"), format!("what moved, frames {words}")));
        }
    }
    (!files.is_empty()).then(|| FlameGraph {
        id: format!("stacks-{}", place(scenario, "")),
        scenario: scenario.to_owned(),
        files,
    })
}

fn failures(profiles: &[&ProfileTrial], section: &mut Section) {
    for profile in profiles {
        if let TrialOutcome::Failed(failure) = &profile.trial.outcome {
            section.note(
                NoteKind::Failure,
                format!(
                    "the profile trial of `{}` failed at {}: {}",
                    profile.trial.variant, failure.phase, failure.message
                ),
            );
        }
    }
}

fn variant(drawn: &Drawn<'_>) -> Section {
    let title = Text::plain("Where ").then(Text::code(drawn.variant)).then(" spends its time");
    let id = place(drawn.scenario, &format!("time-of-{}", file_name(&[drawn.variant])));
    let mut section = Section::new(id, title).brief();
    section.prose(Text::plain(format!("{}.", drawn.quality()))).brief();
    if let Some(reason) = drawn.not_sampled() {
        section.note(
            NoteKind::Warning,
            Text::strong("This shows the load generator alone").then(Text::plain(format!(": {reason}"))),
        );
    }
    let mut warnings: Vec<&String> = drawn.trials.iter().flat_map(|one| &one.warnings).collect();
    warnings.sort();
    warnings.dedup();
    for warning in warnings {
        section.note(NoteKind::Warning, warning);
    }
    let cpu = &drawn.cpu;
    if cpu.samples == 0 {
        let lost = drawn.trials.iter().any(|trial| trial.lost.is_some_and(|lost| lost > 0));
        section
            .prose(if lost {
                "Every sample was lost: where the time went is not known."
            } else {
                "No thread was running when a sample was due."
            })
            .brief();
        return section;
    }
    for sentence in reading(cpu) {
        section.item(sentence).brief();
    }
    section.item(format!(
        "{} of the samples were in the kernel, {} in a system call",
        share(&kernel_share(cpu)),
        share(&syscall_share(cpu))
    ));
    // Where a process mostly waits, what it waits for comes before what it computes.
    let waits = waiting_table(drawn);
    let waiting_first = cpu.cores_used() < WAITING_BELOW_CORES;
    if let (Some(table), true) = (waits.clone(), waiting_first) {
        section.table(table);
    }
    section.table(category_table(drawn));
    section.table(function_table(drawn));
    if let (Some(table), false) = (waits, waiting_first) {
        section.table(table);
    }
    section
}

/// A process that keeps less of a core busy waits most of its time.
pub(crate) const WAITING_BELOW_CORES: f64 = 0.5;

/// `41.2 % (39.8 … 42.6)`
fn share(share: &Share) -> String {
    let [low, high] = share.ci;
    format!("{:.1} % ({:.1} … {:.1})", share.share * 100.0, low * 100.0, high * 100.0)
}

pub(super) fn per_operation(ns: Option<f64>) -> String {
    match ns {
        None => "n/a".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(ns) if ns >= 1.0 => nanoseconds(ns as u64),
        Some(ns) => format!("{ns:.2} ns"),
    }
}

fn category_table(drawn: &Drawn<'_>) -> Table {
    let columns = vec![
        Column::words("category"),
        Column::figures("share (95 %)"),
        Column::figures("samples").dispensable(1),
        Column::figures("CPU time per operation"),
    ];
    let mut table = Table::new(format!("Categories of {}: {}", drawn.variant, drawn.scenario), columns).brief();
    for category in categories(&drawn.cpu) {
        table.row(vec![
            category.category.name().into(),
            Cell::Figure(share(&category.share)),
            Cell::Figure(count(category.share.samples)),
            Cell::Figure(per_operation(category.ns_per_operation)),
        ]);
    }
    table
}

fn function_table(drawn: &Drawn<'_>) -> Table {
    let columns = vec![
        Column::figures("self (95 %)"),
        Column::figures("total"),
        Column::figures("self per operation").dispensable(1),
        Column::words("function"),
    ];
    let mut table = Table::new(format!("Functions of {}: {}", drawn.variant, drawn.scenario), columns).brief();
    for (index, function) in top_functions(&drawn.cpu, FUNCTIONS).into_iter().enumerate() {
        let cells = vec![
            Cell::Figure(share(&function.own)),
            Cell::Figure(format!("{:.1} %", function.total.share * 100.0)),
            Cell::Figure(per_operation(function.own_ns_per_operation)),
            named(&function.function, function.kernel).into(),
        ];
        table.row(cells).extent(brief_below(index, FUNCTIONS_BRIEF));
    }
    table
}

const fn brief_below(index: usize, most: usize) -> Extent {
    if index < most { Extent::Brief } else { Extent::Detailed }
}

fn waiting_table(drawn: &Drawn<'_>) -> Option<Table> {
    let stacks = Profile::off_cpu(&drawn.trials).ok()??;
    let mut waits: std::collections::BTreeMap<(&str, &str), u64> = std::collections::BTreeMap::new();
    for stack in &stacks {
        *waits.entry((group(stack), why(stack))).or_insert(0) += stack.count;
    }
    let mut rows: Vec<_> = waits.into_iter().filter(|(_, waited_us)| *waited_us > 0).collect();
    rows.sort_by_key(|(key, waited_us)| (std::cmp::Reverse(*waited_us), *key));
    let columns = vec![
        Column::words("threads"),
        Column::words("waiting in"),
        Column::figures("time"),
        Column::figures("per operation"),
    ];
    let mut table = Table::new(format!("Waiting of {}: {}", drawn.variant, drawn.scenario), columns).brief();
    for ((group, why), waited_us) in rows.into_iter().take(WAITS) {
        let each = (drawn.cpu.operations > 0).then(|| waited_us as f64 * 1e3 / drawn.cpu.operations as f64);
        table.row(vec![
            Text::plain(group).into(),
            why.into(),
            Cell::Figure(nanoseconds(waited_us * 1_000)),
            Cell::Figure(per_operation(each)),
        ]);
    }
    table.legend(
        "Time off the CPU, summed over the threads of each group; a thread that was away during the whole window is not in it.",
    );
    Some(table)
}

fn group(stack: &Stack) -> &str {
    stack.frames.first().map_or("", String::as_str)
}

/// What a thread waits for.
fn why(stack: &Stack) -> &'static str {
    if stack.frames.last().is_some_and(|frame| frame.starts_with("[preempted]")) {
        return "a free CPU";
    }
    category::of_wait(stack).name()
}

fn moves(baseline: &Drawn<'_>, candidate: &Drawn<'_>, unit_of_work: &str) -> Section {
    let title = Text::plain("What moved from ")
        .then(Text::code(baseline.variant))
        .then(" to ")
        .then(Text::code(candidate.variant));
    let mut section = Section::new(place(baseline.scenario, "moved"), title).brief();
    let categories = category_moves(&baseline.cpu, &candidate.cpu);
    if categories.is_empty() {
        section.prose("A variant did no operation while it was sampled: there is no time per operation.").brief();
        return section;
    }
    section.prose(format!("CPU time for each {unit_of_work}, by where it is spent, then by the functions' own time."));
    section.table(moves_table(
        "category",
        [baseline, candidate],
        categories.iter().map(|CategoryMove { category, moved }| (category.name().into(), *moved)),
    ));
    let mut table = moves_table(
        "function",
        [baseline, candidate],
        function_moves(&baseline.cpu, &candidate.cpu, FUNCTIONS)
            .into_iter()
            .map(|row| (named(&row.function, row.kernel), row.moved)),
    )
    .brief();
    table.legend(
        "Intervals are those of the sampling alone (95 %); trials differ by more. What stands out moved beyond it.",
    );
    section.table(table);
    section
}

fn moves_table(
    what: &str,
    [baseline, candidate]: [&Drawn<'_>; 2],
    rows: impl Iterator<Item = (Text, differential::Move)>,
) -> Table {
    let columns = vec![
        Column::words(what),
        Column::figures(baseline.variant),
        Column::figures(candidate.variant),
        Column::figures("change"),
        Column::figures("interval").dispensable(1),
    ];
    let mut table = Table::new(format!("What moved, by {what}: {}", baseline.scenario), columns);
    let signed = |ns: f64| {
        let sign = if ns < 0.0 { "−" } else { "+" };
        format!("{sign}{}", per_operation(Some(ns.abs())))
    };
    for (name, moved) in rows {
        let extent = if moved.is_clear() { Extent::Brief } else { Extent::Page };
        table
            .row(vec![
                name.into(),
                Cell::Figure(per_operation(Some(moved.baseline_ns))),
                Cell::Figure(per_operation(Some(moved.candidate_ns))),
                Cell::Figure(signed(moved.change_ns)),
                Cell::Figure(format!("{} … {}", signed(moved.ci_ns[0]), signed(moved.ci_ns[1]))),
            ])
            .strong(moved.is_clear())
            .extent(extent);
    }
    table
}

/// A function, and whether it is the kernel's.
pub(super) fn named(function: &str, kernel: bool) -> Text {
    let name = Text::code(shortened(function).replace('`', "'"));
    if kernel { name.then(" (kernel)") } else { name }
}

/// A name that fits a table: type arguments are left out from the innermost until it does, then what is in its middle. Its
/// beginning says whose it is, its end which function.
pub fn shortened(name: &str) -> String {
    let mut name = name.to_owned();
    while name.chars().count() > NAME_CHARACTERS {
        match innermost_arguments(&name) {
            Some((start, end)) => name.replace_range(start..end, "…"),
            None => {
                let characters: Vec<char> = name.chars().collect();
                let (half, end) = (NAME_CHARACTERS / 2, characters.len());
                return characters[..half].iter().chain(&['…']).chain(&characters[end - half..]).collect();
            }
        }
    }
    name.replace("<…>", "")
}

/// The longest pair of angle brackets that holds no other, as the bytes between them.
fn innermost_arguments(name: &str) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    let mut open = None;
    let bytes = name.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => open = Some(index + 1),
            // `->` closes nothing.
            b'>' if index > 0 && bytes[index - 1] != b'-' => {
                // The first pair of `<Type as Trait>::function` are no arguments.
                if let Some(start) = open.take()
                    && start > 1
                    && &name[start..index] != "…"
                    && found.is_none_or(|(before, end)| end - before < index - start)
                {
                    found = Some((start, index));
                }
            }
            _ => {}
        }
    }
    found
}

/// The record of a run's profiles as JSON: shares and movers, without the stacks.
pub fn json(profiles: &[ProfileTrial], planned: &PlannedScenario) -> serde_json::Value {
    let drawn = Drawn::of_scenario(profiles, &planned.scenario.name, &planned.variants).unwrap_or_default();
    let variants: Vec<serde_json::Value> = drawn
        .iter()
        .map(|one| {
            let share = |share: &Share| serde_json::json!({ "samples": share.samples, "share": share.share, "ci": share.ci });
            serde_json::json!({
                "variant": one.variant,
                "sampler": one.trials.first().map(|first| first.sampler.as_str()),
                "samples": one.cpu.samples,
                "lost": one.trials.iter().map(|trial| trial.lost).sum::<Option<u64>>(),
                "operations": one.cpu.operations,
                "cores_used": one.cpu.cores_used(),
                "symbolised_share":
                    one.trials.iter().map(|trial| trial.symbolised_share).sum::<f64>() / one.trials.len().max(1) as f64,
                "kernel": share(&kernel_share(&one.cpu)),
                "syscall": share(&syscall_share(&one.cpu)),
                "reading": reading(&one.cpu),
                "not_sampled": one.not_sampled(),
                "warnings": one.trials.iter().flat_map(|trial| &trial.warnings).collect::<Vec<_>>(),
                "categories": categories(&one.cpu).iter().map(|row| serde_json::json!({
                    "category": row.category.name(), "share": share(&row.share), "ns_per_operation": row.ns_per_operation,
                })).collect::<Vec<_>>(),
                "tail": tail::json(one),
                "functions": top_functions(&one.cpu, FUNCTIONS).iter().map(|row| serde_json::json!({
                    "function": row.function, "kernel": row.kernel, "self": share(&row.own), "total": share(&row.total),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut json = serde_json::json!({ "scenario": planned.scenario.name, "variants": variants });
    if let Some(allocations) = super::allocations::json(profiles, planned) {
        json["allocations"] = allocations;
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_type_arguments_first() {
        assert_eq!(shortened("short::name<u8>"), "short::name<u8>");
        let long = format!("a::b<{}>::c<u8>", "very::long::Type, ".repeat(8));
        assert_eq!(shortened(&long), "a::b::c<u8>");
        let endless = "x".repeat(200);
        assert_eq!(shortened(&endless).chars().count(), NAME_CHARACTERS + 1);
        let of_trait = format!("<{} as {}>::next", "a::path::".repeat(6), "core::iter::".repeat(5));
        let short = shortened(&of_trait);
        assert!(short.starts_with("<a::path::a") && short.ends_with("core::iter::>::next"), "{short}");
        assert!(short.chars().count() <= NAME_CHARACTERS + 1);
        let arrow = format!("<fn() -> {} as core::ops::FnOnce>::call_once", "T".repeat(100));
        assert!(shortened(&arrow).chars().count() <= NAME_CHARACTERS + 1);
    }
}
