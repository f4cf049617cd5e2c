//! One scenario with its trials, looked up once.

use std::{cell::OnceCell, collections::HashMap};

use uplift_analysis::{
    insight::{Insight, insights},
    sweep::{Sweep, sweep},
};
use uplift_model::{
    Trial,
    run::{Intent, PlannedScenario, RunState},
    verdict::ScenarioVerdict,
};

use crate::ReportInput;

/// One scenario with everything that is known of it.
pub struct Scene<'a> {
    /// The whole run.
    pub input: &'a ReportInput<'a>,
    /// The scenario as it was run.
    pub planned: &'a PlannedScenario,
    /// What was decided.
    pub verdict: Option<&'a ScenarioVerdict>,
    /// All of its trials.
    pub trials: Vec<&'a Trial>,
    /// The trials that succeeded, by variant in the order of the plan.
    pub variants: Vec<(&'a str, Vec<&'a Trial>)>,
    insights: OnceCell<Vec<Insight>>,
}

/// Every scenario of a run.
pub fn scenes<'a>(input: &'a ReportInput<'a>) -> Vec<Scene<'a>> {
    let mut by_scenario: HashMap<&str, Vec<&Trial>> = HashMap::new();
    for trial in input.trials {
        by_scenario.entry(&trial.scenario).or_default().push(trial);
    }
    let verdicts: HashMap<&str, &ScenarioVerdict> = input
        .verdicts
        .iter()
        .flat_map(|verdicts| &verdicts.scenarios)
        .map(|verdict| (verdict.name.as_str(), verdict))
        .collect();
    input
        .run
        .scenarios
        .iter()
        .map(|planned| {
            let name = planned.scenario.name.as_str();
            let trials = by_scenario.get(name).cloned().unwrap_or_default();
            let own = |variant: &str| {
                trials.iter().copied().filter(|trial| trial.variant == variant && trial.succeeded()).collect()
            };
            let variants = variants(planned).into_iter().map(|variant| (variant, own(variant))).collect();
            Scene { input, planned, verdict: verdicts.get(name).copied(), trials, variants, insights: OnceCell::new() }
        })
        .collect()
}

impl<'a> Scene<'a> {
    /// Its verdict and the names of both sides, where the run compares.
    pub fn compared(&self) -> Option<(&'a ScenarioVerdict, [&'a str; 2])> {
        let verdicts = self.input.verdicts?;
        Some((self.verdict?, [&verdicts.baseline, &verdicts.candidate]))
    }

    /// Whether it was begun: of a run that was interrupted the rest is not worth a section each.
    pub fn is_begun(&self) -> bool {
        let sampled = || self.input.profiles.iter().any(|one| one.trial.scenario == self.planned.scenario.name);
        self.input.run.state != RunState::Interrupted
            || self.planned.skipped.is_some()
            || !self.trials.is_empty()
            || sampled()
    }

    /// Whether it has trials that were measured.
    pub fn has_measured(&self) -> bool {
        !self.trials.is_empty()
    }

    /// The trials of one variant that succeeded.
    pub fn of(&self, variant: &str) -> &[&'a Trial] {
        self.variants.iter().find(|(name, _)| *name == variant).map_or(&[], |(_, trials)| trials.as_slice())
    }

    /// What its numbers mean, the weightiest first.
    pub fn insights(&self) -> &[Insight] {
        self.insights.get_or_init(|| insights(self.planned, self.verdict, &self.variants))
    }

    /// The points of its sweep, where the run is one.
    pub fn sweep(&self) -> Option<Sweep> {
        match &self.input.run.intent {
            Intent::Sweep { .. } => sweep(self.planned, self.input.trials),
            _ => None,
        }
    }
}

/// The variants of a scenario, each once.
pub fn variants(planned: &PlannedScenario) -> Vec<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for variant in &planned.variants {
        if !seen.contains(&variant.as_str()) {
            seen.push(variant);
        }
    }
    seen
}
