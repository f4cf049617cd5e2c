//! The report's section on where the time of a scenario went.

use std::fmt::Write as _;

use uplift_analysis::profile::{
    CategoryMove, Profile, Share, Stack, categories, category, category_moves, differential, function_moves,
    kernel_share, reading, syscall_share, top_functions,
};
use uplift_model::{ProfileTrial, file_name, run::PlannedScenario, trial::TrialOutcome};

use super::{Drawn, pair_stem, stages, tail};
use crate::{
    markdown::{escape, header, row},
    number::{count, nanoseconds},
};

/// Functions in the tables.
const FUNCTIONS: usize = 15;
/// Rows of the table of waiting.
const WAITS: usize = 12;
/// The longest name in a table.
const NAME_CHARACTERS: usize = 90;

/// The section; empty where the scenario has no profile.
pub fn markdown(profiles: &[ProfileTrial], planned: &PlannedScenario) -> String {
    let mut text = String::new();
    let of_scenario: Vec<&ProfileTrial> =
        profiles.iter().filter(|profile| profile.trial.scenario == planned.scenario.name).collect();
    if of_scenario.is_empty() {
        return text;
    }
    text.push_str("### Profile\n\n");
    failures(&of_scenario, &mut text);
    let drawn = match Drawn::of_scenario(profiles, &planned.scenario.name, &planned.variants) {
        Ok(drawn) => drawn,
        Err(error) => {
            let _ = writeln!(text, "Could not read the stacks: {}.\n", escape(&error.to_string()));
            return text;
        }
    };
    for one in &drawn {
        variant(one, &mut text);
    }
    if let [baseline, candidate, ..] = drawn.as_slice() {
        moves(baseline, candidate, &planned.unit_of_work, &mut text);
    }
    text
}

fn failures(profiles: &[&ProfileTrial], text: &mut String) {
    for profile in profiles {
        if let TrialOutcome::Failed(failure) = &profile.trial.outcome {
            let _ = writeln!(
                text,
                "- ✗ the profile trial of `{}` failed at {}: {}",
                profile.trial.variant,
                failure.phase,
                escape(&failure.message)
            );
        }
    }
}

fn variant(drawn: &Drawn<'_>, text: &mut String) {
    let _ = writeln!(text, "#### Where `{}` spends its time\n\n{}.\n", drawn.variant, escape(&drawn.quality()));
    if let Some(reason) = drawn.not_sampled() {
        let _ = writeln!(text, "> ⚠ **This shows the load generator alone**: {}\n", escape(reason));
    }
    let mut warnings: Vec<&String> = drawn.trials.iter().flat_map(|one| &one.warnings).collect();
    warnings.sort();
    warnings.dedup();
    for warning in warnings {
        let _ = writeln!(text, "> ⚠ {}\n", escape(warning));
    }
    let cpu = &drawn.cpu;
    if cpu.samples == 0 {
        text.push_str(if drawn.trials.iter().any(|trial| trial.lost.is_some_and(|lost| lost > 0)) {
            "Every sample was lost: where the time went is not known.\n\n"
        } else {
            "No thread was running when a sample was due.\n\n"
        });
        return;
    }
    for sentence in reading(cpu) {
        let _ = writeln!(text, "- {}", escape(&sentence));
    }
    let _ = writeln!(
        text,
        "- {} of the samples were in the kernel, {} in a system call\n",
        share(&kernel_share(cpu)),
        share(&syscall_share(cpu))
    );
    category_table(cpu, text);
    function_table(cpu, text);
    let stem = file_name(&[drawn.scenario, drawn.variant]);
    let _ = writeln!(
        text,
        "![CPU time of {}](profiles/{stem}.cpu.svg)\n\nThe same samples for [pprof](profiles/{stem}.cpu.pb.gz), the \
         [Firefox Profiler](profiles/{stem}.cpu.firefox.json), and as [folded stacks](profiles/{stem}.cpu.folded).\n",
        drawn.variant
    );
    waiting_table(drawn, text);
    tail::markdown(drawn, text);
}

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

fn category_table(cpu: &Profile, text: &mut String) {
    header(&["category", "share (95 %)", "samples", "CPU time per operation"], text);
    for category in categories(cpu) {
        row(
            &[
                category.category.name().to_owned(),
                share(&category.share),
                count(category.share.samples),
                per_operation(category.ns_per_operation),
            ],
            text,
        );
    }
    text.push('\n');
}

fn function_table(cpu: &Profile, text: &mut String) {
    header(&["function", "self (95 %)", "total", "self per operation"], text);
    for function in top_functions(cpu, FUNCTIONS) {
        row(
            &[
                named(&function.function, function.kernel),
                share(&function.own),
                format!("{:.1} %", function.total.share * 100.0),
                per_operation(function.own_ns_per_operation),
            ],
            text,
        );
    }
    text.push('\n');
}

fn waiting_table(drawn: &Drawn<'_>, text: &mut String) {
    let Ok(Some(stacks)) = Profile::off_cpu(&drawn.trials) else { return };
    let mut waits: std::collections::BTreeMap<(&str, &str), u64> = std::collections::BTreeMap::new();
    for stack in &stacks {
        *waits.entry((group(stack), why(stack))).or_insert(0) += stack.count;
    }
    let mut rows: Vec<_> = waits.into_iter().filter(|(_, waited_us)| *waited_us > 0).collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|(key, waited_us)| (std::cmp::Reverse(*waited_us), *key));
    text.push_str("Time off the CPU, summed over the threads of each group:\n\n");
    header(&["threads", "waiting in", "time", "per operation"], text);
    for ((group, why), waited_us) in rows.into_iter().take(WAITS) {
        let each = (drawn.cpu.operations > 0).then(|| waited_us as f64 * 1e3 / drawn.cpu.operations as f64);
        row(&[escape(group), why.to_owned(), nanoseconds(waited_us * 1_000), per_operation(each)], text);
    }
    let stem = file_name(&[drawn.scenario, drawn.variant]);
    let _ = writeln!(
        text,
        "\nA thread that was away during the whole window is not in it.\n\n![waiting time of {}](profiles/{stem}.off-cpu.svg)\n",
        drawn.variant
    );
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

