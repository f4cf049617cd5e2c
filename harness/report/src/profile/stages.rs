//! Where workers' time went by stage, and what moved between variants.

use uplift_analysis::{
    pairing::pairs,
    profile::stages::{self, StageMove, StageRow},
};
use uplift_model::{Trial, run::PlannedScenario};

use super::section::per_operation;
use crate::{
    build::{Scene, place, variants},
    document::{Cell, Column, Extent, Record, Section, Table, Text},
    number::{count, nanoseconds},
};

/// Rows of what moved.
const MOVES: usize = 20;

/// The trials that stage clocks are read from: the measured ones, and where there are none the sampled ones.
struct Source<'a> {
    trials: Vec<&'a Trial>,
    sampled: bool,
}

impl<'a> Source<'a> {
    fn of(scene: &'a Scene<'_>) -> Self {
        let here = |trial: &&Trial| trial.scenario == scene.planned.scenario.name && trial.succeeded();
        let has_clocks = |trial: &&Trial| trial.measured.as_ref().is_some_and(|measured| !measured.stages.is_empty());
        let measured: Vec<&Trial> =
            scene.variants.iter().flat_map(|(_, trials)| trials).copied().filter(has_clocks).collect();
        if measured.is_empty() {
            let sampled = scene.input.profiles.iter().map(|profile| &profile.trial).filter(here).collect();
            return Self { trials: sampled, sampled: true };
        }
        Self { trials: measured, sampled: false }
    }

    fn rows<'b>(&self, planned: &'b PlannedScenario) -> Vec<(&'b str, Vec<StageRow>)> {
        variants(planned)
            .into_iter()
            .map(|variant| {
                let of: Vec<&Trial> = self.trials.iter().copied().filter(|trial| trial.variant == variant).collect();
                (variant, stages::rows(&of))
            })
            .filter(|(_, rows)| !rows.is_empty())
            .collect()
    }

    /// The first two variants that are planned, and what moved from one to the other.
    fn moves<'b>(&self, planned: &'b PlannedScenario) -> Option<(&'b str, &'b str, Vec<StageMove>)> {
        let [baseline, candidate, ..] = planned.variants.as_slice() else { return None };
        let pairs = pairs(self.trials.iter().copied(), &planned.scenario.name, baseline, candidate);
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

/// The section; empty where the target has no stage clocks.
pub fn section(scene: &Scene<'_>) -> Section {
    let name = &scene.planned.scenario.name;
    let mut section = Section::new(place(name, "stages"), "Where the time went");
    let source = Source::of(scene);
    let rows = source.rows(scene.planned);
    if rows.is_empty() {
        return section;
    }
    if source.sampled {
        section.extent = Extent::Brief;
        section.prose("Of the profile trials: these times are of a sampled system.").brief();
    }
    let columns = vec![
        Column::words("stage"),
        Column::words("worker"),
        Column::words("variant"),
        Column::figures("at work"),
        Column::figures("waiting"),
        Column::figures("share of wall"),
        Column::figures("spans").dispensable(1),
    ];
    let mut table = Table::new(format!("Where the time went: {name}"), columns).brief();
    for (variant, rows) in &rows {
        for one in rows {
            let spent_ns = one.process_ns + one.wait_ns;
            let (stage, waiting, spans) = match &one.stage {
                Some(stage) => {
                    (Text::plain(stage), Cell::Figure(nanoseconds(one.wait_ns)), Cell::Figure(count(one.spans)))
                }
                None => ("(unaccounted)".into(), Cell::None, Cell::None),
            };
            let cells = vec![
                stage.into(),
                Text::plain(worker(one)).into(),
                Text::plain(*variant).into(),
                Cell::Figure(nanoseconds(one.process_ns)),
                waiting,
                Cell::Figure(share(spent_ns, one.wall_ns)),
                spans,
            ];
            table.row(cells).record(Record::scenario(name));
        }
    }
    table.legend(
        "For each worker the stages and the unaccounted rest add up to the wall time of the measured turns, until the \
         variant was quiet; where several clocks bear a worker's name (×), to that of all of them.",
    );
    section.table(table);
    if let Some((baseline, candidate, moves)) = source.moves(scene.planned) {
        section
            .prose(format!(
                "Time of all workers for each {}, from `{baseline}` to `{candidate}`:",
                scene.planned.unit_of_work
            ))
            .brief();
        section.table(moves_table(baseline, candidate, &moves, name));
    }
    section
}

fn moves_table(baseline: &str, candidate: &str, moves: &[StageMove], scenario: &str) -> Table {
    let columns = vec![
        Column::words("stage"),
        Column::words("worker"),
        Column::words("state"),
        Column::figures(baseline),
        Column::figures(candidate),
        Column::figures("change"),
        Column::figures("interval").dispensable(1),
    ];
    let mut table = Table::new(format!("What moved, by stage: {scenario}"), columns).brief();
    for moved in moves.iter().take(MOVES) {
        let interval = moved
            .ci_ns
            .map_or_else(|| "one block only".to_owned(), |[low, high]| format!("{} … {}", signed(low), signed(high)));
        table
            .row(vec![
                Text::plain(moved.stage.as_deref().unwrap_or("(unaccounted)")).into(),
                if moved.worker.is_empty() { Cell::None } else { Text::plain(&moved.worker).into() },
                state(moved).into(),
                Cell::Figure(per_operation(Some(moved.baseline_ns))),
                Cell::Figure(per_operation(Some(moved.candidate_ns))),
                Cell::Figure(signed(moved.change_ns)),
                Cell::Figure(interval),
            ])
            .record(Record::scenario(scenario))
            .strong(moved.is_clear());
    }
    table.legend(
        "Medians over blocks; the change and its interval (95 %) are of the differences within blocks. What stands out \
         moved beyond it.",
    );
    table
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
