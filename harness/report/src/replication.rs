//! The replication page: every figure that the sources published, ours beside it, reproduced or not, and why.

use std::collections::BTreeSet;

use uplift_analysis::replication::{Row, StoredRun};
use uplift_model::{
    MetricClass,
    verdict::{ClaimOutcome, Estimate},
};

use crate::{
    document::{Cell, Change, Column, Document, Section, Table, Text},
    number::{change, count, significant, with_range, with_unit},
    words::outcome_word,
};

const OUTCOMES: [ClaimOutcome; 7] = [
    ClaimOutcome::Reproduced,
    ClaimOutcome::Exceeded,
    ClaimOutcome::NotReproduced,
    ClaimOutcome::Contradicted,
    ClaimOutcome::Undecided,
    ClaimOutcome::NotMeasured,
    ClaimOutcome::NotComparable,
];

/// The page as markdown.
pub fn document(rows: &[Row], runs: &[StoredRun<'_>]) -> Document {
    let mut document = Document::new("Published figures, replicated");
    let sources: BTreeSet<&str> = rows.iter().map(|row| row.claim.source.as_str()).collect();
    document.sections.push(summary(rows, &sources));
    for source in &sources {
        let own: Vec<&Row> = rows.iter().filter(|row| row.claim.source == *source).collect();
        let mut section = Section::new(source.replace('.', "-"), Text::plain(*source)).listed(*source);
        // Sentences stand at the left, figures at the right.
        let columns = vec![
            Column::words("published"),
            Column::words("where"),
            Column::figures("baseline"),
            Column::figures("variant"),
            Column::figures("change, with its interval"),
            Column::words("outcome"),
            Column::words("on the source's disk"),
            Column::words("why"),
        ];
        let mut table = Table::new(format!("Figures of {source}"), columns);
        for figure in own {
            table.row(cells(figure));
        }
        section.table(table);
        document.sections.push(section);
    }
    document.sections.push(list_of_runs(rows, runs));
    document
}

fn summary(rows: &[Row], sources: &BTreeSet<&str>) -> Section {
    let mut section = Section::new("summary", "What became of them").listed("Summary");
    section.prose(
        "Made by `uplift report RUN… --replication FILE` from the `[[claims]]` of the scenario files and the runs named below; nothing here is written by hand.",
    );
    let mut columns = vec![Column::words("source"), Column::figures("figures")];
    columns.extend(OUTCOMES.map(|outcome| Column::figures(outcome_word(outcome))));
    let mut table = Table::new("Outcomes by source", columns);
    for source in sources {
        let mut line = |name: String, own: &[&Row]| {
            let mut cells = vec![Text::plain(name).into(), Cell::Figure(own.len().to_string())];
            let counted = |outcome| own.iter().filter(|row| row.verdict.outcome == outcome).count();
            cells.extend(OUTCOMES.map(|outcome| Cell::Figure(counted(outcome).to_string())));
            table.row(cells);
        };
        let own: Vec<&Row> = rows.iter().filter(|row| row.claim.source == *source && !row.echo).collect();
        line((*source).to_owned(), &own);
        let there: Vec<&Row> = own.iter().filter_map(|row| row.on_its_disk.as_deref()).collect();
        if !there.is_empty() {
            line(format!("{source}, on its disk"), &there);
        }
    }
    section.table(table);
    section.prose(
        Text::strong("Reproduced")
            .then(": our interval includes the published change; a share or a count lies in the published range. ")
            .then(Text::strong("Exceeded"))
            .then(": our interval lies beyond the published change, in its direction. ")
            .then(Text::strong("Not reproduced"))
            .then(": the published size is excluded. ")
            .then(Text::strong("Contradicted"))
            .then(": ours goes the other way. ")
            .then(Text::strong("Undecided"))
            .then(": our data allow both. ")
            .then(Text::strong("Not measured"))
            .then(": no run of those below. ")
            .then(Text::strong("Not comparable"))
            .then(": a time of another machine, or something that nobody measures here; ours stands beside it where we have one. Changes are compared, never times of different machines. ")
            .then(Text::strong("On the source's disk"))
            .then(": the outcome of a run on a model of the disk that the figures were published from (")
            .then(Text::code("--disk source"))
            .then("), which the scenario estimates from the figures themselves (")
            .then(Text::code("[claims_disk]"))
            .then("). A baseline of ours that is faster than the published one is another machine, not a finding."),
    );
    section
}

fn cells(figure: &Row) -> Vec<Cell> {
    let claim = &figure.claim;
    let place = match (&claim.against, claim.subject()) {
        (Some(against), subject) => format!("{}: {subject}, `{}` against `{against}`", figure.scenario, claim.variant),
        (None, subject) if subject.is_empty() => format!("{}: `{}`", figure.scenario, claim.variant),
        (None, subject) => format!("{}: {subject}, `{}`", figure.scenario, claim.variant),
    };
    let ours = |estimate: &Option<Estimate>| match (estimate, figure.kind) {
        (Some(estimate), Some((unit, _))) => Cell::Figure(with_range(estimate.median, estimate.ci, unit)),
        _ => Cell::None,
    };
    let class = figure.kind.map_or(MetricClass::Time, |(_, class)| class);
    let measured = match Change::new(figure.verdict.measured, figure.verdict.ci, class).shown() {
        (Some(value), Some(interval)) => Cell::Figure(format!("{value} {interval}")),
        (Some(value), None) => Cell::Figure(value),
        _ => Cell::None,
    };
    let outcome = outcome_word(figure.verdict.outcome);
    // A figure that was tried on other ground as well is counted once.
    let (outcome, reason) = if figure.echo {
        (outcome.into(), format!("(not counted: the figure has a row of its own) {}", figure.verdict.reason))
    } else {
        (Text::strong(outcome), figure.verdict.reason.clone())
    };
    vec![
        Text::plain(published(figure, class)).into(),
        place.into(),
        ours(&figure.baseline),
        ours(&figure.candidate),
        measured,
        outcome.into(),
        figure.on_its_disk.as_ref().map_or(Cell::None, |there| Text::plain(elsewhere(there)).into()),
        reason.into(),
    ]
}

/// What a run on the source's disk found: outcome, and change or value.
fn elsewhere(there: &Row) -> String {
    let outcome = outcome_word(there.verdict.outcome);
    let class = there.kind.map_or(MetricClass::Time, |(_, class)| class);
    let found = match Change::new(there.verdict.measured, there.verdict.ci, class).shown() {
        (Some(value), Some(ci)) => Some(format!("{value} {ci}")),
        (Some(value), None) => Some(value),
        _ => match (&there.candidate, there.kind) {
            (Some(estimate), Some((unit, _))) => Some(with_range(estimate.median, estimate.ci, unit)),
            _ => None,
        },
    };
    found.map_or_else(|| outcome.to_owned(), |found| format!("{outcome}: {found}"))
}

/// The source's words; where the claim does not repeat them, its numbers in the metric's unit.
fn published(figure: &Row, class: MetricClass) -> String {
    let claim = &figure.claim;
    if !claim.figure.is_empty() {
        return claim.figure.clone();
    }
    let with = |value: f64| figure.kind.map_or_else(|| significant(value), |(unit, _)| with_unit(value, unit));
    let relative = figure.verdict.published.map(|value| change(value, class));
    match (claim.baseline, claim.candidate, relative) {
        (Some(a), Some(b), Some(relative)) => format!("{} → {} ({relative})", with(a), with(b)),
        (_, Some(value), _) => with(value),
        (_, _, Some(relative)) => relative,
        _ => "–".to_owned(),
    }
}

fn list_of_runs(rows: &[Row], runs: &[StoredRun<'_>]) -> Section {
    let mut section = Section::new("runs", "The runs").listed("The runs");
    let both = rows.iter().flat_map(|row| [Some(row), row.on_its_disk.as_deref()]).flatten();
    let used: BTreeSet<&str> = both.filter_map(|row| row.run.as_deref()).collect();
    let columns = vec![
        Column::words("run"),
        Column::words("machine"),
        Column::words("revision"),
        Column::figures("trials"),
        Column::words("command"),
    ];
    let mut table = Table::new("The runs", columns);
    for stored in runs.iter().filter(|stored| used.contains(stored.run.id.as_str())) {
        let run = stored.run;
        let place = &run.environment;
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let cores = place.cores.map_or_else(String::new, |cores| format!(", {cores} cores"));
        let revision = known(&place.git_revision);
        let changed = if place.git_dirty == Some(true) { " with changes" } else { "" };
        table.row(vec![
            Text::code(&run.id).into(),
            Text::plain(format!("{}{cores}, {}", known(&place.cpu_model), known(&place.filesystem))).into(),
            Text::code(revision.get(..12).unwrap_or(&revision)).then(changed).into(),
            Cell::Figure(count(stored.trials.len() as u64)),
            Text::code(run.command.join(" ")).into(),
        ]);
    }
    section.table(table);
    section.prose(
        "A pair out of a run of many variants is judged by itself, as if the run had compared nothing else; a comparison is judged as its own report judges it.",
    );
    section
}
