//! What must be said loudly about a scenario, each with what to do about it.

use uplift_model::{
    MetricClass,
    verdict::{ExpectationVerdict, MetricVerdict, Parity, ScenarioVerdict, Verdict},
};

/// Something that a reader must know before believing a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The figures hold on a modelled disk.
    ModelledDisk(String),
    /// The candidate's acknowledged writes survive less.
    WeakerDurability(Option<String>),
    /// A metric that does not decide got worse.
    Regressed(MetricVerdict),
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
            Self::WeakerDurability(reason) => format!(
                "durability is weaker: {}; a gain bought with durability is not an improvement",
                reason.as_deref().unwrap_or("the candidate's acknowledged writes survive less")
            ),
            Self::Regressed(metric) => format!("{} regressed ({})", metric.metric, metric.reason),
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
            Self::WeakerDurability(_) => "give both variants the same durability and compare again",
            Self::Regressed(_) => "weigh it against what improved; its row says how much",
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
    if scenario.durability == Parity::Weaker {
        warnings.push(Warning::WeakerDurability(scenario.durability_reason.clone()));
    }
    let beside = |metric: &&MetricVerdict| {
        !metric.primary && metric.class != MetricClass::Info && metric.verdict == Verdict::Regressed
    };
    warnings.extend(scenario.metrics.iter().filter(beside).cloned().map(Warning::Regressed));
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
