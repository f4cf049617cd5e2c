//! What a search for a crossover found: from its runs, when they end and when its pages are made again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uplift_analysis::{
    crossover::{self, ALPHA, Finding, Point},
    estimate::{Location, median},
    metrics,
    pairing::pairs,
};
use uplift_engine::{StoredRun, optional_file::list_optional};
use uplift_model::{Better, Trial, Unit, run::PlannedScenario};
use uplift_report::build::crossover::Crossover;

use super::{Kind, Over};
use crate::{
    error::CliError,
    search_pages::{SearchPages, lacking, read_record},
};

/// What a search leaves.
pub const RECORD_FILE: &str = "crossover.json";

/// What was measured.
pub struct Found {
    /// The scenario.
    pub scenario: String,
    /// The metric that decides.
    pub metric: String,
    /// Baseline and candidate.
    pub between: [String; 2],
    /// The condition that varied.
    pub over: Over,
    /// Every point, in ascending order.
    pub points: Vec<Point>,
    /// The metric's unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
}

/// One point, with the metric's unit and direction; `None` where fewer than two blocks have the metric of both variants.
pub fn measured_point(
    value: f64,
    [baseline, candidate]: [&str; 2],
    planned: &PlannedScenario,
    trials: &[Trial],
) -> Option<(Point, Unit, Better)> {
    let mut spec = None;
    let mut both: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for pair in pairs(trials, &planned.scenario.name, baseline, candidate) {
        let own = |trial| metrics::named(trial, planned, &planned.scenario.primary);
        let (a, b) = (own(pair.baseline)?, own(pair.candidate)?);
        spec = Some((a.spec.unit, a.spec.better));
        let (Ok(a), Ok(b)) = (a.value, b.value) else { continue };
        if a <= 0.0 || b <= 0.0 {
            continue;
        }
        both[0].push(a);
        both[1].push(b);
        ratios.push((b / a).ln());
    }
    let (unit, better) = spec?;
    let turned = if better == Better::Lower { -1.0 } else { 1.0 };
    let ahead = Location::mean(&ratios.iter().map(|ratio| ratio * turned).collect::<Vec<_>>())?;
    Some((Point { value, ahead, medians: [median(&both[0])?, median(&both[1])?] }, unit, better))
}

impl Found {
    /// Its pages.
    pub fn pages(&self) -> SearchPages {
        let finding = crossover::find(&self.points);
        let word = |value: f64| self.over.word(value);
        let found = Crossover {
            scenario: &self.scenario,
            variants: [&self.between[0], &self.between[1]],
            metric: &self.metric,
            unit: self.unit,
            better: self.better,
            key: &self.over.key,
            points: &self.points,
            finding: &finding,
            word: &word,
        };
        let mut plot = found.plot();
        if let Some(plot) = &mut plot {
            plot.path = "crossover.svg".to_owned();
        }
        SearchPages {
            stem: "crossover",
            json: format!("{:#}\n", self.json(&finding)),
            document: found.document(),
            plots: plot.into_iter().collect(),
            about: "a search for where two variants change places",
        }
    }

    fn json(&self, finding: &Finding) -> Value {
        let points: Vec<_> = self
            .points
            .iter()
            .map(|point| {
                json!({
                    "value": point.value, "set": self.over.word(point.value), "blocks": point.ahead.n,
                    "baseline": point.medians[0], "candidate": point.medians[1],
                    "candidate_ahead": point.ahead.center.exp() - 1.0,
                    "ci": point.ahead.interval(ALPHA).map(|end| end.exp() - 1.0),
                })
            })
            .collect();
        let crossings: Vec<_> = match finding {
            Finding::Crossings(crossings) => crossings
                .iter()
                .map(|crossing| json!({ "at": crossing.at, "ci": crossing.interval, "candidate_above": crossing.candidate_above }))
                .collect(),
            _ => Vec::new(),
        };
        let outcome = match finding {
            Finding::Crossings(_) => "crossing",
            Finding::Always(true) => "candidate always ahead",
            Finding::Always(false) => "baseline always ahead",
            Finding::Undecided => "undecided",
        };
        json!({
            "schema": 1, "scenario": self.scenario, "metric": self.metric,
            "baseline": self.between[0], "candidate": self.between[1], "over": self.over.key,
            "kind": self.over.kind.word(),
            "outcome": outcome, "crossings": crossings, "points": points,
        })
    }
}

/// The pages of a search whose folder this is, from its runs.
pub fn rebuild(folder: &Path) -> Result<SearchPages, CliError> {
    let record = read_record(folder, RECORD_FILE)?;
    let lacking = |what: &str| lacking(folder, RECORD_FILE, what);
    let text = |key: &str| record[key].as_str().map(str::to_owned).ok_or_else(|| lacking(&format!("`{key}`")));
    let points = record["points"].as_array().filter(|points| !points.is_empty()).ok_or_else(|| lacking("points"))?;
    let words: Vec<&str> = points.iter().filter_map(|point| point["set"].as_str()).collect();
    let kind = record["kind"].as_str().and_then(Kind::of_word).unwrap_or_else(|| Kind::of_values(&words));
    let between = [text("baseline")?, text("candidate")?];
    let runs = runs(folder)?;
    let mut measured = Vec::new();
    let mut metric = None;
    for point in points {
        let (Some(value), Some(set)) = (point["value"].as_f64(), point["set"].as_str()) else {
            return Err(lacking("the value of a point"));
        };
        let Some(run) = runs.iter().find(|run| is_of(run, set)) else {
            return Err(lacking(&format!("the run of {set}, which should be a folder beside it")));
        };
        let stored = StoredRun::load(run)?;
        let planned = stored.run.scenarios.first();
        let found =
            planned.and_then(|planned| measured_point(value, [&between[0], &between[1]], planned, &stored.trials));
        let (point, unit, better) = found.ok_or_else(|| lacking(&format!("two blocks of both variants at {set}")))?;
        metric = Some((unit, better));
        measured.push(point);
    }
    let (unit, better) = metric.ok_or_else(|| lacking("points"))?;
    let (low, high) = (measured[0].value, measured[measured.len() - 1].value);
    let over = Over { key: text("over")?, low, high, kind };
    Ok(Found { scenario: text("scenario")?, metric: text("metric")?, between, over, points: measured, unit, better }
        .pages())
}

/// The folders of a search's runs, the newest last.
fn runs(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let entries = list_optional(folder).map_err(|error| {
        CliError::environment(format!("could not read the folder `{}`: {error}", folder.display()), "")
    })?;
    let mut runs: Vec<PathBuf> = entries.iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    runs.sort();
    Ok(runs)
}

/// Whether the folder is that of the point: `<UTC>-at-<value>`.
fn is_of(run: &Path, set: &str) -> bool {
    run.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&format!("-at-{set}")))
}

impl Kind {
    const WORDS: [(Self, &str); 3] = [(Self::Duration, "duration"), (Self::Whole, "whole"), (Self::Number, "number")];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind)
    }

    /// What older records do not say: from the values as they were written.
    fn of_values(words: &[&str]) -> Self {
        if words.iter().all(|word| word.parse::<u64>().is_ok()) {
            Self::Whole
        } else if words.iter().all(|word| word.parse::<f64>().is_ok()) {
            Self::Number
        } else {
            Self::Duration
        }
    }
}
