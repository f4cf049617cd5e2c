//! What a search for saturation found, in words, tables and JSON.

mod stored;

use std::time::Duration;

use serde_json::json;
use uplift_analysis::{
    metrics,
    saturation::{Finding, examine},
};
use uplift_model::{
    Trial, Unit,
    run::PlannedScenario,
    trial::{Event, Slice},
};
use uplift_report::{
    document::{Cell, Column, Document, Section, Table, Text},
    number::with_unit,
};

use crate::finished::Finished;

/// The percentiles that are shown of every rate.
const SHOWN: [&str; 5] = ["throughput", "response_p50", "response_p99", "response_max", "service_p99"];

/// One rate.
pub struct Step {
    /// Operations a second that arrived.
    pub rate: f64,
    /// Whether every one of its trials sustained it.
    pub sustained: bool,
    /// What each trial showed.
    pub findings: Vec<Finding>,
    shown: Vec<Shown>,
    timeline: Timeline,
    /// How long its trials took, set-up and all.
    pub took: Duration,
}

impl Step {
    /// From the run that measured it.
    ///
    /// # Errors
    /// Why its trials show nothing.
    pub fn of(rate: f64, finished: &Finished, took: Duration) -> Result<Self, String> {
        let planned = &finished.run.scenarios[0];
        let window_ns = planned.scenario.trial.window.as_nanos();
        let mut findings = Vec::new();
        for measured in finished.trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let Some(turn) = measured.turns.get(measured.dropped_turns as usize) else { continue };
            findings.push(examine(turn, &measured.slices, window_ns)?);
        }
        let sustained = !findings.is_empty() && findings.iter().all(Finding::is_sustained);
        let shown = SHOWN.iter().filter_map(|name| Shown::of(name, &finished.trials, planned)).collect();
        let timeline = finished.trials.iter().find(|trial| trial.succeeded()).map(Timeline::of).unwrap_or_default();
        Ok(Self { rate, sustained, findings, shown, timeline, took })
    }

    fn verdict(&self) -> String {
        let count = self.findings.iter().filter(|finding| finding.is_sustained()).count();
        let why = self.findings.iter().find_map(|finding| match finding {
            Finding::Diverged(why) => Some(why.as_str()),
            Finding::Sustained => None,
        });
        let word = if self.sustained { "sustained" } else { "diverged" };
        let why = why.map_or_else(String::new, |why| format!("; {why}"));
        format!("{word} ({count} of {} trials sustained it{why})", self.findings.len())
    }

    /// A percentile, where it was measured.
    fn text(&self, name: &str) -> String {
        self.named(name).map_or("n/a".to_owned(), |shown| with_unit(shown.median, shown.unit))
    }

    fn named(&self, name: &str) -> Option<&Shown> {
        self.shown.iter().find(|shown| shown.name == name)
    }

    /// From the least to the greatest trial, where there are several.
    fn range(&self, name: &str) -> String {
        match (self.named(name), self.findings.len()) {
            (Some(shown), trials @ 2..) => {
                let text = |value| with_unit(value, shown.unit);
                format!(" ({} … {} over {trials} trials)", text(shown.low), text(shown.high))
            }
            _ => String::new(),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!("{}: {}", with_unit(self.rate, Unit::OpsPerSecond), self.verdict())
    }

    fn row(&self) -> Vec<Cell> {
        let mut cells = vec![Cell::Figure(with_unit(self.rate, Unit::OpsPerSecond))];
        cells.extend(SHOWN.map(|name| Cell::Figure(self.text(name))));
        cells.push(self.verdict().into());
        cells
    }

    fn json(&self) -> serde_json::Value {
        let of_each = |value: fn(&Shown) -> serde_json::Value| -> serde_json::Map<String, serde_json::Value> {
            self.shown.iter().map(|shown| (shown.name.to_owned(), value(shown))).collect()
        };
        let diverged: Vec<Option<&str>> = self
            .findings
            .iter()
            .map(|finding| match finding {
                Finding::Sustained => None,
                Finding::Diverged(why) => Some(why.as_str()),
            })
            .collect();
        json!({
            "rate": self.rate,
            "sustained": self.sustained,
            "trials_diverged": diverged,
            "medians": of_each(|shown| json!(shown.median)),
            "ranges": of_each(|shown| json!([shown.low, shown.high])),
            "timeline": self.timeline.json(),
        })
    }
}

/// One metric over the trials of a rate.
struct Shown {
    name: &'static str,
    unit: Unit,
    median: f64,
    /// Of the trial with the least.
    low: f64,
    /// Of the trial with the greatest.
    high: f64,
}

impl Shown {
    fn of(name: &'static str, trials: &[Trial], planned: &PlannedScenario) -> Option<Self> {
        let values: Vec<_> = trials.iter().filter_map(|trial| metrics::named(trial, planned, name)).collect();
        let unit = values.first()?.spec.unit;
        let mut numbers: Vec<f64> = values.into_iter().filter_map(|value| value.value.ok()).collect();
        numbers.sort_by(f64::total_cmp);
        let (&low, &high) = (numbers.first()?, numbers.last()?);
        let middle = numbers.len() / 2;
        let median = match numbers.len() % 2 {
            1 => numbers[middle],
            _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
        };
        Some(Self { name, unit, median, low, high })
    }
}

/// Throughput and events of one trial on one line of time.
#[derive(Default)]
struct Timeline {
    slices: Vec<Slice>,
    events: Vec<Event>,
}

