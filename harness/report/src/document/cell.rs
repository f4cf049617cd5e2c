//! The cells of a table: what they are, so that every renderer can show them in its way.

use serde::Serialize;
use uplift_model::{
    Better, MetricClass, Unit,
    verdict::{Estimate, MetricVerdict, SettingValue, Verdict},
};

use super::Text;
use crate::number::{Scale, change, change_with_interval};

/// A value as it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The value in its unit.
    pub value: f64,
    /// Its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Its unit.
    pub unit: Unit,
    #[serde(skip)]
    scale: Scale,
}

impl Measured {
    /// A value in the unit of its row.
    pub fn new(value: f64, interval: Option<[f64; 2]>, unit: Unit, scale: Scale) -> Self {
        Self { value, interval, unit, scale }
    }

    /// An estimate in the unit of its row.
    pub fn of(estimate: &Estimate, unit: Unit, scale: Scale) -> Self {
        Self::new(estimate.median, estimate.ci, unit, scale)
    }

    /// `5749 op/s`
    pub fn shown(&self) -> String {
        self.scale.show(self.value)
    }

    /// `4966 … 6002 op/s`, where it is more than a point.
    pub fn range(&self) -> Option<String> {
        self.interval.filter(|[low, high]| low != high).map(|ends| self.scale.range(ends))
    }

    /// `± 14 %`: how far the farther end of the interval is, in parts of the value.
    pub fn spread(&self) -> Option<String> {
        let [low, high] = self.interval?;
        let spread = (high - self.value).max(self.value - low) / self.value.abs() * 100.0;
        (self.value != 0.0 && self.unit != Unit::Ratio).then(|| format!("± {spread:.0} %"))
    }
}

/// A change and its interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Change {
    /// candidate / baseline − 1; for proportions the difference.
    pub value: Option<f64>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// How it is shown.
    #[serde(skip)]
    pub class: MetricClass,
    /// Whether a doubling is shown as a factor too.
    #[serde(skip)]
    pub factor: bool,
}

impl Change {
    /// A change of a metric of that class.
    pub const fn new(value: Option<f64>, interval: Option<[f64; 2]>, class: MetricClass) -> Self {
        Self { value, interval, class, factor: false }
    }

    /// What was decided about a metric.
    pub const fn of(metric: &MetricVerdict) -> Self {
        Self::new(metric.change, metric.ci, metric.class)
    }

    /// The change and its interval as words, with the same digits.
    pub fn shown(&self) -> (Option<String>, Option<String>) {
        change_with_interval(self.value, self.interval, self.class)
    }
}

/// A cell.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "is", content = "value", rename_all = "kebab-case")]
pub enum Cell {
    /// Words.
    Text(Text),
    /// A figure that is already written.
    Figure(String),
    /// The name of a metric, its good direction, and whether it decides.
    Metric {
        /// The name.
        name: String,
        /// The good direction.
        better: Better,
        /// Whether it decides.
        primary: bool,
    },
    /// A value.
    Value(Measured),
    /// A change.
    Change(Change),
    /// The interval of a change.
    Interval(Change),
    /// What was decided; `None`: it is described and not judged.
    Verdict {
        /// The verdict.
        verdict: Option<Verdict>,
        /// Whether it is the one that decides.
        primary: bool,
    },
    /// A setting: asked for and in force.
    Setting(SettingValue),
    /// Not available.
    Missing,
    /// There is none.
    None,
}

impl Cell {
    /// A metric's name.
    pub fn metric(metric: &MetricVerdict) -> Self {
        Self::Metric { name: metric.metric.clone(), better: metric.better, primary: metric.primary }
    }

    /// What was decided about a metric; described metrics have no verdict.
    pub fn verdict(metric: &MetricVerdict) -> Self {
        let described = metric.class == MetricClass::Info && metric.verdict == Verdict::Inconclusive;
        Self::Verdict { verdict: (!described).then_some(metric.verdict), primary: metric.primary }
    }

    /// An estimate, or that there is none.
    pub fn estimate(estimate: Option<&Estimate>, unit: Unit, scale: Scale) -> Self {
        estimate.map_or(Self::Missing, |estimate| Self::Value(Measured::of(estimate, unit, scale)))
    }

    /// A figure, or that it is not available.
    pub fn figure(figure: Option<String>) -> Self {
        figure.map_or(Self::Missing, Self::Figure)
    }

    /// The smallest change that would have been found.
    pub fn detectable(metric: &MetricVerdict) -> Self {
        let shown = |value| change(value, metric.class).replace('+', "");
        metric.minimum_detectable.map_or(Self::None, |value| Self::Figure(shown(value)))
    }

    /// Whether nothing stands in it.
    pub const fn is_blank(&self) -> bool {
        matches!(self, Self::None | Self::Verdict { verdict: None, .. })
    }

    /// The words of the cell, without what surrounds them: intervals of values stand beside.
    pub fn words(&self) -> String {
        let missing = || "n/a".to_owned();
        match self {
            Self::Text(text) => text.words(),
            Self::Figure(text) => text.clone(),
            Self::Metric { name, better, .. } => format!("{name}{}", arrow(*better)),
            Self::Value(value) => value.shown(),
            Self::Change(change) => {
                let shown = change.shown().0.unwrap_or_else(missing);
                match change.value {
                    Some(value) if change.factor && (1.0..10.0).contains(&value) && !shown.starts_with('×') => {
                        format!("{shown} (×{})", crate::number::significant(1.0 + value))
                    }
                    _ => shown,
                }
            }
            Self::Interval(change) => change.shown().1.unwrap_or_else(missing),
            Self::Verdict { verdict, .. } => verdict.map_or("–", Verdict::word).to_owned(),
            Self::Setting(setting) => setting_words(setting),
            Self::Missing => missing(),
            Self::None => "–".to_owned(),
        }
    }
}

fn setting_words(value: &SettingValue) -> String {
    match (&value.requested, &value.effective) {
        (Some(asked), Some(got)) if value.is_ignored() => format!("asked {asked}, in force {got}"),
        (_, Some(got)) => got.clone(),
        (Some(asked), None) => format!("asked {asked}, not read back"),
        (None, None) => "–".to_owned(),
    }
}

/// Which direction is better, as a sign behind the name.
pub const fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => " ↑",
        Better::Lower => " ↓",
        Better::Neither => "",
    }
}

impl From<Text> for Cell {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
