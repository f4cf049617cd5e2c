//! The replication page: every figure that the sources published, ours beside it, reproduced or not, and why.

use std::{collections::BTreeSet, fmt::Write as _};

use uplift_analysis::replication::{Row, StoredRun};
use uplift_model::{
    MetricClass,
    verdict::{ClaimOutcome, Estimate},
};

use crate::{
    markdown::{escape, header, row},
    number::{change, change_with_interval, count, significant, with_range, with_unit},
    terminal::outcome_word,
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
pub fn document(rows: &[Row], runs: &[StoredRun<'_>]) -> String {
    let mut text = String::from(
        "# Published figures, replicated\n\nMade by `uplift report RUN… --replication FILE` from the `[[claims]]` of the scenario files and the runs named below; nothing here is written by hand.\n\n",
    );
    let sources: BTreeSet<&str> = rows.iter().map(|row| row.claim.source.as_str()).collect();
    summary(rows, &sources, &mut text);
    for source in &sources {
        let own: Vec<&Row> = rows.iter().filter(|row| row.claim.source == *source).collect();
        let _ = writeln!(text, "## {source}\n");
        // Sentences stand at the left, figures at the right.
        text.push_str(
            "| published | where | baseline | variant | change, with its interval | outcome | on the source's disk | why |\n|---|---|---:|---:|---:|---|---|---|\n",
        );
        for figure in own {
            row(&cells(figure), &mut text);
        }
        text.push('\n');
    }
    list_of_runs(rows, runs, &mut text);
    text
}

fn summary(rows: &[Row], sources: &BTreeSet<&str>, text: &mut String) {
    let mut head = vec!["source", "figures"];
    head.extend(OUTCOMES.map(outcome_word));
    header(&head, text);
    let mut line = |name: String, own: &[&Row]| {
        let mut cells = vec![name, own.len().to_string()];
        cells.extend(
            OUTCOMES.map(|outcome| own.iter().filter(|row| row.verdict.outcome == outcome).count().to_string()),
        );
        row(&cells, text);
    };
    for source in sources {
        let own: Vec<&Row> = rows.iter().filter(|row| row.claim.source == *source && !row.echo).collect();
        line((*source).to_owned(), &own);
        let there: Vec<&Row> = own.iter().filter_map(|row| row.on_its_disk.as_deref()).collect();
        if !there.is_empty() {
            line(format!("{source}, on its disk"), &there);
        }
    }
    text.push_str(
        "\n**Reproduced**: our interval includes the published change; a share or a count lies in the published range. **Exceeded**: our interval lies beyond the published change, in its direction. **Not reproduced**: the published size is excluded. **Contradicted**: ours goes the other way. **Undecided**: our data allow both. **Not measured**: no run of those below. **Not comparable**: a time of another machine, or something that nobody measures here; ours stands beside it where we have one. Changes are compared, never times of different machines. **On the source's disk**: the outcome of a run on a model of the disk that the figures were published from (`--disk source`), which the scenario estimates from the figures themselves (`[claims_disk]`). A baseline of ours that is faster than the published one is another machine, not a finding.\n\n",
    );
}

fn cells(figure: &Row) -> [String; 8] {
    let claim = &figure.claim;
    let place = match (&claim.against, claim.subject()) {
        (Some(against), subject) => format!("{}: {subject}, `{}` against `{against}`", figure.scenario, claim.variant),
        (None, subject) if subject.is_empty() => format!("{}: `{}`", figure.scenario, claim.variant),
        (None, subject) => format!("{}: {subject}, `{}`", figure.scenario, claim.variant),
    };
    let ours = |estimate: &Option<Estimate>| match (estimate, figure.kind) {
        (Some(estimate), Some((unit, _))) => with_range(estimate.median, estimate.ci, unit),
        _ => "–".to_owned(),
    };
    let class = figure.kind.map_or(MetricClass::Time, |(_, class)| class);
    let measured = match change_with_interval(figure.verdict.measured, figure.verdict.ci, class) {
        (Some(value), Some(ci)) => format!("{value} {ci}"),
        (Some(value), None) => value,
        _ => "–".to_owned(),
    };
    let outcome = outcome_word(figure.verdict.outcome);
    // A figure that was tried on other ground as well is counted once.
    let (outcome, reason) = if figure.echo {
        (outcome.to_owned(), format!("(not counted: the figure has a row of its own) {}", figure.verdict.reason))
    } else {
        (format!("**{outcome}**"), figure.verdict.reason.clone())
    };
    [
        escape(&published(figure, class)),
        escape(&place),
        ours(&figure.baseline),
        ours(&figure.candidate),
        measured,
        outcome,
        figure.on_its_disk.as_ref().map_or_else(|| "–".to_owned(), |there| escape(&elsewhere(there))),
        escape(&reason),
    ]
}

/// What a run on the source's disk found: outcome, and change or value.
fn elsewhere(there: &Row) -> String {
    let outcome = outcome_word(there.verdict.outcome);
    let class = there.kind.map_or(MetricClass::Time, |(_, class)| class);
    let found = match change_with_interval(there.verdict.measured, there.verdict.ci, class) {
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

fn list_of_runs(rows: &[Row], runs: &[StoredRun<'_>], text: &mut String) {
    text.push_str("## The runs\n\n");
    let both = rows.iter().flat_map(|row| [Some(row), row.on_its_disk.as_deref()]).flatten();
    let used: BTreeSet<&str> = both.filter_map(|row| row.run.as_deref()).collect();
    header(&["run", "machine", "revision", "trials", "command"], text);
    for stored in runs.iter().filter(|stored| used.contains(stored.run.id.as_str())) {
        let run = stored.run;
        let place = &run.environment;
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let cores = place.cores.map_or_else(String::new, |cores| format!(", {cores} cores"));
        let revision = known(&place.git_revision);
        let changed = if place.git_dirty == Some(true) { " with changes" } else { "" };
        row(
            &[
                format!("`{}`", run.id),
                escape(&format!("{}{cores}, {}", known(&place.cpu_model), known(&place.filesystem))),
                format!("`{}`{changed}", revision.get(..12).unwrap_or(&revision)),
                count(stored.trials.len() as u64),
                format!("`{}`", escape(&run.command.join(" "))),
            ],
            text,
        );
    }
    text.push_str(
        "\nA pair out of a run of many variants is judged by itself, as if the run had compared nothing else; a comparison is judged as its own report judges it.\n",
    );
}