impl Timeline {
    /// Of the window; what happened before and after it is left out.
    fn of(trial: &Trial) -> Self {
        let Some(measured) = &trial.measured else { return Self::default() };
        let slices = measured.slices.clone();
        let begin_ns = slices.first().map_or(0, |slice| slice.start_ns);
        let end_ns = slices.last().map_or(0, |slice| slice.start_ns + slice.duration_ns);
        let within = |event: &&Event| (begin_ns..end_ns).contains(&event.start_ns);
        Self { events: measured.events.iter().filter(within).cloned().collect(), slices }
    }

    /// A row for each slice.
    fn section(&self, id: &str, title: String) -> Section {
        let mut section = Section::new(id, title).folded();
        let columns = vec![
            Column::figures("from"),
            Column::figures("op/s"),
            Column::figures("longest response"),
            Column::words("events that began"),
        ];
        let mut table = Table::new("One trial over time", columns);
        let origin_ns = self.slices.first().map_or(0, |slice| slice.start_ns);
        for slice in &self.slices {
            let rate = slice.ok as f64 / (slice.duration_ns as f64 / 1e9);
            let end_ns = slice.start_ns + slice.duration_ns;
            let began = self.events.iter().filter(|event| (slice.start_ns..end_ns).contains(&event.start_ns));
            let events: Vec<String> = began
                .map(|event| {
                    let took = with_unit(event.duration_ns as f64, Unit::Nanoseconds);
                    format!("{} {took} ({})", event.name, event.detail)
                })
                .collect();
            table.row(vec![
                Cell::Figure(format!("{:.1} s", (slice.start_ns - origin_ns) as f64 / 1e9)),
                Cell::Figure(with_unit(rate, Unit::OpsPerSecond)),
                Cell::Figure(with_unit(slice.response_max_ns as f64, Unit::Nanoseconds)),
                Text::plain(events.join("; ")).into(),
            ]);
        }
        section.table(table);
        section
    }

    fn json(&self) -> serde_json::Value {
        json!({ "slices": self.slices, "events": self.events })
    }
}

fn table(label: &str) -> Table {
    let columns = vec![
        Column::figures("rate"),
        Column::figures("throughput").dispensable(2),
        Column::figures("response p50").dispensable(1),
        Column::figures("response p99"),
        Column::figures("longest response").dispensable(2),
        Column::figures("service p99").dispensable(3),
        Column::words(""),
    ];
    Table::new(label, columns).brief()
}

/// What a search found.
pub struct Found<'a> {
    /// Where.
    pub scenario: &'a str,
    /// Of which variant.
    pub variant: &'a str,
    /// The highest rate that was sustained.
    pub sustained: Option<f64>,
    /// The lowest that was not.
    pub diverged: Option<f64>,
    /// Every rate that was tried.
    pub steps: Vec<Step>,
    /// Half of the highest sustained rate.
    pub half: Option<Step>,
}

impl Found<'_> {
    fn headline(&self) -> String {
        let rate = |rate: f64| with_unit(rate, Unit::OpsPerSecond);
        match (self.sustained, self.diverged) {
            (Some(low), Some(high)) => {
                format!("{} is sustained, {} is not: saturation lies between", rate(low), rate(high))
            }
            (Some(low), None) => format!("{} is sustained; no higher rate was tried", rate(low)),
            (None, Some(high)) => format!("{} is not sustained, and no lower rate was tried", rate(high)),
            (None, None) => "no rate was tried".to_owned(),
        }
    }

    /// As a document.
    pub fn document(&self) -> Document {
        let title = Text::plain("Saturation of ")
            .then(Text::code(self.scenario))
            .then(", variant ")
            .then(Text::code(self.variant));
        let mut document = Document::new(title.clone());
        let mut section = Section::new("saturation", title).listed("Saturation").brief();
        section.prose(Text::strong(format!("{}.", self.headline()))).brief();
        if let Some(half) = &self.half {
            section
                .prose(format!(
                    "At half of the highest sustained rate a response took {} at the median and {} at the 99th \
                     percentile{}, the longest {}{}.",
                    half.text("response_p50"),
                    half.text("response_p99"),
                    half.range("response_p99"),
                    half.text("response_max"),
                    if half.sustained { "" } else { "; not every trial sustained even that" }
                ))
                .brief();
        }
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let mut rates = table("Every rate that was tried");
        for step in &steps {
            rates.row(step.row()).strong(Some(step.rate) == self.sustained);
        }
        rates.legend(
            "A response runs from the intended start (the sojourn), a service time from the sending. Percentiles are \
             medians over the trials of a rate; nothing is clamped.",
        );
        section.table(rates);
        let highest = steps.into_iter().rfind(|step| Some(step.rate) == self.sustained);
        if let Some(half) = &self.half {
            section.prose("At half of the highest sustained rate:").brief();
            let mut own = table("Half of the highest sustained rate");
            own.row(half.row());
            section.table(own);
        }
        for (id, step) in self.half.iter().map(|step| ("half", step)).chain(highest.map(|step| ("highest", step))) {
            let rate = with_unit(step.rate, Unit::OpsPerSecond);
            section.part(step.timeline.section(id, format!("The first trial at {rate}")));
        }
        document.sections.push(section);
        document
    }

    /// For programs.
    pub fn json(&self) -> String {
        let found = json!({
            "schema": 1,
            "scenario": self.scenario,
            "variant": self.variant,
            "sustained": self.sustained,
            "diverged": self.diverged,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "half": self.half.as_ref().map(Step::json),
        });
        format!("{found:#}\n")
    }
}
