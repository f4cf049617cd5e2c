//! What must be said loudly about a scenario, each with what to do about it.

use uplift_model::{
    MetricClass,
    registry::{Shown, placement},
    verdict::{ExpectationVerdict, MetricVerdict, Parity, ScenarioVerdict, Verdict},
};

/// Something that a reader must know before believing a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The figures hold on a modelled disk.
    ModelledDisk(String),
    /// What was measured may be the load generator.
    LoadGenerator(String),
    /// The candidate's acknowledged writes survive less.
    WeakerDurability(Option<String>),
    /// A metric that does not decide got worse.
    Regressed(Box<MetricVerdict>),
    /// Something else is in force than was asked for.
    SettingIgnored {
        /// The setting.
        key: String,
        /// "baseline" or "candidate".
        side: &'static str,
        /// What was asked for.
        asked: String,
        /// What is in force.
        in_force: String,
    },
    /// What the scenario expects of every variant does not hold.
    ExpectationNotHeld(ExpectationVerdict),
}

impl Warning {
    /// In a sentence.
    pub fn text(&self) -> String {
        match self {
            Self::ModelledDisk(words) => words.clone(),
            Self::LoadGenerator(why) => format!("the load generator may be what was measured, not the system: {why}"),
            Self::WeakerDurability(reason) => format!(
                "durability is weaker: {}; a gain bought with durability is not an improvement",
                reason.as_deref().unwrap_or("the candidate's acknowledged writes survive less")
            ),
            Self::Regressed(metric) => format!("{} regressed {}", metric.metric, size(metric)),
            Self::SettingIgnored { key, side, asked, in_force } => {
                format!("setting `{key}` of the {side}: asked for `{asked}`, in force is `{in_force}`")
            }
            Self::ExpectationNotHeld(expectation) => {
                let value = expectation.value.map_or_else(|| "not available".to_owned(), |value| format!("{value:.4}"));
                format!(
                    "expectation not held by `{}`: {} {} (measured {value})",
                    expectation.variant, expectation.metric, expectation.rule
                )
            }
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::ModelledDisk(_) => "measure on the disk that it is meant for before relying on the size",
            Self::LoadGenerator(_) => "give the load more CPUs (more `agents` in [load]), or ask for less",
            Self::WeakerDurability(_) => "give both variants the same durability and compare again",
            Self::Regressed(_) => "decide whether the change is worth it; its row says how sure that is",
            Self::SettingIgnored { .. } => "ask for a value that the target accepts, or leave the setting out",
            Self::ExpectationNotHeld(_) => {
                "see the failures below; change [expect] in the scenario if the rule asks too much"
            }
        }
    }
}

/// What must be said loudly about a scenario, most important first.
pub fn of_scenario(scenario: &ScenarioVerdict) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = scenario.disk.iter().cloned().map(Warning::ModelledDisk).collect();
    warnings.extend(scenario.load_generator.iter().cloned().map(Warning::LoadGenerator));
    if scenario.durability == Parity::Weaker {
        warnings.push(Warning::WeakerDurability(scenario.durability_reason.clone()));
    }
    let beside = |metric: &&MetricVerdict| {
        !metric.primary
            && metric.class != MetricClass::Info
            && metric.verdict == Verdict::Regressed
            && !says_it_again(scenario, &metric.metric)
    };
    warnings.extend(scenario.metrics.iter().filter(beside).cloned().map(Box::new).map(Warning::Regressed));
    for row in &scenario.settings {
        for (side, value) in [("baseline", &row.baseline), ("candidate", &row.candidate)] {
            if let (true, Some(asked), Some(got)) = (value.is_ignored(), &value.requested, &value.effective) {
                warnings.push(Warning::SettingIgnored {
                    key: row.key.clone(),
                    side,
                    asked: asked.clone(),
                    in_force: got.clone(),
                });
            }
        }
    }
    let broken = scenario.expectations.iter().filter(|expectation| !expectation.held);
    warnings.extend(broken.cloned().map(Warning::ExpectationNotHeld));
    warnings
}

/// Whether a metric says again what another one that stands in the first lines says.
fn says_it_again(scenario: &ScenarioVerdict, metric: &str) -> bool {
    let place = placement(metric);
    let of_runs = scenario.primary().is_some_and(|primary| primary.metric == "run_time");
    place.shown == Shown::Detail || of_runs && place.repeats_run_time
}

/// By how much a metric changed, in parts of the baseline.
fn size(metric: &MetricVerdict) -> String {
    let Some(change) = metric.change else { return format!("({})", metric.reason) };
    let unit = if metric.class == MetricClass::Proportion { "pt" } else { "%" };
    let interval = metric
        .ci
        .map_or_else(String::new, |[low, high]| format!(" [{:+.1} {unit}, {:+.1} {unit}]", low * 100.0, high * 100.0));
    format!("by {:+.1} {unit}{interval}", change * 100.0)
}
