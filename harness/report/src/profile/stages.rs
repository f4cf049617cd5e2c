//! Where workers' time went by stage, and what moved between variants.

use std::fmt::Write as _;

use uplift_analysis::{
    pairing::pairs,
    profile::stages::{self, StageMove, StageRow},
};
use uplift_model::{ProfileTrial, Trial, run::PlannedScenario};

use super::section::per_operation;
use crate::{
    markdown::{header, row, variants},
    number::{count, nanoseconds},
};

/// Rows of what moved.
const MOVES: usize = 20;

/// The trials that stage clocks are read from: the measured ones, and where there are none the sampled ones.
struct Source {
    trials: Vec<Trial>,
    sampled: bool,
}

impl Source {
    fn of(trials: &[Trial], profiles: &[ProfileTrial], planned: &PlannedScenario) -> Self {
        let here = |trial: &&Trial| trial.scenario == planned.scenario.name && trial.succeeded();
        let measured: Vec<Trial> = trials.iter().filter(here).cloned().collect();
        if measured.is_empty() {
            let sampled = profiles.iter().map(|profile| &profile.trial).filter(here).cloned().collect();
            return Self { trials: sampled, sampled: true };
        }
        Self { trials: measured, sampled: false }
    }

    fn rows<'a>(&'a self, planned: &'a PlannedScenario) -> Vec<(&'a str, Vec<StageRow>)> {
        variants(planned)
            .into_iter()
            .map(|variant| {
                let of: Vec<&Trial> = self.trials.iter().filter(|trial| trial.variant == variant).collect();
                (variant, stages::rows(&of))
            })
            .filter(|(_, rows)| !rows.is_empty())
            .collect()
    }

    /// The first two variants that are planned, and what moved from one to the other.
    fn moves<'a>(&self, planned: &'a PlannedScenario) -> Option<(&'a str, &'a str, Vec<StageMove>)> {
        let [baseline, candidate, ..] = planned.variants.as_slice() else { return None };
        let pairs = pairs(&self.trials, &planned.scenario.name, baseline, candidate);
        let pairs: Vec<(&Trial, &Trial)> = pairs.iter().map(|pair| (pair.baseline, pair.candidate)).collect();
        let moves = stages::moves(&pairs);
        (!moves.is_empty()).then_some((baseline, candidate, moves))
    }
}

/// `client ×30`
fn worker(row: &StageRow) -> String {
    let name = if row.worker.is_empty() { "–" } else { &row.worker };
    if row.clocks > 1 { format!("{name} ×{}", row.clocks) } else { name.to_owned() }
}

fn share(ns: u64, wall_ns: u64) -> String {
    if wall_ns == 0 { "n/a".to_owned() } else { format!("{:.1} %", ns as f64 / wall_ns as f64 * 100.0) }
}

/// The report's section; empty where the target has no stage clocks.
pub fn markdown(trials: &[Trial], profiles: &[ProfileTrial], planned: &PlannedScenario) -> String {
    let mut text = String::new();
    let source = Source::of(trials, profiles, planned);
    let rows = source.rows(planned);
    if rows.is_empty() {
        return text;
    }
    text.push_str("### Where the time went\n\n");
    if source.sampled {
        text.push_str("Of the profile trials: these times are of a sampled system.\n\n");
    }
    header(&["stage", "worker", "variant", "at work", "waiting", "share of wall", "spans"], &mut text);
    for (variant, rows) in &rows {
        for one in rows {
            let spent_ns = one.process_ns + one.wait_ns;
            let (stage, waiting, spans) = match &one.stage {
                Some(stage) => (stage.clone(), nanoseconds(one.wait_ns), count(one.spans)),
                None => ("*unaccounted*".to_owned(), "–".to_owned(), "–".to_owned()),
            };
            let cells = [
                stage,
                worker(one),
                (*variant).to_owned(),
                nanoseconds(one.process_ns),
                waiting,
                share(spent_ns, one.wall_ns),
                spans,
            ];
            row(&cells, &mut text);
        }
    }
    text.push_str(
        "\nFor each worker the stages and the unaccounted rest add up to the wall time of the measured turns, until the \
         variant was quiet; where several clocks bear a worker's name (×), to that of all of them.\n\n",
    );
    if let Some((baseline, candidate, moves)) = source.moves(planned) {
        moves_table(baseline, candidate, &moves, &planned.unit_of_work, &mut text);
    }
    text
}

fn moves_table(baseline: &str, candidate: &str, moves: &[StageMove], unit_of_work: &str, text: &mut String) {
    let _ = writeln!(text, "Time of all workers for each {unit_of_work}, from `{baseline}` to `{candidate}`:\n");
    header(&["stage", "worker", "state", baseline, candidate, "change", "interval"], text);
    for moved in moves.iter().take(MOVES) {
        let mark = if moved.is_clear() { "**" } else { "" };
        row(
            &[
                format!("{mark}{}{mark}", moved.stage.as_deref().unwrap_or("*unaccounted*")),
                if moved.worker.is_empty() { "–".to_owned() } else { moved.worker.clone() },
                state(moved).to_owned(),
                per_operation(Some(moved.baseline_ns)),
                per_operation(Some(moved.candidate_ns)),
                format!("{mark}{}{mark}", signed(moved.change_ns)),
                moved.ci_ns.map_or_else(
                    || "one block only".to_owned(),
                    |[low, high]| format!("{} … {}", signed(low), signed(high)),
                ),
            ],
            text,
        );
    }
    text.push_str(
        "\nMedians over blocks; the change and its interval (95 %) are of the differences within blocks. Rows in bold moved \
         beyond it.\n\n",
    );
}

const fn state(moved: &StageMove) -> &'static str {
    match (moved.stage.is_some(), moved.waiting) {
        (false, _) => "–",
        (true, true) => "waiting",
        (true, false) => "at work",
    }
}

fn signed(ns: f64) -> String {
    format!("{}{}", if ns < 0.0 { "−" } else { "+" }, per_operation(Some(ns.abs())))
}

/// The terminal's lines, of profile trials.
pub fn terminal(profiles: &[ProfileTrial], planned: &PlannedScenario) -> String {
    let mut text = String::new();
    let source = Source::of(&[], profiles, planned);
    for (variant, rows) in source.rows(planned) {
        let _ = writeln!(text, "{} {variant}: stages of each worker, sampled", planned.scenario.name);
        let _ = writeln!(text, "  {:>10} {:>10} {:>8}   {:<24} stage", "at work", "waiting", "of wall", "worker");
        for row in &rows {
            let _ = writeln!(
                text,
                "  {:>10} {:>10} {:>8}   {:<24} {}",
                nanoseconds(row.process_ns),
                nanoseconds(row.wait_ns),
                share(row.process_ns + row.wait_ns, row.wall_ns),
                worker(row),
                row.stage.as_deref().unwrap_or("(unaccounted)")
            );
        }
        text.push('\n');
    }
    if let Some((baseline, candidate, moves)) = source.moves(planned) {
        let _ = writeln!(
            text,
            "{}: time of all workers for each {} from {baseline} to {candidate}, by stage",
            planned.scenario.name, planned.unit_of_work
        );
        for moved in moves.iter().take(10) {
            let _ = writeln!(
                text,
                "  {:>12} → {:>12}  {:>12}  {} ({}, {})",
                per_operation(Some(moved.baseline_ns)),
                per_operation(Some(moved.candidate_ns)),
                signed(moved.change_ns),
                moved.stage.as_deref().unwrap_or("unaccounted"),
                moved.worker,
                state(moved)
            );
        }
        text.push('\n');
    }
    text
}
