//! Where two variants change places: a sentence, a table and a plot.

use uplift_analysis::crossover::{ALPHA, Crossing, Finding, Point};
use uplift_model::{Better, MetricClass, Unit};

use super::place;
use crate::{
    document::{Cell, Change, Column, Document, Section, Table, Text, arrow},
    number::with_unit,
    plots::{
        Plot,
        chart::{Axis, Chart, Mark, Series, log_axis},
    },
};

/// What a search for a crossover found.
pub struct Crossover<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// Baseline and candidate.
    pub variants: [&'a str; 2],
    /// The metric that decides, its unit and its good direction.
    pub metric: &'a str,
    /// Its unit.
    pub unit: Unit,
    /// Its good direction.
    pub better: Better,
    /// The condition that varied: `disk.sync`.
    pub key: &'a str,
    /// What was measured, in ascending order.
    pub points: &'a [Point],
    /// What it says.
    pub finding: &'a Finding,
    /// Writes a value of the condition: `4ms`, `16`.
    pub word: &'a dyn Fn(f64) -> String,
}

impl Crossover<'_> {
    /// The answer.
    pub fn headline(&self) -> String {
        let [baseline, candidate] = self.variants;
        match self.finding {
            Finding::Crossings(crossings) => {
                let all: Vec<String> = crossings.iter().map(|crossing| self.crossing_words(crossing)).collect();
                format!("{}: {}", self.scenario, all.join("; "))
            }
            Finding::Always(candidate_ahead) => {
                let (ahead, behind) = if *candidate_ahead { (candidate, baseline) } else { (baseline, candidate) };
                format!(
                    "{}: `{ahead}` is ahead of `{behind}` at every {} that was measured, {}: no crossing in this range",
                    self.scenario,
                    self.key,
                    self.range()
                )
            }
            Finding::Undecided => self.undecided(),
        }
    }

    /// Where one of them is ahead, and that the rest is open.
    fn undecided(&self) -> String {
        let [baseline, candidate] = self.variants;
        let open = self.points.iter().filter(|point| point.sign() == 0).count();
        let told: Vec<&Point> = self.points.iter().filter(|point| point.sign() != 0).collect();
        let known = match (told.first(), told.last()) {
            (Some(first), Some(last)) => {
                // All of one sign: opposite ones would be a crossing.
                let ahead = if first.sign() > 0 { candidate } else { baseline };
                let range = if told.len() == 1 {
                    (self.word)(first.value)
                } else {
                    format!("{} to {}", (self.word)(first.value), (self.word)(last.value))
                };
                format!("`{ahead}` is ahead where {} is {range}; ", self.key)
            }
            _ => String::new(),
        };
        format!(
            "{}: undecided: {known}at {open} of {} points from {} the two are not told apart, so no crossing is shown; more blocks (--blocks) or a wider range (--over) may show one",
            self.scenario,
            self.points.len(),
            self.range()
        )
    }

    fn range(&self) -> String {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => format!("{} to {}", (self.word)(first.value), (self.word)(last.value)),
            _ => "with no point".to_owned(),
        }
    }

    fn crossing_words(&self, crossing: &Crossing) -> String {
        let [baseline, candidate] = self.variants;
        let (above, below) = if crossing.candidate_above { (candidate, baseline) } else { (baseline, candidate) };
        let end = |end: Option<f64>, outside: &str| end.map_or_else(|| outside.to_owned(), |value| (self.word)(value));
        format!(
            "`{above}` is ahead of `{below}` where {} is above {} [{}, {}]",
            self.key,
            (self.word)(crossing.at),
            end(crossing.interval[0], "below the range"),
            end(crossing.interval[1], "above the range"),
        )
    }

    /// Sentence and table.
    pub fn document(&self) -> Document {
        let [baseline, candidate] = self.variants;
        let mut section = Section::new(place(self.scenario, "crossover"), "Crossover").untitled().brief();
        section.prose(self.headline()).brief();
        let columns = vec![
            Column::figures(self.key),
            Column::figures(format!("{baseline}: {}{}", self.metric, arrow(self.better))),
            Column::figures(candidate),
            Column::figures(format!("{candidate} ahead by")),
            Column::figures(format!("{:.0} % interval", (1.0 - ALPHA) * 100.0)).dispensable(1),
            Column::figures("n").dispensable(2),
            Column::words(""),
        ];
        let mut table = Table::new(format!("{} over {}: {}", self.metric, self.key, self.scenario), columns).brief();
        for point in self.points {
            let word = match point.sign() {
                1 => format!("{candidate} ahead"),
                -1 => format!("{baseline} ahead"),
                _ => "not told apart".to_owned(),
            };
            let ends = point.ahead.interval(ALPHA).map(|end| end.exp() - 1.0);
            let ahead = Change::new(Some(point.ahead.center.exp() - 1.0), Some(ends), MetricClass::Time);
            table.row(vec![
                Cell::Figure((self.word)(point.value)),
                Cell::Figure(with_unit(point.medians[0], self.unit)),
                Cell::Figure(with_unit(point.medians[1], self.unit)),
                Cell::Change(ahead),
                Cell::Interval(ahead),
                Cell::Figure(point.ahead.n.to_string()),
                Text::plain(word).into(),
            ]);
        }
        table.legend(
            "Each row is a comparison of its own, paired by block; medians over blocks. Between rows the logarithm of the ratio is taken to be straight over the logarithm of the condition; the interval of a crossing holds every condition near it at which even cannot be excluded (Fieller 1954). Intervals are for each row alone.",
        );
        section.table(table);
        Document::of(section)
    }

    /// Both curves over the condition, the crossings marked.
    pub fn plot(&self) -> Option<Plot> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let values = self.points.iter().flat_map(|point| point.medians).filter(|value| *value > 0.0);
        let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let unit = self.unit;
        let y: Axis = log_axis(
            format!(
                "{}, median over blocks · {}",
                self.metric,
                match self.better {
                    Better::Higher => "↑ higher is better",
                    Better::Lower => "↓ lower is better",
                    Better::Neither => "neither direction is better",
                }
            ),
            low,
            high,
            |value| with_unit(value, unit),
        );
        let series = self
            .variants
            .iter()
            .enumerate()
            .map(|(place, name)| Series {
                name: (*name).to_owned(),
                place,
                points: self.points.iter().map(|p| (p.value.log10(), p.medians[place].log10())).collect(),
                band: Vec::new(),
                marked: true,
            })
            .collect();
        let marks = match self.finding {
            Finding::Crossings(crossings) => crossings
                .iter()
                .map(|crossing| Mark { x: crossing.at.log10(), word: format!("even at {}", (self.word)(crossing.at)) })
                .collect(),
            _ => Vec::new(),
        };
        let chart = Chart {
            title: format!("{} over {}: {}", self.metric, self.key, self.scenario),
            x: log_axis(self.key.to_owned(), first.value, last.value, |value| (self.word)(value)),
            y,
            series,
            lanes: Vec::new(),
            marks,
        };
        Some(Plot::new(self.scenario, "crossover", chart.draw(), self.headline()))
    }
}