fn moves(baseline: &Drawn<'_>, candidate: &Drawn<'_>, unit_of_work: &str, text: &mut String) {
    let _ = writeln!(text, "#### What moved from `{}` to `{}`\n", baseline.variant, candidate.variant);
    let categories = category_moves(&baseline.cpu, &candidate.cpu);
    if categories.is_empty() {
        text.push_str("A variant did no operation while it was sampled: there is no time per operation.\n\n");
        return;
    }
    let _ = writeln!(text, "CPU time for each {unit_of_work}, by where it is spent:\n");
    moves_table(
        "category",
        baseline,
        candidate,
        categories.iter().map(|CategoryMove { category, moved }| (category.name().to_owned(), *moved)),
        text,
    );
    let _ = writeln!(text, "Top movers, by the functions' own time:\n");
    moves_table(
        "function",
        baseline,
        candidate,
        function_moves(&baseline.cpu, &candidate.cpu, FUNCTIONS)
            .into_iter()
            .map(|row| (named(&row.function, row.kernel), row.moved)),
        text,
    );
    text.push_str(
        "Intervals are those of the sampling alone (95 %); trials differ by more. Rows in bold moved beyond it.\n\n",
    );
    let stem = pair_stem(baseline, candidate);
    for (end, words) in [("after", "as wide as they are afterwards"), ("before", "as wide as they were before")] {
        let _ = writeln!(text, "![what moved, frames {words}](profiles/{stem}.{end}.svg)\n");
    }
}

fn moves_table(
    what: &str,
    baseline: &Drawn<'_>,
    candidate: &Drawn<'_>,
    rows: impl Iterator<Item = (String, differential::Move)>,
    text: &mut String,
) {
    header(&[what, baseline.variant, candidate.variant, "change", "interval"], text);
    let signed = |ns: f64| {
        let sign = if ns < 0.0 { "−" } else { "+" };
        format!("{sign}{}", per_operation(Some(ns.abs())))
    };
    for (name, moved) in rows {
        let mark = if moved.is_clear() { "**" } else { "" };
        row(
            &[
                format!("{mark}{name}{mark}"),
                per_operation(Some(moved.baseline_ns)),
                per_operation(Some(moved.candidate_ns)),
                format!("{mark}{}{mark}", signed(moved.change_ns)),
                format!("{} … {}", signed(moved.ci_ns[0]), signed(moved.ci_ns[1])),
            ],
            text,
        );
    }
    text.push('\n');
}

pub(super) fn named(function: &str, kernel: bool) -> String {
    format!("`{}`{}", shortened(function).replace('|', "\\|").replace('`', "'"), if kernel { " (kernel)" } else { "" })
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

/// The terminal's few lines of one variant.
pub fn terminal(profiles: &[ProfileTrial], planned: &PlannedScenario) -> String {
    let mut text = String::new();
    let Ok(drawn) = Drawn::of_scenario(profiles, &planned.scenario.name, &planned.variants) else { return text };
    for one in &drawn {
        if let Some(reason) = one.not_sampled() {
            let _ = writeln!(text, "this shows the load generator alone: {reason}");
        }
        let _ = writeln!(text, "{} {}\n  {}", one.scenario, one.variant, one.quality());
        for warning in one.trials.iter().flat_map(|trial| &trial.warnings) {
            let _ = writeln!(text, "  warning: {warning}");
        }
        for sentence in reading(&one.cpu) {
            let _ = writeln!(text, "  {sentence}");
        }
        let _ = writeln!(text, "  {:<28} {:>22}   {:>14}", "category", "share (95 %)", "per operation");
        for category in categories(&one.cpu) {
            let _ = writeln!(
                text,
                "  {:<28} {:>22}   {:>14}",
                category.category.name(),
                share(&category.share),
                per_operation(category.ns_per_operation)
            );
        }
        let _ = writeln!(text, "  {:>22} {:>8}   function", "self (95 %)", "total");
        for function in top_functions(&one.cpu, 10) {
            let _ = writeln!(
                text,
                "  {:>22} {:>6.1} %   {}{}",
                share(&function.own),
                function.total.share * 100.0,
                shortened(&function.function),
                if function.kernel { " (kernel)" } else { "" }
            );
        }
        tail::terminal(one, &mut text);
        text.push('\n');
    }
    if let [baseline, candidate, ..] = drawn.as_slice() {
        let _ = writeln!(
            text,
            "{}: CPU time for each {} from {} to {}, by functions' own time",
            planned.scenario.name, planned.unit_of_work, baseline.variant, candidate.variant
        );
        for row in function_moves(&baseline.cpu, &candidate.cpu, 10).iter().filter(|row| row.moved.is_clear()) {
            let change = row.moved.change_ns;
            let _ = writeln!(
                text,
                "  {:>12} → {:>12}  {}{}  {}",
                per_operation(Some(row.moved.baseline_ns)),
                per_operation(Some(row.moved.candidate_ns)),
                if change < 0.0 { "−" } else { "+" },
                per_operation(Some(change.abs())),
                shortened(&row.function)
            );
        }
        text.push('\n');
    }
    text.push_str(&stages::terminal(profiles, planned));
    text
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
    serde_json::json!({ "scenario": planned.scenario.name, "variants": variants })
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
